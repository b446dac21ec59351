"""What may be wrong with a record's labels, each said in one sentence with its remedy.

Knows nothing about where the rows come from, or how they are shown.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np

from ftkit.errors import refusal
from ftkit.masks.pieces import HALF, visible
from ftkit.masks.rows import IGNORED, Row

KINDS = ("not encoded", "outside the vocabulary", "nothing trained", "padding trained", "labels shifted",
         "labels changed", "prompt trained", "end not trained", "answer cut off", "unlike the record")
_QUOTED, _QUOTED_TOKENS = 24, 12  # characters at most, and tokens
_BACK = 60  # tokens before a trained span that are read for the template's opening of an answer
_ASKED, _SAID = "Ftkitasks", "Ftkitsays"


class Fault(NamedTuple):
    """A kind out of `KINDS`, and the sentence that names record, rule, value and remedy."""

    kind: str
    sentence: str


class Judge:
    """All that must be known of a tokenizer and a data set to judge one row after the other.

    Args:
        tokenizer: what the ids were made with.
        seq_len: the length at which rows were cut; None if that is not known.
    """

    def __init__(self, tokenizer, seq_len: int | None = None):
        self.tokenizer, self.seq_len, self.size = tokenizer, seq_len, len(tokenizer)
        self.pad = tokenizer.pad_token_id
        written, self._openings = _template_marks(tokenizer)
        self._special = set(tokenizer.all_special_ids) - _stand_ins(tokenizer)
        self._marks = self._special & written or self._special
        ends = {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id}
        self._roles = self._table(self._special & written - ends)
        self._blank: dict[int, bool] = {}

    @cached_property
    def control(self) -> np.ndarray:
        """By id: whether it is a token that was added to the vocabulary, as every end of turn is."""
        return self._table({*self.tokenizer.added_tokens_decoder, *self._special} - _stand_ins(self.tokenizer))

    @cached_property
    def marks(self) -> np.ndarray:
        """By id: whether it is a special token that the template writes round turns."""
        return self._table(self._marks)

    def faults(self, row: Row, place: int) -> list[Fault]:
        """Everything that is wrong with the row, in the order of `KINDS`; its place names it in the sentences."""
        name = f"record {place}"
        if row.refused:
            return [Fault("not encoded", f"{name} cannot be encoded: {row.refused}")]
        found = [self._vocabulary(row, name)]
        if found == [None]:
            found.append(self._nothing(row, name))
        if found == [None, None]:
            shift = self._shift(row, name)
            found += [shift] if shift else [self._padding(row, name), self._changed(row, name)]
            if not shift and not self._is_text(row):
                found += [self._prompt(row, name), self._end(row, name), self._unlike(row, name)]
        return [fault for fault in found if fault]

    def real(self, row: Row) -> np.ndarray:
        """Where the row is no padding: as its mask says, or else all but the pad tokens at its ends.

        Where the pad token is an end token too, the first of those behind the text counts as the text's own end.
        """
        if row.real is not None or self.pad is None or not len(row.ids):
            return np.ones(len(row.ids), dtype=bool) if row.real is None else row.real
        others = np.flatnonzero(row.ids != self.pad)
        real = np.zeros(len(row.ids), dtype=bool)
        if len(others):
            end = others[-1] + 1 + (self.pad == self.tokenizer.eos_token_id)
            real[others[0]:end] = True
        return real

    def _table(self, ids: set[int]) -> np.ndarray:
        table = np.zeros(self.size + 1, dtype=bool)
        table[[token for token in ids if 0 <= token < self.size]] = True
        return table

    def _vocabulary(self, row: Row, name: str) -> Fault | None:
        carried = row.labels[row.labels != IGNORED]
        wrong = [*row.ids[(row.ids < 0) | (row.ids >= self.size)], *carried[(carried < 0) | (carried >= self.size)]]
        return _fault("outside the vocabulary", name, f"made of ids and labels from 0 to {self.size - 1}, or -100 for "
                      "a label without loss", int(wrong[0]), "Take the tokenizer that the ids were made with.") \
            if wrong else None

    def _nothing(self, row: Row, name: str) -> Fault | None:
        if row.trained.any():
            return None
        prompt = next(place for place, label in enumerate(row.whole.labels) if label != IGNORED) if row.whole else 0
        if prompt >= len(row.ids):
            return _fault("nothing trained", name, f"long enough to reach its answer ({prompt + 1} tokens or more)",
                          len(row.ids), "Raise seq_len, or shorten the prompt.")
        return _fault("nothing trained", name, "trained on at least one token",
                      f"the label -100 on all of {len(row.ids)}", "Leave it out, or mend what sets its labels.")

    def _padding(self, row: Row, name: str) -> Fault | None:
        carries = row.trained & ~self.real(row)
        return _fault("padding trained", name, "without loss on its padding", f"{carries.sum()} padding tokens trained",
                      "Set their labels to -100.") if carries.any() else None

    def _shift(self, row: Row, name: str) -> Fault | None:
        ids, labels = row.ids, row.labels
        carries = labels != IGNORED
        if (labels == ids)[carries].all() or len(ids) < 3:
            return None
        ahead, behind = carries[:-1], carries[1:]
        for there, matches, how in ((ahead, labels[:-1] == ids[1:], "next"),
                                    (behind, labels[1:] == ids[:-1], "previous")):
            if there.any() and matches[there].all():
                place = int(np.flatnonzero(there)[0]) + (how == "previous")
                return _fault("labels shifted", name, "labelled at each token's own place",
                              f"the {how} token's id at token {place}",
                              "The model shifts labels itself: pass them unshifted, labels[i] = input_ids[i].")
        return None

    def _changed(self, row: Row, name: str) -> Fault | None:
        wrong = np.flatnonzero(row.trained & (row.labels != row.ids))
        if not len(wrong):
            return None
        first = int(wrong[0])
        return _fault("labels changed", name, "labelled with each token's own id",
                      f"label {row.labels[first]} on token {first}, whose id is {row.ids[first]}",
                      "A causal model learns the text as it stands: copy the ids, then set -100.")

    def _prompt(self, row: Row, name: str) -> Fault | None:
        if row.whole is not None and not self._more_than_due(row):
            return None
        real, rule = self.real(row), "trained on what the assistant says and on nothing else"
        rest, remedy = real & ~row.trained, "Set the labels of the prompt to -100."
        rest[:1] = False
        if not rest.any():
            return _fault("prompt trained", name, rule, f"loss on all {real.sum()} tokens", remedy)
        for start, stop in _spans(row.trained):
            inside = self.marks[row.ids[start:stop]]
            words = [not mark and not self._is_blank(token) for token, mark in
                     zip(row.ids[start:stop].tolist(), inside, strict=True)] if inside[:-1].any() else []
            if words and any(words[int(inside.argmax()):]):
                mark = start + int(inside.argmax())
                return _fault("prompt trained", name, rule,
                              f"the role marks at token {mark} trained: {self._quoted(row.ids, mark)}", remedy)
            if not self._opens(row.ids, start):
                return _fault("prompt trained", name, rule,
                              f"loss from token {start} on, where no answer begins: {self._quoted(row.ids, start)}",
                              remedy)
        return None

    def _end(self, row: Row, name: str) -> Fault | None:
        real, rule = self.real(row), "trained on the token that ends each answer"
        for start, stop in reversed(_spans(row.trained & real)):
            said = (place for place in range(stop - 1, start - 1, -1) if not self._is_behind(row.ids, place))
            last = next(said, None)
            if last is None or self.control[row.ids[last]]:
                continue
            after = next((place for place in range(stop, len(row.ids))
                          if real[place] and not self._is_blank(row.ids[place])), None)
            if after is None and self._is_cut(row, int(real.sum())):
                return _fault("answer cut off", name, "short enough to keep its answer whole",
                              f"one that ends at token {last} in {self._quoted(row.ids, last, before=True)}",
                              "Raise seq_len, or leave the record out: it teaches to stop anywhere.")
            if after is None or not self.control[row.ids[after]]:
                return _fault("end not trained", name, rule,
                              f"none after {self._quoted(row.ids, last, before=True)}",
                              "Without it the model never learns to stop: encode with chat.encode, or add "
                              "{{ eos_token }} to the template.")
            cause = ("The pad token is the same token, and the collator hides every pad token: set labels by place, as "
                     "chat.encode does, or take another pad token." if row.ids[after] == self.pad else
                     "Let its label be its id: without it the model never learns to stop.")
            return _fault("end not trained", name, rule, f"{self._quoted(row.ids, after, most=1)} at token {after} "
                          "without loss", cause)
        return None

    def _is_cut(self, row: Row, length: int) -> bool:
        return length == self.seq_len or (row.whole is not None and len(row.whole.input_ids) > length)

    def _unlike(self, row: Row, name: str) -> Fault | None:
        if row.whole is None:
            return None
        ids, due_ids, trained, due = self._beside_due(row)
        if not np.array_equal(ids, due_ids):
            most = min(len(ids), len(due_ids))
            first = next((place for place in range(most) if ids[place] != due_ids[place]), most)
            return _fault("unlike the record", name, "the same tokens as its record",
                          f"at token {first} {self._quoted(ids, first)} instead of {self._quoted(due_ids, first)}",
                          "Another template or tokenizer made it, or it belongs to another record.")
        more, fewer = np.flatnonzero(trained & ~due), np.flatnonzero(due & ~trained)
        said = [f"{len(places)} {word} (first at token {places[0]}: {self._quoted(ids, places[0])})"
                for places, word in ((more, "more"), (fewer, "fewer")) if len(places)]
        return _fault("unlike the record", name, f"trained on the {due.sum()} tokens that its record's answers take",
                      " and ".join(said), "Set labels as chat.encode does.") if said else None

    def _beside_due(self, row: Row) -> tuple[np.ndarray, ...]:
        """The ids that the row has and should have, and where it is trained and should be; padding left out."""
        real = self.real(row)
        due_ids, due_labels = (np.asarray(column[:real.sum()]) for column in row.whole)
        return row.ids[real], due_ids, row.trained[real], due_labels != IGNORED

    def _more_than_due(self, row: Row) -> bool:
        ids, due_ids, trained, due = self._beside_due(row)
        return not np.array_equal(ids, due_ids) or bool((trained & ~due).any())

    def _is_text(self, row: Row) -> bool:
        """Whether the row is text to go on with and no conversation: trained throughout, without a mark of a turn."""
        if row.text or row.whole is not None or not self._openings:
            return row.text
        untrained = self.real(row) & ~row.trained
        return not untrained[1:].any() and not self._roles[row.ids].any() and not self._holds_opening(row.ids)

    def _holds_opening(self, ids: np.ndarray) -> bool:
        whole = _bare(self._text(ids))
        return any(_bare(opening) in whole for opening in self._openings)

    def _opens(self, ids: np.ndarray, start: int) -> bool:
        """Whether an answer begins at a place, or the template's openings are nowhere in the row to tell."""
        before = self._text(ids[max(0, start - _BACK):start])
        found = [opening for opening in self._openings if _bare(before).endswith(_bare(opening))]
        if found:  # a line end that the template writes belongs to the prompt
            line = "\n" in self._text(ids[start:start + 1]) and self._is_blank(ids[start])
            return not line or before.endswith("\n") or not all(opening.endswith("\n") for opening in found)
        return not self._openings or not self._holds_opening(ids)

    def _is_blank(self, token: int) -> bool:
        token = int(token)
        if token not in self._blank:
            self._blank[token] = not self.control[token] and not self._text([token]).strip()
        return self._blank[token]

    def _is_behind(self, ids: np.ndarray, place: int) -> bool:
        """Whether a token is white space, or stands for some that the vocabulary lacks behind the end of a turn."""
        unknown = ids[place] == self.tokenizer.unk_token_id and not self.control[ids[place]]
        return self._is_blank(ids[place]) or bool(unknown and place and self.control[ids[place - 1]])

    def _quoted(self, ids, place: int, before: bool = False, most: int = _QUOTED_TOKENS) -> str:
        part = ids[max(0, place + 1 - most):place + 1] if before else ids[place:place + most]
        text = visible(self._text(part).strip(HALF))
        return f"“{text[-_QUOTED:] if before else text[:_QUOTED]}”" if len(part) else "nothing"

    def _text(self, ids) -> str:
        return self.tokenizer.decode(list(map(int, ids)), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _fault(kind: str, name: str, rule: str, value: object, remedy: str) -> Fault:
    return Fault(kind, str(refusal(name, rule, value, remedy)))


def _spans(carries: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], carries, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _bare(text: str) -> str:
    return "".join(text.split())


def _stand_ins(tokenizer) -> set[int]:
    """The tokens that stand for something else, as for a rare character; they end and divide nothing."""
    ends = {tokenizer.eos_token_id, tokenizer.bos_token_id}  # GPT-2 has one token for all
    return {tokenizer.unk_token_id, getattr(tokenizer, "mask_token_id", None)} - ends - {None}


def _template_marks(tokenizer) -> tuple[set[int], tuple[str, ...]]:
    """The ids that the tokenizer's template writes, and what it writes between a question and its answer."""
    asked, said = ({"role": role, "content": text} for role, text in (("user", _ASKED), ("assistant", _SAID)))
    forms = (([asked], {"add_generation_prompt": True}), ([asked], {"add_generation_prompt": True,
             "enable_thinking": False}), ([asked, said], {}), ([asked, said, asked, said], {}))
    ids, openings = set(), set()
    for messages, settings in forms:
        try:
            text = tokenizer.apply_chat_template(messages, tokenize=False, **settings)
            opening = text.split(_ASKED)[1].split(_SAID)[0]
            ids.update(tokenizer(text, add_special_tokens=False)["input_ids"])
        except Exception:  # no template, or one that raises whatever it likes
            continue
        read = tokenizer.decode(tokenizer(opening, add_special_tokens=False)["input_ids"], skip_special_tokens=False,
                                clean_up_tokenization_spaces=False)
        openings |= {opening, read}  # a vocabulary without a line end, or of small letters alone, reads it otherwise
    return ids, tuple(opening for opening in openings if _bare(opening))
