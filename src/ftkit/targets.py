"""Modules of a model found by name, replaced, frozen and counted.

Knows nothing about what replaces a module, nor about any family of models: it looks at the model it is given.
"""

import math
from collections import Counter
from collections.abc import Iterable

from torch import nn

from ftkit.errors import nearest, refusal

ALL_LINEAR = "all-linear"


def find(model: nn.Module, names: str | Iterable[str]) -> list[str]:
    """The paths of the linear modules whose name ends with one of `names`, in the model's own order.

    Args:
        names: endings of paths such as "q_proj" or "self_attn.q_proj", full paths, or "all-linear" for every
            `nn.Linear` except the output head.

    Raises:
        Refusal: a name matches nothing, matches only in some layers, or matches a module that is not linear. The
            sentence lists the linear names that the model has.

    Example:
        >>> model = nn.ModuleDict({"query": nn.Linear(2, 2), "key": nn.Linear(2, 2)})
        >>> find(model, ["query"])
        ['query']
    """
    names = (names,) if isinstance(names, str) else tuple(names)
    if not names:
        raise refusal("target_modules", "at least one name", names, f"This model has {_linear_names(model)}.")
    found = set()
    for name in names:
        found.update(_all_linear(model) if name == ALL_LINEAR else _ending_with(model, name))
    return [path for path, _ in model.named_modules() if path in found]


def layers_of(model: nn.Module) -> list[str]:
    """The paths of the decoder layers, bottom first: the longest `nn.ModuleList` that stands inside no other.

    Raises:
        Refusal: the model has no such list.
    """
    lists: dict[str, int] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(_is_under(path, outer) for outer in lists):
            lists[path] = len(module)
    if not any(lists.values()):
        raise refusal("model", "one with a list of layers", type(model).__name__, "Name the modules themselves.")
    longest = max(lists, key=lists.__getitem__)
    return [f"{longest}.{place}".removeprefix(".") for place in range(lists[longest])]


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


def _all_linear(model: nn.Module) -> list[str]:
    head = head_of(model)
    paths = [path for path, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]
    if not paths:
        raise refusal("target_modules", "names of linear modules", ALL_LINEAR,
                      f"This model has none: its modules are {_kinds(model)}.")
    return paths


def _ending_with(model: nn.Module, name: str) -> list[str]:
    matches = {path: module for path, module in model.named_modules() if _ends_with(path, name)}
    if not matches:
        raise refusal("target_modules", "names that this model has", name,
                      f"{_did_you_mean(name, _linear_ends(model))} This model has {_linear_names(model)}.".strip())
    for path, module in matches.items():
        if not isinstance(module, nn.Linear):
            raise refusal("target_modules", "names of nn.Linear modules", name,
                          f"{path} is a {type(module).__name__}. This model has {_linear_names(model)}.")
    _refuse_partial(model, name, list(matches))
    return list(matches)


def _refuse_partial(model: nn.Module, name: str, paths: list[str]) -> None:
    inside = [layer for layer in _layers_or_none(model) if any(_is_under(path, layer) for path in paths)]
    missing = [layer for layer in _layers_or_none(model) if layer not in inside]
    if not inside or not missing or name in paths:  # a full path asks for its one place
        return
    raise refusal("target_modules", "names found in every layer, or full paths", name,
                  f"It is in {len(inside)} layers and missing in {', '.join(missing)}. "
                  f"This model has {_linear_names(model)}.")


def _layers_or_none(model: nn.Module) -> list[str]:
    has_list = any(isinstance(module, nn.ModuleList) and len(module) for module in model.modules())
    return layers_of(model) if has_list else []


def _ends_with(path: str, name: str) -> bool:
    return path == name or path.endswith(f".{name}")


def _is_under(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}.")


def _linear_ends(model: nn.Module) -> Counter:
    return Counter(path.rpartition(".")[2] for path, module in model.named_modules() if isinstance(module, nn.Linear))


def _linear_names(model: nn.Module) -> str:
    return ", ".join(f"{name} ({count})" for name, count in _linear_ends(model).items()) or "no nn.Linear at all"


def _kinds(model: nn.Module) -> str:
    return ", ".join(sorted({type(module).__name__ for module in model.modules()}))


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def _numbers(parameter: nn.Parameter) -> int:
    state = getattr(parameter, "quant_state", None)  # a 4-bit weight of bitsandbytes packs two numbers into a byte
    return math.prod(state.shape) if state is not None else parameter.numel()
