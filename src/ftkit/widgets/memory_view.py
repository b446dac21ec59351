"""What a training needs on a card: bytes by part and by moment, whether it fits, what it costs; text and picture.

Knows nothing about widgets, and nothing about how bytes are predicted.
"""

from dataclasses import dataclass
from functools import lru_cache

from ftkit.axes import COLOURS, finish_
from ftkit.errors import refusal
from ftkit.memory import cost as costs
from ftkit.memory import fit
from ftkit.memory.gpus import gpu_named
from ftkit.memory.models import model_named
from ftkit.memory.predict import PARTS
from ftkit.memory.setup import Setup
from ftkit.units import GIB, bytes_to_words, counted, seconds_to_words
from ftkit.widgets.canvas import Canvas

SIZES = {"lora": "rank", "qlora": "rank", "lora8bit": "rank", "adapter": "bottleneck", "prefix": "virtual_tokens",
         "prompt": "virtual_tokens"}
"""What `rank` means with a method; with the others it plays no part."""
PRECISIONS = {"float32": ("float32", None), "bfloat16": ("bfloat16", None), "float16": ("float16", None),
              "float32, autocast to bfloat16": ("float32", "bfloat16"),
              "float32, autocast to float16": ("float32", "float16")}
"""How a precision is called here: the type of the weights, and that of mixed precision."""
ATTENTIONS = ("flash", "efficient", "math", "eager")
_HATCHES = ("", "//", "..", "\\\\", "xx", "--", "oo", "++", "||")


@dataclass(frozen=True)
class PlanView:
    """A training on a card.

    Args:
        model: its name.
        setup: how it is trained.
        verdict: whether it fits, and what the steps of the playbook would save.
        largest_batch: rows that fit, with all else as it is; 0 where not even one does.
        longest_rows: tokens a row that fit, with all else as it is; 0 where not even two do.
        cost: of the whole job.
        tokens_per_s: that it was worked out with.
        stated: whether somebody said so; else it is a share of what the card can compute.
    """

    model: str
    setup: Setup
    verdict: fit.Verdict
    largest_batch: int
    longest_rows: int
    cost: costs.Cost
    tokens_per_s: float
    stated: bool

    @property
    def text(self) -> str:
        """The view in a few sentences."""
        setup, verdict, memory = self.setup, self.verdict, self.verdict.memory
        size = SIZES.get(setup.method)
        what = f"{self.model}, {setup.method}" + (f", {size} {setup.setting(size)}" if size else "")
        free = verdict.free_bytes
        left = f"{bytes_to_words(free)} are left" if free >= 0 else f"{bytes_to_words(-free)} are missing"
        most = (f"At most {counted(self.largest_batch, 'row')} of {setup.seq_len} tokens fit, or "
                f"{counted(setup.batch_size, 'row')} of {self.longest_rows}." if self.largest_batch
                else "Not even one such row fits.")
        return " ".join([f"{what}, {setup.batch_size} × {setup.seq_len} tokens: {bytes_to_words(memory.peak_bytes)} at "
                         f"the highest moment ({memory.moment}). On {verdict.gpu.name}: {verdict.word}; {left}.",
                         self.next_step, most, *verdict.warnings]).replace("  ", " ")

    @property
    def next_step(self) -> str:
        """What to do where it does not fit, or nothing."""
        if self.verdict.word == "fits":
            return ""
        step = next((one for one in self.verdict.steps if one.saves_bytes > 0), None)
        return f"Next: {step.name}, which saves {bytes_to_words(step.saves_bytes)}." if step else ""


def compute(model: str = "llama-2-7b", method: str = "lora", rank: int = 8, batch_size: int = 1, seq_len: int = 512,
            precision: str = "bfloat16", checkpointing: bool = False, attention: str = "flash", gpu: str = "24",
            tokens: int = 10**6, tokens_per_s: float = 0.0, price_per_h: float = 0.0) -> PlanView:
    """What a training needs and costs.

    Args:
        model: a name of the table of models.
        method: as in `memory.setup.Setup`.
        rank: of LoRA; the bottleneck of an adapter, or the virtual tokens of a prompt or a prefix.
        batch_size: rows.
        seq_len: tokens a row.
        precision: a key of `PRECISIONS`.
        checkpointing: whether activations are computed again.
        attention: "flash", "efficient", "math" or "eager".
        gpu: a card's name, or its gigabytes.
        tokens: of the whole job.
        tokens_per_s: measured ones; 0 takes a share of what the card can compute.
        price_per_h: of the card; 0 takes the example of the price table.

    Raises:
        Refusal: as `Setup`, `model_named` and `gpu_named` do.

    Example:
        >>> view = compute("llama-2-7b", "qlora", gpu="24")
        >>> view.verdict.word
        'fits'
    """
    if precision not in PRECISIONS:
        raise refusal("precision", f"one of {', '.join(PRECISIONS)}", precision)
    known, card, (held, mixed) = model_named(model), gpu_named(gpu), PRECISIONS[precision]
    settings = {SIZES[method]: rank} if method in SIZES else {}
    setup = Setup(method, settings, batch_size, seq_len, precision=held, mixed=mixed, checkpointing=checkpointing,
                  attention=attention)
    speed = tokens_per_s or costs.throughput(known, setup, card)
    return PlanView(known.name, setup, fit.judge(known, setup, card), fit.largest(known, setup, card, "batch_size"),
                    fit.largest(known, setup, card, "seq_len"),
                    costs.cost(tokens, speed, watts=card.watts, price_per_h=price_per_h), speed, tokens_per_s > 0)


def part_table(view: PlanView) -> tuple[list[str], list[list[str]]]:
    """Headers, and a row for each part at the highest moment."""
    memory = view.verdict.memory
    rows = [[part, bytes_to_words(memory.parts[part]), f"{memory.parts[part] / memory.peak_bytes:.1%}"]
            for part in PARTS if memory.parts.get(part)]
    return ["at the highest moment", "bytes", "share"], [*rows, ["sum", bytes_to_words(memory.peak_bytes), "100 %"]]


def step_table(view: PlanView) -> tuple[list[str], list[list[str]]]:
    """Headers, and a row for each step of the playbook, in its order."""
    rows = [[step.name, bytes_to_words(step.saves_bytes), bytes_to_words(step.peak_bytes),
             "fits" if step.fits else "does not fit"] for step in view.verdict.steps]
    return ["if it does not fit", "saves", "is then", "and"], rows


def cost_table(view: PlanView) -> tuple[list[str], list[list[str]]]:
    """Headers, and one row: time and money of the job."""
    cost, how = view.cost, "stated" if view.stated else "a share of what the card can compute"
    return (["tokens a second", "time", "rent", "electricity at home"],
            [[f"{view.tokens_per_s:,.0f} ({how})", seconds_to_words(3600 * cost.hours),
              f"{cost.rent:.2f} {cost.currency}", f"{cost.electricity:.2f} {cost.currency}"]])


@lru_cache(maxsize=64)
def picture(view: PlanView) -> bytes:
    """The view as a picture: bytes by part beside the card and the steps, and the highest of each moment."""
    canvas = Canvas(height_inches=4.4)
    canvas.figure.subplots_adjust(bottom=0.31, left=0.03)
    _draw_parts_(canvas.axes[0], view)
    _draw_moments_(canvas.axes[1], view)
    canvas.keep_()
    return canvas.png()


def told(view: PlanView) -> str:
    """What the picture shows, for those who do not see it."""
    memory = view.verdict.memory
    parts = ", ".join(f"{part} {bytes_to_words(size)}" for part, size in memory.parts.items() if size)
    moments = ", ".join(f"{moment} {bytes_to_words(size)}" for moment, size in memory.moments.items())
    return (f"{view.text} Left, a bar of its parts at the highest moment: {parts}; below it a bar for each step of the "
            f"playbook, and a line at {bytes_to_words(view.verdict.gpu.memory_bytes)}, the card. Right, the highest of "
            f"each moment: {moments}.")


def _draw_parts_(axes, view: PlanView) -> None:
    memory, left = view.verdict.memory, 0.0
    for place, part in enumerate(PARTS):
        width = memory.parts.get(part, 0) / GIB
        if width:
            axes.barh(0, width, left=left, height=0.8, color=COLOURS[place % len(COLOURS)], edgecolor="white",
                      hatch=_HATCHES[place], linewidth=0.5, label=part)
            left += width
    for row, step in enumerate(view.verdict.steps, start=1):
        axes.barh(row, step.peak_bytes / GIB, height=0.7, color="#DDDDDD", edgecolor="#6B6B6B", linewidth=0.5)
        axes.annotate(step.name, (0, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.axvline(view.verdict.gpu.memory_bytes / GIB, color="#000000", linestyle="--", linewidth=1.2,
                 label=f"the card, {bytes_to_words(view.verdict.gpu.memory_bytes)}")
    axes.set_ylim(len(view.verdict.steps) + 0.6, -0.6)
    axes.set_yticks([])
    axes.set_xlim(0, 1.08 * max(left, view.verdict.gpu.memory_bytes / GIB))
    finish_(axes, "By part, and after each step of the playbook", "GiB", "",
            legend={"loc": "upper left", "bbox_to_anchor": (0, -0.16), "ncols": 4})


def _draw_moments_(axes, view: PlanView) -> None:
    moments, card = view.verdict.memory.moments, view.verdict.gpu.memory_bytes / GIB
    sizes = [size / GIB for size in moments.values()]
    axes.bar(range(len(sizes)), sizes, width=0.6, color=COLOURS[4], edgecolor="#000000", linewidth=0.5)
    for place, size in enumerate(sizes):
        axes.annotate(f"{size:.3g}", (place, size), (0, 2), textcoords="offset points", ha="center", fontsize=9)
    axes.axhline(card, color="#000000", linestyle="--", linewidth=1.2)
    axes.set_xticks(range(len(sizes)), [name.replace(" ", "\n") for name in moments])
    axes.set_ylim(0, 1.15 * max(*sizes, card))
    finish_(axes, "The highest of each moment", "", "GiB")
