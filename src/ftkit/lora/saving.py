"""An adapter to the files that peft reads, and back. Knows nothing about what peft's files look like inside."""

import re
from pathlib import Path

import torch
from torch import nn

from ftkit import peft_layout, targets
from ftkit.errors import nearest, refusal
from ftkit.lora.adapter import config_of, lora_layers, put_in_, refuse_second, trained_biases, trained_copies
from ftkit.lora.config import LoraConfig
from ftkit.lora.layers import LoRAEmbedding


def lora_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The adapter's tensors by peft's names; they share memory with the model.

    Raises:
        Refusal: there is no adapter.
    """
    model = _inner(model)
    config_of(model)
    state = {}
    for path, layer in lora_layers(model).items():
        names = peft_layout.names_of(path, isinstance(layer, LoRAEmbedding))
        state |= dict(zip(names, (layer.lora_A.detach(), layer.lora_B.detach()), strict=True))
    for path, copied in trained_copies(model).items():
        state |= {f"{peft_layout.PREFIX}{path}.{name}": tensor for name, tensor in copied.trained.state_dict().items()}
    adapted = lora_layers(model)
    for name, bias in trained_biases(model).items():
        path = name.removesuffix(".bias")
        state[f"{peft_layout.PREFIX}{path}.base_layer.bias" if path in adapted
              else peft_layout.PREFIX + name] = bias.detach()
    return state


def save_adapter(model: nn.Module, folder: str | Path, base_name: str) -> Path:
    """The folder, holding the adapter in peft's layout: `PeftModel.from_pretrained` opens it.

    Args:
        base_name: the base model's name, written into the config.

    Raises:
        Refusal: there is no adapter, or its layers differ in dropout or in how alpha is divided.
    """
    model = _inner(model)
    config, layers = config_of(model), lora_layers(model)
    settings = {"r": config.rank, "lora_alpha": config.alpha, "lora_dropout": config.dropout,
                "use_rslora": config.use_rslora, "target_modules": _targets_for_peft(model, config),
                "rank_pattern": {_exactly(path): one.rank for path, one in layers.items() if one.rank != config.rank},
                "alpha_pattern": {_exactly(path): one.alpha for path, one in layers.items()
                                  if one.alpha != config.alpha},
                "modules_to_save": list(config.modules_to_save) or None,
                "bias": "all" if config.train_biases else "none",
                "fan_in_fan_out": any(targets.is_transposed(layer.base) for layer in layers.values()),
                "task_type": _task_type(model), "base_model_name_or_path": base_name}
    return peft_layout.write(folder, settings, lora_state(model))


@torch.no_grad()
def load_adapter_(model: nn.Module, folder: str | Path) -> nn.Module:
    """The model with the adapter saved in a folder, by `save_adapter` or by peft; everything else is frozen.

    Raises:
        Refusal: the folder holds more than plain LoRA and modules to save, or an adapter of another model (a module is
            missing or has another shape), or the model has an adapter already.
    """
    compiled, model = model, _inner(model)
    refuse_second(model)
    saved = peft_layout.read(folder)
    settings, tensors = saved.settings, saved.tensors
    config = LoraConfig(settings["r"], settings["lora_alpha"], settings.get("lora_dropout", 0.0),
                        use_rslora=settings.get("use_rslora", False), train_biases=settings.get("bias") == "all")
    sizes = {}
    for path, pair in tensors.items():
        sizes[path] = (peft_layout.value_at(settings, "rank_pattern", path, config.rank),
                       peft_layout.value_at(settings, "alpha_pattern", path, config.alpha))
        _refuse_misfit(model, path, pair, sizes[path][0])
    whole, biases = _whole_modules(model, saved), _biases(model, saved)
    put_in_(model, sizes, config, whole)
    for path, (lora_A, lora_B) in tensors.items():
        layer = model.get_submodule(path)
        layer.lora_A.copy_(lora_A)
        layer.lora_B.copy_(lora_B)
    for path, state in whole.items():
        model.get_submodule(path).trained.load_state_dict(state)
    for name, parameter in trained_biases(model).items():
        if name not in biases or biases[name].shape != parameter.shape:
            raise refusal("adapter", f"one that holds {name}, a bias of this model", "none of its shape",
                          "Was it trained on another base model?")
        parameter.copy_(biases[name])
    return compiled


def _inner(model: nn.Module) -> nn.Module:
    """The model itself, without what torch.compile wraps around it."""
    return getattr(model, "_orig_mod", model)


def _exactly(path: str) -> str:
    """A pattern that peft finds at this path and no other."""
    return f"^{re.escape(path)}$"


def _targets_for_peft(model: nn.Module, config: LoraConfig) -> list[str] | str:
    """Names where they mean these modules and no others; else an expression for their full paths."""
    paths = set(lora_layers(model))
    modules = [name for name, _ in model.named_modules() if ".base" not in f".{name}"] + list(paths)
    meant = {path for path in modules if any(targets.ends_with(path, name) for name in config.target_modules)}
    return list(config.target_modules) if meant <= paths else "|".join(map(re.escape, sorted(paths)))


def _whole_modules(model: nn.Module, saved: peft_layout.SavedAdapter) -> dict[str, dict[str, torch.Tensor]]:
    """The states of the modules that were saved whole, by path; what is the base's own is left out.

    peft also stores a copy of the base's embeddings where they are adapted.
    """
    whole, base, modules = {}, model.state_dict(), _named_whole(model, saved)
    biases = _biases(model, saved)
    for name, tensor in saved.others.items():
        if name in biases or ".modules_to_save." in name or ".original_module." in name:
            continue  # the latter two peft adds with bias="all": the same biases once more, and those of the base
        owner = next((path for path in modules if name.startswith(f"{path}.")), None)
        if owner is not None:
            whole.setdefault(owner, {})[name.removeprefix(f"{owner}.")] = tensor
        elif name not in base or base[name].shape != tensor.shape or not torch.equal(base[name], tensor.to(base[name])):
            raise refusal("adapter", "one whose other tensors are this base's own", name,
                          "It belongs to no module that the adapter names: take the base that the adapter was made on.")
    for path, state in whole.items():
        want = {name: tuple(tensor.shape) for name, tensor in model.get_submodule(path).state_dict().items()}
        got = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if got != want:
            raise refusal("adapter", f"one with {path} of shapes {want}", got, "Was it trained on another base model?")
    missing = [path for path in modules if not any(path == one or path.startswith(f"{one}.") for one in whole)]
    if missing:
        raise refusal("adapter", f"one that holds {missing[0]}, a module to save", "no tensors of it", "Save it again.")
    return whole


def _named_whole(model: nn.Module, saved: peft_layout.SavedAdapter) -> list[str]:
    """The paths of the modules that were saved whole, names read as peft does."""
    names = saved.settings.get("modules_to_save") or []
    names = [names] if isinstance(names, str) else names
    return [path for path, _ in model.named_modules() if path.endswith(tuple(names))]


def _biases(model: nn.Module, saved: peft_layout.SavedAdapter) -> dict[str, torch.Tensor]:
    """The biases that were trained beside the adapter, by the base's names."""
    if saved.settings.get("bias") != "all":
        return {}
    inside = tuple(f"{path}." for path in _named_whole(model, saved))
    return {name: tensor for name, tensor in saved.others.items()
            if name.rpartition(".")[2] == "bias" and not name.startswith(inside)}


def _refuse_misfit(model: nn.Module, path: str, pair: tuple[torch.Tensor, torch.Tensor], rank: int) -> None:
    modules = dict(model.named_modules())
    if path not in modules:
        near = nearest(path, modules)
        raise refusal("adapter", "one made for this model", f"a tensor for {path}",
                      f"This model has no such module{f', but {near[0]}' if near else ''}.")
    module, (lora_A, lora_B) = modules[path], pair
    if not (targets.is_linear(module) or isinstance(module, nn.Embedding)):
        raise refusal("adapter", "one of linear modules and embeddings", f"{path}, a {type(module).__name__}",
                      "Open it with peft.")
    is_table = isinstance(module, nn.Embedding)
    inputs, outputs = (module.num_embeddings, module.embedding_dim) if is_table else targets.widths(module)
    got, want = (*lora_A.shape, *lora_B.shape), (rank, inputs, outputs, rank)
    if got != want:
        raise refusal("adapter", f"one with shapes {want[:2]} and {want[2:]} at {path}", f"{got[:2]} and {got[2:]}",
                      "Was it trained on another base model?")


def _task_type(model: nn.Module) -> str | None:
    """What peft wraps the model in: None is its plain wrapper, which any model fits."""
    if not (hasattr(model, "can_generate") and model.can_generate() and model.main_input_name == "input_ids"):
        return None
    return "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
