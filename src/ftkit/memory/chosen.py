"""What a method trains in a model, and what it adds: names and sizes, as `methods.prepare` chooses them.

Knows nothing about bytes or about how a training goes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ftkit.errors import refusal
from ftkit.layer_places import frozen_count, places_of
from ftkit.memory.setup import Setup
from ftkit.memory.shape import ATTENTION, MLP, Linear, Shape

USUAL_RATIO = 0.75  # of layers frozen, where nothing is said


@dataclass(frozen=True)
class Layer:
    """What is trained in one layer, and what is added to it.

    Args:
        trained: names of linears and norms that are trained whole.
        biases: whether biases are trained, whatever they belong to.
        ranks: of the LoRA on each linear that has one.
        quantised: names of the linears that are held in few bits.
        adapters: the parts behind which a bottleneck stands.
    """

    trained: frozenset[str] = frozenset()
    biases: bool = False
    ranks: dict[str, int] = field(default_factory=dict)
    quantised: frozenset[str] = frozenset()
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """What is trained in a model, and what is added to it.

    Args:
        layers: bottom first.
        outside: whether embeddings, last norm and head are trained.
        ranks: of a LoRA on the head or the embedding, by their paths.
        copied: paths of modules trained in a copy, the original being kept.
        final_bias: whether the last norm's bias is trained.
        virtual: numbers trained in front of the tokens: a prompt, a prefix, its projection.
    """

    layers: tuple[Layer, ...]
    outside: bool = False
    ranks: dict[str, int] = field(default_factory=dict)
    copied: tuple[str, ...] = ()
    final_bias: bool = False
    virtual: tuple[int, ...] = ()


def chosen(shape: Shape, setup: Setup) -> Chosen:
    """What the setup's method trains in a model of this shape, and what it adds.

    Raises:
        Refusal: a name or a layer that this model does not have, or nothing to train.
    """
    quantised = frozenset(one.name for one in shape.linears) if setup.quantization else frozenset()
    layers = [Layer(quantised=frozenset(name for name in quantised if not _is_left(shape, place, name, setup)))
              for place in range(shape.layers)]
    found = _METHODS[setup.method](shape, setup, layers)
    if setup.unquantised:
        _refuse_unknown_parts(shape, setup)
    return found


def _full(shape: Shape, setup: Setup, layers: list[Layer]) -> Chosen:
    return Chosen(tuple(_with(one, trained=_all(shape), biases=True) for one in layers), outside=True, final_bias=True)


def _freeze(shape: Shape, setup: Setup, layers: list[Layer]) -> Chosen:
    modules = setup.setting("modules") or ()
    modules = (modules,) if isinstance(modules, str) else tuple(modules)
    ratio, count = setup.setting("freeze_ratio"), setup.setting("layers")
    if count is not None and (ratio is not None or modules):
        raise refusal("layers", "left out beside freeze_ratio or modules", count, "Take one of them.")
    if count is not None and (type(count) is not int or not 1 <= count <= shape.layers):
        raise refusal("layers", f"a whole number from 1 to {shape.layers}, the layers of this model", count)
    ratio = (1.0 if modules else USUAL_RATIO) if ratio is None else ratio
    many = shape.layers - count if count is not None else frozen_count(ratio, shape.layers)
    bottom = setup.setting("part") == "bottom"
    frozen = set(range(many)) if bottom else set(range(shape.layers - many, shape.layers))
    kept = _all(shape) - _named(shape, modules) if modules else frozenset()
    made = tuple(_with(one, trained=kept if place in frozen else _all(shape), biases=False)
                 for place, one in enumerate(layers))
    outside = bool(setup.setting("embeddings_and_head"))
    if not outside and not any(one.trained for one in made):
        raise refusal("freeze_ratio", f"small enough for one of {shape.layers} layers to be trained", ratio,
                      "Or set embeddings_and_head=True.")
    return Chosen(made, outside=outside, final_bias=outside)


def _bitfit(shape: Shape, setup: Setup, layers: list[Layer]) -> Chosen:
    biased = any(one.bias for one in (*shape.linears, *shape.norms))
    last = bool(shape.final_norm and shape.final_norm.bias)
    if not biased and not last:
        raise refusal("method", "one that this model can take", "bitfit", "This model has no biases to train.")
    return Chosen(tuple(_with(one, biases=True) for one in layers), final_bias=last)


def _adapter(shape: Shape, setup: Setup, layers: list[Layer]) -> Chosen:
    places = (MLP,) if setup.setting("place") == "pfeiffer" else (ATTENTION, MLP)
    return Chosen(tuple(_with(one, adapters=places) for one in layers))


def _prompt(shape: Shape, setup: Setup, layers: list[Layer]) -> Chosen:
    return Chosen(tuple(layers), virtual=(setup.setting("virtual_tokens") * shape.hidden,))


def _prefix(shape: Shape, setup: Setup, layers: list[Layer]) -> Chosen:
    tokens, width = setup.setting("virtual_tokens"), setup.setting("projection")
    one = shape.cached_heads * shape.head_dim
    every = 2 * shape.layers * one
    if not width:
        return Chosen(tuple(layers), virtual=(tokens * every,))
    return Chosen(tuple(layers), virtual=(tokens * one, one * width + width, width * every + every))


def _lora(shape: Shape, setup: Setup, layers: list[Layer]) -> Chosen:
    names = setup.setting("target_modules")
    names = (names,) if isinstance(names, str) else tuple(names)
    places = set(places_of(setup.setting("layers"), shape.layers))
    saved, patterns = tuple(setup.setting("modules_to_save") or ()), dict(setup.setting("rank_pattern") or {})
    copied = _copied(shape, saved)
    biases, met, outer, made = bool(setup.setting("train_biases")), set(), {}, []
    for place, layer in enumerate(layers):
        ranks = {}
        for linear in shape.linears if place in places else ():
            path = f"{shape.stack}.{place}.{linear.name}"
            meant = [name for name in names if name == "all-linear" or _ends_with(path, name)]
            met.update(meant)
            if meant:
                ranks[linear.name] = _rank(path, patterns, setup)
        made.append(_with(layer, ranks=ranks, biases=biases))
    for path in (shape.embedding_name, shape.head_name) if setup.setting("layers") == "all" else ():
        meant = [name for name in names if _ends_with(path, name)]
        met.update(meant)
        if meant:
            outer[path] = _rank(path, patterns, setup)
    _refuse_unknown_names(shape, names, met, bool(setup.setting("allow_partial")))
    return Chosen(tuple(made), ranks=outer, copied=copied, final_bias=biases)


_METHODS = {"full": _full, "freeze": _freeze, "bitfit": _bitfit, "adapter": _adapter, "prompt": _prompt,
            "prefix": _prefix, "lora": _lora, "qlora": _lora, "lora8bit": _lora}


def _rank(path: str, patterns: dict, setup: Setup) -> int:
    rank = next((value for name, value in patterns.items() if _ends_with(path, name)), setup.setting("rank"))
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise refusal("rank", "a whole number, 1 or more", rank, "Take 8 to begin with.")
    return rank


def _copied(shape: Shape, names: tuple[str, ...]) -> tuple[str, ...]:
    known = (shape.embedding_name, shape.head_name)
    for name in names:
        if not any(_ends_with(path, name) for path in known):
            raise refusal("modules_to_save", f"{' or '.join(known)} for a plan", name, "Others are not planned for.")
    if names and shape.tied:
        raise refusal("modules_to_save", "empty where the head is tied to the embedding", names)
    return tuple(path for path in known if any(_ends_with(path, name) for name in names))


def _refuse_unknown_names(shape: Shape, names: Iterable[str], met: set[str], allow_partial: bool) -> None:
    missing = [name for name in names if name not in met]
    if missing and not (allow_partial and met):
        known = [one.name.rpartition(".")[2] for one in shape.linears]
        raise refusal("target_modules", "names that this model has", missing[0],
                      f"A layer of it has {', '.join(known)}.")


def _refuse_unknown_parts(shape: Shape, setup: Setup) -> None:
    for name in setup.unquantised:
        if not any(_is_within(f"{shape.stack}.{place}.{one.name}", name) for one in shape.linears
                   for place in range(shape.layers)):
            raise refusal("unquantised", "names of linear layers, or of parts of a layer", name,
                          f"A layer of this model has {', '.join(one.name for one in shape.linears)}.")


def _named(shape: Shape, modules: tuple[str, ...]) -> frozenset[str]:
    found = set()
    for wanted in modules:
        meant = {one.name for one in shape.linears if one.part == wanted or _is_within(one.name, wanted)}
        meant |= {one.name for one in shape.norms if _is_within(one.name, wanted)}
        if wanted == ATTENTION:
            meant |= {one.name for one in shape.norms if "." in one.name}  # norms of heads stand in the attention
        if not meant:
            raise refusal("modules", f"'{ATTENTION}', '{MLP}' or names of modules in the layers", wanted)
        found |= meant
    return frozenset(found)


def _is_left(shape: Shape, place: int, name: str, setup: Setup) -> bool:
    return any(_is_within(f"{shape.stack}.{place}.{name}", left) for left in setup.unquantised)


def _is_within(path: str, name: str) -> bool:
    """Whether `name` is a run of whole parts of the path."""
    return f".{name}." in f".{path}."


def _ends_with(path: str, name: str) -> bool:
    return path == name or path.endswith(f".{name}")


def _all(shape: Shape) -> frozenset[str]:
    return frozenset(one.name for one in (*shape.linears, *shape.norms))


def _with(layer: Layer, **changes) -> Layer:
    return Layer(**(vars(layer) | changes))


def lora_size(linear: Linear, rank: int) -> int:
    """Numbers of a LoRA of this rank on a matrix: `rank` rows of A as wide as its input, columns of B as its output.

    Example:
        >>> lora_size(Linear("q_proj", 4096, 4096, False, "attention"), 8)
        65536
    """
    return rank * (linear.inside + linear.outside)
