"""LoRA: trained low-rank additions to frozen linear layers; added, merged, taken out, saved and loaded.

Knows nothing about training, data or where a base model comes from. A model carries one adapter at a time.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from ftkit import peft_layout, targets
from ftkit.errors import nearest, refusal
from ftkit.low_rank import low_rank_linear


@dataclass(frozen=True)
class LoraConfig:
    """The settings of an adapter.

    Args:
        rank: columns of B and rows of A, 1 or more.
        alpha: the addition is scaled by alpha/rank, or alpha/√rank with `use_rslora`; above 0.
        dropout: share of the addition's inputs set to zero in training, 0 up to but not including 1.
        target_modules: endings of module paths, or "all-linear", as in `targets.find`.
        use_rslora: scale by alpha/√rank.

    Raises:
        Refusal: a value is out of range.

    Source: Hu et al. 2021, LoRA, section 4; Kalajdzievski 2023 for √rank.
    """

    rank: int = 8
    alpha: float = 16
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = targets.ALL_LINEAR
    use_rslora: bool = False

    def __post_init__(self):
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 1:
            raise refusal("rank", "a whole number, 1 or more", self.rank, "Take 8 to begin with.")
        if not isinstance(self.alpha, int | float) or not 0 < self.alpha < math.inf:
            raise refusal("alpha", "a number above 0", self.alpha, "Take twice the rank to begin with.")
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise refusal("dropout", "a share, 0 or more and below 1", self.dropout, "Take 0.0 to begin with.")
        if not isinstance(self.target_modules, str):
            object.__setattr__(self, "target_modules", tuple(self.target_modules))  # from JSON: a list
        if not self.target_modules:
            raise refusal("target_modules", "at least one name", self.target_modules, "Take 'all-linear'.")


class LoRALayer(nn.Module):
    """A frozen linear layer with a trained low-rank addition; right after it is made it computes what the base does.

    Equation: h = Wx + scaling·B(A(dropout(x))), scaling = alpha/rank.
    Shapes: A (rank, in), B (out, rank), as in the paper and in peft.

    A starts uniform in ±1/√in (Kaiming with a = √5, as `nn.Linear` does), B at zero: the addition is zero, its
    gradient is not. Both are float32 (float64 on a float64 base), whatever type the base is stored in.

    Dropout draws from torch's global generator: activation checkpointing runs a layer twice and replays that generator
    alone, so a generator of our own would draw another mask the second time and make the gradients wrong.

    Args:
        base: the linear layer; it is frozen.
        rank: 1 or more.
        alpha: above 0.
        dropout: 0 up to but not including 1.
        generator: draws A; torch's global one if None.
        use_rslora: scale by alpha/√rank.

    Taught in: 02_lora_from_scratch.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float = 0.0,
                 generator: torch.Generator | None = None, use_rslora: bool = False):
        super().__init__()
        self.base, self.rank, self.alpha, self.dropout, self.use_rslora = base, rank, alpha, dropout, use_rslora
        self.scaling = alpha / (math.sqrt(rank) if use_rslora else rank)
        self.unmerged_weight: torch.Tensor | None = None  # a copy of the base weight while merged
        base.requires_grad_(False)
        kept = {"dtype": torch.float64 if base.weight.dtype == torch.float64 else torch.float32}
        start = torch.empty(rank, base.in_features, **kept)
        nn.init.kaiming_uniform_(start, a=math.sqrt(5), generator=generator)  # drawn on the CPU: alike on all devices
        self.lora_A = nn.Parameter(start.to(base.weight.device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, **kept, device=base.weight.device))

    @property
    def weight(self) -> nn.Parameter:
        """The base layer's weight: code that looks at a linear layer's type or device finds it."""
        return self.base.weight

    @property
    def bias(self) -> nn.Parameter | None:
        """The base layer's bias."""
        return self.base.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shapes: x (..., in) → (..., out)."""
        if self.unmerged_weight is not None:
            return self.base(x)
        if self._is_plain(x):
            return low_rank_linear(x, self.base.weight, self.base.bias, self.lora_A, self.lora_B, self.scaling)
        y = self.base(x)
        kept = F.dropout(x, self.dropout, self.training).to(self.lora_A.dtype)
        addition = F.linear(F.linear(kept, self.lora_A), self.lora_B) * self.scaling
        return (y + addition).to(y.dtype)

    def extra_repr(self) -> str:
        return f"rank={self.rank}, alpha={self.alpha}, dropout={self.dropout}, use_rslora={self.use_rslora}"

    def _is_plain(self, x: torch.Tensor) -> bool:
        """Whether the hand-written product may stand in for the base layer's own forward."""
        base = self.base
        return (type(base) is nn.Linear and "forward" not in vars(base)  # offloading replaces forward
                and not (base._forward_hooks or base._forward_pre_hooks or base._backward_hooks)
                and not (self.dropout and self.training) and not base.weight.requires_grad
                and not (base.bias is not None and base.bias.requires_grad)
                and x.dtype == base.weight.dtype == self.lora_A.dtype
                and not torch.is_autocast_enabled(x.device.type))


def add_lora_(model: nn.Module, config: LoraConfig, seed: int = 0) -> nn.Module:
    """The model with an adapter on every target module and everything else frozen.

    Args:
        seed: decides A; the same on every device.

    Raises:
        Refusal: the model has an adapter already, or a target name does not fit (see `targets.find`).
    """
    _refuse_second(model)
    paths = targets.find(model, config.target_modules)
    generator = torch.Generator().manual_seed(seed)
    for path in paths:
        base = model.get_submodule(path)
        layer = LoRALayer(base, config.rank, config.alpha, config.dropout, generator, config.use_rslora)
        targets.replace_(model, path, layer.train(base.training))
    targets.freeze_(model, except_=[f"{path}.{name}" for path in paths for name in ("lora_A", "lora_B")])
    return model


@torch.no_grad()
def merge_(model: nn.Module) -> nn.Module:
    """The model with W + scaling·BA in place of W; a second call changes nothing.

    A copy of every W is kept, so that `unmerge_` can restore it bit for bit: subtracting would not, in floating point.

    Raises:
        Refusal: there is no adapter, or a target's weight is quantised or shared with another module.
    """
    layers = _layers(model)
    for path, layer in layers.items():
        _refuse_unmergeable(model, path, layer)
    for layer in layers.values():
        if layer.unmerged_weight is None:
            weight = layer.base.weight
            layer.unmerged_weight = weight.detach().clone()
            addition = layer.scaling * (layer.lora_B @ layer.lora_A)  # (out, in)
            weight.copy_(weight.to(addition.dtype) + addition)
    return model


@torch.no_grad()
def unmerge_(model: nn.Module) -> nn.Module:
    """The model with the base weights it had before `merge_`, bit for bit; does nothing where nothing is merged."""
    for layer in _layers(model).values():
        if layer.unmerged_weight is not None:
            layer.base.weight.copy_(layer.unmerged_weight)
            layer.unmerged_weight = None
    return model


def remove_lora_(model: nn.Module) -> nn.Module:
    """The model with its plain linear layers back, weights as they are now: merged after `merge_`, else the base's.

    Everything stays frozen: choose what to train next.
    """
    for path, layer in _layers(model).items():
        targets.replace_(model, path, layer.base)
    return model


def lora_layers(model: nn.Module) -> dict[str, LoRALayer]:
    """The adapted layers by module path; empty without an adapter."""
    return {path: module for path, module in model.named_modules() if isinstance(module, LoRALayer)}


def config_of(model: nn.Module) -> LoraConfig:
    """The settings of the model's adapter, with the names of the modules it sits on.

    Raises:
        Refusal: there is no adapter, or its layers differ in their settings.
    """
    layers = _layers(model)
    kinds = {(layer.rank, layer.alpha, layer.dropout, layer.use_rslora) for layer in layers.values()}
    if len(kinds) > 1:
        raise refusal("adapter", "one with the same settings in all layers", sorted(kinds), "Add it with add_lora_.")
    rank, alpha, dropout, use_rslora = kinds.pop()
    return LoraConfig(rank, alpha, dropout, tuple(_short_names(model, list(layers))), use_rslora)


def lora_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The adapter's tensors by peft's names; they share memory with the model."""
    state = {}
    for path, layer in _layers(model).items():
        name_A, name_B = peft_layout.names_of(path)
        state[name_A], state[name_B] = layer.lora_A.detach(), layer.lora_B.detach()
    return state


def save_adapter(model: nn.Module, folder: str | Path, base_name: str) -> Path:
    """The folder, holding the adapter in peft's layout: `PeftModel.from_pretrained` opens it.

    Args:
        base_name: the base model's name, written into the config.

    Raises:
        Refusal: there is no adapter, or its layers differ in their settings.
    """
    config = config_of(model)
    settings = {"r": config.rank, "lora_alpha": config.alpha, "lora_dropout": config.dropout,
                "use_rslora": config.use_rslora, "target_modules": list(config.target_modules),
                "base_model_name_or_path": base_name}
    return peft_layout.write(folder, settings, lora_state(model))


@torch.no_grad()
def load_adapter_(model: nn.Module, folder: str | Path) -> nn.Module:
    """The model with the adapter saved in a folder, by `save_adapter` or by peft; everything else is frozen.

    Raises:
        Refusal: the folder holds no plain LoRA adapter, or one of another model (a module is missing or has another
            shape), or the model has an adapter already.
    """
    _refuse_second(model)
    saved = peft_layout.read(folder)
    for path, pair in saved.tensors.items():
        _refuse_misfit(model, path, pair, saved.settings["r"])
    settings = saved.settings
    add_lora_(model, LoraConfig(settings["r"], settings["lora_alpha"], settings.get("lora_dropout", 0.0),
                                tuple(saved.tensors), settings.get("use_rslora", False)))
    for path, (lora_A, lora_B) in saved.tensors.items():
        layer = model.get_submodule(path)
        layer.lora_A.copy_(lora_A)
        layer.lora_B.copy_(lora_B)
    return model


def _layers(model: nn.Module) -> dict[str, LoRALayer]:
    layers = lora_layers(model)
    if not layers:
        raise refusal("model", "one with a LoRA adapter", type(model).__name__, "Add one with add_lora_.")
    return layers


def _refuse_second(model: nn.Module) -> None:
    if lora_layers(model):
        raise refusal("model", "one without an adapter", f"{len(lora_layers(model))} adapted layers",
                      "Take the old one out with remove_lora_ first.")


def _refuse_unmergeable(model: nn.Module, path: str, layer: LoRALayer) -> None:
    weight = layer.base.weight
    if not weight.is_floating_point():
        raise refusal(path, "a layer with floating-point weights", str(weight.dtype), "Load the base unquantised.")
    sharers = [name for name, module in model.named_modules()
               if module._parameters.get("weight") is weight and module is not layer.base]
    if sharers:
        raise refusal(path, "a layer with a weight of its own", f"one shared with {sharers[0]}",
                      "Merging would change both: keep the adapter apart, or untie the weights first.")


def _refuse_misfit(model: nn.Module, path: str, pair: tuple[torch.Tensor, torch.Tensor], rank: int) -> None:
    modules = dict(model.named_modules())
    if path not in modules:
        near = nearest(path, modules)
        raise refusal("adapter", "one made for this model", f"a tensor for {path}",
                      f"This model has no such module{f', but {near[0]}' if near else ''}.")
    module, (lora_A, lora_B) = modules[path], pair
    if not isinstance(module, nn.Linear):
        raise refusal("adapter", "one of nn.Linear modules", f"{path}, a {type(module).__name__}", "Open it with peft.")
    got, want = (*lora_A.shape, *lora_B.shape), (rank, module.in_features, module.out_features, rank)
    if got != want:
        raise refusal("adapter", f"one with shapes {want[:2]} and {want[2:]} at {path}", f"{got[:2]} and {got[2:]}",
                      "Was it trained on another base model?")


def _short_names(model: nn.Module, paths: list[str]) -> list[str]:
    """Last parts of the paths where they mean these modules and no others to peft, the full paths otherwise."""
    ends = {path.rpartition(".")[2] for path in paths}
    meant = {name.removesuffix(".base") for name, module in model.named_modules()
             if name.removesuffix(".base").rpartition(".")[2] in ends}
    return sorted(ends) if meant == set(paths) else sorted(paths)
