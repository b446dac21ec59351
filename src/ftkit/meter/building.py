"""A model from its config alone, quantised and prepared as one that is loaded: on fake tensors, or on random real ones.

Knows nothing about what is measured, nor about training.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from unittest.mock import patch

import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from ftkit import methods, quantization, targets
from ftkit.errors import refusal
from ftkit.memory.setup import Setup

LORA_METHODS = ("lora", "qlora", "lora8bit")  # alike in what they add
BLOCK, SCALES_BLOCK = 64, 256  # bitsandbytes' own
OUTLIER_THRESHOLD = 6.0  # transformers' own


def build(config: dict, setup: Setup, fake: bool) -> nn.Module:
    """The base model of a setup with linear layers quantised as asked; not prepared for a method yet.

    Args:
        config: as a config.json holds it, with its model_type.
        fake: whether a `FakeTensorMode` is open; else weights are real and random.

    Raises:
        Refusal: a model_type that needs code of its own.
    """
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as known

    if config.get("model_type") not in known:
        raise refusal("model_type", "a causal language model's that the installed transformers knows",
                      config.get("model_type"), "Models that bring code of their own cannot be built from a config.")
    settings = {name: value for name, value in config.items() if name not in ("model_type", "auto_map")}
    settings = AutoConfig.for_model(config["model_type"], **settings)
    with for_fake_tensors() if fake else nullcontext():
        model = AutoModelForCausalLM.from_config(
            settings, dtype=getattr(torch, setup.precision), attn_implementation=_attention_of(settings, setup))
        model.tie_weights()  # left out where weights are not initialised
        if setup.quantization:
            _quantise_(model, setup, fake)
    if setup.float32_cast:
        from peft import prepare_model_for_kbit_training

        prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return model


@contextmanager
def for_fake_tensors() -> Iterator[None]:
    """While open, modules begin without numbers, some of which are drawn until they please, and are moved and cast by
    new parameters: torch would exchange the contents of two fake tensors, which others may refer to."""
    from transformers.initialization import no_init_weights

    with no_init_weights(), patch.object(nn.Module, "_apply", _applied):
        yield


def prepare(model: nn.Module, setup: Setup) -> nn.Module:
    """The model prepared as our own training prepares it."""
    name = "lora" if setup.method in LORA_METHODS else setup.method
    return methods.prepare(model, name, **setup.settings).model


def prepare_by_peft(model: nn.Module, setup: Setup) -> nn.Module:
    """The model with peft's LoRA, as its documentation has it.

    Raises:
        Refusal: another method than LoRA.
    """
    from peft import LoraConfig, get_peft_model

    if setup.method not in LORA_METHODS:
        raise refusal("method", "lora, qlora or lora8bit with way='peft'", setup.method)
    names = setup.settings.get("target_modules", targets.ALL_LINEAR)
    return get_peft_model(model, LoraConfig(
        r=setup.settings.get("rank", 8), lora_alpha=setup.settings.get("alpha", 16), task_type="CAUSAL_LM",
        lora_dropout=setup.settings.get("dropout", 0.0),
        target_modules=names if isinstance(names, str) else list(names)))


def _attention_of(settings, setup: Setup) -> str:
    """Eager where a family's own code takes no kernel, whatever the setup says."""
    from transformers import AutoModelForCausalLM

    return "sdpa" if setup.attention != "eager" and AutoModelForCausalLM._model_mapping[type(settings)]._supports_sdpa \
        else "eager"


def _quantise_(model: nn.Module, setup: Setup, fake: bool) -> None:
    """Puts bitsandbytes' own layers in place of the linear ones that transformers would quantise."""
    linear = [path for paths in targets.linear_names(model).values() for path in paths]
    left = set(quantization.paths_left(model, setup.unquantised))
    for path in [path for path in linear if path not in left]:
        linear = model.get_submodule(path)
        made = _four_bit(linear, setup, fake) if setup.quantization != "int8" else _eight_bit(linear, fake)
        made.bias = linear.bias
        model.set_submodule(path, made.requires_grad_(False))
    model.is_loaded_in_8bit = setup.quantization == "int8"
    model.is_loaded_in_4bit = not model.is_loaded_in_8bit


def _four_bit(linear: nn.Module, setup: Setup, fake: bool) -> nn.Module:
    import bitsandbytes as bnb

    inside, outside = targets.widths(linear)
    dtype = getattr(torch, setup.precision)
    with _nothing_made():
        made = bnb.nn.Linear4bit(inside, outside, False, dtype, setup.double_quant, setup.quantization)
    made.support_avx512bf16_for_cpu = False  # see `quantization.keep_codes_`
    if not fake:
        made.weight = bnb.nn.Params4bit(_weight_of(linear), False, quant_type=setup.quantization,
                                        compress_statistics=setup.double_quant, module=made).to(linear.weight.device)
        return made
    blocks = -(-inside * outside // BLOCK)
    weight = nn.Parameter(torch.empty((inside * outside + 1) // 2, 1, dtype=torch.uint8), requires_grad=False)
    weight.quant_state = _scales(blocks, (outside, inside), setup, dtype)
    weight.compress_statistics, weight.quant_type, weight.bnb_quantized = setup.double_quant, setup.quantization, True
    made.weight, made.quant_state = weight, weight.quant_state
    return made


def _scales(blocks: int, shape: tuple[int, int], setup: Setup, dtype: torch.dtype):
    """Scales of a 4-bit weight as bitsandbytes keeps them; quantised themselves where that is asked for."""
    from bitsandbytes.functional import QuantState

    settings = {"shape": torch.Size(shape), "dtype": dtype, "blocksize": BLOCK, "quant_type": setup.quantization,
                "code": torch.empty(16)}
    if not setup.double_quant:
        return QuantState(torch.empty(blocks), **settings)
    outer = QuantState(torch.empty(-(-blocks // SCALES_BLOCK)), code=torch.empty(256), blocksize=SCALES_BLOCK,
                       dtype=torch.float32)
    return QuantState(torch.empty(blocks, dtype=torch.uint8), offset=torch.empty(()), state2=outer, **settings)


def _eight_bit(linear: nn.Module, fake: bool) -> nn.Module:
    import bitsandbytes as bnb

    inside, outside = targets.widths(linear)
    with _nothing_made():
        made = bnb.nn.Linear8bitLt(inside, outside, False, has_fp16_weights=False, threshold=OUTLIER_THRESHOLD)
    if not fake:
        made.weight = bnb.nn.Int8Params(_weight_of(linear), False).to(linear.weight.device)
        return made
    made.weight = nn.Parameter(torch.empty(outside, inside, dtype=torch.int8), requires_grad=False)
    made.weight.CB, made.weight.SCB = made.weight.data, torch.empty(outside)
    return made


def _weight_of(linear: nn.Module) -> torch.Tensor:
    """A weight as (out, in) on the CPU, from where bitsandbytes quantises it on its way to the device."""
    weight = linear.weight.detach().cpu()
    return (weight.t() if targets.is_transposed(linear) else weight).contiguous()


@contextmanager
def _nothing_made() -> Iterator[None]:
    """While open, modules are made without their weights: bitsandbytes' classes cannot hold fake ones."""
    with _disable_current_modes(), torch.device("meta"):
        yield


@torch.no_grad()
def _applied(self: nn.Module, change: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> nn.Module:
    """What `nn.Module._apply` does; a parameter that stays what it is stays the same one."""
    for module in self.modules():
        for name, one in module._parameters.items():
            if one is not None and (changed := change(one)) is not one:
                module._parameters[name] = nn.Parameter(changed, one.requires_grad)
        module._buffers.update({name: change(one) for name, one in module._buffers.items() if one is not None})
    return self
