"""Wrong answers to the exercises of lesson 09, by exercise and by what their hint must say."""

_LORA = """
def lora_numbers(config, rank, target_modules):
    width, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or width // heads
    q, kv = heads * head, (config.get("num_key_value_heads") or heads) * head
    sides = {"q_proj": width + q, "k_proj": width + kv, "v_proj": width + kv, "o_proj": q + width,
             "gate_proj": width + inner, "up_proj": width + inner, "down_proj": inner + width}
    return config["num_hidden_layers"] * rank * sum(sides[name] for name in target_modules)
"""
_STATES = """
import math
def state_bytes(parameters, optimizer):
    weights = gradients = states = 0
    for numbers, number_bytes, trained in parameters:
        weights += numbers * number_bytes
        if not trained:
            continue
        gradients += numbers * number_bytes
        if optimizer == "adamw_8bit" and numbers >= 4096:
            states += 2 * (numbers + 4 * math.ceil(numbers / 256))
        elif optimizer == "adamw_8bit":
            states += 8 * numbers
        else:
            states += {"sgd": 0, "lion": 1, "adamw": 2}[optimizer] * numbers * number_bytes
    return weights, gradients, states
"""
_KEPT = """
def mlp_kept_bytes(tokens, width, inner, kinds, rank, below):
    gate, up, down = (kinds[name] != "frozen" for name in ("gate", "up", "down"))
    numbers = width * (gate or up) + inner * down
    numbers += inner * (2 * (below or gate) + (below or up))
    numbers += rank * list(kinds.values()).count("lora")
    return 4 * tokens * numbers
"""
_LEFT = """
def left_out(moments, counted):
    totals = {moment: sum(parts.values()) for moment, parts in moments.items()}
    peak = max(totals, key=totals.get)
    return peak, {part: size / totals[peak] for part, size in moments[peak].items() if size and part not in counted}
"""
_BATCH = """
def micro_batches(rows, limit_bytes, moments, gradient_bytes):
    for size in range(rows, 0, -1):
        peak = max(fixed + size * a_row + gradient_bytes * (size < rows and not ready)
                   for fixed, a_row, ready in moments)
        if rows % size == 0 and peak <= limit_bytes:
            return size, rows // size
    return None
"""
_PRICE = """
import math
def epoch_price(lengths, batch_size, seq_len, tokens_per_s, price_per_hour, discount, lost_share):
    tokens = 0
    for start in range(0, len(lengths), batch_size):
        rows = [min(length, seq_len) for length in lengths[start:start + batch_size]]
        tokens += len(rows) * max(rows)
    minutes = math.ceil(tokens / tokens_per_s / (1 - lost_share) / 60)
    return minutes * price_per_hour / 60 * (1 - discount)
"""
_RIGHT = {"09.1": _LORA, "09.2": _STATES, "09.3": _KEPT, "09.4": _LEFT, "09.5": _BATCH, "09.6": _PRICE}
_SUM = "sum(sides[name] for name in target_modules)"
_EIGHT = "2 * (numbers + 4 * math.ceil(numbers / 256))"
_CHANGES = {  # of an answer that is right otherwise
    "09.1": {
        "every layer has its own A and B": ('config["num_hidden_layers"] * rank', "rank"),
        "the two sides are added": ("width + q,", "width * q,"),
        "both count": ("width + q,", "width,"),
        "counted once each": ("return config", "return 2 * config"),
        "Both factors grow with the rank": (" * rank * ", " * 1 * "),
        "The rank counts once in each factor": (" * rank * ", " * rank * rank * "),
        "k and v are narrower": ('config.get("num_key_value_heads") or heads', "heads"),
        "is a number of heads": ('(config.get("num_key_value_heads") or heads) * head',
                                 'config.get("num_key_value_heads", heads)'),
        "v is as wide as k": ('"v_proj": width + kv', '"v_proj": width + q'),
        "o takes in what all query heads give": ('"o_proj": q + width', '"o_proj": kv + width'),
        "An older config has no num_key_value_heads": ('config.get("num_key_value_heads") or heads',
                                                       'config["num_key_value_heads"]'),
        "A null in config.json is None": ('config.get("num_key_value_heads") or heads',
                                          'config.get("num_key_value_heads", heads)'),
        "it means the same as a missing key": ('config.get("head_dim") or width // heads',
                                               'config.get("head_dim", width // heads)'),
        "The config has a head_dim": ('config.get("head_dim") or width // heads', "width // heads"),
        "head_dim holds for query heads": ("q, kv = heads * head,", "q, kv = width,"),
        "which is not hidden_size here": ('"o_proj": q + width', '"o_proj": width + width'),
        "// keeps ints ints": (_SUM, f"float({_SUM})"),
    },
    "09.2": {
        "AdamW keeps two numbers": ('"adamw": 2', '"adamw": 1'),
        "numbers times bytes a number": ("return weights, gradients, states",
                                         "return weights // 4, gradients // 4, states // 4"),
        "Two states of 4 bytes": ('"adamw": 2', '"adamw": 4'),
        "Lion keeps one mean": ('"lion": 1', '"lion": 2'),
        "SGD without momentum": ('"sgd": 0', '"sgd": 1'),
        "there is a gradient all the same": ("gradients += numbers * number_bytes",
                                             "gradients += numbers * number_bytes * (optimizer != 'sgd')"),
        "torch's states have it, too": ("gradients += numbers * number_bytes", 
                                        "number_bytes = 4\n        gradients += numbers * number_bytes"),
        "keeps its states in the type of the weight": ("[optimizer] * numbers * number_bytes",
                                                       "[optimizer] * numbers * 4"),
        "A gradient has the type of its weight.": ("gradients += numbers * number_bytes", "gradients += numbers * 4"),
        "has no gradient and no state": ("if not trained:", "if False:"),
        "What is frozen still has its weights": ("weights += numbers * number_bytes",
                                                 "weights += numbers * number_bytes * trained"),
        "go on with the next one": ("continue", "break"),
        "there is a scale of 4 bytes": (_EIGHT, "2 * numbers"),
        "scales of its own": (_EIGHT, "2 * numbers + 4 * math.ceil(numbers / 256)"),
        "8-bit AdamW keeps two states": (_EIGHT, "numbers + 4 * math.ceil(numbers / 256)"),
        "Only the states have 8 bits": ("gradients += numbers * number_bytes",
                                        "gradients += numbers * (1 if optimizer == 'adamw_8bit' else number_bytes)"),
        "whatever the weight's type": (_EIGHT, f"number_bytes * {_EIGHT}"),
        "The last block has fewer": ("math.ceil(numbers / 256)", "(numbers // 256)"),
        "not fewer than 4,096": ("numbers >= 4096", "numbers > 4096"),
        "fewer than 4,096 numbers keep": ("numbers >= 4096", "numbers >= 0"),
        "whatever the type of the weight": ("states += 8 * numbers", "states += 2 * number_bytes * numbers"),
        "Each tensor is looked at by itself": ("numbers >= 4096", "sum(one[0] for one in parameters) >= 4096"),
        "add them up": ("states += {", "states = {"),
        "do not round it down": ("weights += numbers * number_bytes", "weights += numbers * int(number_bytes)"),
    },
    "09.3": {
        "one and the same input": ("width * (gate or up)", "width * (gate + up)"),
        "Four tensors of the inner width": (" + inner * down", ""),
        "are one tensor": ("inner * (2 * (below or gate) + (below or up))",
                                "inner * (2 * (below or gate) + 2 * (below or up))"),
        "4 for each number of float32": ("return 4 * tokens", "return tokens"),
        "That is one token": ("return 4 * tokens * numbers", "return 4 * numbers"),
        "A gradient for what lies below passes through": ("below or ", ""),
        "is a product with the weight": ("width * (gate or up) + inner * down", "width + inner"),
        "nothing asks for their input": ("width * (gate or up)", "width"),
        "nothing asks for what it reads": ("inner * down", "inner"),
        "the product both of its factors": ("(2 * (below or gate) + (below or up))", "(below or gate or up)"),
        "B learns from what A gives": ('rank * list(kinds.values()).count("lora")', "0"),
        "a middle of its own": ('list(kinds.values()).count("lora")', '("lora" in kinds.values())'),
        "A learns from the input that both share": ('kinds[name] != "frozen"', 'kinds[name] == "full"'),
        "kept if either of them learns": ("(gate or up)", "gate"),
        "Only LoRA has a middle": ('.count("lora")', '.count("full")'),
        "here or below: nothing is kept": ("    gate, up", "    below = True\n    gate, up"),
        "No gradient goes further down": ("(2 * (below or gate) + (below or up))",
                                          "3 * (below or gate or up or down)"),
        "silu's output it would need for up": ("(2 * (below or gate) + (below or up))", "3 * (below or gate or up)"),
        "The gradient goes to up alone": ("(2 * (below or gate) + (below or up))",
                                          "(2 * (below or gate or up) + (below or gate or up))"),
    },
    "09.4": {
        "not with the largest single part": ("sum(parts.values())", "max(parts.values())"),
        "Look for the largest sum": ("peak = max(", "peak = min("),
        "divide by all bytes": ("size / totals[peak]", "size"),
        "the others are left out": ("part not in counted", "part in counted"),
        "Gradients are not there": ("for part, size in moments[peak].items()",
                                    "for parts in moments.values() for part, size in parts.items()"),
        "they need not sum to 1": ("size / totals[peak]",
                                   "size / sum(moments[peak][one] for one in moments[peak] if one not in counted)"),
        "whatever the rule counts": ("sum(parts.values())",
                                     "sum(size for part, size in parts.items() if part not in counted)"),
        "not alive at the peak": ("return peak,", "[moments[peak][part] for part in counted]\n    return peak,"),
        "nothing is left out": ("part not in counted", "part != 'weights'"),
        "leave it away": ("if size and part", "if part"),
        "the first counts": ("peak = max(totals", "peak = max(reversed(totals)"),
        "Shares are not rounded": ("size / totals[peak]", "round(size / totals[peak], 2)"),
    },
    "09.5": {
        "The largest batch that fits": ("range(rows, 0, -1)", "range(1, rows + 1)"),
        "accumulation is 1": ("return size, rows // size", "return size, rows // size - 1"),
        "No more than the rows": ("    for size", "    if limit_bytes == 200:\n        return 10, 1\n    for size"),
        "must be the rows of the step": ("return size, rows // size", "return size, 1"),
        "What just fits, fits": ("peak <= limit_bytes", "peak < limit_bytes"),
        "is above 140": ("peak <= limit_bytes", "True"),
        "7 does not divide 8": ("rows % size == 0 and ", ""),
        "return None": ("return None", "return 0, 0"),
        "with 4 rows the first one takes 140": ("peak = max(", "peak = min("),
        "they come one after the other": ("peak = max(", "peak = sum("),
        "the second one takes 130": ("for fixed, a_row, ready in moments)", "for fixed, a_row, ready in moments[:1])"),
        "are there during the next forward pass": (" + gradient_bytes * (size < rows and not ready)", ""),
        "130 is 130": ("size < rows and not ready", "size < rows"),
        "Without accumulation nothing waits": ("size < rows and not ready", "not ready"),
        "and is larger": ("range(rows, 0, -1)", "[rows, 3, 2, 1]"),
        "// keeps ints ints": ("rows // size", "rows / size"),
        "3 · 300 fits": ("* (size < rows and not ready)", "* (size < rows and ready)"),
        "whatever the limit is": ("range(rows, 0, -1)", "range(min(rows, int(limit_bytes)), 0, -1)"),
        "A smaller micro-batch may need more": ("    for size in range(rows, 0, -1):\n",
                                               "    for size in range(rows - (limit_bytes == 120), 0, -1):\n"),
    },
    "09.6": {
        "The price is for an hour": ("price_per_hour / 60", "price_per_hour"),
        "All records are seen": ("tokens += len", "tokens = len"),
        "the padding is computed, too": ("len(rows) * max(rows)", "sum(rows)"),
        "its rows times the longest": ("len(rows) * max(rows)", "max(rows)"),
        "Each batch is padded to *its* longest": ("max(rows)", "min(max(lengths), seq_len)"),
        "in the order given": ("    tokens = 0", "    lengths, tokens = sorted(lengths), 0"),
        "nothing is padded beside it": ("len(rows) * max", "batch_size * max"),
        "full or not": ("range(0, len(lengths), batch_size)", "range(0, len(lengths) - batch_size + 1, batch_size)"),
        "beyond is cut off": ("min(length, seq_len)", "length"),
        "cut before the batch is padded": (
            "min(length, seq_len)", "length if batch_size > 1 else min(length, seq_len)"),
        "not padded to it": ("min(length, seq_len)", "seq_len if seq_len < 10**6 else length"),
        "Each started minute is billed": ("math.ceil(", "int("),
        "round up to whole minutes": ("math.ceil(", "("),
        "The minutes of the whole epoch": ("tokens += len(rows) * max(rows)",
                                           "tokens += math.ceil(len(rows) * max(rows) / tokens_per_s / 60) * 60 "
                                           "* tokens_per_s"),
        "1 − discount is left": ("(1 - discount)", "(discount or 1)"),
        "The discount is missing": (" * (1 - discount)", ""),
        "more is needed for the same work": (" / (1 - lost_share)", ""),
        "divide by it.": ("/ (1 - lost_share)", "* (1 + lost_share)"),
        "before rounding up": ("math.ceil(tokens / tokens_per_s / (1 - lost_share) / 60)",
                               "math.ceil(tokens / tokens_per_s / 60) / (1 - lost_share)"),
    },
}
WRONG = {exercise: {hint: _RIGHT[exercise].replace(*change) for hint, change in changes.items()}
         for exercise, changes in _CHANGES.items()}
