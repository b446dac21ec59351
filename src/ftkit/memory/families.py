"""The families of models: what each calls its sizes, and how it is put together.

As the code of transformers 5 has them; the remote ones (baichuan, chatglm, internlm, qwen) as their own code has them.
Knows nothing about training or bytes.
"""

from collections.abc import Callable
from dataclasses import replace

from ftkit.memory.shape import ATTENTION, MLP, Keys, Linear, Norm, Shape


def _llama(keys: Keys, *, tied: bool = False, qkv_bias: bool = False, o_bias: bool = False, mlp_bias: bool = False,
           kv_heads: int | None = None, head_dim: int | None = None) -> Shape:
    hidden, heads = keys.number("hidden_size"), keys.number("num_attention_heads")
    wide = keys.number("intermediate_size")
    kv_heads = keys.number("num_key_value_heads", default=kv_heads or heads)
    head_dim = keys.number("head_dim", default=head_dim or hidden // max(heads, 1))
    linears = (*(Linear(f"self_attn.{name}_proj", hidden, count * head_dim, qkv_bias, ATTENTION)
                 for name, count in (("q", heads), ("k", kv_heads), ("v", kv_heads))),
               Linear("self_attn.o_proj", heads * head_dim, hidden, o_bias, ATTENTION),
               Linear("mlp.gate_proj", hidden, wide, mlp_bias, MLP), Linear("mlp.up_proj", hidden, wide, mlp_bias, MLP),
               Linear("mlp.down_proj", wide, hidden, mlp_bias, MLP))
    norms = (Norm("input_layernorm", hidden), Norm("post_attention_layernorm", hidden))
    layers = keys.number("num_hidden_layers")
    return Shape(str(keys.get("model_type")), keys.number("vocab_size"), hidden, layers, heads, kv_heads, head_dim,
                 wide, linears, norms, final_norm=Norm("model.norm", hidden),
                 tied=bool(keys.get("tie_word_embeddings", tied)), rotary=keys.rotary(head_dim),
                 activation=str(keys.get("hidden_act", "silu")),
                 attention_dropout=float(keys.get("attention_dropout", 0.0)))


def _llama_itself(keys: Keys) -> Shape:
    bias = bool(keys.get("attention_bias", False))
    return _llama(keys, qkv_bias=bias, o_bias=bias, mlp_bias=bool(keys.get("mlp_bias", False)))


def _mistral(keys: Keys) -> Shape:
    return _llama(keys, kv_heads=8)


def _qwen2(keys: Keys) -> Shape:
    return _llama(keys, qkv_bias=True, kv_heads=32)


def _qwen3(keys: Keys) -> Shape:
    bias = bool(keys.get("attention_bias", False))
    shape = _llama(keys, qkv_bias=bias, o_bias=bias, kv_heads=32, head_dim=128)
    heads = (Norm("self_attn.q_norm", shape.head_dim), Norm("self_attn.k_norm", shape.head_dim))
    return replace(shape, norms=(*heads, *shape.norms))


def _gemma(keys: Keys) -> Shape:
    bias = bool(keys.get("attention_bias", False))
    shape = _llama(keys, tied=True, qkv_bias=bias, o_bias=bias, kv_heads=16, head_dim=256)
    return replace(shape, norm="gemma", scales_embedding=True, activation="gelu_pytorch_tanh")


def _gemma2(keys: Keys) -> Shape:
    bias = bool(keys.get("attention_bias", False))
    shape = _llama(keys, tied=True, qkv_bias=bias, o_bias=bias, kv_heads=4, head_dim=256)
    more = tuple(Norm(f"{name}_feedforward_layernorm", shape.hidden) for name in ("pre", "post"))
    return replace(shape, norm="gemma", scales_embedding=True, activation="gelu_pytorch_tanh", after_norms=True,
                   softcap=True, norms=(*shape.norms, *more), attends_by_itself="eager")


def _phi3(keys: Keys) -> Shape:
    shape = _llama(keys)
    both = (shape.heads + 2 * shape.kv_heads) * shape.head_dim
    linears = (Linear("self_attn.o_proj", shape.heads * shape.head_dim, shape.hidden, False, ATTENTION),
               Linear("self_attn.qkv_proj", shape.hidden, both, False, ATTENTION),
               Linear("mlp.gate_up_proj", shape.hidden, 2 * shape.intermediate, False, MLP),
               Linear("mlp.down_proj", shape.intermediate, shape.hidden, False, MLP))
    return replace(shape, linears=linears, qkv="slices", gate="pieces", dropout=float(keys.get("resid_pdrop", 0.0)))


def _plain(keys: Keys, *, heads: int, layers: int, hidden: int, wide: int, qkv: tuple[Linear, ...], out: Linear,
           mlp: tuple[str, str], norms: tuple[str, str], bias: bool, last: str, **others) -> Shape:
    """A decoder with layer norms and two matrices in its MLP."""
    linears = (*qkv, out, Linear(mlp[0], hidden, wide, bias, MLP), Linear(mlp[1], wide, hidden, bias, MLP))
    made = {"kv_heads": heads, "head_dim": hidden // max(heads, 1), "gate": ""} | others
    made["qkv"] = made.pop("qkv_form", "pieces")
    return Shape(str(keys.get("model_type")), keys.number("vocab_size"), hidden, layers, heads, intermediate=wide,
                 linears=linears, norms=tuple(Norm(name, hidden, True) for name in norms), norm="layer",
                 final_norm=Norm(last, hidden, True), **made)


def _gpt2(keys: Keys) -> Shape:
    hidden, heads = keys.number("n_embd", "hidden_size"), keys.number("n_head", "num_attention_heads")
    return _plain(keys, heads=heads, layers=keys.number("n_layer", "num_hidden_layers"), hidden=hidden,
                  wide=keys.number("n_inner", default=4 * hidden),
                  qkv=(Linear("attn.c_attn", hidden, 3 * hidden, True, ATTENTION),),
                  out=Linear("attn.c_proj", hidden, hidden, True, ATTENTION), mlp=("mlp.c_fc", "mlp.c_proj"),
                  norms=("ln_1", "ln_2"), bias=True, last="transformer.ln_f", stack="transformer.h",
                  embedding_name="transformer.wte",
                  tied=bool(keys.get("tie_word_embeddings", True)),
                  positions=keys.number("n_positions", "max_position_embeddings"),
                  activation=str(keys.get("activation_function", "gelu_new")),
                  upcasts="", dropout=float(keys.get("resid_pdrop", 0.1)),
                  attention_dropout=float(keys.get("attn_pdrop", 0.1)),
                  embedding_dropout=float(keys.get("embd_pdrop", 0.1)))


def _gpt_neo(keys: Keys) -> Shape:
    hidden, heads = keys.number("hidden_size"), keys.number("num_heads", "num_attention_heads")
    within, places = "attn.attention", keys.number("max_position_embeddings")
    return _plain(keys, heads=heads, layers=keys.number("num_layers", "num_hidden_layers"), hidden=hidden,
                  wide=keys.number("intermediate_size", default=4 * hidden), qkv=tuple(
                      Linear(f"{within}.{name}_proj", hidden, hidden, False, ATTENTION) for name in "kvq"),
                  out=Linear(f"{within}.out_proj", hidden, hidden, True, ATTENTION), mlp=("mlp.c_fc", "mlp.c_proj"),
                  norms=("ln_1", "ln_2"), bias=True, last="transformer.ln_f", stack="transformer.h",
                  embedding_name="transformer.wte", tied=bool(keys.get("tie_word_embeddings", True)),
                  positions=places, upcasts="scores", mask_bytes=places * places, qkv_form="apart",
                  activation=str(keys.get("activation_function", "gelu_new")),
                  dropout=float(keys.get("resid_dropout", 0.0)),
                  attention_dropout=float(keys.get("attention_dropout", 0.0)),
                  embedding_dropout=float(keys.get("embed_dropout", 0.0)), attends_by_itself="eager")


def _gpt_neox(keys: Keys) -> Shape:
    hidden, heads = keys.number("hidden_size"), keys.number("num_attention_heads")
    bias = bool(keys.get("attention_bias", True))
    return _plain(keys, heads=heads, layers=keys.number("num_hidden_layers"), hidden=hidden,
                  wide=keys.number("intermediate_size"),
                  qkv=(Linear("attention.query_key_value", hidden, 3 * hidden, bias, ATTENTION),),
                  out=Linear("attention.dense", hidden, hidden, bias, ATTENTION),
                  mlp=("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"), bias=True,
                  norms=("input_layernorm", "post_attention_layernorm"), last="gpt_neox.final_layer_norm",
                  stack="gpt_neox.layers",
                  embedding_name="gpt_neox.embed_in", head_name="embed_out",
                  tied=bool(keys.get("tie_word_embeddings", False)), activation=str(keys.get("hidden_act", "gelu")),
                  rotary=keys.rotary(hidden // max(heads, 1)), parallel=bool(keys.get("use_parallel_residual", True)),
                  dropout=float(keys.get("hidden_dropout", 0.0)),
                  attention_dropout=float(keys.get("attention_dropout", 0.0)),
                  embedding_dropout=float(keys.get("hidden_dropout", 0.0)))


def _falcon(keys: Keys) -> Shape:
    hidden, heads = keys.number("hidden_size", "n_embed"), keys.number("num_attention_heads", "n_head")
    new, one = bool(keys.get("new_decoder_architecture", False)), bool(keys.get("multi_query", True))
    kv_heads = keys.number("num_kv_heads", "n_head_kv", default=heads) if new or not one else 1
    head_dim, bias = hidden // max(heads, 1), bool(keys.get("bias", False))
    two = new and keys.get("num_ln_in_parallel_attn", 2) == 2
    parallel = new or bool(keys.get("parallel_attn", True))
    shape = _plain(keys, heads=heads, layers=keys.number("num_hidden_layers", "n_layer"), hidden=hidden,
                   wide=keys.number("ffn_hidden_size", default=4 * hidden), kv_heads=kv_heads,
                   qkv=(Linear("self_attention.query_key_value", hidden, (heads + 2 * kv_heads) * head_dim, bias,
                               ATTENTION),), out=Linear("self_attention.dense", hidden, hidden, bias, ATTENTION),
                   mlp=("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"), bias=bias,
                   norms=("ln_attn", "ln_mlp") if two else ("post_attention_layernorm", "input_layernorm"),
                   last="transformer.ln_f", stack="transformer.h", embedding_name="transformer.word_embeddings",
                   tied=bool(keys.get("tie_word_embeddings", True)), activation=str(keys.get("activation", "gelu")),
                   rotary=0 if keys.get("alibi", False) else head_dim, parallel=parallel, qkv_form="falcon", upcasts="",
                   spreads_keys=new,
                   dropout=float(keys.get("hidden_dropout", 0.0)),
                   attends_by_itself="math" if kv_heads < heads and not new else "eager" * bool(keys.get("alibi")))
    return replace(shape, norms=shape.norms[1:]) if parallel and not two else shape


def _baichuan(keys: Keys) -> Shape:
    shape = _llama(keys)
    packed = Linear("self_attn.W_pack", shape.hidden, 3 * shape.hidden, False, ATTENTION)
    return replace(shape, linears=(packed, *shape.linears[3:]), qkv="slices", native=False)


def _internlm(keys: Keys) -> Shape:
    bias = bool(keys.get("bias", True))
    return replace(_llama(keys, qkv_bias=bias, o_bias=bias), native=False)


def _qwen(keys: Keys) -> Shape:
    hidden, heads = keys.number("hidden_size"), keys.number("num_attention_heads")
    wide, bias = keys.number("intermediate_size") // 2, not keys.get("no_bias", True)
    linears = (Linear("attn.c_attn", hidden, 3 * hidden, True, ATTENTION),
               Linear("attn.c_proj", hidden, hidden, bias, ATTENTION), Linear("mlp.w1", hidden, wide, bias, MLP),
               Linear("mlp.w2", hidden, wide, bias, MLP), Linear("mlp.c_proj", wide, hidden, bias, MLP))
    head_dim = keys.number("kv_channels", default=hidden // max(heads, 1))
    return Shape("qwen", keys.number("vocab_size"), hidden, keys.number("num_hidden_layers"), heads, heads, head_dim,
                 wide, linears, (Norm("ln_1", hidden), Norm("ln_2", hidden)),
                 final_norm=Norm("transformer.ln_f", hidden), tied=bool(keys.get("tie_word_embeddings", False)),
                 rotary=keys.rotary(head_dim), qkv="pieces", stack="transformer.h", embedding_name="transformer.wte",
                 native=False)


def _chatglm(keys: Keys) -> Shape:
    hidden, heads = keys.number("hidden_size"), keys.number("num_attention_heads")
    groups = keys.number("multi_query_group_num", default=1) if keys.get("multi_query_attention", False) else heads
    head_dim, wide = keys.number("kv_channels", default=128), keys.number("ffn_hidden_size")
    added = bool(keys.get("add_bias_linear", False))
    linears = (Linear("self_attention.query_key_value", hidden, (heads + 2 * groups) * head_dim,
                      added or bool(keys.get("add_qkv_bias", False)), ATTENTION),
               Linear("self_attention.dense", heads * head_dim, hidden, added, ATTENTION),
               Linear("mlp.dense_h_to_4h", hidden, 2 * wide, added, MLP),
               Linear("mlp.dense_4h_to_h", wide, hidden, added, MLP))
    return Shape("chatglm", keys.number("padded_vocab_size", "vocab_size"), hidden,
                 keys.number("num_layers", "num_hidden_layers"), heads, groups, head_dim, wide, linears,
                 (Norm("input_layernorm", hidden), Norm("post_attention_layernorm", hidden)),
                 final_norm=Norm("transformer.encoder.final_layernorm", hidden),
                 tied=bool(keys.get("tie_word_embeddings", False)), rotary=head_dim // 2, qkv="pieces", gate="pieces",
                 stack="transformer.encoder.layers", embedding_name="transformer.embedding.word_embeddings",
                 head_name="transformer.output_layer", native=False)


FAMILIES: dict[str, Callable[[Keys], Shape]] = {
    "llama": _llama_itself, "mistral": _mistral, "qwen2": _qwen2, "qwen3": _qwen3, "gemma": _gemma, "gemma2": _gemma2,
    "phi3": _phi3, "gpt2": _gpt2, "gpt_neo": _gpt_neo, "gpt_neox": _gpt_neox, "falcon": _falcon,
    "baichuan": _baichuan, "internlm": _internlm, "qwen": _qwen, "chatglm": _chatglm,
}
