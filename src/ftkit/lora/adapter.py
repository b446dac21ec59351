"""An adapter on a model: added, listed, merged, unmerged, taken out. A model carries one at a time.

Knows nothing about training, data, files or where a base model comes from.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from ftkit import targets
from ftkit.errors import refusal
from ftkit.lora.config import LoraConfig
from ftkit.lora.layers import LoRAEmbedding, LoRALayer, TrainedCopy

_MERGED_INTO = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def add_lora_(model: nn.Module, config: LoraConfig, seed: int = 0) -> nn.Module:
    """The model with an adapter on every target module, a trained copy of each module to save, and all else frozen.

    Args:
        seed: decides the random factors; the same on every device.

    Raises:
        Refusal: the model has an adapter already, a name does not fit (see `targets.find`), or a module cannot be
            adapted: it stands in two places, or it is an embedding whose weight another embedding reads.
    """
    refuse_second(model)
    saved = _saved_paths(model, config.modules_to_save)
    paths = _target_paths(model, config, saved)
    for name in (*config.rank_pattern, *config.alpha_pattern):
        if not any(targets.ends_with(path, name) for path in paths):
            raise refusal("rank_pattern and alpha_pattern", "names of target modules", name, "No path ends with it.")
    return put_in_(model, {path: (config.rank_at(path), config.alpha_at(path)) for path in paths}, config, saved, seed)


def put_in_(model: nn.Module, sizes: Mapping[str, tuple[int, float]], config: LoraConfig, saved: Iterable[str],
            seed: int = 0) -> nn.Module:
    """The model with an adapter at these places and no others.

    Args:
        sizes: rank and alpha by full path.
        config: only its dropout, use_rslora and train_biases count.
        saved: full paths of the modules that are trained whole.
        seed: decides the random factors.

    Raises:
        Refusal: a module cannot be adapted, or trained whole.
    """
    saved = list(saved)
    for path in sizes:
        _refuse_unfit(model, path)
    for path in saved:
        _refuse_unfit_to_save(model, path)
    generator = torch.Generator().manual_seed(seed)
    for path, (rank, alpha) in sizes.items():
        base = model.get_submodule(path)
        layer = _kind(base)(base, rank, alpha, config.dropout, generator, config.use_rslora)
        targets.replace_(model, path, layer.train(base.training))
    for path in saved:
        targets.replace_(model, path, TrainedCopy(model.get_submodule(path)))
    trained = [f"{path}.{name}" for path in sizes for name in ("lora_A", "lora_B")]
    biases = _biases(model) if config.train_biases else []
    if config.train_biases and not biases:
        raise refusal("train_biases", "False for a model without biases", True)
    targets.freeze_(model, except_=[*trained, *(f"{path}.trained" for path in saved), *biases])
    _call_every_module_(model)
    return model


@torch.no_grad()
def merge_(model: nn.Module, keep: bool = False) -> nn.Module:
    """The model with W + scaling·BA in place of W; a second call changes nothing.

    One layer's addition is there at a time, so merging takes little more memory than the model. Take the adapter out
    (`remove_lora_`) before storing a merged model's `state_dict`: the factors are still in it.

    Args:
        keep: whether a copy of every W is kept, as much memory again, so that `unmerge_` can restore it bit for bit:
            subtracting would not, in floating point.

    Raises:
        Refusal: there is no adapter, or a target's weight is quantised, computed from others or read by another module,
            or its module does more than multiply by it.
    """
    layers = _layers(model)
    for path, layer in layers.items():
        _refuse_unmergeable(model, path, layer)
    for layer in layers.values():
        if not layer.is_merged:
            weight = layer.base.weight
            layer.unmerged_weight = weight.detach().clone() if keep else None
            weight.copy_(layer.addition().add_(weight))  # added in the factors' type, rounded once
            layer.is_merged = True
    return model


@torch.no_grad()
def unmerge_(model: nn.Module) -> nn.Module:
    """The model with the base weights it had before `merge_`, bit for bit; does nothing where nothing is merged.

    Raises:
        Refusal: there is no adapter, or no copy was kept when it was merged.
    """
    layers = _layers(model)
    for path, layer in layers.items():
        if layer.is_merged and layer.unmerged_weight is None:
            raise refusal(path, "merged with a copy of its weight", "merged without one",
                          "Load the base and its adapter anew; next time call merge_(model, keep=True).")
    for layer in layers.values():
        if layer.is_merged:
            layer.base.weight.copy_(layer.unmerged_weight)
            layer.unmerged_weight, layer.is_merged = None, False
    return model


def remove_lora_(model: nn.Module) -> nn.Module:
    """The model with its plain modules back, as they are now: what was merged stays merged, else they are the base's.

    A module that was trained whole stays trained after `merge_` and is the base's again otherwise. Biases stay as they
    were trained. Everything is frozen: choose what to train next.
    """
    for bias in trained_biases(model).values():
        bias.requires_grad_(False)
    layers = _layers(model)
    merged = any(layer.is_merged for layer in layers.values())
    for path, copied in trained_copies(model).items():
        targets.replace_(model, path, copied.trained.requires_grad_(False) if merged else copied.original)
    for path, layer in layers.items():
        targets.replace_(model, path, layer.base)
    return model


def lora_layers(model: nn.Module) -> dict[str, LoRALayer]:
    """The adapted layers by module path; empty without an adapter."""
    return {path: module for path, module in model.named_modules() if isinstance(module, LoRALayer)}


def trained_copies(model: nn.Module) -> dict[str, TrainedCopy]:
    """The modules that are trained whole, by path; empty without any."""
    return {path: module for path, module in model.named_modules() if isinstance(module, TrainedCopy)}


def trained_biases(model: nn.Module) -> dict[str, nn.Parameter]:
    """The biases that are trained beside the adapter, by the names that the base has for them."""
    parameters = dict(model.named_parameters())
    return {name.replace(".base.bias", ".bias"): parameters[name] for name in _biases(model)
            if parameters[name].requires_grad}


def config_of(model: nn.Module) -> LoraConfig:
    """The settings of the model's adapter, with the names of the modules it sits on.

    The rank and alpha that most layers have are the adapter's; those of the others stand in the patterns by full path.

    Raises:
        Refusal: there is no adapter, or its layers differ in dropout or in how alpha is divided.
    """
    layers = _layers(model)
    kinds = {(layer.dropout, layer.use_rslora) for layer in layers.values()}
    if len(kinds) > 1:
        raise refusal("adapter", "one with the same dropout and use_rslora in all layers", sorted(kinds),
                      "Add it with add_lora_.")
    dropout, use_rslora = kinds.pop()
    rank, ranks = _usual_and_others({path: layer.rank for path, layer in layers.items()})
    alpha, alphas = _usual_and_others({path: layer.alpha for path, layer in layers.items()})
    return LoraConfig(rank, alpha, dropout, tuple(_short_names(model, list(layers))), use_rslora, rank_pattern=ranks,
                      alpha_pattern=alphas, modules_to_save=tuple(trained_copies(model)),
                      train_biases=bool(trained_biases(model)))


def refuse_second(model: nn.Module) -> None:
    """Refuses a model that has an adapter already, ours or peft's."""
    if any(type(module).__module__.startswith("peft.") for module in model.modules()):
        raise refusal("model", "one without an adapter", "one of peft's", "Take peft's out: model.unload().")
    if lora_layers(model):
        raise refusal("model", "one without an adapter", f"{len(lora_layers(model))} adapted layers",
                      "Take the old one out with remove_lora_ first.")


def _biases(model: nn.Module) -> list[str]:
    """The names of the model's biases, those of modules that are trained whole left out."""
    inside = tuple(f"{path}." for path in trained_copies(model))
    return [name for name, _ in model.named_parameters()
            if name.rpartition(".")[2] == "bias" and not name.startswith(inside)]


def _target_paths(model: nn.Module, config: LoraConfig, saved: list[str]) -> list[str]:
    paths = targets.find(model, config.target_modules, config.layers, config.allow_partial)
    inside = [path for path in paths if any(path == one or path.startswith(f"{one}.") for one in saved)]
    if inside and config.target_modules != targets.ALL_LINEAR:
        raise refusal("target_modules", "names outside modules_to_save", inside[0], "Train it whole or adapt it.")
    return [path for path in paths if path not in inside]


def _usual_and_others(values: dict) -> tuple:
    """The commonest value; the others by full path, longer paths first, with any path that ends like one of them."""
    usual = Counter(values.values()).most_common(1)[0][0]
    others = {path for path, value in values.items() if value != usual}
    told = [path for path in values if any(targets.ends_with(path, other) for other in others)]
    return usual, {path: values[path] for path in sorted(told, key=len, reverse=True)}


def _kind(base: nn.Module) -> type[LoRALayer]:
    return LoRAEmbedding if isinstance(base, nn.Embedding) else LoRALayer


def _saved_paths(model: nn.Module, names: tuple[str, ...]) -> list[str]:
    """The modules meant by modules_to_save, the outermost of those that lie in each other."""
    modules = [path for path, _ in model.named_modules(remove_duplicate=False) if path]
    found = [path for path in modules if any(targets.ends_with(path, name) for name in names)]
    for name in names:
        if not any(targets.ends_with(path, name) for path in found):
            raise refusal("modules_to_save", "names of modules of this model", name,
                          f"It has {', '.join(path for path, _ in model.named_children())} at its top.")
    outer = [path for path in found if not any(path.startswith(f"{other}.") for other in found)]
    for path in outer:  # peft compares ends of paths letter by letter, and would take the other one for it
        other = next((one for one in modules if one.endswith(path) and one != path and one not in found), None)
        if other is not None:
            raise refusal("modules_to_save", "names that no other module's path ends with", path,
                          f"So does {other}, and peft would look for both: name {other.rpartition('.')[2]}, too.")
    return outer


def _refuse_unfit_to_save(model: nn.Module, path: str) -> None:
    module = model.get_submodule(path)
    places = [name for name, other in model.named_modules(remove_duplicate=False) if other is module]
    own = {id(parameter) for parameter in module.parameters()}
    if not own or isinstance(module, nn.ModuleList | nn.ModuleDict) or not all(
            parameter.is_floating_point() for parameter in module.parameters()):
        raise refusal("modules_to_save", "modules that are called, with floating-point weights", path,
                      f"It is a {type(module).__name__}.")
    shared = [name for name, parameter in model.named_parameters(remove_duplicate=False)
              if id(parameter) in own and not any(name.startswith(f"{place}.") for place in places)]
    if shared or len(places) > 1:
        raise refusal("modules_to_save", "modules with weights of their own", path,
                      f"{shared[0] if shared else places[1]} is tied to it, and would not follow: untie them first.")


def _refuse_unfit(model: nn.Module, path: str) -> None:
    """Refuses a module that cannot be adapted, or that would be adapted in one of its places only."""
    module = model.get_submodule(path)
    _kind(module).widths(module)
    parent, own_name = _parent(model, path)
    for name, other in model.named_modules(remove_duplicate=False):
        if other is module and (_parent(model, name)[0] is not parent or _parent(model, name)[1] != own_name):
            raise refusal(path, "a module that stands in one place", f"also {name}",
                          "Only one of the two would be adapted: give each a module of its own first.")
        if (isinstance(other, nn.Embedding) and isinstance(module, nn.Embedding) and other is not module
                and other.weight is module.weight):
            raise refusal(path, "an embedding with a weight of its own", f"one shared with {name}",
                          "The model may look tokens up in the other one, without the adapter: adapt linear modules.")


def _parent(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    outer, _, name = path.rpartition(".")
    return model.get_submodule(outer), name


def _call_every_module_(model: nn.Module) -> None:
    """Makes torch's own encoder layers call their parts in evaluation too, in place of reading their weights."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0


def _layers(model: nn.Module) -> dict[str, LoRALayer]:
    layers = lora_layers(model)
    if not layers:
        raise refusal("model", "one with a LoRA adapter", type(model).__name__, "Add one with add_lora_.")
    return layers


def _refuse_unmergeable(model: nn.Module, path: str, layer: LoRALayer) -> None:
    base, weight = layer.base, layer.base.weight
    if weight.dtype not in _MERGED_INTO:
        raise refusal(path, "a layer with floating-point weights", str(weight.dtype), "Load the base unquantised.")
    plain = isinstance(base, nn.Embedding) or targets.is_transposed(base) or type(base).forward is nn.Linear.forward
    if base._parameters.get("weight") is not weight or not plain:
        raise refusal(path, "a layer that multiplies by a weight of its own and no more", type(base).__name__,
                      "Keep the adapter apart: what it adds cannot be put into this module's weight.")
    if sharers := targets.sharers_of(model, base):
        raise refusal(path, "a layer with a weight of its own", f"one shared with {sharers[0].removesuffix('.base')}",
                      "Merging would change both: keep the adapter apart, or untie the weights first.")


def _short_names(model: nn.Module, paths: list[str]) -> list[str]:
    """Last parts of the paths where they mean these modules and no others to peft, the full paths otherwise."""
    ends = {path.rpartition(".")[2] for path in paths}
    meant = {name.removesuffix(".base") for name, module in model.named_modules()
             if name.removesuffix(".base").rpartition(".")[2] in ends}
    return sorted(ends) if meant == set(paths) else sorted(paths)
