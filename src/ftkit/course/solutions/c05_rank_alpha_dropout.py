"""The official answers to the exercises of lesson 05, each as it stands in the notebook in place of its stub."""

import math
from statistics import fmean, stdev


def star(centre, arms, seeds, tied):
    settings = [dict(centre)]
    for name, values in arms.items():
        if name not in centre:
            raise KeyError(name)
        for value in values:
            setting = centre | {name: value}
            for follower, (leader, factor) in tied.items():
                if leader == name:
                    setting[follower] = factor * value
            if setting not in settings:
                settings.append(setting)
    return [setting | {"seed": seed} for setting in settings for seed in seeds]


def rank_of_budget(shapes, budget):
    def trained(rank):
        return sum(min(rank, fan_in, fan_out) * (fan_in + fan_out) for fan_in, fan_out in shapes)

    rank, most = 0, max(min(shape) for shape in shapes)
    while rank < most and trained(rank + 1) <= budget:
        rank += 1
    return rank, trained(rank)


def addition_norm(lora_A, lora_B, alpha, use_rslora=False):
    rank = lora_A.shape[0]
    scaling = alpha / (math.sqrt(rank) if use_rslora else rank)
    lora_A, lora_B = lora_A.double(), lora_B.double()
    squared = ((lora_B.T @ lora_B) * (lora_A @ lora_A.T)).sum()  # (rank, rank): the trace of (BA)'BA
    return scaling * math.sqrt(max(0.0, squared.item()))


def seeds_needed(differences, quantile, most):
    middle, spread = fmean(differences), stdev(differences)
    for seeds in range(2, most + 1):
        if quantile(seeds - 1) * spread / math.sqrt(seeds) < abs(middle):
            return seeds
    return None


def honest_best(scores):
    kept = {name: found for name, found in scores.items() if not any(map(math.isnan, found))}
    seeds = range(len(next(iter(kept.values()))))

    def best(some):
        return min(kept, key=lambda name: fmean(kept[name][seed] for seed in some))

    unseen = [kept[best([other for other in seeds if other != left])][left] for left in seeds]
    return best(seeds), fmean(kept[best(seeds)]), fmean(unseen)


def halving(curves, rungs, factor):
    running, spent, before = list(curves), 0, 0
    for rung in rungs:
        spent += sum(len(curves[name]) for name in running) * (rung - before)
        losses = {name: fmean(curve[rung - 1] for curve in curves[name]) for name in running}
        alive = sorted((name for name in running if not math.isnan(losses[name])), key=losses.get)
        best = alive[:math.ceil(len(running) / factor)]
        running, before = [name for name in running if name in best], rung
    spent += sum(len(curve) - before for name in running for curve in curves[name])
    return running, spent


def twin(settings, c, into, optimizer):
    old, power = settings[into], 1 if optimizer == "adamw" else 2
    new = {"start": old["start"] / c, "rate": old["rate"] / c**power, "eps": old["eps"] * c,
           "decay": old["decay"] * c**power}
    return settings | {"alpha": c * settings["alpha"], into: new}


EQUIVALENT = {
    "05.2": {
        "rank, most = (0, max((min(shape) for shape in shapes))) -> "
        "rank, most = (-1, max((min(shape) for shape in shapes)))": "rank 0 trains nothing, which any budget covers",
    },
    "05.4": {"return None -> pass": "a function that ends without a word returns None"},
}
