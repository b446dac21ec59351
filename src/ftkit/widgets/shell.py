"""What the widgets have in common: live where a person is, still elsewhere, and gone when the cell is run again.

Knows nothing about what any of them shows.
"""

from ftkit.widgets.front_end import cell, live
from ftkit.widgets.still import Still

_shown: dict[str, tuple[str, list["Shell"]]] = {}  # by cell: the run that showed them, and the shells


class Shell:
    """A widget that is built when a person is there to use it; a `Still` for everybody else.

    A subclass gives `static`; `_build`, which makes the box with all controls; and `_show`, which fills them.
    """

    _box = None

    def static(self) -> Still:
        """What is shown where nobody can click."""
        raise NotImplementedError

    def _build(self):
        raise NotImplementedError

    def _show(self) -> None:
        raise NotImplementedError

    def widget(self):
        """The box with all controls, made once."""
        if self._box is None:
            self._box = self._build()
            self._show()
        return self._box

    def close(self) -> None:
        """Takes the widgets away, from the page and from the kernel; what they showed stays as it is."""
        box, self._box = self._box, None
        if box is not None:
            close_with_children(box)

    def __repr__(self):
        return repr(self.static())

    def _repr_mimebundle_(self, include=None, exclude=None):
        close_those_of_an_earlier_run(self)
        static = self.static()
        still = {"text/plain": repr(static), "text/html": static._repr_html_()}
        return {**still, **self.widget()._repr_mimebundle_(), **still} if live() else still


def close_those_of_an_earlier_run(shell: Shell) -> None:
    """Notes that the running cell shows a shell; those that an earlier run of the same cell showed are closed."""
    name, run = cell()
    if not run:
        return
    earlier, shells = _shown.get(name, (run, []))
    if earlier != run:
        for old in shells:
            if old is not shell:
                old.close()
        shells = []
    _shown[name] = (run, [*(one for one in shells if one is not shell), shell])


def close_with_children(widget) -> None:
    """Takes a widget and all in it away, from the page and from the kernel, with those who listen to it."""
    for child in getattr(widget, "children", ()):
        close_with_children(child)
    widget.unobserve_all()
    for part in (widget.layout, getattr(widget, "style", None), widget):
        if part is not None:
            part.close()
