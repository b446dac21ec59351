"""A matplotlib figure that is drawn again and again, fast: what stands still is drawn once and kept as pixels.

Knows nothing about what is drawn.
"""

import io
from collections.abc import Iterable


class Canvas:
    """A figure of so many Axes side by side, belonging to nobody: it is not open in pyplot.

    Args:
        axes: how many.
        width_inches: of the whole.
        height_inches: of the whole.
    """

    def __init__(self, axes: int = 2, width_inches: float = 9.0, height_inches: float = 3.6):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(width_inches, height_inches), dpi=100)
        self._canvas, self._still = FigureCanvasAgg(self.figure), None
        self.axes = list(self.figure.subplots(1, axes, squeeze=False)[0])
        # room for labels, in inches: a layout that is worked out takes longer than the drawing
        wide, high = width_inches, height_inches
        self.figure.subplots_adjust(left=0.85 / wide, right=1 - 0.15 / wide, top=1 - 0.35 / high, bottom=0.55 / high,
                                    wspace=0.27)

    def keep_(self) -> None:
        """Everything drawn so far stands still from here on; what is added later moves."""
        self._canvas.draw()
        self._still = self._canvas.copy_from_bbox(self.figure.bbox)

    def png(self, moving: Iterable = ()) -> bytes:
        """The picture: what stands still, and over it these artists."""
        from matplotlib.image import imsave

        self._canvas.restore_region(self._still)
        for artist in moving:
            self.figure.draw_artist(artist)
        stream = io.BytesIO()
        imsave(stream, self._canvas.buffer_rgba(), format="png", pil_kwargs={"compress_level": 1})
        return stream.getvalue()

