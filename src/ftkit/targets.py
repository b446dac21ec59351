"""Modules of a model found by name, replaced, frozen and counted.

Knows nothing about what replaces a module, nor about any family of models: it looks at the model it is given.
"""

import math
from collections.abc import Iterable

from torch import nn

from ftkit.errors import nearest, refusal
from ftkit.layer_places import ALL_LAYERS, places_of

ALL_LINEAR = "all-linear"


def find(model: nn.Module, names: str | Iterable[str], layers: str | Iterable[int] = ALL_LAYERS,
         allow_partial: bool = False) -> list[str]:
    """The paths of the modules whose name ends with one of `names`, in the model's own order.

    Args:
        names: endings of paths such as "q_proj" or "self_attn.q_proj", full paths, or "all-linear" for every linear
            module except the output head, routers of experts, and those that are never called (`is_read_past`).
            Weights that are no modules, such as fused experts, have no name here.
        layers: which layers, as in `places_of`, of each stack in which a name is found. A name that is in none of them
            is refused; all-linear then means the linear modules in them.
        allow_partial: pass over names that are missing in some layers, or in the model as long as one is there.

    Raises:
        Refusal: a name matches nothing, matches only in some layers, or matches a module that is neither linear nor an
            embedding. The sentence lists the names that the model has.

    Example:
        >>> model = nn.ModuleDict({"query": nn.Linear(2, 2), "key": nn.Linear(2, 2)})
        >>> find(model, ["query"])
        ['query']
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    if not names:
        raise refusal("target_modules", "at least one name", names, f"This model has {_names(model)}.")
    matches = {name: _all_linear(model) if name == ALL_LINEAR else _ending_with(model, name, allow_partial)
               for name in names}
    chosen = _chosen_layers(model, layers, {path for paths in matches.values() for path in paths})
    found = set()
    for name, paths in matches.items():
        if chosen is not None:
            paths = [path for path in paths if any(_is_under(path, layer) for layer in chosen)]
        if not paths and not allow_partial:
            raise refusal("target_modules", "names found in the chosen layers", name,
                          f"This model has {_names(model)}.")
        if not allow_partial and name != ALL_LINEAR:
            _refuse_partial(model, name, paths, chosen)
        found.update(paths)
    if not found:
        raise refusal("target_modules", "names of which one at least is there", ", ".join(names),
                      f"This model has {_names(model)}.")
    return [path for path, _ in model.named_modules() if path in found]


def is_linear(module: nn.Module) -> bool:
    """Whether a module multiplies its input by a weight matrix: `nn.Linear`, or `Conv1D` of transformers."""
    return isinstance(module, nn.Linear) or is_transposed(module)


def is_transposed(module: nn.Module) -> bool:
    """Whether a linear module keeps its weight as (in, out), as `Conv1D` of transformers (GPT-2) does."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")


def widths(module: nn.Module) -> tuple[int, int]:
    """The numbers of inputs and outputs of a linear module."""
    return tuple(module.weight.shape) if is_transposed(module) else (module.in_features, module.out_features)


def linear_names(model: nn.Module) -> dict[str, list[str]]:
    """The last names of the linear modules, each with the paths that end with it: what there is to choose from.

    Example:
        >>> linear_names(nn.ModuleDict({"up": nn.Linear(2, 4), "down": nn.Linear(4, 2)}))
        {'up': ['up'], 'down': ['down']}
    """
    found: dict[str, list[str]] = {}
    for path, module in model.named_modules():
        if is_linear(module):
            found.setdefault(path.rpartition(".")[2], []).append(path)
    return found


def stacks_of(model: nn.Module) -> list[list[str]]:
    """The paths of the layers of each stack, bottom first: lists of modules with parts, that stand in no other list.

    An encoder-decoder has two.
    """
    lists: dict[str, nn.ModuleList] = {}
    for path, module in model.named_modules():
        inside = any(_is_under(path, outer) for outer in lists)
        if isinstance(module, nn.ModuleList) and len(module) and not inside and all(map(_has_parts, module)):
            lists[path] = module
    return [[f"{path}.{place}".removeprefix(".") for place in range(len(found))] for path, found in lists.items()]


def layers_of(model: nn.Module) -> list[str]:
    """The paths of the layers of the longest stack, bottom first: a decoder's layers.

    Raises:
        Refusal: the model has no list of layers.
    """
    stacks = stacks_of(model)
    if not stacks:
        raise refusal("model", "one with a list of layers", type(model).__name__, "Name the modules themselves.")
    return max(stacks, key=len)


def replace_(model: nn.Module, path: str, module: nn.Module) -> None:
    """Puts `module` where the model has `path`.

    Raises:
        Refusal: the model has no module at `path`.
    """
    paths = [known for known, _ in model.named_modules() if known]
    if path not in paths:
        raise refusal("path", "that of a module of this model", path, _did_you_mean(path, paths))
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


def freeze_(model: nn.Module, except_: Iterable[str] = ()) -> None:
    """Sets which parameters are trained: none but those under the paths in `except_`.

    Args:
        except_: paths of modules or of parameters that stay (or become) trainable.

    Raises:
        Refusal: a path holds no parameter.
    """
    kept = tuple(except_)
    named = list(model.named_parameters())
    for path in kept:
        if not any(_is_under(name, path) for name, _ in named):
            raise refusal("except_", "paths that hold parameters of this model", path,
                          _did_you_mean(path, [known for known, _ in model.named_modules()]))
    for name, parameter in named:
        parameter.requires_grad_(any(_is_under(name, path) for path in kept))


def trainable(model: nn.Module) -> dict[str, int]:
    """How many numbers are trained, by parameter name; a tied parameter counts once."""
    return {name: _numbers(parameter) for name, parameter in model.named_parameters() if parameter.requires_grad}


def counts(model: nn.Module) -> tuple[int, int]:
    """How many numbers are trained and how many there are, tied parameters once.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> freeze_(layer, except_=["bias"])
        >>> counts(layer)
        (2, 8)
    """
    return sum(trainable(model).values()), sum(_numbers(parameter) for parameter in model.parameters())


def head_of(model: nn.Module) -> nn.Module | None:
    """The output head of a language model, None where it has none."""
    return model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None


def sharers_of(model: nn.Module, module: nn.Module) -> list[str]:
    """The names under which the model has a module's weight besides the module's own: tied weights, or one storage.

    Example:
        >>> model = nn.ModuleDict({"table": nn.Embedding(3, 2), "head": nn.Linear(2, 3)})
        >>> model.head.weight = model.table.weight
        >>> sharers_of(model, model.head)
        ['table']
    """
    weight = module.weight
    own = {f"{name}.weight" for name, other in model.named_modules(remove_duplicate=False) if other is module}
    return [name.removesuffix(".weight") for name, other in model.named_parameters(remove_duplicate=False)
            if name not in own and (other is weight or weight.data_ptr() == other.data_ptr() != 0)]  # meta: all at 0


def is_read_past(model: nn.Module, path: str) -> bool:
    """Whether the module that holds a linear module reads its weight and never calls it: `nn.MultiheadAttention` and
    the step size of a state-space layer, as Mamba has it.
    """
    outer, _, name = path.rpartition(".")
    holder = model.get_submodule(outer)
    return isinstance(holder, nn.MultiheadAttention) or (name == "dt_proj" and hasattr(holder, "A_log"))


def ends_with(path: str, name: str) -> bool:
    """Whether a path is `name` or ends with it after a dot."""
    return path == name or path.endswith(f".{name}")


def _all_linear(model: nn.Module) -> list[str]:
    head = head_of(model)
    paths = [path for path, module in model.named_modules()
             if path and is_linear(module) and module is not head and not is_read_past(model, path)
             and "Router" not in type(module).__name__]  # which returns more than its product
    if not paths:
        raise refusal("target_modules", "names of linear modules", ALL_LINEAR,
                      f"This model has none: its modules are {_kinds(model)}.")
    return paths


def _ending_with(model: nn.Module, name: str, may_be_missing: bool) -> list[str]:
    matches = {path: module for path, module in model.named_modules() if path and ends_with(path, name)}
    if not matches and not may_be_missing:
        raise refusal("target_modules", "names that this model has", name,
                      f"{_did_you_mean(name, linear_names(model))} This model has {_names(model)}.".strip())
    for path, module in matches.items():
        if not is_linear(module) and not isinstance(module, nn.Embedding):
            raise refusal("target_modules", "names of linear modules or embeddings", name,
                          f"{path} is a {type(module).__name__}. This model has {_names(model)}.")
        if is_read_past(model, path):
            holder = type(model.get_submodule(path.rpartition(".")[0])).__name__
            raise refusal("target_modules", "names of modules that are called", name,
                          f"{path} stands in a {holder}, which reads its weight and never calls it.")
    return list(matches)


def _refuse_partial(model: nn.Module, name: str, paths: list[str], chosen: list[str] | None) -> None:
    """Refuses a name that is in some of a stack's chosen layers; a full path asks for its one place."""
    for stack in stacks_of(model) if name not in paths else ():
        asked = [layer for layer in stack if chosen is None or layer in chosen]
        missing = [layer for layer in asked if not any(_is_under(path, layer) for path in paths)]
        if missing and len(missing) < len(asked):
            raise refusal("target_modules", "names found in every layer, or full paths", name,
                          f"It is in {len(asked) - len(missing)} layers and missing in {', '.join(missing)}: take "
                          f"allow_partial where that is meant. This model has {_names(model)}.")


def _chosen_layers(model: nn.Module, layers: str | Iterable[int], paths: Iterable[str]) -> list[str] | None:
    if isinstance(layers, str) and layers == ALL_LAYERS:
        return None
    meant = [stack for stack in stacks_of(model) if any(_is_under(path, layer) for path in paths for layer in stack)]
    if not meant:
        places_of(layers, len(layers_of(model)))  # refuses what is no choice of layers, and a model without any
    return [stack[place] for stack in meant for place in places_of(layers, len(stack))]


def _has_parts(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _is_under(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}.")


def _names(model: nn.Module) -> str:
    linear = ", ".join(f"{name} ({len(paths)})" for name, paths in linear_names(model).items())
    embeddings = ", ".join(path for path, module in model.named_modules() if isinstance(module, nn.Embedding))
    return (linear or "no linear module at all") + (f"; embeddings: {embeddings}" if embeddings else "")


def _kinds(model: nn.Module) -> str:
    return ", ".join(sorted({type(module).__name__ for module in model.modules()}))


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def _numbers(parameter: nn.Parameter) -> int:
    state = getattr(parameter, "quant_state", None)  # a 4-bit weight of bitsandbytes packs two numbers into a byte
    return math.prod(state.shape) if state is not None else parameter.numel()
