"""What a training needs on a card: bytes by part and by moment, whether it fits, what it costs; text and picture.

Knows nothing about widgets, or how bytes are predicted.
"""

from dataclasses import dataclass

from ftkit.errors import Refusal, unknown
from ftkit.memory import cost as costs
from ftkit.memory import fit
from ftkit.memory.gpus import gpu_named
from ftkit.memory.models import model_named
from ftkit.memory.setup import Setup
from ftkit.memory_bars import stacked_bars
from ftkit.units import bytes_to_words, counted, seconds_to_words
from ftkit.widgets.canvas import Canvas

SIZES = {"lora": "rank", "qlora": "rank", "lora8bit": "rank", "adapter": "bottleneck", "prefix": "virtual_tokens",
         "prompt": "virtual_tokens"}
"""What `rank` means with a method; with the others it plays no part."""
PRECISIONS = {"float32": ("float32", None), "bfloat16": ("bfloat16", None), "float16": ("float16", None),
              "float32, autocast to bfloat16": ("float32", "bfloat16"),
              "float32, autocast to float16": ("float32", "float16")}
"""What a precision is called here: the type of the weights, and that of mixed precision."""


@dataclass(frozen=True)
class PlanView:
    """A training on a card.

    Args:
        model: its name.
        setup: how it is trained.
        verdict: whether it fits, and the steps of the playbook up to where it does.
        bars: for the picture: what is asked for, and each step; a name and bytes by part.
        largest_batch: rows that fit, with all else as it is; 0 where not even one does.
        longest_rows: tokens a row that fit, with all else as it is; 0 where not even two do.
        tokens_per_s: that time and money were worked out with; None where the card's rate is not known.
        cost: of the whole job; None likewise.
    """

    model: str
    setup: Setup
    verdict: fit.Verdict
    bars: tuple[tuple[str, dict[str, int]], ...]
    largest_batch: int
    longest_rows: int
    tokens_per_s: float | None
    cost: costs.Cost | None

    @property
    def text(self) -> str:
        """The view in a few sentences."""
        setup, verdict, size = self.setup, self.verdict, SIZES.get(self.setup.method)
        what = f"{self.model}, {setup.method}" + (f", {size} {setup.setting(size)}" if size else "")
        left = f"{bytes_to_words(abs(verdict.free_bytes))} are {'left' if verdict.free_bytes >= 0 else 'missing'}"
        rows = counted(setup.batch_size, "row")
        most = (f"At most {counted(self.largest_batch, 'row')} of {setup.seq_len} tokens, or {rows} of "
                f"{self.longest_rows}." if self.largest_batch and self.longest_rows else "")
        step = verdict.steps[0] if verdict.steps else None
        following = f"Next step: {step.name}, which saves {bytes_to_words(step.saves_bytes)}." if step else ""
        needed = f"{bytes_to_words(verdict.memory.needed_bytes)}, highest in the {verdict.memory.moment}"
        sentences = [f"{what}, {rows} of {setup.seq_len} tokens: {needed}.", f"On {verdict.gpu.name}: "
                     f"{verdict.words}; {left}.", following, most, *verdict.warnings]
        return " ".join(filter(None, sentences))


def compute(model: str = "llama-2-7b", method: str = "lora", rank: int = 8, batch_size: int = 1, seq_len: int = 512,
            precision: str = "bfloat16", checkpointing: bool = False, attention: str = "flash", gpu: str = "RTX-3090",
            tokens: int = 10**6, tokens_per_s: float = 0.0, price_per_h: float = 0.0,
            currency: str = "CNY") -> PlanView:
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
        currency: "CNY" or "USD".

    Raises:
        Refusal: as `Setup`, `model_named`, `gpu_named` and `cost` do.

    Example:
        >>> view = compute("llama-2-7b", "qlora")
        >>> view.verdict.word
        'fits'
    """
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    known, card, (held, mixed) = model_named(model), gpu_named(gpu), PRECISIONS[precision]
    setup = Setup(method, {SIZES[method]: rank} if method in SIZES else {}, batch_size, seq_len, precision=held,
                  mixed=mixed, checkpointing=checkpointing, attention=attention)
    verdict = fit.judge(known, setup, card)
    bars = [("as asked", verdict.memory), *((step.name, step.memory) for step in verdict.steps)]
    speed = tokens_per_s or _estimated(known, setup, card)
    bill = None if speed is None else costs.cost(tokens, speed, card, currency=currency,
                                                 rent_per_hour=price_per_h or None, measured=tokens_per_s > 0)
    return PlanView(known.name, setup, verdict, tuple((name, {**one.parts, "CUDA": one.cuda_bytes})
                                                      for name, one in bars),
                    fit.largest(known, setup, card, "batch_size"), fit.largest(known, setup, card, "seq_len"), speed,
                    bill)


def part_table(view: PlanView) -> tuple[list[str], list[list[str]]]:
    """Headers, and a row for each part at the highest moment."""
    parts, whole = view.bars[0][1], view.verdict.memory.needed_bytes
    rows = [[name, bytes_to_words(size), f"{size / whole:.1%}"] for name, size in parts.items() if size]
    return ["at the highest moment", "bytes", "share"], [*rows, ["all", bytes_to_words(whole), "100.0%"]]


def moment_table(view: PlanView) -> tuple[list[str], list[list[str]]]:
    """Headers, and one row: the highest of each moment, tensors alone."""
    moments = view.verdict.memory.moments
    return [f"highest: {name}" for name in moments], [[bytes_to_words(size) for size in moments.values()]]


def step_table(view: PlanView) -> tuple[list[str], list[list[str]]]:
    """Headers, and a row for each step of the playbook up to where it fits, each on top of those before it."""
    rows = [[step.name, bytes_to_words(step.saves_bytes), bytes_to_words(step.needed_bytes),
             "fits" if step.fits else "does not fit yet"] for step in view.verdict.steps]
    return ["step of the playbook", "saves", "is then", "and"], rows


def cost_table(view: PlanView) -> tuple[list[str], list[list[str]]]:
    """Headers, and one row: time and money of the job."""
    headers, cost = ["tokens a second", "time", "rent", "rent, spot", "electricity of the card", "by"], view.cost
    if cost is None:
        return headers, [["not known: type yours", None, None, None, None, None]]
    money = [None if one is None else f"{one:.2f} {cost.currency}"
             for one in (cost.rent, cost.spot_rent, cost.electricity)]
    return headers, [[f"{view.tokens_per_s:,.0f}", seconds_to_words(3600 * cost.hours), *money, cost.basis]]


def tables(view: PlanView) -> list[tuple[list[str], list[list[str]]]]:
    """All tables of the view that have rows."""
    return [one for one in (part_table(view), moment_table(view), step_table(view), cost_table(view)) if one[1]]


def picture(view: PlanView) -> bytes:
    """The view as a picture: bars by part, for what is asked and for each step, beside the card."""
    canvas = Canvas(axes=1, height_inches=1.5 + 0.4 * max(4, len(view.bars)))
    canvas.figure.subplots_adjust(left=0.34, right=0.78)
    stacked_bars(view.bars, canvas.axes[0], card_bytes=view.verdict.gpu.memory_bytes, title="By part, as it would be")
    canvas.keep_()
    return canvas.png()


def told(view: PlanView) -> str:
    """What the picture shows, for those who do not see it."""
    parts = ", ".join(f"{part} {bytes_to_words(size)}" for part, size in view.bars[0][1].items() if size)
    below = "".join(f" {step.name}: {bytes_to_words(step.needed_bytes)}." for step in view.verdict.steps)
    return (f"{view.text} A bar of its parts: {parts}; a line at {bytes_to_words(view.verdict.gpu.memory_bytes)}, the "
            f"card.{below}")


def _estimated(model, setup: Setup, card) -> float | None:
    try:
        return costs.throughput(model, setup, card)
    except Refusal:  # gigabytes alone, or a card without stated rates
        return None
