"""Cases for an answer that says what an epoch costs. Knows nothing about a notebook."""

from ftkit.course.cases import Case, Hint

_RATE, _HOUR = 10.0, 60.0  # ten tokens a second; 60 an hour, which is 1 a minute
_ROUNDED = "one division and two products in float64"


def prices() -> list[Case]:
    """Padding, cutting, the last batch; started minutes; discount and lost time; an epoch of a thousand records."""
    return [*_tokens(), *_time_and_price(), *_long()]


def _price(lengths, batch_size=1, seq_len=10**6, tokens_per_s=_RATE, price_per_hour=_HOUR, discount=0.0, lost=0.0):
    return lambda answer: answer(list(lengths), batch_size, seq_len, tokens_per_s, price_per_hour, discount, lost)


def _case(name, got, want, *hints):
    return Case(name, got, want, hints, tolerance=1e-9, reason=_ROUNDED)


def _tokens() -> list[Case]:
    return [
        _case("two records of a minute each", _price([600, 600]), 2.0,
              Hint(120.0, "The price is for an hour, the time is in seconds."),
              Hint(1.0, "All records are seen.")),
        _case("padding costs", _price([600, 1800], batch_size=2), 6.0,
              Hint(4.0, "A short row is padded to the longest of its batch, and the padding is computed, too."),
              Hint(3.0, "The batch is its rows times the longest of them.")),
        _case("padding to the longest of the batch", _price([600, 600, 1800, 1800], batch_size=2), 8.0,
              Hint(12.0, "Each batch is padded to *its* longest row, not to the longest of all."),
              Hint(4.0, "All batches are seen.")),
        _case("in the order given", _price([600, 1800, 600, 1800], batch_size=2), 12.0,
              Hint(8.0, "The batches are taken in the order given: sorting them is a saving, and not asked for.")),
        _case("a last batch that is not full", _price([600, 600, 1200], batch_size=2), 4.0,
              Hint(6.0, "The last batch has one row: nothing is padded beside it."),
              Hint(2.0, "The last batch counts, full or not.")),
        _case("long rows are cut", _price([600, 6000], seq_len=1200), 3.0,
              Hint(11.0, "A row is at most seq_len tokens long: what is beyond is cut off.")),
        _case("cut before they are padded", _price([600, 6000], batch_size=2, seq_len=1200), 4.0,
              Hint(20.0, "Rows are cut before the batch is padded.")),
        _case("a short row stays short", _price([600], seq_len=1200), 1.0,
              Hint(2.0, "seq_len is a limit: a short row is not padded to it.")),
    ]


def _time_and_price() -> list[Case]:
    return [
        _case("a started minute", _price([601]), 2.0,
              Hint(1.0, "Each started minute is billed: round up."),
              Hint(lambda got: 1 < got < 1.1, "Each started minute is billed: round up to whole minutes.")),
        _case("minutes are rounded once", _price([300, 300]), 1.0,
              Hint(2.0, "The minutes of the whole epoch are rounded, not those of each batch.")),
        _case("half the price", _price([1200], discount=0.6), 0.8,
              Hint(1.2, "A discount is what is taken off: 1 − discount is left."),
              Hint(2.0, "The discount is missing.")),
        _case("lost time", _price([6000], lost=0.2), 13.0,
              Hint(10.0, "A share of the time is lost: more is needed for the same work."),
              Hint(12.0, "What is useful is 1 − lost_share of the time: divide by it."),
              Hint(12.5, "Add what is lost before rounding up to minutes.")),
        _case("lost before rounding", _price([601], lost=0.4), 2.0,
              Hint(4.0, "Add what is lost before rounding up to minutes."),
              Hint(lambda got: 3 < got < 4, "Add what is lost before rounding up to minutes.")),
        _case("discount and lost time", _price([1200], discount=0.5, lost=0.5), 2.0),
        _case("other rates", _price([900, 900, 300], tokens_per_s=2.5, price_per_hour=7.2), 1.68,
              Hint(lambda got: got > 50, "Seconds are tokens divided by tokens a second.")),
    ]


def _long() -> list[Case]:
    lengths = [37 + 61 * place % 900 for place in range(1003)]
    tokens = 0
    for start in range(0, 1003, 8):
        rows = [length if length < 512 else 512 for length in lengths[start:start + 8]]
        tokens += len(rows) * sorted(rows)[-1]
    minutes = -(-tokens // (1500 * 60) * 1)  # whole numbers, no lost time: no rounding by accident
    return [_case("1,003 records, 8 a batch, at most 512 tokens",
                  _price(lengths, 8, 512, tokens_per_s=1500, price_per_hour=18.0), minutes * 0.3)]
