"""Cases for an answer that finds what to adapt in a model it has never seen. Knows nothing about a notebook."""

import random

from ftkit.course.cases import Case, Hint

LLAMA = [(f"model.layers.{layer}.{name}", kind) for layer in range(3) for name, kind in (
    ("self_attn", "Attention"), ("self_attn.q_proj", "Linear"), ("self_attn.v_proj", "Linear"),
    ("mlp.down_proj", "Linear"), ("norm", "RMSNorm"))] + [("lm_head", "Linear")]
MIXED = [("emb", "Embedding"), ("net.h.0.attn.qkv", "Linear4bit"), ("net.h.0.mlp.up", "FalconLinear"),
         ("net.h.1.attn.qkv", "FalconLinear"), ("net.h.1.experts.gate", "Linear"), ("net.h.1.mlp.up", "Linear"),
         ("net.hidden.0.side", "Linear"),
         ("net.h.0.attn.pair", "Linear"), ("net.h.0.mlp.pair", "Linear"), ("net.h.0.skip", "Linear"),
         ("net.h.1.skip", "Identity"), ("other.net.h.0.far", "Linear"), ("other.net.h.1.far", "Linear"),
         ("net.h.0.one.two.deep", "Linear"), ("net.h.1.one.two.deep", "Linear"), ("head", "Linear")]


def names() -> list[Case]:
    """A llama of three layers; one whose layers differ, with linear modules of other kinds; drawn ones."""
    drawn = random.Random(18)
    deep = [(f"a.b.{layer}.x.{name}", "Linear") for layer in range(12) for name in ("one", "two", "three")]
    some = [entry for entry in deep if entry[0] != "a.b.11.x.two"]
    drawn.shuffle(some)
    order = list(dict.fromkeys(path.split(".")[-1] for path, _ in some if not path.endswith("two")))
    return [
        Case("a llama", lambda answer: answer(list(LLAMA), "model.layers", 3), ["q_proj", "v_proj", "down_proj"], [
            Hint(["q_proj", "v_proj", "down_proj", "lm_head"], "lm_head stands in no layer of the stack."),
            Hint(["self_attn", "q_proj", "v_proj", "down_proj", "norm"], "Only kinds that have Linear in their name."),
            Hint(lambda got: isinstance(got, list) and len(got) == 9, "A name is wanted once, not once a layer."),
            Hint(lambda got: isinstance(got, set | dict), "A list is wanted, in the model's own order."),
            Hint(["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"], "The last part of the path is the name."),
            Hint(["down_proj", "q_proj", "v_proj"], "The order is that in which the model has them."),
            Hint([], "Is the number behind the stack's path the layer, and are all of them there?"),
        ]),
        Case("layers that differ", lambda answer: answer(list(MIXED), "net.h", 2), ["qkv", "up", "deep"], [
            _holds("gate", "gate is in layer 1 alone: a name has to be in every layer."),
            _holds("side", "net.hidden is another path than net.h: compare whole parts."),
            _holds("pair", "pair stands in layer 0 twice, and in layer 1 not at all: look at which layers have it."),
            _holds("skip", "skip is no linear module in layer 1."),
            _holds("far", "other.net.h is another path than net.h: it has to begin so."),
            Hint(["up", "deep"], "Linear4bit is a linear module, too: it has Linear in its name."),
            Hint(["deep"], "FalconLinear and Linear4bit are linear modules, too: they have Linear in their names."),
        ]),
        Case("twelve layers, in no order", lambda answer: answer(list(some), "a.b", 12), order, [
            Hint(lambda got: isinstance(got, list) and "two" in got, "two is missing in layer 11."),
            Hint(sorted(order), "The order is that in which the model has them.") if sorted(order) != order else
            Hint([], "Layers 10 and 11 have two digits."),
            Hint([], "Layers 10 and 11 have two digits."),
        ]),
        Case("no linear module in the stack", lambda answer: answer([("h.0.norm", "LayerNorm")], "h", 1), []),
    ]


def _holds(name: str, say: str) -> Hint:
    return Hint(lambda got: isinstance(got, list) and name in got, say)
