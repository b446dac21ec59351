"""Cases for answers that say what a method trains: how many numbers, which names. Knows nothing about a notebook."""

from ftkit.course.cases import Case, Hint, Rule

_WIDTH, _KV, _INNER, _LAYERS = 4, 2, 6, 3  # of a model whose numbers can be counted on paper
_MODEL = {"width": _WIDTH, "kv_width": _KV, "inner": _INNER, "layers": _LAYERS}
_LLAMA = {"width": 4096, "kv_width": 4096, "inner": 11008, "layers": 32}
_QWEN = {"width": 3584, "kv_width": 512, "inner": 18944, "layers": 28}


def numbers() -> list[Case]:
    """Each method on a model of three small layers, then two shapes of 7B models."""
    return [*_small_numbers(), *_large_numbers()]


def _count(method, size, shape):
    return lambda answer: answer(method, size, **shape)


def _small_numbers() -> list[Case]:
    return [
        Case("bitfit", _count("bitfit", 0, _MODEL), 24, [
            Hint(8, "That is one layer: all layers have biases."),
            Hint(36, "k and v give kv_width outputs, and a bias has one number for each output."),
            Hint(84, "Only q, k and v have biases: o, gate, up and down have none."),
            Hint(12, "A bias of k and one of v beside the one of q: each has its own."),
        ]),
        Case("prompt, 5 tokens", _count("prompt", 5, _MODEL), 20, [
            Hint(60, "A prompt stands in front of the first layer alone, however many layers there are."),
            Hint(40, "A prompt is one vector a token; keys and values are the prefix's."),
            Hint(5, "Each token of a prompt is a vector as wide as an embedding."),
        ]),
        Case("prefix, 5 tokens", _count("prefix", 5, _MODEL), 60, [
            Hint(120, "Keys and values are kv_width wide, as what k and v give."),
            Hint(30, "A key and a value for each token: twice as many."),
            Hint(20, "Every layer has keys and values of its own."),
        ]),
        Case("pfeiffer, 2", _count("pfeiffer", 2, _MODEL), 66, [
            Hint(48, "Both matrices have a bias: size numbers on the way down, width on the way up."),
            Hint(54, "The way up has a bias, too: width numbers."),
            Hint(60, "The way down has a bias, too: size numbers."),
            Hint(22, "Every layer has an adapter of its own."),
            Hint(132, "Pfeiffer's place is one a layer; two are Houlsby's."),
        ]),
        Case("houlsby, 2", _count("houlsby", 2, _MODEL), 132, [
            Hint(66, "Houlsby puts one behind attention and one behind the MLP: two a layer."),
            Hint(lambda got: got == 6 * (2 * _WIDTH * 2) + 3 * 6, "Each of the two has biases of its own."),
        ]),
        Case("lora, rank 2", _count("lora", 2, _MODEL), 348, [
            Hint(lambda got: got == 372, "k and v have kv_width outputs."),
            Hint(lambda got: got == 168, "All linear modules: gate, up and down as well as q, k, v and o."),
            Hint(lambda got: got == 116, "Every layer has them."),
            Hint(lambda got: got == 174, "Two factors of rank `size`: both sides of each matrix, size times."),
            Hint(lambda got: got == 696, "A is size × inputs and B is outputs × size: each side counts once."),
        ]),
    ]


def _large_numbers() -> list[Case]:
    return [
        Case("lora, rank 8, the shape of Llama-2-7B", _count("lora", 8, _LLAMA), 19_988_480),
        Case("lora, rank 16, the shape of Qwen2.5-7B", _count("lora", 16, _QWEN), 40_370_176, [
            Hint(lambda got: got > 40_370_176, "Keys and values are narrower than queries here."),
        ]),
        Case("prefix, 20, the shape of Qwen2.5-7B", _count("prefix", 20, _QWEN), 573_440),
        Case("bitfit, the shape of Qwen2.5-7B", _count("bitfit", 0, _QWEN), 129_024),
        Case("houlsby, 64, the shape of Llama-2-7B", _count("houlsby", 64, _LLAMA), 33_820_672),
        Case("prompt, 1 layer or 100", lambda answer: [answer("prompt", 7, 10, 4, 30, layers) for layers in (1, 100)],
             [70, 70]),
        Case("the kind of number", lambda answer: answer("prefix", 20, **_QWEN),
             Rule("a whole number (int)", lambda got: type(got) is int), [
                 Hint(lambda got: True, "Numbers of a model are counted: products and sums of ints stay ints."),
        ]),
    ]


_PARTS = ("self_attn.q_proj.weight", "mlp.up_proj.weight", "input_layernorm.weight")


def _decoder(layers: int, path: str = "model.layers", first: str = "model.embed_tokens.weight",
             last: tuple = ("model.norm.weight", "lm_head.weight"), parts: tuple = _PARTS) -> list[str]:
    return [first, *(f"{path}.{layer}.{part}" for layer in range(layers) for part in parts), *last]


def _layers_of(names: list[str]) -> list[int]:
    return sorted({int(name.split(".")[2]) for name in names if name.startswith("model.layers.")})


def freezing() -> list[Case]:
    """Names of small models; of one with more than ten layers; of other families."""
    return [*_bottom(), *_top(), *_other_families()]


def _left(names, share, part):
    return lambda answer: answer(list(names), share, part)


def _bottom() -> list[Case]:
    four, twelve = _decoder(4), _decoder(12)
    return [
        Case("the lower half of 4 layers", _left(four, 0.5, "bottom"), four[7:], [
            Hint(four[:7], "These are the frozen ones: return the names that are trained."),
            Hint(set(four[7:]), "Return a list, in the order of the model."),
            Hint([four[0], *four[7:]], "The embeddings stand before the lowest layer: with the bottom frozen, so are "
                 "they. Left trainable they are often the largest part of all."),
            Hint(four[7:-2], "The final norm and the head stand behind the layers, and are trained with the top."),
            Hint(four[7:-1], "The head stands behind the layers, and is trained with the top."),
            Hint(lambda got: got in ([*four[:7], *four[-2:]], [*four[1:7], *four[-2:]]), "That is the lower "
                 "half: with part 'bottom' it is the one to freeze."),
        ]),
        Case("a quarter of 12 layers", lambda answer: _layers_of(answer(list(twelve), 0.25, "bottom")),
             list(range(3, 12)), [
                 Hint(lambda got: 10 not in got or 11 not in got, "Layers count by number: 10 comes behind 9, not "
                      "behind 1."),
                 Hint(lambda got: 4 in got and 3 not in got, "A quarter of 12 is 3: the layers 0, 1 and 2 are frozen."),
        ]),
        Case("0.29 of 100 layers", lambda answer: _layers_of(answer(_decoder(100), 0.29, "bottom")),
             list(range(29, 100)), [
                 Hint(lambda got: got and got[0] == 28, "0.29 · 100 is 28.999999999999996 in floating point: round to "
                      "the nearest whole number of layers."),
                 Hint(lambda got: got and got[0] == 30, "Round to the nearest whole number of layers."),
        ]),
        Case("nothing frozen of 4 layers", _left(four, 0.0, "bottom"), four[1:], [
            Hint(lambda got: got == four, "What stands before the layers is frozen with the bottom, even where no "
                 "layer is."),
        ]),
        Case("all 4 layers frozen", _left(four, 1.0, "bottom"), four[-2:]),
    ]


def _top() -> list[Case]:
    four, five = _decoder(4), _decoder(5)
    return [
        Case("the upper half of 4 layers", _left(four, 0.5, "top"), four[:7], [
            Hint(four[7:], "That is what is trained with the *bottom* frozen."),
            Hint([*four[:7], *four[-2:]], "Norm and head stand behind the highest layer: with the top frozen, so are "
                 "they."),
            Hint(four[1:7], "The embeddings stand before the layers, and are trained with the bottom."),
        ]),
        Case("a fifth of 5 layers", lambda answer: _layers_of(answer(list(five), 0.2, "top")), [0, 1, 2, 3], [
            Hint([0], "The share is what is frozen, not what is trained."),
            Hint([1, 2, 3, 4], "With part 'top' the highest layers are frozen."),
        ]),
        Case("the upper 0.4 of 12 layers", lambda answer: _layers_of(answer(_decoder(12), 0.4, "top")),
             list(range(7)), [
                 Hint(lambda got: 10 in got or 11 in got, "Layers count by number: 10 comes behind 9, not behind 1."),
                 Hint(lambda got: 7 in got, "0.4 · 12 is 4.8: the nearest whole number of layers is 5."),
        ]),
        Case("nothing frozen of 4 layers, from the top", _left(four, 0.0, "top"), four[:-2]),
    ]


def _other_families() -> list[Case]:
    gpt = ["transformer.wte.weight", *_decoder(4, "transformer.h", "transformer.wpe.weight", ("transformer.ln_f.bias",),
                                               ("attn.c_attn.bias",))]
    experts = _decoder(3, parts=("mlp.experts.7.up.weight", "mlp.experts.11.up.weight"))
    return [
        Case("names of GPT-2", _left(gpt, 0.5, "bottom"), gpt[4:], [
            Hint(lambda got: "transformer.wpe.weight" in got, "All that stands before the first layer belongs to the "
                 "bottom: embeddings of positions, too."),
            *(Hint(error, "Another family has its layers under another path: look for a number between dots.")
              for error in (IndexError, AttributeError, ValueError, TypeError, StopIteration)),
        ]),
        Case("experts with numbers of their own", _left(experts, 1 / 3, "bottom"), experts[3:], [
            Hint(lambda got: got != experts[3:], "The layer is the *first* number between two dots; the one of an "
                 "expert comes after it."),
        ]),
        Case("two digits that stand in a name", _left(
            ["wte2.weight", "h.0.fc1.weight", "h.1.fc1.weight", "norm3.weight"], 0.5, "bottom"),
            ["h.1.fc1.weight", "norm3.weight"], [
                Hint(lambda got: True, "A layer's number stands between two dots; fc1 and wte2 are parts of names."),
        ]),
    ]
