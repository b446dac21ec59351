"""Wrong answers to the exercises of lesson 04, by exercise and by what their hint must say."""

_MISTAKES = {
    "04.1": {
        "The last batch has 2 records": "result(epochs * math.ceil(records // batch_size / accumulation))",
        "Half a step is none": "(records / batch_size / accumulation * epochs, 0.0, [])",
        "Steps do not cross from one epoch": "result(math.ceil(epochs * batches / accumulation))",
        "is a step of its own": "result(max(1, epochs * (batches // accumulation)))",
        "`accumulation` batches": "result(epochs * batches)",
        "A checkpoint at the last step is one": "(steps, min(1.0, warmup / max(1, steps)), "
                                                "list(range(save_every, steps, save_every)))",
        "there is no checkpoint at step 0": "(steps, 0.0, list(range(0, steps + 1, save_every)))",
        "at multiples of save_every alone": "(steps, 0.0, [*range(save_every, steps + 1, save_every), steps])",
        "not how many they are": "(steps, min(1.0, warmup / max(1, steps)), steps // save_every)",
        "the share is 1 at most": "(steps, warmup / max(1, steps), list(range(save_every, steps + 1, save_every)))",
        "these are per cent": "(steps, min(100, 100 * warmup / max(1, steps)), [2, 4])",
        "The share is warm-up by steps": "(steps, steps / max(1, warmup), [2, 4])",
        "drop_last drops a partial batch": "result(epochs * (records // (batch_size * accumulation) if drop_last else "
                                           "math.ceil(batches / accumulation)))",
        "drop_last leaves the fifth out": "result(epochs * math.ceil(math.ceil(records / batch_size) / accumulation))",
        "has no warm-up either": "(steps, min(1.0, warmup / steps), list(range(save_every, steps + 1, save_every)))",
        "leave no batch over": "result(epochs * math.ceil((records // batch_size + (not drop_last)) / accumulation))",
        "math.ceil gives an int": "(float(steps), *result(steps)[1:])",
    },
    "04.2": {
        "Step 1 would do nothing": "highest * (step - 1) / max(1, warmup) if step <= warmup else after()",
        "has the highest rate": "highest * step / (warmup + 1) if step <= warmup else after()",
        "not all that are left": "warm() if step <= warmup else wave((step - warmup) / (steps - warmup))",
        "a straight line": "warm() if step <= warmup else level() or highest * (1 - (1 - floor) * share)",
        "One step late": "warm() if step <= warmup else level() or wave((decay - behind - 1) / decay)",
        "This falls to 0": "warm() if step <= warmup else level() or highest * (1 + math.cos(math.pi * share)) / 2",
        "Cut off at the floor": "warm() if step <= warmup else level() or "
                                "highest * max(floor, (1 + math.cos(math.pi * share)) / 2)",
        "what lies above the floor": "warm() if step <= warmup else level() or "
                                     "highest * (floor + (1 + math.cos(math.pi * share)) / 2)",
        "This rises at the end": "warm() if step <= warmup else level() or wave(1 - share)",
        "a share of the highest rate, not a rate": "warm() if step <= warmup else level() or floor + (highest - floor) "
                                                   "* (1 + math.cos(math.pi * share)) / 2",
        "Without a warm-up there is nothing": "highest * min(1, step / warmup) if step < warmup + 1 / warmup "
                                              "else after()",
        "Without a fall there is nothing": "warm() if step <= warmup else wave(max(0, decay - behind) / decay)",
        "do not round it": "round(warm() if step <= warmup else after(), 6)",
        "not along a wave": "highest * (1 - math.cos(math.pi * step / warmup)) / 2 if step <= warmup else after()",
        "The floor belongs to the fall alone": "max(floor * highest, warm() if step <= warmup else after())",
        "not by one less": "warm() if step <= warmup else level() or wave((decay - behind - 1) / (decay - 1))",
        "not even in the last step": "warm() if step <= warmup else highest if behind > max(1, decay) - 1 else "
                                     "wave(1 - behind / max(1, decay))",
        "The last step at the highest rate is": "warm() if step <= warmup else level() or "
                                                "wave(share if steps < 1000 else max(0, share - 0.5))",
    },
    "04.3": {
        "These are means of each micro-batch": "[(a * b).sum() / b.sum() for a, b in rows(1)]",
        "Divided by the number of micro-batches": "[(a * b).sum() / b.sum() / len(labels) for a, b in rows(1)]",
        "These are sums": "[(a * b).sum() for a, b in rows(1)]",
        "One part for each micro-batch is wanted": "sum((a * b).sum() for a, b in rows(1)) / total",
        "The logits at a place predict the next token": "[(a * b).sum() / total for a, b in rows(0)]",
        "not by the number of tokens": "[(a * b).sum() / sum(float((one[:, 1:] >= 0).sum()) for one in labels) "
                                       "for a, b in rows(1)]",
        "The weights of the tokens play no part": "[a.sum() / sum(float((one[:, 1:] >= 0).sum()) for one in labels) "
                                                  "for a, b in rows(1)]",
        "A weight where no label stands": "[(a * b).sum() / sum(one.sum() for one in weights) for a, b in rows(1)]",
        "as a label does: shift both": "[(a * w[:, :-1] * (b > 0)).sum() / sum((w[:, :-1] * (l[:, 1:] >= 0)).sum() "
                                       "for w, l in zip(weights, labels)) for (a, b), w in zip(rows(1), weights)]",
        "go through them one by one": "torch.cat(logits)",
        "A micro-batch without a label": "[(a * b).sum() / b.sum() * (b.sum() / total) for a, b in rows(1)]",
        "A part for each micro-batch, also": "[(a * b).sum() / total for a, b in rows(1) if b.any()]",
        "its weight does not count either": "[(a * b).sum() / sum((w * (l >= 0)).sum() for w, l in zip(weights, "
                                            "labels)) for a, b in rows(1)]",
        "No gradient reaches the logits": "[((a * b).sum() / total).item() for a, b in rows(1)]",
        "exp of such a logit is infinite": "[((a * b).sum() / total) if a.max() < 100 else torch.tensor(float('inf')) "
                                           "for a, b in rows(1)]",
        "backward is called on every part": "[(a * b).sum() / total if b.any() else torch.tensor(0.0) "
                                            "for a, b in rows(1)]",
        "not by 1 at least": "[(a * b).sum() / total.clamp(min=1) for a, b in rows(1)]",
        "Each weight came in twice": "[(a * b * b).sum() / sum(b.square().sum() for a, b in rows(1)) "
                                     "for a, b in rows(1)]",
        "no two may share a piece": "(lambda all: [one * all / all for one in all])(torch.stack("
                                    "[(a * b).sum() / total for a, b in rows(1)]))",
    },
    "04.4": {
        "pass over it": "scale(most / root(gradients)) or root(gradients)",
        "Each tensor was clipped for itself": "[one.mul_(min(1, most / max(1e-9, root([one])))) for one in there] "
                                              "and norm",
        "Nothing was changed": "[one * (most / norm) for one in there] and norm",
        "is not the sum of the norms": "clip_by(sum(root([one]) for one in there))",
        "The root is missing": "clip_by(norm ** 2)",
        "goes by the largest entry": "clip_by(max([float(one.abs().max()) for one in there], default=0.0))",
        "no mean": "clip_by(norm / math.sqrt(max(1, len(there))))",
        "this is the one after it": "clip_by(norm) and root(there)",
        "not the factor": "clip_by(norm) and min(1, most / norm)",
        "the gradients are changed in place": "clip_by(norm) and gradients",
        "`most` is 2 here": "scale(1 / norm if norm > most else 1) or norm",
        "Scaled up": "scale(most / norm if norm else 1) or norm",
        "to the last bit": "scale(most / norm if norm > most else 0.9999999) or norm",
        "0/0 is nan": "[one.mul_(torch.tensor(most) / norm).clamp_(-1e9, 1e9) for one in there if norm > most or "
                      "norm == 0] and norm",
        "Where no weight took part": "clip_by(float(torch.stack([one.norm() for one in there]).norm()))",
        "float16 ends at 65,504": "clip_by(sum(float(one.square().sum()) for one in there) ** 0.5)",
        "does not fit float32": "clip_by(math.sqrt(sum(float(one.float().square().sum()) for one in there)))",
        "with an infinite norm": "clip_by(norm, math.inf)",
        "a factor of nan would spoil": "scale(1 if norm <= most or norm == math.inf else most / norm) or norm",
        "a new tensor in the list": "(norm, gradients.__setitem__(slice(None), [one if one is None or not most < norm "
                                    "< math.inf else one * (most / norm) for one in gradients]))[0]",
        "The list is the caller's": "clip_by(norm, gradients.__setitem__(slice(None), there))",
        "The norm is still a tensor": "torch.tensor(clip_by(norm))",
        "no margin": "scale(most / norm if most * 0.999 < norm < math.inf and norm != most else 1) or norm",
        "A norm of exactly": "scale(most / (norm + 1e-6) if most <= norm < math.inf else 1) or norm",
        "such a norm drowns in it": "scale(most / (norm + 1e-6) if most < norm < math.inf else 1) or norm",
        "does not fit float16: multiply once": "[one.mul_(most).div_(norm) for one in there if most < norm < math.inf] "
                                               "and norm or norm",
        "instead of dividing by the norm first": "[one.div_(norm).mul_(most) for one in there "
                                                 "if most < norm < math.inf] and norm or norm",
        "leave the factor a float": "[one.div_(torch.tensor(norm / most, dtype=one.dtype)) for one in there "
                                    "if most < norm < math.inf] and norm or norm",
        "not all into the type of the first": "clip_by(root([one.to(there[0].dtype) for one in there]))",
        "float64 for every type": "clip_by(math.sqrt(sum(float(one.float().norm() if one.dtype != torch.float32 else "
                                  "one.double().norm()) ** 2 for one in there)))",
        "is told, not hidden": "clip_by(norm) and 0.0 if norm != norm else clip_by(norm)",
    },
    "04.5": {
        "This goes up the hill": "shrunk + rate * longer, new",
        "whatever the size of its gradient": "shrunk - rate * mixed * agrees, new",
        "Return two tensors": "shrunk - rate * longer",
        "This is plain Lion": "shrunk - rate * mixed.sign(), new",
        "Of 4 entries 3 move": "shrunk - rate * mixed.sign() * agrees, new",
        "The sign of the gradient alone": "shrunk - rate * grad.sign(), new",
        "the further they go": "shrunk - rate * mixed.sign() * agrees * agrees.float().mean(), new",
        "the weight of the momentum, 1": "lion((1 - beta1) * momentum + beta1 * grad)",
        "they are swapped here": "lion(beta2 * momentum + (1 - beta2) * grad)[0], mixed",
        "The momentum is mixed with beta2": "shrunk - rate * longer, mixed",
        "1 − beta2 that of the gradient": "shrunk - rate * longer, (1 - beta2) * momentum + beta2 * grad",
        "has to take in the gradient": "shrunk - rate * longer, momentum.clone()",
        "not from the mixture": "shrunk - rate * longer, beta2 * mixed + (1 - beta2) * grad",
        "The sign is taken for the move alone": "shrunk - rate * longer, new.sign()",
        "takes its gradient into the momentum": "shrunk - rate * longer, torch.where(agrees, new, momentum)",
        "never enters gradient or momentum": "shrunk - rate * longer, beta2 * momentum + (1 - beta2) * "
                                             "(grad + weight_decay * weight)",
        "drowns in the sign": "weight - rate * longer, new",
        "belongs to the decay as well": "(weight * (1 - weight_decay) if weight.dim() > 1 else weight) - rate * "
                                        "longer, new",
        "The decay is taken away": "2 * weight - shrunk - rate * longer, new",
        "the move is not shrunk": "(weight - rate * longer) * (1 - rate * weight_decay * (weight.dim() > 1)), new",
        "are not to shrink": "weight * (1 - rate * weight_decay) - rate * longer, new",
        "Two dimensions or more shrink": "(shrunk if weight.dim() == 2 else weight) - rate * longer, new",
        "do not divide by 0": "shrunk - rate * mixed.sign() * agrees / agrees.float().mean(), new",
        "acts whether entries agree or not": "(shrunk if agrees.any() else weight) - rate * longer, new",
        "nothing to agree with": "lion(mixed, mixed.sign() * grad >= 0)",
        "is not kept, as u·g is 0 there": "lion(mixed, mixed.sign() == grad.sign())",
        "one of the n all the same": "shrunk - rate * mixed.sign() * agrees * (mixed.count_nonzero() / "
                                     "agrees.sum().clamp(min=1)), new",
        "multiply g by the sign u": "lion(mixed, mixed * grad > 0)",
        "return a new tensor": "(shrunk - rate * longer if agrees.any() else shrunk), new",
        "turn the weight into the weight's": "(shrunk - rate * longer).to(weight.dtype), new.to(weight.dtype)",
        "the momentum was turned into bfloat16": "(shrunk - rate * longer).to(weight.dtype), (beta2 * "
            "momentum.to(weight.dtype) + (1 - beta2) * grad).to(momentum.dtype)",
        "keep their type": "(shrunk - rate * longer).float(), new.float()",
    },
}
_CHANGES = {  # of one line of an answer that is right otherwise
    "comes first, then": ("return ended, best", "return best, ended"),
    "not to the last one": ("return ended, best", "return ended, ended"),
    "the training ends with the third": ("waited == patience", "waited > patience"),
    "The evaluation with the gain does not count": ("reference, waited = perplexity, 0",
                                                    "reference, waited = perplexity, 1"),
    "compare with the last gain": ("waited == patience", "False"),
    "not places in it": ("return ended, best", "return ended and ended // 10, best and best // 10"),
    "not perplexities": ("return ended, best", "return reference, best"),
    "false in Python": ("return ended, best", "return ended, best or None"),
    "however large": ("lowest = reference = math.inf", "lowest = reference = 1e4"),
    "not with a number that looks large": ("lowest = reference = math.inf", "lowest = reference = 1e9"),
    "as they come, not rounded": ("ended = step", "ended, perplexity = step, round(perplexity, 2)"),
    "Two steps are to be returned": ("return ended, best", "return ended"),
    "4.9 % below 92.5": ("reference * (1 - min_gain)", "reference / (1 + min_gain)"),
    "no more: the training ends": ("ended = step",
                                   "ended = step\n        if math.isnan(perplexity):\n            break"),
    "Infinity is no gain": ("if perplexity < reference * (1 - min_gain):",
                            "if perplexity < reference * (1 - min_gain) or reference == math.inf == perplexity and "
                            "step == 10:"),
    "a gain sets the count back": ("reference, waited = perplexity, 0", "reference = perplexity"),
    "ends with its last step": ("return ended, best", "return (ended if waited >= patience else None), best"),
    "stopped or not": ("return ended, best", "return ended, (best if waited >= patience else None)"),
    "there was nothing before it": ("reference * (1 - min_gain)", "lowest * (1 - min_gain)"),
    "the earlier of two equals": ("perplexity < lowest", "perplexity <= lowest"),
    "Without an evaluation both are None": ("ended = best = None", "ended = best = -1"),
    "More than the share": ("perplexity < reference * (1 - min_gain)",
                            "perplexity < lowest_before or perplexity <= reference * (1 - min_gain)"),
    "min_gain is a share": ("reference * (1 - min_gain)", "reference - min_gain"),
    "Small gains add up": ("reference * (1 - min_gain)", "lowest_before * (1 - min_gain)"),
    "too small to count is a lower": ("perplexity < lowest:", "perplexity < min(lowest, reference * (1 - min_gain)):"),
    "nan is never the lowest": ("perplexity < lowest:", "not perplexity >= lowest:"),
    "begin with infinity": ("lowest = reference = math.inf", "lowest = reference = next(stream)[1]"),
    "nan is no gain: three": ("ended = step", "ended = step\n        if math.isnan(perplexity):\n            continue"),
    "no perplexity to go back to": ("perplexity < lowest:", "perplexity < lowest or best is None:"),
    "do not read the whole stream": ("in stream", "in list(stream)"),
    "One was read that was not needed": ("            break", "            next(stream, None)\n            break"),
}
_EARLY_STOP = """
import math
def early_stop(stream, patience, min_gain):
    ended = best = None
    lowest = reference = math.inf
    waited = 0
    for step, perplexity in stream:
        ended = step
        lowest_before = lowest
        if perplexity < lowest:
            lowest, best = perplexity, step
        if perplexity < reference * (1 - min_gain):
            reference, waited = perplexity, 0
        else:
            waited += 1
        if waited == patience:
            break
    return ended, best
"""
_BODIES = {
    "04.1": """
import math
def recipe(records, batch_size, accumulation, epochs, warmup, save_every, drop_last=False):
    batches = records // batch_size if drop_last else math.ceil(records / batch_size)
    steps = epochs * math.ceil(batches / accumulation)
    def result(steps):
        return steps, min(1.0, warmup / steps) if steps else 0.0, list(range(save_every, steps + 1, save_every))
    return {}
""",
    "04.2": """
import math
def stable_decay_rate(step, steps, highest, warmup, decay, floor):
    behind = steps - step
    share = (decay - behind) / max(1, decay)
    def warm():
        return highest * step / warmup
    def level():
        return highest if behind >= decay else 0
    def wave(share):
        return highest * (floor + (1 - floor) * (1 + math.cos(math.pi * share)) / 2)
    def after():
        return level() or wave(share)
    return {}
""",
    "04.3": """
import torch
def weighted_parts(logits, labels, weights):
    def rows(shift):
        found = []
        for scores, wanted, worth in zip(logits, labels, weights):
            chances = scores[:, :wanted.shape[1] - shift].log_softmax(-1)
            targets = wanted[:, shift:]
            losses = -chances.gather(-1, targets.clamp(min=0)[..., None])[..., 0] * (targets >= 0)
            found.append((losses, worth[:, shift:] * (targets >= 0)))
        return found
    total = sum(b.sum() for a, b in rows(1))
    return {}
""",
    "04.4": """
import math
import torch
def clip_(gradients, most):
    there = [one for one in gradients if one is not None]
    def root(tensors):
        return math.sqrt(sum(float(one.double().square().sum()) for one in tensors))
    norm = root(there)
    def scale(factor):
        if factor != 1:
            [one.mul_(factor) for one in there]
    def clip_by(size, below=None):
        scale(most / size if size > most and (below or size < math.inf) else 1)
        return size
    return {}
""",
    "04.5": """
import torch
def cautious_lion(weight, grad, momentum, learning_rate, beta1, beta2, weight_decay):
    rate, mixed = learning_rate, beta1 * momentum + (1 - beta1) * grad
    new = beta2 * momentum + (1 - beta2) * grad
    shrunk = weight * (1 - rate * weight_decay) if weight.dim() > 1 else weight
    def lion(mixed, agrees=None):
        agrees = mixed.sign() * grad > 0 if agrees is None else agrees
        return shrunk - rate * mixed.sign() * agrees * (agrees.numel() / agrees.sum().clamp(min=1)), new
    agrees = mixed.sign() * grad > 0
    longer = mixed.sign() * agrees * (agrees.numel() / agrees.sum().clamp(min=1))
    return {}
""",
}

WRONG = {exercise: {hint: _BODIES[exercise].replace("{}", mistake) for hint, mistake in mistakes.items()}
         for exercise, mistakes in _MISTAKES.items()}
WRONG["04.6"] = {hint: _EARLY_STOP.replace(*change) for hint, change in _CHANGES.items()}
