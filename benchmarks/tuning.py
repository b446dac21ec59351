"""The table of lesson 06: each row's learning rate with as few runs as that needs, then its runs with other seeds.

A row is tried at all its rates with the first seed. Where the best lies at an end of them, the next rate outside is
tried as well. The best two are tried with the second seed, if there is one; the lower mean decides. Knows nothing
about how points are run, and keeps nothing: it looks at what is finished each time.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from ftkit.cards import Card

GROUP = "tuning"
MOST_OUTSIDE = 2  # rates beyond those of the plan


def measured(plan: Mapping, cards_of: Callable[[list[dict]], list[Card]]) -> dict[str, list[Card]]:
    """The cards of the groups "tuning", "table" and "small" of a plan.

    Args:
        plan: `methods` (rows with their settings and `rates`), `fixed`, `tuning_seeds`, `seeds`, and `small` with the
            `rows`, `records` and `seeds` of a second, smaller table.
        cards_of: runs points, parameters of `trials.run_trial`, and gives their finished cards in the same order.
    """
    rows, seeds = plan["methods"], plan["tuning_seeds"]
    tried: dict[str, dict] = {name: {} for name in rows}

    def losses(name: str) -> dict:
        return {key: card.metrics["held_out_loss"] for key, card in tried[name].items()}

    def point(name: str, rate: float, seed: int, **more) -> dict:
        settings = {key: value for key, value in rows[name].items() if key != "rates"}
        return settings | plan["fixed"] | {"learning_rate": rate, "seed": seed} | more

    while todo := [(name, *run) for name, row in rows.items() for run in due(row["rates"], seeds, losses(name))]:
        for (name, *run), card in zip(todo, cards_of([point(*one) for one in todo]), strict=True):
            tried[name][tuple(run)] = card
    rates, small = {name: best(seeds, losses(name)) for name in rows}, plan["small"]
    return {
        GROUP: [card for found in tried.values() for _, card in sorted(found.items())],
        "table": cards_of([point(name, rates[name], seed, score="all") for name in rows for seed in plan["seeds"]]),
        "small": cards_of([point(name, rates[name], seed, records=small["records"])
                           for name in small["rows"] for seed in small["seeds"]]),
    }


def due(rates: Sequence[float], seeds: Sequence[int], losses: Mapping[tuple[float, int], float]) -> list[tuple]:
    """The runs (rate, seed) of a row that are to be made next; none when its rate is decided.

    Args:
        rates: those of the plan, lowest first.
        seeds: the first for all rates, others for the best two.
        losses: what is finished: the held-out loss by (rate, seed).

    Example:
        >>> due([1.0, 2.0, 4.0], [100, 101], {(1.0, 100): 0.5, (2.0, 100): 0.3, (4.0, 100): 0.4})
        [(2.0, 101), (4.0, 101)]
    """
    tried = sorted({*rates, *(rate for rate, _ in losses)})
    missing = [(rate, seeds[0]) for rate in tried if (rate, seeds[0]) not in losses]
    if missing:
        return missing
    order = sorted(tried, key=lambda rate: losses[rate, seeds[0]])
    outside = _outside(tried, order[0])
    if outside and len(tried) < len(rates) + MOST_OUTSIDE:
        return [(outside, seeds[0])]
    return [(rate, seed) for seed in seeds[1:] for rate in sorted(order[:2]) if (rate, seed) not in losses]


def best(seeds: Sequence[int], losses: Mapping[tuple[float, int], float]) -> float:
    """The rate with the lowest mean loss, of those that were tried with every seed.

    Example:
        >>> best([100, 101], {(1.0, 100): 0.2, (2.0, 100): 0.3, (2.0, 101): 0.3, (4.0, 100): 0.4, (4.0, 101): 0.1})
        4.0
    """
    whole = {rate for rate, _ in losses if all((rate, seed) in losses for seed in seeds)}
    return min(sorted(whole), key=lambda rate: fmean(losses[rate, seed] for seed in seeds))


def _outside(tried: list[float], rate: float) -> float | None:
    """The next rate beyond an end of those that were tried; None for one in between."""
    if rate == tried[0]:
        return float(f"{rate * rate / tried[1]:.2g}")
    return float(f"{rate * rate / tried[-2]:.2g}") if rate == tried[-1] else None
