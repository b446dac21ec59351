"""How bitsandbytes stores the linear layers of a loaded model: in which codes, which stay as they are, and back.

Knows nothing about checkpoints, methods or training, nor about the codes that the kit writes by itself.
"""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from ftkit import targets
from ftkit.errors import refusal, unknown

KINDS = ("nf4", "fp4", "int8")


def check_kind(kind: str | None) -> None:
    """Nothing, if `kind` is None or one of `KINDS`.

    Raises:
        Refusal: it is neither.
    """
    if kind is not None and kind not in KINDS:
        raise unknown("quantization", kind, ["None", *KINDS])


def bitsandbytes_config(kind: str, compute_dtype: torch.dtype, double_quant: bool = True,
                        left: list[str] | None = None):
    """What transformers is told to store a model's linear layers so.

    Args:
        kind: one of `KINDS`.
        compute_dtype: the type in which a 4-bit layer multiplies.
        double_quant: whether the scales of 4-bit blocks are stored in 8 bits.
        left: full paths of what stays as it is; None leaves it to transformers, which leaves the head.
    """
    from transformers import BitsAndBytesConfig

    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=left)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=double_quant,
                              bnb_4bit_compute_dtype=compute_dtype, llm_int8_skip_modules=left)


def paths_left(model: nn.Module, unquantised: Iterable[str]) -> list[str]:
    """The full paths of the linear layers that stay as they are: the head, those whose weight is read and that are
    never called, and those in the modules that are named.

    Args:
        model: in its shape alone, on the meta device, will do.
        unquantised: a run of whole parts of a path, such as "mlp", "layers.1.mlp" or "q_proj".

    Raises:
        Refusal: a name is in no linear layer's path, or nothing would be left to quantise.

    Example:
        >>> model = nn.ModuleDict({"mlp": nn.ModuleDict({"up": nn.Linear(2, 2)}), "out": nn.Linear(2, 2)})
        >>> paths_left(model, ["mlp"])
        ['mlp.up']
    """
    head = targets.head_of(model)
    linear = [path for paths in targets.linear_names(model).values() for path in paths]
    kept = [path for path in linear if head is not None and model.get_submodule(path) is head
            or targets.is_read_past(model, path)]
    for name in (unquantised,) if isinstance(unquantised, str) else unquantised:
        inside = [path for path in linear if name and f".{name}." in f".{path}."]
        if not inside:
            raise refusal("unquantised", "names of modules that hold linear layers", name,
                          f"This model has {', '.join(linear[:7])} and so on.")
        kept += inside
    if set(kept) >= set(linear):
        raise refusal("unquantised", "names that leave a layer to quantise", list(unquantised),
                      "Load the model with quantization=None.")
    return list(dict.fromkeys(kept))


def left_in_floats(model: nn.Module, unquantised: Iterable[str] = ()) -> list[str] | None:
    """`paths_left`, or None where that is the head alone, which transformers leaves by itself.

    Raises:
        Refusal: as for `paths_left`.
    """
    read_past = (path for paths in targets.linear_names(model).values() for path in paths
                 if targets.is_read_past(model, path))
    return paths_left(model, unquantised) if unquantised or any(read_past) else None


def keep_codes_(model: nn.Module) -> nn.Module:
    """The model with 4-bit weights of bitsandbytes that stay as they are stored; does nothing where there are none.

    Left to itself, bitsandbytes repacks them at the first evaluation on a CPU with AVX-512 for bfloat16: scales are
    rounded to bfloat16, and products have no gradient from then on, so that whatever is trained below learns nothing.

    Raises:
        Refusal: it has done so.
    """
    for path, module in model.named_modules():
        if getattr(getattr(getattr(module, "weight", None), "quant_state", None), "packing_format_for_cpu", False):
            raise refusal(path, "as it was loaded", "repacked by bitsandbytes, which rounds its scales",
                          "Load the model anew, with hub.load_model.")
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def kind_of(module: nn.Module) -> str:
    """How a linear layer of bitsandbytes is stored, one of `KINDS`; empty for any other module."""
    weight = module._parameters.get("weight")
    if type(weight).__name__ == "Int8Params":
        return "int8"
    return weight.quant_type if type(weight).__name__ == "Params4bit" else ""


def kind_stored(stored: Mapping) -> str:
    """How a checkpoint is stored by its config's quantization_config: one of `KINDS`, or another method's name.

    Example:
        >>> kind_stored({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"})
        'nf4'
    """
    if stored.get("load_in_4bit"):
        return stored.get("bnb_4bit_quant_type", "fp4")
    return "int8" if stored.get("load_in_8bit") else str(stored.get("quant_method"))


def bits_of(module: nn.Module) -> int:
    """In how many bits a linear layer's weights are stored, by bitsandbytes or by `quant`: 4, 8, or 0 for a plain one.

    Example:
        >>> bits_of(nn.Linear(2, 2))
        0
    """
    weight = module._parameters.get("weight")
    state = getattr(weight, "quant_state", None)
    if state is not None and math.prod(state.shape) == 2 * weight.numel():
        return 4
    return 8 if weight is not None and weight.dtype == torch.int8 else 0


@torch.no_grad()
def numbers_of(module: nn.Module) -> torch.Tensor:
    """The weight that a layer of bitsandbytes computes with, from its codes: float32 from int8, else as it was given.

    Equation: int8: W̃ᵢⱼ = cᵢⱼ·sᵢ/127, sᵢ the largest absolute value of row i. 4 bits: see `quant.blocks`.

    Raises:
        Refusal: the module is no such layer.
    """
    if _kind_in_codes(module) == "int8":
        return module.weight.data * (_scales_of_int8(module).float() * (1.0 / 127.0))[:, None]
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(module.weight.data, module.weight.quant_state)


@torch.no_grad()
def like_(module: nn.Module, numbers: torch.Tensor) -> nn.Module:
    """The layer of bitsandbytes with other numbers, stored as its own are: same codes, blocks and double quantisation.

    Raises:
        Refusal: the module is no such layer.
    """
    kind, weight = _kind_in_codes(module), module.weight
    import bitsandbytes

    if kind == "int8":
        made = bitsandbytes.nn.Int8Params(numbers.cpu(), requires_grad=False).to(weight.device)
        module.state.reset_grads()  # its codes are the old ones
    else:
        made = bitsandbytes.nn.Params4bit(
            numbers.cpu(), requires_grad=False, blocksize=weight.blocksize, quant_type=kind, module=module,
            compress_statistics=weight.compress_statistics, quant_storage=weight.quant_storage).to(weight.device)
    module.weight = made
    return module


def blocks_left(model: nn.Module) -> dict[str, int]:
    """How many numbers each block of several matrices holds, by name: experts of a mixture, which stay as they are.

    Example:
        >>> model = nn.ModuleDict({"up": nn.Linear(2, 2)})
        >>> model.experts = nn.Parameter(torch.zeros(4, 2, 3))
        >>> blocks_left(model)
        {'experts': 24}
    """
    return {name: one.numel() for name, one in model.named_parameters() if one.dim() > 2 and one.is_floating_point()
            and not isinstance(model.get_submodule(name.rpartition(".")[0]), nn.Conv1d)}


def stored_bytes(model: nn.Module) -> int:
    """The bytes of a model's weights as they are held: codes, scales and scales of scales; tied ones once.

    The codebooks, a few hundred bytes that all layers could share, are not counted.
    """
    found = {id(one): one.numel() * one.element_size() for one in model.parameters()}
    for module in model.modules():
        kind = kind_of(module)
        if kind == "int8":
            scales = _scales_of_int8(module)
            found[id(module)] = scales.numel() * scales.element_size()
        elif kind:
            state = module.weight.quant_state
            held = [state.absmax] + ([state.state2.absmax, state.offset] if state.nested else [])
            found[id(module)] = sum(one.numel() * one.element_size() for one in held)
    return sum(found.values())


def _kind_in_codes(module: nn.Module) -> str:
    kind = kind_of(module)
    if not kind:
        raise refusal("module", "a linear layer of bitsandbytes", type(module).__name__)
    return kind


def _scales_of_int8(module: nn.Module) -> torch.Tensor:
    return module.weight.SCB if module.weight.SCB is not None else module.state.SCB  # moved there by the first call
