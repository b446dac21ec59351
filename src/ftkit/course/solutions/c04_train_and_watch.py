"""The official answers to the exercises of lesson 04, each as it stands in the notebook in place of its stub."""

import math

import torch.nn.functional as F

from ftkit.chat import IGNORED


def recipe(records, batch_size, accumulation, epochs, warmup, save_every, drop_last=False):
    batches = records // batch_size if drop_last else math.ceil(records / batch_size)
    steps = epochs * math.ceil(batches / accumulation)
    share = min(1.0, warmup / steps) if steps else 0.0
    return steps, share, list(range(save_every, steps + 1, save_every))


def stable_decay_rate(step, steps, highest, warmup, decay, floor):
    if step <= warmup:
        return highest * step / warmup
    behind = steps - step  # steps that are still to come
    if behind >= decay:
        return highest
    share = (decay - behind) / decay  # of the way down, 1 at the last step
    return highest * (floor + (1 - floor) * (1 + math.cos(math.pi * share)) / 2)


def weighted_parts(logits, labels, weights):
    sums, total = [], 0.0
    for scores, wanted, worth in zip(logits, labels, weights, strict=True):
        targets = wanted[:, 1:].flatten()  # (rows · (width - 1))
        losses = F.cross_entropy(scores[:, :-1].flatten(0, 1), targets, ignore_index=IGNORED, reduction="none")
        counted = worth[:, 1:].flatten() * (targets != IGNORED)
        sums.append((losses * counted).sum())
        total += counted.sum()
    return [one / total for one in sums]


def clip_(gradients, most):
    present = [one for one in gradients if one is not None]
    norm = math.sqrt(sum(float(one.double().square().sum()) for one in present))
    if most < norm < math.inf:
        for one in present:
            one.mul_(most / norm)
    return norm


def cautious_lion(weight, grad, momentum, learning_rate, beta1, beta2, weight_decay):
    move = (beta1 * momentum + (1 - beta1) * grad).sign()
    agrees = move * grad > 0
    move = move * agrees * (agrees.numel() / agrees.sum().clamp(min=1))
    shrunk = weight * (1 - learning_rate * weight_decay) if weight.dim() > 1 else weight
    kept = beta2 * momentum + (1 - beta2) * grad
    return (shrunk - learning_rate * move).to(weight.dtype), kept.to(momentum.dtype)


def early_stop(stream, patience, min_gain):
    ended = best = None
    lowest = reference = math.inf
    waited = 0
    for step, perplexity in stream:
        ended = step
        if perplexity < lowest:  # never true of nan
            lowest, best = perplexity, step
        if perplexity < reference * (1 - min_gain):
            reference, waited = perplexity, 0
        else:
            waited += 1
        if waited == patience:
            break
    return ended, best


EQUIVALENT = {
    "04.1": {
        "batches = records // batch_size if drop_last else math.ceil(records / batch_size) -> "
        "batches = records // batch_size if drop_last else records / batch_size":
            "rounding up twice is rounding up once",
    },
    "04.2": {
        "if step <= warmup: -> if step < warmup:": "at the end of the warm-up the rate is the highest either way",
        "share = (decay - behind) / decay -> share = -((decay - behind) / decay)": "the cosine is even",
        "share = (decay - behind) / decay -> share = (behind - decay) / decay": "the cosine is even",
        "share = (decay - behind) / decay -> share = (decay + behind) / decay":
            "1 + x and 1 - x of half a turn have the same cosine",
    },
    "04.3": {
        "losses = F.cross_entropy(scores[:, :-1].flatten(0, 1), targets, ignore_index=IGNORED, reduction='none') -> "
        "losses = F.cross_entropy(scores[:, :-1].flatten(0, 1), targets, reduction='none')":
            "-100 is what cross_entropy leaves out by itself",
        "counted = worth[:, 1:].flatten() * (targets != IGNORED) -> "
        "counted = -(worth[:, 1:].flatten() * (targets != IGNORED))": "the sign cancels where sums are divided",
    },
    "04.4": {
        "if most < norm < math.inf: -> if most <= norm < math.inf:": "at the limit the factor is exactly 1",
    },
    "04.5": {
        "shrunk = weight * (1 - learning_rate * weight_decay) if weight.dim() > 1 else weight -> "
        "shrunk = weight * (1 - learning_rate * weight_decay) if grad.dim() > 1 else weight":
            "a gradient has the shape of its weight",
        "return ((shrunk - learning_rate * move).to(weight.dtype), kept.to(momentum.dtype)) -> "
        "return ((shrunk - learning_rate * move).to(weight), kept.to(momentum.dtype))":
            "the type of a tensor is taken from the tensor, too",
        "return ((shrunk - learning_rate * move).to(weight.dtype), kept.to(momentum.dtype)) -> "
        "return ((shrunk - learning_rate * move).to(weight.dtype), kept.to(momentum))":
            "the type of a tensor is taken from the tensor, too",
    },
}
