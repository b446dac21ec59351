"""The official answers to the exercises of lesson 09, each as it stands in the notebook in place of its stub."""

import math


def lora_numbers(config, rank, target_modules):
    width, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or width // heads
    queries = heads * head
    keys = (config.get("num_key_value_heads") or heads) * head
    sides = {
        "q_proj": width + queries, "k_proj": width + keys, "v_proj": width + keys, "o_proj": queries + width,
        "gate_proj": width + inner, "up_proj": width + inner, "down_proj": inner + width,
    }
    return config["num_hidden_layers"] * rank * sum(sides[name] for name in target_modules)


def state_bytes(parameters, optimizer):
    weights = gradients = states = 0
    for numbers, number_bytes, trained in parameters:
        weights += numbers * number_bytes
        if not trained:
            continue
        gradients += numbers * number_bytes
        if optimizer != "adamw_8bit":
            states += {"sgd": 0, "lion": 1, "adamw": 2}[optimizer] * numbers * number_bytes
        elif numbers < 4096:
            states += 2 * 4 * numbers
        else:
            states += 2 * (numbers + 4 * math.ceil(numbers / 256))
    return weights, gradients, states


def mlp_kept_bytes(tokens, width, inner, kinds, rank, below):
    learns = {name: kind != "frozen" for name, kind in kinds.items()}
    gate, up = below or learns["gate"], below or learns["up"]  # whether a gradient goes through what they give
    numbers = width * (learns["gate"] or learns["up"])
    numbers += inner * (gate + gate + up + learns["down"])  # silu's input; both factors; what down learns from
    numbers += rank * sum(kind == "lora" for kind in kinds.values())
    return 4 * tokens * numbers


def left_out(moments, counted):
    peak = max(moments, key=lambda moment: sum(moments[moment].values()))
    total = sum(moments[peak].values())
    return peak, {part: size / total for part, size in moments[peak].items() if size and part not in counted}


def micro_batches(rows, limit_bytes, moments, gradient_bytes):
    for batch_size in range(rows, 0, -1):
        waiting = gradient_bytes if batch_size < rows else 0  # of the micro-batches before
        peak = max(fixed + batch_size * a_row + (0 if has_gradients else waiting)
                   for fixed, a_row, has_gradients in moments)
        if rows % batch_size == 0 and peak <= limit_bytes:
            return batch_size, rows // batch_size
    return None


def epoch_price(lengths, batch_size, seq_len, tokens_per_s, price_per_hour, discount, lost_share):
    tokens = 0
    for start in range(0, len(lengths), batch_size):
        rows = [min(length, seq_len) for length in lengths[start:start + batch_size]]
        tokens += len(rows) * max(rows)
    elapsed_s = tokens / tokens_per_s / (1 - lost_share)
    return math.ceil(elapsed_s / 60) * price_per_hour / 60 * (1 - discount)


EQUIVALENT = {"09.5": {"return None -> pass": "a function without a return gives None"}}
