"""An adapter to the files that peft reads, and back. Knows nothing about what peft's files look like inside."""

from pathlib import Path

import torch
from torch import nn

from ftkit import peft_layout, targets
from ftkit.errors import nearest, refusal
from ftkit.lora.adapter import add_lora_, config_of, lora_layers, refuse_second, trained_copies
from ftkit.lora.config import LoraConfig
from ftkit.lora.layers import LoRAEmbedding


def lora_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The adapter's tensors by peft's names; they share memory with the model.

    Raises:
        Refusal: there is no adapter.
    """
    config_of(model)
    state = {}
    for path, layer in lora_layers(model).items():
        names = peft_layout.names_of(path, isinstance(layer, LoRAEmbedding))
        state |= dict(zip(names, (layer.lora_A.detach(), layer.lora_B.detach()), strict=True))
    for path, copied in trained_copies(model).items():
        state |= {f"{peft_layout.PREFIX}{path}.{name}": tensor for name, tensor in copied.trained.state_dict().items()}
    return state


def save_adapter(model: nn.Module, folder: str | Path, base_name: str) -> Path:
    """The folder, holding the adapter in peft's layout: `PeftModel.from_pretrained` opens it.

    Args:
        base_name: the base model's name, written into the config.

    Raises:
        Refusal: there is no adapter, or its layers differ in dropout or in how alpha is divided.
    """
    config = config_of(model)
    settings = {"r": config.rank, "lora_alpha": config.alpha, "lora_dropout": config.dropout,
                "use_rslora": config.use_rslora, "target_modules": list(config.target_modules),
                "rank_pattern": dict(config.rank_pattern), "alpha_pattern": dict(config.alpha_pattern),
                "modules_to_save": list(config.modules_to_save) or None,
                "fan_in_fan_out": any(targets.is_transposed(layer.base) for layer in lora_layers(model).values()),
                "task_type": _task_type(model), "base_model_name_or_path": base_name}
    return peft_layout.write(folder, settings, lora_state(model))


@torch.no_grad()
def load_adapter_(model: nn.Module, folder: str | Path) -> nn.Module:
    """The model with the adapter saved in a folder, by `save_adapter` or by peft; everything else is frozen.

    Raises:
        Refusal: the folder holds more than plain LoRA and modules to save, or an adapter of another model (a module is
            missing or has another shape), or the model has an adapter already.
    """
    refuse_second(model)
    saved = peft_layout.read(folder)
    settings, tensors = saved.settings, saved.tensors
    for path, pair in tensors.items():
        _refuse_misfit(model, path, pair, peft_layout.value_at(settings.get("rank_pattern"), path, settings["r"]))
    whole = _whole_modules(model, saved)
    alphas = {path: peft_layout.value_at(settings.get("alpha_pattern"), path, settings["lora_alpha"])
              for path in tensors}
    add_lora_(model, LoraConfig(
        settings["r"], settings["lora_alpha"], settings.get("lora_dropout", 0.0), tuple(tensors),
        settings.get("use_rslora", False), rank_pattern={path: len(pair[0]) for path, pair in tensors.items()},
        alpha_pattern=alphas, modules_to_save=tuple(whole)))
    for path, (lora_A, lora_B) in tensors.items():
        layer = model.get_submodule(path)
        layer.lora_A.copy_(lora_A)
        layer.lora_B.copy_(lora_B)
    for path, state in whole.items():
        model.get_submodule(path).trained.load_state_dict(state)
    return model


def _whole_modules(model: nn.Module, saved: peft_layout.SavedAdapter) -> dict[str, dict[str, torch.Tensor]]:
    """The states of the modules that were saved whole, by path; what is the base's own is left out.

    peft also stores a copy of the base's embeddings where they are adapted.
    """
    names, whole, base = saved.settings.get("modules_to_save") or [], {}, model.state_dict()
    modules = [path for path, _ in model.named_modules() if path.endswith(tuple(names))]  # read as peft does
    for name, tensor in saved.others.items():
        owner = next((path for path in modules if name.startswith(f"{path}.")), None)
        if owner is not None:
            whole.setdefault(owner, {})[name.removeprefix(f"{owner}.")] = tensor
        elif name not in base or base[name].shape != tensor.shape or not torch.equal(base[name], tensor.to(base[name])):
            raise refusal("adapter", "one whose other tensors are this base's own", name,
                          "Train such a module with modules_to_save, or take the base that the adapter was made on.")
    for path, state in whole.items():
        want = {name: tuple(tensor.shape) for name, tensor in model.get_submodule(path).state_dict().items()}
        got = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if got != want:
            raise refusal("adapter", f"one with {path} of shapes {want}", got, "Was it trained on another base model?")
    missing = [path for path in modules if not any(path == one or path.startswith(f"{one}.") for one in whole)]
    if missing:
        raise refusal("adapter", f"one that holds {missing[0]}, a module to save", "no tensors of it", "Save it again.")
    return whole


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
    if not (hasattr(model, "can_generate") and model.can_generate()):
        return None
    return "SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM"
