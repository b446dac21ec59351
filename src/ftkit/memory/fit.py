"""Whether a training fits on a card, what to change if not, and the largest batch or sequence that does.

Knows nothing about time and money.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from ftkit.errors import unknown
from ftkit.memory.gpus import Gpu
from ftkit.memory.predict import Memory, as_shape, predict
from ftkit.memory.setup import Setup
from ftkit.memory.shape import ATTENTION, Shape

SHORTEST = 256  # tokens: below, too much of an example would be cut off to advise it
LONGEST = 2**17
LAST_LAYERS = 4  # of so many layers one is kept, where only the last are trained
FITS, FITS_IF, DOES_NOT = "fits", "fits if", "does not fit"


@dataclass(frozen=True)
class Step:
    """One step of the playbook, on top of those before it.

    Args:
        name: what is done, in words.
        setup: the training with it.
        needed_bytes: what that takes.
        saves_bytes: how much less that is than before.
        fits: whether the card holds it; True without a card.
        memory: what it takes, part by part.
    """

    name: str
    setup: Setup
    needed_bytes: int
    saves_bytes: int
    fits: bool
    memory: Memory


@dataclass(frozen=True)
class Verdict:
    """Whether a training fits.

    Args:
        word: "fits", "fits if" (with the steps given) or "does not fit" (even with all of them).
        memory: what the training takes as asked.
        gpu: the card.
        free_bytes: what would be left on it; below 0 what is missing.
        steps: of the playbook in its order, up to the first with which it fits.
        warnings: what else there is to know, such as types of numbers that the card lacks.
    """

    word: str
    memory: Memory
    gpu: Gpu
    free_bytes: int
    steps: tuple[Step, ...]
    warnings: tuple[str, ...]

    @property
    def words(self) -> str:
        """The word as part of a sentence."""
        steps = "" if not self.steps else f" with the {'steps' if len(self.steps) > 1 else 'step'} below"
        return {FITS: FITS, FITS_IF: f"fits{steps}", DOES_NOT: DOES_NOT + (f", not even{steps}" if steps else "")}[
            self.word]


def judge(model: object, setup: Setup, gpu: Gpu, way: str = "ours") -> Verdict:
    """Whether a training fits on a card, and with which steps of the playbook if not as it is.

    Args:
        model: a shape, a config or a model of the table.
        way: as `predict` takes it.

    Example:
        >>> from ftkit.memory.gpus import gpu_named
        >>> from ftkit.memory.models import model_named
        >>> found = judge(model_named("llama-2-7b"), Setup("full"), gpu_named(24))
        >>> found.word, found.steps[0].name, found.steps[0].fits
        ('fits if', '4-bit weights with LoRA (qlora)', True)

    Taught in: 09_memory_and_cost
    """
    shape = as_shape(model)
    memory = predict(shape, setup, way)
    steps = () if memory.needed_bytes <= gpu.memory_bytes else playbook(shape, setup, gpu, way)
    found = verdict_of(memory, setup, gpu, steps)
    return replace(found, warnings=(*found.warnings, *_of_attention(shape, setup)))


def verdict_of(memory: Memory, setup: Setup, gpu: Gpu, steps: tuple[Step, ...] = ()) -> Verdict:
    """Whether so much memory fits on a card; with the steps of a playbook where some were worked out."""
    free = gpu.memory_bytes - memory.needed_bytes
    word = FITS if free >= 0 else FITS_IF if steps and steps[-1].fits else DOES_NOT
    return Verdict(word, memory, gpu, free, steps, tuple(filter(None, [gpu.refuses(setup)])))


def playbook(model: object, setup: Setup, gpu: Gpu | None = None, way: str = "ours") -> tuple[Step, ...]:
    """The steps that save memory, each on top of those before it, in the order in which they cost least.

    4-bit weights; a smaller batch with as many micro-batches more; shorter rows; LoRA on attention alone; on the last
    layers alone; activations computed again; logits at label positions alone. Steps that change nothing here are left
    out.

    Args:
        gpu: stop at the first step with which it fits there; None goes through all.
        way: as `predict` takes it.

    Taught in: 09_memory_and_cost
    """
    shape, found = as_shape(model), []
    before = predict(shape, setup, way).needed_bytes
    for name, change in _STEPS:
        for changed in (changes := [one for one in change(shape, setup) if one != setup]):
            memory = predict(shape, changed, way)
            needed = memory.needed_bytes
            if stops := gpu is not None and needed <= gpu.memory_bytes:
                break
        if not changes:
            continue
        found.append(Step(_named(name, changed), changed, needed, before - needed, gpu is None or stops, memory))
        setup, before = changed, needed
        if stops:
            break
    return tuple(found)


def largest(model: object, setup: Setup, gpu: Gpu, name: str, way: str = "ours") -> int:
    """The largest batch or the longest rows that fit on a card; 0 where not even the smallest does.

    Args:
        name: "batch_size" or "seq_len".
        way: as `predict` takes it.

    Example:
        >>> from ftkit.memory.gpus import gpu_named
        >>> from ftkit.memory.models import model_named
        >>> largest(model_named("llama-2-7b"), Setup("full"), gpu_named("T4"), "batch_size")
        0
    """
    if name not in ("batch_size", "seq_len"):
        raise unknown("name", name, ("batch_size", "seq_len"))
    shape, least = as_shape(model), 1 if name == "batch_size" else 2
    longest = min(LONGEST, shape.positions or LONGEST) if name == "seq_len" else LONGEST

    def room(value: int) -> int:
        return gpu.memory_bytes - predict(shape, setup.with_(**{name: value}), way).needed_bytes

    rooms = {least: room(least), longest: room(longest)}
    if rooms[least] < 0:
        return 0
    return longest if rooms[longest] >= 0 else _last_with_room(room, rooms, least, longest)


def _last_with_room(room: Callable[[int], int], rooms: dict[int, int], low: int, high: int) -> int:
    """The largest value that leaves room: what is needed grows by straight pieces, so one guesses along them.

    Guesses lie on the line between the two ends, on the one through the last two values with room, and in the middle.
    """
    before, turn = low, 0
    while high - low > 1:
        turn += 1
        if turn % 3 == 1:
            guess = low + rooms[low] * (high - low) // (rooms[low] - rooms[high])
        elif turn % 3 == 2 and before < low and rooms[before] > rooms[low]:
            guess = low + rooms[low] * (low - before) // (rooms[before] - rooms[low]) + 1
        else:
            guess = (low + high) // 2
        guess = min(max(guess, low + 1), high - 1)
        rooms[guess] = room(guess)
        if rooms[guess] >= 0:
            before, low = low, guess
        else:
            high = guess
    return low


def _four_bit(shape: Shape, setup: Setup) -> list[Setup]:
    if setup.quantization in ("nf4", "fp4"):
        return []
    if setup.method in ("full", "freeze", "lora", "lora8bit"):
        return [setup.with_(method="qlora", quantization="nf4")]
    return [setup.with_(quantization="nf4")]


def _smaller_batch(shape: Shape, setup: Setup) -> list[Setup]:
    found, rows = [], setup.batch_size
    while rows > 1:
        rows = -(-rows // 2)
        found.append(setup.with_(batch_size=rows, accumulation=-(-setup.batch_size * setup.accumulation // rows)))
    return found


def _shorter_rows(shape: Shape, setup: Setup) -> list[Setup]:
    found, tokens = [], setup.seq_len
    while tokens // 2 >= SHORTEST:
        tokens //= 2
        found.append(setup.with_(seq_len=tokens))
    return found


def _attention_only(shape: Shape, setup: Setup) -> list[Setup]:
    if "target_modules" not in _known(setup):
        return []
    names = tuple(dict.fromkeys(one.name for one in shape.linears if one.part == ATTENTION))
    return [setup.with_(settings={**setup.settings, "target_modules": names})]


def _last_layers(shape: Shape, setup: Setup) -> list[Setup]:
    if "target_modules" not in _known(setup):
        return []
    return [setup.with_(settings={**setup.settings, "layers": f"last {max(1, shape.layers // LAST_LAYERS)}"})]


def _checkpointing(shape: Shape, setup: Setup) -> list[Setup]:
    return [] if setup.checkpointing or setup.method == "prefix" else [setup.with_(checkpointing=True)]


def _at_labels(shape: Shape, setup: Setup) -> list[Setup]:
    return [setup.with_(logits="labels")] if setup.logits == "all" else []


_STEPS: list[tuple[str, Callable[[Shape, Setup], list[Setup]]]] = [
    ("4-bit weights{lora}", _four_bit), ("batch of {rows}, {times} micro-batches a step", _smaller_batch),
    ("rows of {tokens} tokens", _shorter_rows), ("LoRA on attention alone", _attention_only),
    ("LoRA on the {layers} layers alone", _last_layers), ("activations computed again (checkpointing)", _checkpointing),
    ("logits at label positions alone", _at_labels)]


def _named(name: str, setup: Setup) -> str:
    layers = setup.setting("layers") if "layers" in _known(setup) else ""
    return name.format(rows=setup.batch_size, times=setup.accumulation, tokens=setup.seq_len, layers=layers,
                       lora=" with LoRA (qlora)" if setup.method == "qlora" else "")


def _known(setup: Setup) -> tuple[str, ...]:
    """Names of the method's settings, where it is a LoRA."""
    return ("target_modules", "layers") if setup.method in ("lora", "qlora", "lora8bit") else ()


def _of_attention(shape: Shape, setup: Setup) -> tuple[str, ...]:
    if shape.attends_by_itself and setup.attention in ("flash", "efficient"):
        return (f"{shape.family} attends without a kernel ({shape.attends_by_itself}): the scores of all pairs of "
                "tokens are kept, and planned for.",)
    return ()
