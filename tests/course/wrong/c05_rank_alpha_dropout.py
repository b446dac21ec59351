"""Wrong answers to the exercises of lesson 05: the official ones with a mistake put in, by what the hint must say."""

from ftkit.course import catalogue

_UNSEEN = "[kept[best([other for other in seeds if other != left])][left] for left in seeds]"
# exercise -> a piece of the hint -> what stands in the official answer, and what stands there instead
_CHANGES = {
    "05.1": {
        "Every combination is a grid": (
            "        for value in values:\n", "        for value in values:\n            import itertools\n"
            "            return [centre | dict(zip(arms, every)) | {'seed': seed} for every in "
            "itertools.product(*arms.values()) for seed in seeds]\n"),
        "The centre itself is a point": ("settings = [dict(centre)]", "settings = []"),
        "A later arm begins at the centre again": ("setting = centre | {name: value}",
                                                   "setting = settings[-1] | {name: value}"),
        "Every point says its seed": ("[setting | {\"seed\": seed} for", "[dict(setting) for"),
        "all seeds of one setting stand together": ("for setting in settings for seed in seeds",
                                                    "for seed in seeds for setting in settings"),
        "not how many": ("for seed in seeds]", "for seed in range(len(seeds))]"),
        "Every setting is repeated": ("for seed in seeds]", "for seed in seeds[:1]]"),
        "which is there already": ("if setting not in settings:", "if setting not in settings[1:]:"),
        "alpha is to follow": ("if leader == name:", "if leader == follower:"),
        "In alpha's own arm": ("if leader == name:\n                    setting[follower] = factor * value",
                               "setting[follower] = factor * setting[leader]"),
        "times the new value": ("factor * value", "factor * centre[follower]"),
        "compare whole settings": ("        for value in values:\n", "        for value in values:\n"
                                   "            if value == centre[name]:\n                continue\n"),
        "from this arm or another": ("if setting not in settings:", "if setting != centre:"),
        "All ties of the changed parameter": ("setting[follower] = factor * value",
                                              "setting[follower] = factor * value\n                    break"),
        "raise KeyError": ("raise KeyError(name)", "continue"),
        "each has to be one of its own": ("[setting | {\"seed\": seed} for setting in settings for seed in seeds]",
                                          "[one for setting in settings for one in [setting | {'seed': 0}] * "
                                          "len(seeds)]"),
        "compare settings with `in`": ("if setting not in settings:", "if hash(tuple(setting.items())) not in "
                                       "[hash(tuple(one.items())) for one in settings]:"),
        "A tie goes one way": ("if leader == name:", "if follower == name:\n                    "
                               "setting[leader] = value / factor\n                if leader == name:"),
        "not only the one that changed": ("setting = centre | {name: value}", "setting = {name: value}"),
        "A star without arms": ("settings = [dict(centre)]", "settings = [dict(centre)] if arms else []"),
    },
    "05.2": {
        "not the budget": ("return rank, trained(rank)", "return rank, budget"),
        "A rank is a whole number": ("return rank, trained(rank)", "return budget / trained(1), budget"),
        "not to be exceeded": ("return rank, trained(rank)", "return rank + 1, trained(rank + 1)"),
        "A rank costs in + out": ("(fan_in + fan_out) for", "(fan_in * fan_out) for"),
        "for all modules together": ("for fan_in, fan_out in shapes)", "for fan_in, fan_out in shapes[:1])"),
        "it may be spent to the last number": ("<= budget", "< budget"),
        "with 15 nothing can be trained": ("rank, most = 0,", "rank, most = 1,"),
        "a rank of 4 at most": ("sum(min(rank, fan_in, fan_out) * (fan_in + fan_out) for fan_in, fan_out in shapes)",
                                "sum(rank * (fan_in + fan_out) for fan_in, fan_out in shapes)\n    shapes = [(budget, "
                                "budget)] + list(shapes) if False else shapes\n    return budget // trained(1), "
                                "trained(budget // trained(1))"),
        "full at rank 2 and costs no more": ("sum(min(rank, fan_in, fan_out) *", "sum(rank *"),
        "stops at rank 2 by itself": ("max(min(shape)", "min(min(shape)"),
        "still costs what its own rank costs": ("in shapes)\n\n", "in shapes if rank <= min(fan_in, fan_out))\n\n"),
        "Rank 14 would cost": ("<= budget", "<= 1.02 * budget"),
        "whole numbers (int)": ("return rank, trained(rank)", "return float(rank), trained(rank)"),
    },
    "05.3": {
        "alpha is left out": ("scaling = alpha /", "scaling = 1 /"),
        "the root is missing": ("scaling * math.sqrt(max(0.0, squared.item()))",
                                "scaling**2 * max(0.0, squared.item())"),
        "One root too many": ("scaling * math.sqrt(max(0.0, squared.item()))",
                              "scaling * math.sqrt(math.sqrt(max(0.0, squared.item())))"),
        "Divide alpha by the rank": ("(math.sqrt(rank) if use_rslora else rank)", "1"),
        "not the product of the norms": ("squared = ((lora_B.T @ lora_B) * (lora_A @ lora_A.T)).sum()",
                                         "squared = lora_B.norm() ** 2 * lora_A.norm() ** 2"),
        "adds the entries up": ("return scaling * math.sqrt(max(0.0, squared.item()))",
                                "return scaling * (lora_B @ lora_A).sum().item()"),
        "the largest singular value": ("return scaling * math.sqrt(max(0.0, squared.item()))",
                                       "return scaling * (lora_B @ lora_A).svd().S[0].item()"),
        "belongs to use_rslora alone": ("(math.sqrt(rank) if use_rslora else rank)", "math.sqrt(rank)"),
        "With use_rslora alpha is divided by √rank.": ("(math.sqrt(rank) if use_rslora else rank)", "rank"),
        "not of its columns": ("lora_A.shape[0]", "lora_A.shape[1]"),
        "the ranks are added up": ("squared = ((lora_B.T @ lora_B) * (lora_A @ lora_A.T)).sum()",
                                   "squared = ((lora_B ** 2).sum(0) * (lora_A ** 2).sum(1)).sum()"),
        ".item() takes it out": ("math.sqrt(max(0.0, squared.item()))", "squared.clamp(min=0).sqrt()"),
        "asks for more memory than there is": ("return scaling * math.sqrt(max(0.0, squared.item()))",
                                          "return scaling * (lora_B @ lora_A).norm().item()"),
        "float16 ends at 65,504": ("    lora_A, lora_B = lora_A.double(), lora_B.double()\n", ""),
        "bfloat16 keeps three figures": ("lora_A, lora_B = lora_A.double(), lora_B.double()\n",
                                         "lora_A, lora_B = (one.double() if one.dtype == __import__('torch').float16 "
                                         "else one for one in (lora_A, lora_B))\n"),
        "just below 0": ("max(0.0, squared.item())", "squared.item()"),
    },
    "05.4": {
        "quantile(n − 1)": ("quantile(seeds - 1)", "quantile(seeds)"),
        "that of the seeds asked about": ("quantile(seeds - 1)", "quantile(len(differences) - 1)"),
        "With four seeds the half width": (" / math.sqrt(seeds)", ""),
        "another one": ("quantile(seeds - 1)", "1.96"),
        "take its size": ("abs(middle)", "middle"),
        "which is still inside it": ("< abs(middle)", "<= abs(middle)"),
        "not by n": ("/ math.sqrt(seeds)", "/ seeds"),
        "`most` seeds may be run": ("range(2, most + 1)", "range(2, most)"),
        "More than `most` seeds": ("return None", "return most + 1"),
        "two are the fewest": ("for seeds in range(2, most + 1)", "if not spread:\n        return 1\n    "
                               "for seeds in range(2, most + 1)"),
        "A mean of 0 stays": ("return None", "return None if middle else 2"),
        "The spread of a sample": ("stdev(differences)", "__import__('statistics').pstdev(differences)"),
    },
    "05.5": {
        "the lowest mean wins": ("return min(kept", "return max(kept"),
        "the winner's mean over all seeds": ("fmean(kept[best(seeds)]), fmean(unseen)",
                                             "min(kept[best(seeds)]), fmean(unseen)"),
        "Choose anew for each seed": ("other for other in seeds if other != left", "other for other in seeds"),
        "the most dishonest of all": (_UNSEEN, "[min(found[left] for found in kept.values()) for left in seeds]"),
        "not at those that chose it": (
            _UNSEEN, "[fmean(kept[best([o for o in seeds if o != left])][o] for o in seeds if o != left) for left in "
            "seeds]"),
        "not a sum": ("fmean(unseen)", "sum(unseen)"),
        "the first in the table wins": ("return min(kept, ", "return min(reversed(kept), "),
        "leave the whole setting out": ("if not any(map(math.isnan, found))", "if True"),
        "leave it out for every seed": (
            _UNSEEN, "[min(scores, key=lambda name: fmean(scores[name][o] for o in seeds if o != left)) for left in "
            "seeds]\n    unseen = [scores[name][left] for left, name in enumerate(unseen)]"),
        "Only nan leaves a setting out": ("if not any(map(math.isnan, found))", "if all(map(math.isfinite, found))"),
    },
    "05.6": {
        "look at the loss there": ("curve[rung - 1]", "curve[-1]"),
        "the lowest go on": ("key=losses.get)", "key=losses.get, reverse=True)"),
        "not from the start each time": ("* (rung - before)", "* rung"),
        "runs on to its end": ("spent += sum(len(curve) - before", "spent += 0 * sum(len(curve) - before"),
        "What was stopped costs nothing": ("sum(len(curve) - before for name in running for curve in curves[name])",
                                           "16 - spent"),
        "Each rung is a halving of its own": ("math.ceil(len(running) / factor)", "math.ceil(len(curves) / factor)"),
        "not by loss": ("[name for name in running if name in best], rung", "best, rung"),
        "rounded up: two go on": ("math.ceil(len(running) / factor)", "max(1, len(running) // factor)"),
        "how many share one place": ("math.ceil(len(running) / factor)", "factor"),
        "not by its luckiest": ("fmean(curve[rung - 1] for curve in curves[name])",
                                "min(curve[rung - 1] for curve in curves[name])"),
        "Each seed of a setting costs": ("sum(len(curves[name]) for name in running)", "len(running)"),
        "Without rungs all run": ("    return running, spent", "    return running, spent if rungs else 0"),
        "even where there is room": ("if not math.isnan(losses[name])", "if True"),
        "take it out first": ("alive = sorted((name for name in running if not math.isnan(losses[name])), "
                              "key=losses.get)", "alive = sorted(running, key=losses.get)"),
        "two are in good health": ("math.ceil(len(running) / factor)", "math.ceil(len(alive) / factor)"),
        "only nan is out": ("not math.isnan(losses[name])", "math.isfinite(losses[name])"),
        "the first in the table goes on": ("alive = sorted((name for name in running if",
                                           "alive = sorted((name for name in reversed(running) if"),
        "A rung at the end still chooses": ("for rung in rungs:", "for rung in [one for one in rungs if one < 4]:"),
        "No more go on than there are places": ("if name in best]", "if alive and losses[name] <= losses[best[-1]]]"),
    },
    "05.7": {
        "alpha becomes c": ("c * settings[\"alpha\"]", "settings[\"alpha\"] / c"),
        "needs half the rate": ("old[\"rate\"] / c**power", "old[\"rate\"]"),
        "The other way round": ("old[\"rate\"] / c**power", "old[\"rate\"] * c"),
        "c enters once, not twice": ("1 if optimizer == \"adamw\" else 2", "2"),
        "the decay doubles": ("old[\"decay\"] * c**power", "old[\"decay\"]"),
        "the decay grows by c.": ("old[\"decay\"] * c**power", "old[\"decay\"] / c"),
        "it grows with it": ("old[\"eps\"] * c", "old[\"eps\"]"),
        "and eps with it": ("old[\"eps\"] * c", "old[\"eps\"] / c"),
        "so the rate falls by c²": ("1 if optimizer == \"adamw\" else 2", "1"),
        "the gradient c times larger": ("old[\"decay\"] * c**power", "old[\"decay\"] * c"),
        "names the factor that makes up": ("\"alpha\": c * settings[\"alpha\"], into: new",
                                           "\"alpha\": c * settings[\"alpha\"], \"B\": new"),
        "A starts at 1/c of it": ("old[\"start\"] / c", "old[\"start\"] * 1"),
        "not at c times its size": ("old[\"start\"] / c", "old[\"start\"] * c"),
        "divided by c once": ("old[\"start\"] / c", "old[\"start\"] / c**power"),
        "Only the factor named": ("into: new}", "\"A\": new, \"B\": new}"),
        "one of start, rate, decay": ("old[\"eps\"] * c", "old[\"eps\"] * 2"),
    },
}


def _changed(exercise: str, old: str, new: str) -> str:
    source = catalogue.solution_source(exercise)
    assert old in source, f"{exercise}: the official answer has no {old!r} any more"
    return source.replace(old, new)


WRONG = {exercise: {hint: _changed(exercise, *change) for hint, change in changes.items()}
         for exercise, changes in _CHANGES.items()}
