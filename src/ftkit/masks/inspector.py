"""The mask inspector: shows which tokens of any encoded data carry loss, counts them, and refuses what is wrong.

Knows nothing about models or training. What is shown is static: text, or HTML that needs no program to be read.
"""

import html
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ftkit import chat
from ftkit.errors import Refusal, refusal
from ftkit.masks.faults import KINDS, Judge
from ftkit.masks.pieces import LINE_END, NOTHING, SPACE, Piece, pieces, visible_parts
from ftkit.masks.rows import Row, read

OPEN, CLOSE = "⟦", "⟧"
HEAD, TAIL = 240, 120  # tokens shown of a record that has more than both
_NAMED_ANSWERS = 8
_STYLE = """<style>
.ftkit-masks div {font-family: monospace; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9;
  border-left: 3px solid rgba(128,128,128,.5); padding: 2px 0 2px 8px; margin: 2px 0 12px}
.ftkit-masks mark {color: inherit; background: rgba(230,159,0,.25); border-bottom: 2px solid #D55E00; padding: 1px 0}
.ftkit-masks span + span {border-left: 1px dotted rgba(128,128,128,.7)}
.ftkit-masks kbd {color: inherit; background: transparent; border: 1px solid rgba(128,128,128,.8); border-radius: 3px;
  padding: 0 2px; font: inherit}
.ftkit-masks small {opacity: .5; font-size: inherit}
</style>"""


class Problem(NamedTuple):
    """One kind of fault: how many records have it, the first one's place, and the sentence about that one."""

    kind: str
    records: int
    first: int
    sentence: str


class _Run(NamedTuple):
    """Pieces that all carry loss or all do not; or a note in their stead."""

    trained: bool
    pieces: list[Piece]
    note: str = ""


@dataclass(frozen=True, repr=False, eq=False)
class Inspection:
    """What `inspect` found. Shown as HTML in a notebook and as text elsewhere.

    Args:
        rows: every record's ids and labels.
        problems: what is wrong, in the order of `masks.faults.KINDS`; empty if nothing is.
        shown: places of the records that are shown.
        judge: what was known of tokenizer and data.
    """

    rows: list[Row]
    problems: list[Problem]
    shown: list[int]
    judge: Judge

    @property
    def count(self) -> int:
        """How many records."""
        return len(self.rows)

    @property
    def tokens(self) -> int:
        """How many tokens, padding left out."""
        return sum(int(self.judge.real(row).sum()) for row in self.rows)

    @property
    def trained(self) -> int:
        """How many tokens carry loss."""
        return sum(int(row.trained.sum()) for row in self.rows)

    @property
    def share(self) -> float:
        """The share of all tokens that carries loss."""
        return self.trained / max(1, self.tokens)

    def check(self) -> "Inspection":
        """The inspection itself, if nothing is wrong.

        Raises:
            Refusal: the sentence of the first problem; how many records have it, and what else is wrong.
        """
        if not self.problems:
            return self
        first, *others = self.problems
        more = "".join(f" Also {problem.kind}: {problem.records:,} of {self.count:,}." for problem in others)
        raise Refusal(f"{first.sentence} ({first.kind}: {first.records:,} of {self.count:,} records.{more})")

    def __repr__(self):
        parts = [f"{_header(self, place)}\n{_as_text(_runs(self.rows[place], self.judge))}" for place in self.shown]
        return "\n\n".join([*parts, "\n".join(_summary(self))])

    def _repr_html_(self):
        parts = [f"<p>{_escaped(_header(self, place))}</p><div>{_as_html(_runs(self.rows[place], self.judge))}</div>"
                 for place in self.shown]
        said = "".join(f"<p>{_escaped(line)}</p>" for line in _summary(self))
        return f'<div class="ftkit-masks">{_STYLE}{"".join(parts)}{said}</div>'


def inspect(data: Any, tokenizer, *, records: Iterable | None = None, seq_len: int | None = None,
            show: int | Sequence[int] = 3) -> Inspection:
    """Which tokens carry loss in any encoded data: a view with counts, and all that is wrong with the labels.

    Trained text stands between ⟦ and ⟧ and is underlined; ␣ and ↵ are white space that would not be seen.

    Args:
        data: one or many of: examples of `chat.encode`; what transformers, datasets and trl make, with `input_ids` and
            `labels`, `completion_mask` or `assistant_masks`, single or batched, padded or not; our batches; or records
            (messages, or an instruction and its output), which `chat.encode` turns into ids, or `{"text"}`. A row that
            is trained throughout and bears no mark of the chat template is text as well, not a prompt.
        tokenizer: the one that the ids were made with.
        records: what the data were made from, one for each row: labels are then compared with what `chat.encode` would
            train, token for token.
        seq_len: where rows were cut, or records are to be; unless given, a length that two or more rows share and none
            is above.
        show: how many records to show, those with a fault first; or the places of some.

    Raises:
        Refusal: there is nothing to inspect, see `masks.rows.read`; an argument is none of these. What is wrong with
            labels is no reason to refuse here: `check` does.

    Example:
        >>> from ftkit.tiny.tokenizer import train
        >>> tokenizer = train(["Add two and three. five user assistant"] * 9)
        >>> view = inspect({"instruction": "Add two.", "output": "five"}, tokenizer)
        >>> print(str(view).splitlines()[4])
        ⟦five<|im_end|>⟧↵
        >>> view.check().share < 0.5
        True

    Taught in: 03_data
    """
    chat.check_seq_len(seq_len)
    if not callable(getattr(tokenizer, "decode", None)):
        raise refusal("tokenizer", "the one that the ids were made with", tokenizer, "hub.load_model gives one.")
    rows = read(data, tokenizer, records, seq_len)
    judge = Judge(tokenizer, seq_len or _likely_cut(rows))
    counts, firsts = Counter(), {}
    for place, row in enumerate(rows):
        for kind, sentence in judge.faults(row, place):
            counts[kind] += 1
            firsts.setdefault(kind, (place, sentence))
    problems = [Problem(kind, counts[kind], *firsts[kind]) for kind in KINDS if kind in counts]
    return Inspection(rows, problems, _chosen(show, len(rows), [problem.first for problem in problems]), judge)


def _likely_cut(rows: list[Row]) -> int | None:
    lengths = Counter(len(row.ids) if row.real is None else int(row.real.sum()) for row in rows)
    longest = max(lengths)
    return longest if lengths[longest] > 1 else None


def _chosen(show: int | Sequence[int], count: int, faulty: list[int]) -> list[int]:
    if isinstance(show, int):
        if show < 0:
            raise refusal("show", "a number of records, 0 or more, or a list of places", show)
        return sorted(list(dict.fromkeys([*faulty, *range(min(show, count))]))[:show])
    if not isinstance(show, list | tuple | range):
        raise refusal("show", "a number of records, 0 or more, or a list of places", show)
    for place in show:
        if not isinstance(place, int) or not 0 <= place < count:
            raise refusal("show", f"places of records from 0 to {count - 1}", place)
    return list(show)


def _header(view: Inspection, place: int) -> str:
    row = view.rows[place]
    if row.refused:
        return f"record {place}: cannot be encoded. {row.refused}"
    trained, real = row.trained, view.judge.real(row)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], trained, [False])).astype(np.int8)))
    answers = [f"{stop - start} at {start}–{stop - 1}" for start, stop in zip(edges[::2], edges[1::2], strict=True)]
    where = "; ".join(answers[:_NAMED_ANSWERS]) + ("; …" if len(answers) > _NAMED_ANSWERS else "")
    padding = f" and {len(real) - real.sum()} of padding" if not real.all() else ""
    return (f"record {place}: {real.sum()} tokens{padding}, {trained.sum()} with loss "
            f"({trained.sum() / max(1, real.sum()):.0%})" + (f", by turn: {where}" if answers else ""))


def _summary(view: Inspection) -> list[str]:
    lines = [f"{len(view.shown):,} of {view.count:,} records shown; all have {view.tokens:,} tokens, of which "
             f"{view.trained:,} carry loss ({view.share:.0%})."]
    lines += [f"{kind}: {records:,} of {view.count:,} records. {sentence}"
              for kind, records, _, sentence in view.problems]
    return lines if view.problems else [*lines, "Nothing wrong was found with their labels."]


def _runs(row: Row, judge: Judge) -> list[_Run]:
    """The row's text in runs; padding and the middle of a long row become notes."""
    shown = np.flatnonzero(judge.real(row) | row.trained)
    if not len(shown):
        return [_Run(False, [], f"{len(row.ids)} tokens of padding")] if len(row.ids) else []
    low, high = int(shown[0]), int(shown[-1]) + 1
    stretches = [(low, high)]
    if high - low > HEAD + TAIL:
        stretches = [(low, low + HEAD), (high - TAIL, high)]
    runs, done = [], 0
    for start, stop in stretches:
        if start > done:
            runs.append(_Run(False, [], _left_out(row, done, start, padding=start == low)))
        runs += _stretch(row, start, stop, judge.tokenizer)
        done = stop
    return runs + ([_Run(False, [], _left_out(row, done, len(row.ids), padding=True))] if done < len(row.ids) else [])


def _left_out(row: Row, start: int, stop: int, padding: bool) -> str:
    if padding:
        return f"{stop - start} tokens of padding"
    return f"{stop - start} tokens left out, {row.trained[start:stop].sum()} of them with loss"


def _stretch(row: Row, start: int, stop: int, tokenizer) -> list[_Run]:
    trained = row.trained[start:stop]
    changes = np.flatnonzero(np.diff(trained)) + 1
    found = pieces(row.ids[start:stop].tolist(), tokenizer, changes.tolist())
    found = [piece._replace(start=piece.start + start, stop=piece.stop + start) for piece in found]
    return [_Run(carries, list(group)) for carries, group in
            itertools.groupby(found, key=lambda piece: bool(row.trained[piece.start]))]


def _as_text(runs: list[_Run]) -> str:
    parts = []
    for run in runs:
        text = "".join(_lines(shown) for _, shown in _shown(run.pieces))
        parts.append(f" … {run.note} … " if run.note else _closed(OPEN, text, CLOSE) if run.trained else text)
    return "".join(parts).rstrip("\n")


def _closed(opening: str, text: str, closing: str) -> str:
    """The text in marks; a line's end at its end comes behind them, so that no mark stands alone on a line."""
    inner = text.removesuffix("\n")
    return opening + inner + closing + text[len(inner):]


def _as_html(runs: list[_Run]) -> str:
    parts = []
    for run in runs:
        text = "".join(_piece_html(piece, shown) for piece, shown in _shown(run.pieces))
        parts.append(f"<em> … {_escaped(run.note)} … </em>" if run.note else
                     f"<mark><b>{OPEN}</b>{text}<b>{CLOSE}</b></mark>" if run.trained else text)
    return "".join(parts)


def _shown(found: list[Piece]) -> Iterator[tuple[Piece, str]]:
    """Each piece with its visible text; a space at the end of a text beside a control token must be seen."""
    for _, group in itertools.groupby(found, key=lambda piece: piece.special):
        group = list(group)
        yield from zip(group, visible_parts([piece.text for piece in group]), strict=True)


def _piece_html(piece: Piece, shown: str) -> str:
    many = f"tokens {piece.start}–{piece.stop - 1}" if piece.stop - piece.start > 1 else f"token {piece.start}"
    shown = _lines(_escaped(shown or NOTHING)).replace(SPACE, f"<small>{SPACE}</small>")
    tag = "kbd" if piece.special else "span"
    return f'<{tag} title="{many}">{shown}</{tag}>'


def _lines(text: str) -> str:
    return text.replace(LINE_END, f"{LINE_END}\n")


def _escaped(text: str) -> str:
    return html.escape(text, quote=True)
