"""Models of well-known shapes with random weights in 4-bit codes, built where they are needed, layer by layer.

Nothing is read or written: a layer's weight is drawn on the device, quantised, and dropped before the next is drawn.
Embeddings, head and norms are bfloat16, as in the checkpoints of these shapes.
"""

import torch
from torch import nn

from ftkit import targets
from ftkit.quant.linear import quantised_linear

DTYPE, STD = torch.bfloat16, 0.02
SHAPES = {
    "Qwen2.5-7B": ("qwen2", {
        "vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 32_768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0}, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False}),
    "Llama-2-7B": ("llama", {
        "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5, "tie_word_embeddings": False}),
    "tiny qwen2": ("qwen2", {
        "vocab_size": 512, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
        "tie_word_embeddings": False}),
    "tiny llama": ("llama", {
        "vocab_size": 256, "hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 2048,
        "tie_word_embeddings": False}),
}


def config_of(name: str, layers: int | None = None):
    """The configuration of a shape, of transformers' own classes; with so many layers instead of its own if given."""
    from transformers import LlamaConfig, Qwen2Config

    family, sizes = SHAPES[name]
    changed = {} if layers is None else {"num_hidden_layers": layers}
    return {"qwen2": Qwen2Config, "llama": LlamaConfig}[family](**sizes | changed)


def build(name: str, library: str, device: str, layers: int | None = None) -> nn.Module:
    """A model of this shape whose linear layers, but for the head, hold NF4 codes with double quantisation.

    Args:
        library: "bitsandbytes" or "ftkit": whose layers they are. The codes have one layout in both.
        layers: instead of the shape's own number.
    """
    from transformers import AutoModelForCausalLM, PreTrainedModel

    rename_(PreTrainedModel)
    config = config_of(name, layers)
    torch.manual_seed(0)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=DTYPE)
    for path in targets.find(model, "all-linear"):
        targets.replace_(model, path, _quantised(model.get_submodule(path), library, device))
    for path, module in list(model.named_modules()):
        for key, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                module.register_parameter(key, _drawn(parameter, device, is_norm="norm" in path))
    with torch.device(device):
        model.model.rotary_emb = type(model.model.rotary_emb)(config)  # its frequencies are computed, not drawn
    model.is_loaded_in_4bit = True  # as transformers notes of a model that it loaded, and peft asks for
    return model.requires_grad_(False)


def works(library: str, device: str) -> bool:
    """Whether a library's 4-bit layers are there and compute here: tried on a small one; why not is printed."""
    try:
        with torch.no_grad():
            layer = _quantised(nn.Linear(128, 64), library, device)
            return bool(layer(torch.ones(2, 128, device=device, dtype=DTYPE)).isfinite().all())
    except Exception as error:  # of whatever kind: a missing package, a missing library of CUDA's, no kernel
        print(f"{library}: {type(error).__name__}: {error}")
        return False


def rename_(owner: type) -> None:
    """Gives models of an older transformers (5.17, say) the names by which ftkit asks for activation checkpointing."""
    if hasattr(owner, "activation_checkpointing_enable"):
        return

    def enable(self, activation_checkpointing_kwargs=None, every_n_layers=1):
        self.gradient_checkpointing_enable(gradient_checkpointing_kwargs=activation_checkpointing_kwargs)
        for place, layer in enumerate(self.model.layers):
            layer.gradient_checkpointing = place % every_n_layers == 0

    owner.activation_checkpointing_enable = enable
    owner.activation_checkpointing_disable = owner.gradient_checkpointing_disable
    owner.is_activation_checkpointing = owner.is_gradient_checkpointing


def product_flops(config, tokens: float, head_positions: float, passes: float) -> float:
    """Floating-point operations of the large products: a forward, a backward (to inputs alone) and what is repeated.

    Attention and LoRA are not counted.

    Args:
        tokens: of a step, without padding.
        head_positions: at how many the head computes logits.
        passes: over the layers: 2, and 1 more where all are computed again.
    """
    width = config.hidden_size
    head = getattr(config, "head_dim", None) or width // config.num_attention_heads
    attention = 2 * width * head * (config.num_attention_heads + config.num_key_value_heads)
    layer = attention + 3 * width * config.intermediate_size
    return 2 * passes * tokens * config.num_hidden_layers * layer + 4 * head_positions * config.vocab_size * width


def _quantised(linear: nn.Linear, library: str, device: str) -> nn.Module:
    bias = linear.bias is not None
    real = nn.Linear(linear.in_features, linear.out_features, bias, device=device, dtype=DTYPE)
    nn.init.normal_(real.weight, std=STD)
    if bias:
        nn.init.zeros_(real.bias)
    if library == "ftkit":
        return quantised_linear(real, "nf4", double=True)
    import bitsandbytes

    made = bitsandbytes.nn.Linear4bit(linear.in_features, linear.out_features, bias, DTYPE, quant_type="nf4",
                                      device="meta")
    made.weight = bitsandbytes.nn.Params4bit(real.weight.data, requires_grad=False, quant_type="nf4",
                                             compress_statistics=True, module=made).to(device)
    made.bias = real.bias
    return made


def _drawn(parameter: nn.Parameter, device: str, is_norm: bool) -> nn.Parameter:
    if is_norm:
        return nn.Parameter(torch.ones(parameter.shape, dtype=DTYPE, device=device))
    return nn.Parameter(torch.empty(parameter.shape, dtype=DTYPE, device=device).normal_(std=STD))
