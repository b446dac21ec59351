"""Hours, electricity and money of a training, from tokens a second and prices. Knows nothing about memory.

Tokens a second are measured ones, or stated from a card's peak rate and a share of it. Prices are the learner's own;
those that come with the package are examples with a date.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from ftkit.errors import refusal, unknown
from ftkit.files import read_json
from ftkit.memory.chosen import chosen
from ftkit.memory.gpus import Gpu
from ftkit.memory.predict import as_shape
from ftkit.memory.setup import Setup
from ftkit.memory.shape import Shape

USUAL_SHARE = 0.3
"""Of a card's peak rate that training reaches, where none was measured: a figure to replace by a measured one."""
CURRENCIES = ("CNY", "USD")


@dataclass(frozen=True)
class Cost:
    """What a training takes beside memory.

    Args:
        hours: of one card.
        kwh: of electricity for the card alone; None where its watts are not known.
        electricity: what that costs; None likewise.
        rent: of the card for so long; None where no price is known.
        spot_rent: the same at a spot price.
        currency: "CNY" or "USD".
        basis: what tokens a second and prices rest on.
    """

    hours: float
    kwh: float | None
    electricity: float | None
    rent: float | None
    spot_rent: float | None
    currency: str
    basis: str


@cache
def prices() -> dict:
    """The example prices: a date, electricity a kWh, rents an hour by card, the share that a spot price saves."""
    return read_json(Path(str(files("ftkit.memory") / "assets" / "prices.json")))


def read_prices(path: str | Path) -> dict:
    """Prices of one's own: a file like the example's, `src/ftkit/memory/assets/prices.json`.

    Raises:
        Refusal: a key is missing, or a price is no number, 0 or more.
    """
    found = read_json(Path(path))
    if not isinstance(found, dict) or (missing := [key for key in prices() if key != "note" and key not in found]):
        raise refusal(str(path), f"a JSON object with {', '.join(key for key in prices() if key != 'note')}",
                      missing if isinstance(found, dict) else found)
    rents = found["rent_per_hour"] if isinstance(found["rent_per_hour"], dict) else {"any card": None}
    for name, row in {"electricity_per_kwh": found["electricity_per_kwh"], **rents}.items():
        if not isinstance(row, dict) or not set(row) <= set(CURRENCIES):
            raise refusal(f"{name} in {path}", f"a JSON object with {' and '.join(CURRENCIES)}", row)
        _refuse_negative({f"{currency} of {name} in {path}": price for currency, price in row.items()})
    _refuse_negative({f"spot_discount in {path}": found["spot_discount"]})
    return found


def flops_per_token(model: object, setup: Setup) -> float:
    """Operations of one token in training: forward, back to the states, back to the trained weights, forward again.

    Each number of a matrix takes two operations forward and two on the way back; two more where it is trained. Scores
    and their products count by the causal half.

    Example:
        >>> from ftkit.memory.models import model_named
        >>> llama = model_named("llama-2-7b")
        >>> full = flops_per_token(llama, Setup("full", seq_len=2))
        >>> round(full / (6 * (llama.parameters - 32000 * 4096)), 3)
        1.0

    Taught in: 09_memory_and_cost
    """
    shape = as_shape(model)
    matrices = shape.layers * sum(one.inside * one.outside for one in shape.linears) + shape.vocab * shape.hidden
    scores = 2 * shape.layers * shape.heads * shape.head_dim * setup.seq_len
    forward = 2 * matrices + scores
    trained = 2 * _trained_matrices(shape, setup)
    again = forward - 2 * shape.vocab * shape.hidden if setup.checkpointing else 0
    return float(2 * forward + scores + trained + again)


def throughput(model: object, setup: Setup, gpu: Gpu, share: float = USUAL_SHARE) -> float:
    """Tokens a second, stated from a share of the card's peak rate: an estimate until one is measured.

    Raises:
        Refusal: the card's rate is not known, or the share is not between 0 and 1.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise refusal("share", "above 0 and up to 1", share, "Take 0.3 where nothing was measured.")
    kind = setup.mixed or setup.precision
    rate = gpu.flops.get(kind) or gpu.flops.get("float16")
    if rate is None:
        raise refusal("gpu", "one whose rate is known", gpu.name, "Give tokens a second that you measured.")
    return rate * share / flops_per_token(model, setup)


def cost(tokens: float, tokens_per_s: float, gpu: Gpu | None = None, *, currency: str = "CNY",
         price_per_kwh: float | None = None, rent_per_hour: float | None = None, watts: float | None = None,
         spot_discount: float | None = None, measured: bool = True, table: Mapping | None = None) -> Cost:
    """Hours, electricity and money of so many tokens.

    Args:
        tokens: of all epochs together, above 0.
        tokens_per_s: above 0.
        gpu: for watts and rents of the example prices; None where the others are given.
        currency: "CNY" or "USD".
        price_per_kwh: the learner's own; the example's if None.
        rent_per_hour: the learner's own; the example's if None, where it has one for the card.
        watts: of the card under load; those of the table if None.
        spot_discount: share that a spot price saves; the example's if None.
        measured: whether tokens a second were measured.
        table: prices in place of the example's, as `read_prices` reads them.

    Raises:
        Refusal: a number out of range, or an unknown currency.

    Example:
        >>> found = cost(3_600_000, 1000, watts=400, price_per_kwh=0.5, rent_per_hour=8, spot_discount=0.5)
        >>> found.hours, found.kwh, found.electricity, found.rent, found.spot_rent
        (1.0, 0.4, 0.2, 8.0, 4.0)

    Taught in: 09_memory_and_cost
    """
    if currency not in CURRENCIES:
        raise unknown("currency", currency, CURRENCIES)
    for name, value in (("tokens", tokens), ("tokens_per_s", tokens_per_s)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise refusal(name, "a number above 0", value)
    example = prices() if table is None else table
    watts = (gpu.watts if gpu else None) if watts is None else watts
    own = price_per_kwh is not None and rent_per_hour is not None
    price_per_kwh = example["electricity_per_kwh"][currency] if price_per_kwh is None else price_per_kwh
    if rent_per_hour is None:
        rent_per_hour = example["rent_per_hour"].get(gpu.name if gpu else "", {}).get(currency)
    spot_discount = example["spot_discount"] if spot_discount is None else spot_discount
    _refuse_negative({"price_per_kwh": price_per_kwh, "rent_per_hour": rent_per_hour, "watts": watts,
                      "spot_discount": spot_discount})
    if spot_discount > 1:
        raise refusal("spot_discount", "a share of the price, from 0 to 1", spot_discount)
    hours = tokens / tokens_per_s / 3600
    kwh = None if watts is None else watts * hours / 1000
    rent = None if rent_per_hour is None else rent_per_hour * hours
    words = "measured" if measured else "stated, not measured"
    told = ("prices as given" if own else f"example prices of {example['dated']}: give your own" if table is None else
            f"your prices of {example['dated']}")
    return Cost(hours, kwh, None if kwh is None else kwh * price_per_kwh, rent,
                None if rent is None else rent * (1 - spot_discount), currency, f"tokens a second {words}; {told}")


def _trained_matrices(shape: Shape, setup: Setup) -> int:
    """Numbers of matrices that are trained, those of LoRA counted with their own way forward and back."""
    found, numbers = chosen(shape, setup), 0
    for layer in found.layers:
        for one in shape.linears:
            numbers += one.inside * one.outside if one.name in layer.trained else 0
            numbers += 3 * layer.ranks.get(one.name, 0) * (one.inside + one.outside)
    return numbers + (shape.vocab * shape.hidden if found.outside else 0)


def _refuse_negative(values: Mapping[str, float | None]) -> None:
    for name, value in values.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0):
            raise refusal(name, "a number, 0 or more", value)
