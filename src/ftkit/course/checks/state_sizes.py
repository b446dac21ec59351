"""Cases for answers that count a LoRA's numbers, and the bytes of weights, gradients and optimizer states.

Knows nothing about a notebook.
"""

from ftkit.course.cases import Case, Hint, Rule

_SMALL = {"hidden_size": 8, "intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 4,
          "num_key_value_heads": 2}  # keys are 4 wide
_WIDE_HEADS = _SMALL | {"head_dim": 6}  # queries are 24 wide, keys 12
_LLAMA_2_7B = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
_QWEN_7B = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
            "num_key_value_heads": 4}
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_ALL = (*_ATTENTION, "gate_proj", "up_proj", "down_proj")


def lora() -> list[Case]:
    """One matrix after the other on a model whose numbers can be counted on paper; then shapes of 7B models."""
    return [*_lora_on_paper(), *_lora_of_heads(), *_lora_of_models()]


def _lora(config, rank, *target_modules):
    return lambda answer: answer(dict(config), rank, list(target_modules))


def _lora_on_paper() -> list[Case]:
    return [
        Case("q, rank 1", _lora(_SMALL, 1, "q_proj"), 48, [
            Hint(16, "That is one layer: every layer has its own A and B."),
            Hint(lambda got: got in (192, 64), "A is rank × inputs and B is outputs × rank: the two sides are added, "
                 "not multiplied."),
            Hint(24, "A has as many numbers as the matrix has inputs, B as many as it has outputs: both count."),
            Hint(96, "A and B are counted once each."),
        ]),
        Case("q, rank 2", _lora(_SMALL, 2, "q_proj"), 96, [
            Hint(48, "Both factors grow with the rank."),
            Hint(192, "The rank counts once in each factor: rank·inputs + outputs·rank."),
        ]),
        Case("k, rank 1", _lora(_SMALL, 1, "k_proj"), 36, [
            Hint(48, "With num_key_value_heads below num_attention_heads k and v are narrower: so many heads of "
                 "hidden_size / num_attention_heads each."),
            Hint(30, "num_key_value_heads is a number of heads: each is hidden_size / num_attention_heads wide."),
        ]),
        Case("v and o, rank 1", _lora(_SMALL, 1, "v_proj", "o_proj"), 84, [
            Hint(96, "v is as wide as k."),
            Hint(72, "o takes in what all query heads give, and gives hidden_size."),
        ]),
        Case("gate, rank 1", _lora(_SMALL, 1, "gate_proj"), 84),
        Case("up, rank 1", _lora(_SMALL, 1, "up_proj"), 84),
        Case("down, rank 1", _lora(_SMALL, 1, "down_proj"), 84),
        Case("all seven, rank 3", _lora(_SMALL, 3, *_ALL), 1260, [
            Hint(1368, "k and v are narrower than q."),
        ]),
        Case("the order does not matter", _lora(_SMALL, 3, *reversed(_ALL)), 1260),
        Case("none", _lora(_SMALL, 3), 0),
    ]


def _lora_of_heads() -> list[Case]:
    plain = {key: value for key, value in _SMALL.items() if key != "num_key_value_heads"}
    return [
        Case("no num_key_value_heads", _lora(plain, 1, "k_proj", "v_proj"), 96, [
            Hint(KeyError, "An older config has no num_key_value_heads: there are then as many as query heads."),
            Hint(TypeError, "An older config has no num_key_value_heads: there are then as many as query heads."),
        ]),
        Case("num_key_value_heads is null", _lora(plain | {"num_key_value_heads": None}, 1, "k_proj"), 48, [
            Hint(TypeError, "A null in config.json is None here: it means the same as a missing key."),
        ]),
        Case("head_dim is null", _lora(_SMALL | {"head_dim": None}, 1, "k_proj"), 36, [
            Hint(TypeError, "A null in config.json is None here: it means the same as a missing key."),
        ]),
        Case("head_dim of its own: q and k", _lora(_WIDE_HEADS, 1, "q_proj", "k_proj"), 156, [
            Hint(84, "The config has a head_dim: a head need not be hidden_size / num_attention_heads wide (Qwen3, "
                 "Gemma)."),
            Hint(108, "head_dim holds for query heads, too: q gives num_attention_heads · head_dim."),
        ]),
        Case("head_dim of its own: o", _lora(_WIDE_HEADS, 1, "o_proj"), 96, [
            Hint(48, "o takes in num_attention_heads · head_dim, which is not hidden_size here."),
            Hint(60, "o takes in what the query heads give, not the key heads."),
        ]),
    ]


def _lora_of_models() -> list[Case]:
    return [
        Case("Llama-2-7B, rank 8, q k v o", _lora(_LLAMA_2_7B, 8, *_ATTENTION), 8_388_608, [
            Hint(419_430, "That is the number that is printed, and no shape gives it: 8 does not divide it."),
        ]),
        Case("Qwen2.5-7B, rank 16, all seven", _lora(_QWEN_7B, 16, *_ALL), 40_370_176),
        Case("the kind of number", lambda answer: answer(dict(_QWEN_7B), 16, ["k_proj"]),
             Rule("a whole number (int)", lambda got: type(got) is int), [
                 Hint(lambda got: True, "Numbers of a model are counted: // keeps ints ints."),
        ]),
    ]


def states() -> list[Case]:
    """One tensor and one optimizer at a time; then what decides whether 8 bits are used; then whole models."""
    return [*_states_of_one(), *_states_of_eight_bits(), *_states_of_models()]


def _states(parameters, optimizer):
    return lambda answer: answer(list(parameters), optimizer)


def _states_of_one() -> list[Case]:
    one = [(1000, 4, True)]
    return [
        Case("float32, AdamW", _states(one, "adamw"), (4000, 4000, 8000), [
            Hint((4000, 4000, 4000), "AdamW keeps two numbers for each weight: the means of gradients and of squares."),
            Hint((1000, 1000, 2000), "Bytes are wanted: numbers times bytes a number."),
            Hint((4000, 4000, 16000), "Two states of 4 bytes are 8 bytes for each of 1,000 numbers."),
        ]),
        Case("float32, Lion", _states(one, "lion"), (4000, 4000, 4000), [
            Hint((4000, 4000, 8000), "Lion keeps one mean, not two."),
        ]),
        Case("float32, SGD", _states(one, "sgd"), (4000, 4000, 0), [
            Hint((4000, 0, 0), "Without a state there is a gradient all the same."),
            Hint((4000, 4000, 4000), "SGD without momentum keeps nothing."),
        ]),
        Case("bfloat16, AdamW", _states([(1000, 2, True)], "adamw"), (2000, 2000, 4000), [
            Hint((2000, 4000, 8000), "A gradient has the type of its weight, and torch's states have it, too."),
            Hint((2000, 2000, 8000), "torch's AdamW keeps its states in the type of the weight: 2 bytes each here."),
            Hint((2000, 4000, 4000), "A gradient has the type of its weight."),
        ]),
        Case("frozen", _states([(1000, 2, False)], "adamw"), (2000, 0, 0), [
            Hint((2000, 2000, 4000), "What is frozen has no gradient and no state."),
            Hint((2000, 2000, 0), "What is frozen has no gradient."),
            Hint((0, 0, 0), "What is frozen still has its weights."),
        ]),
        Case("frozen, then trained", _states([(1000, 2, False), (10, 4, True)], "adamw"), (2040, 40, 80), [
            Hint((2000, 0, 0), "A frozen tensor is followed by others: go on with the next one."),
        ]),
        Case("two that are trained", _states([(100, 4, True), (10, 2, True)], "adamw"), (420, 420, 840), [
            Hint(lambda got: got == (420, 420, 40), "The states of all tensors are there at once: add them up."),
        ]),
        Case("no tensor at all", _states([], "lion"), (0, 0, 0)),
    ]


def _states_of_eight_bits() -> list[Case]:
    return [
        Case("256,000 numbers, 8-bit AdamW", _states([(256_000, 2, True)], "adamw_8bit"), (512_000, 512_000, 520_000), [
            Hint((512_000, 512_000, 512_000), "For each 256 numbers of a state there is a scale of 4 bytes."),
            Hint((512_000, 512_000, 516_000), "Each of the two states has scales of its own."),
            Hint((512_000, 512_000, 260_000), "8-bit AdamW keeps two states as well."),
            Hint((512_000, 256_000, 520_000), "Only the states have 8 bits: gradients have the type of the weight."),
            Hint((512_000, 512_000, 1_040_000), "A state of 8 bits takes 1 byte a number, whatever the weight's type."),
        ]),
        Case("10,001 numbers, 8-bit AdamW", _states([(10_001, 4, True)], "adamw_8bit"), (40_004, 40_004, 20_322), [
            Hint((40_004, 40_004, 20_314), "The last block has fewer than 256 numbers, and a scale all the same: round "
                 "up."),
        ]),
        Case("4,096 numbers, 8-bit AdamW", _states([(4096, 2, True)], "adamw_8bit"), (8192, 8192, 8320), [
            Hint((8192, 8192, 32_768), "4,096 numbers are not fewer than 4,096: they get 8 bits."),
        ]),
        Case("4,095 numbers, 8-bit AdamW", _states([(4095, 2, True)], "adamw_8bit"), (8190, 8190, 32_760), [
            Hint((8190, 8190, 8318), "Tensors of fewer than 4,096 numbers keep their two states in float32."),
            Hint((8190, 8190, 16_380), "Small tensors keep two states of float32, whatever the type of the weight."),
        ]),
        Case("a large one and a larger one, 8-bit AdamW", _states([(5120, 2, True), (10_240, 2, True)], "adamw_8bit"),
             (30_720, 30_720, 31_200), [
                 Hint((30_720, 30_720, 20_800), "The states of all tensors are there at once: add them up."),
        ]),
        Case("two small ones are not a large one", _states([(3000, 4, True), (3000, 4, True)], "adamw_8bit"),
             (24_000, 24_000, 48_000), [
                 Hint((24_000, 24_000, 12_192), "Each tensor is looked at by itself: none of them has 4,096 numbers."),
        ]),
    ]


def _states_of_models() -> list[Case]:
    base, adapter = (6_738_415_616, 2, False), (8_388_608, 4, True)
    return [
        Case("Llama-2-7B in full, bfloat16, AdamW", _states([(6_738_415_616, 2, True)], "adamw"),
             (13_476_831_232, 13_476_831_232, 26_953_662_464)),
        Case("Llama-2-7B with LoRA, AdamW", _states([base, adapter], "adamw"),
             (13_510_385_664, 33_554_432, 67_108_864)),
        Case("a frozen base of half a byte a number", _states([(1000, 0.5, False), adapter], "lion"),
             (33_554_932, 33_554_432, 33_554_432), [
                 Hint(lambda got: isinstance(got[0], int) and got[0] < 33_554_932, "Half a byte is a number of bytes, "
                      "too: do not round it down for each number."),
        ]),
    ]
