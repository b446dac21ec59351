"""Cases for which tokens carry loss, for what a length cuts off, and for what packed tokens may see."""

import torch

from ftkit.course.cases import Case, Hint, Rule

_NO = -100
_OPENING, _END = [1, 7, 3], 2
# system turn, user turn, answer, user turn, answer; 1 opens a turn, 5 is the user, 7 the assistant, 3 a line break
_TALK = [1, 5, 3, 40, 2, 1, 7, 3, 41, 42, 2, 1, 5, 3, 43, 2, 1, 7, 3, 44, 2]
_ONE = _TALK[:11]
_FIRST = [_NO] * 8 + [41, 42, 2] + [_NO] * 10
_SECOND = [_NO] * 19 + [44, 2]
_BOTH = [_NO] * 8 + [41, 42, 2] + [_NO] * 8 + [44, 2]


def _labelled(ids: list[int], trained: list[bool], opening: list[int] = _OPENING):
    return lambda answer: answer(list(ids), list(opening), _END, list(trained))


def _turns_cut_off() -> list[Case]:
    return [
        Case("three turns", _labelled([1, 7, 3, 11, 2] + [1, 7, 3, 12, 2] + [1, 7, 3, 13, 2], [False, True, False]),
             [_NO] * 8 + [12, 2] + [_NO] * 5),
        Case("three turns, all trained", _labelled([1, 7, 3, 11, 2] * 3, [True] * 3), ([_NO] * 3 + [11, 2]) * 3, [
            Hint(lambda got: got[-1] == _NO, "The third turn carries loss as well: a talk has as many as it likes."),
        ]),
        Case("cut off in the answer", _labelled(_ONE[:-1], [True]), [_NO] * 8 + [41, 42], [
            Hint(ValueError, "An answer that was cut off has no end token: it reaches to the last token."),
            Hint([_NO] * 10, "An answer that was cut off is still learned as far as it goes."),
            Hint([_NO] * 8 + [41, _NO], "Without an end token the turn reaches to the last token, that one included."),
        ]),
        Case("cut off, and an earlier turn before it", _labelled(_TALK[:-1], [True, True]), _BOTH[:-1], [
            Hint(lambda got: len(got) != len(_TALK) - 1, "There is a label for each token that is left."),
        ]),
    ]


def _openings_in_answers() -> list[Case]:
    return [
        Case("the opening's tokens inside an answer", _labelled([1, 7, 3, 9, 1, 7, 3, 9, 2, 1, 7, 3, 8, 2],
                                                                [True, True]),
             [_NO] * 3 + [9, 1, 7, 3, 9, 2] + [_NO] * 3 + [8, 2], [
            Hint(IndexError, "A turn goes on to its end token: tokens inside it that look like an opening open no "
                 "turn."),
            Hint(lambda got: got[4] != _NO and got[-1] == _NO, "The second turn is the one behind place 8, not the "
                 "opening inside the first."),
            Hint(lambda got: got[4] == _NO, "A turn goes on to its end token: tokens inside it that look like an "
                 "opening open no turn."),
        ]),
        Case("the opening's tokens inside an answer without loss",
             _labelled([1, 7, 3, 9, 1, 7, 3, 9, 2, 1, 7, 3, 8, 2], [False, True]), [_NO] * 12 + [8, 2], [
            Hint(lambda got: got[7] == 9, "A turn without loss goes on to its end token, too: what looks like an "
                 "opening in it opens nothing."),
            Hint(IndexError, "A turn without loss goes on to its end token, too: what looks like an opening in it "
                 "opens nothing."),
        ]),
        Case("a part of the opening opens nothing", _labelled([1, 7, 4, 6, 2, 1, 7, 3, 8, 2], [True]),
             [_NO] * 8 + [8, 2], [
            Hint(lambda got: got[3] == 6, "1, 7, 4 is no assistant turn: compare the whole opening."),
            Hint(IndexError, "1, 7, 4 is no assistant turn: compare the whole opening."),
        ]),
        Case("an end token before", _labelled([2, 2, 1, 7, 3, 8, 2, 2], [True]), [_NO] * 5 + [8, 2, _NO], [
            Hint(lambda got: got[-1] == 2, "The turn ends at the first end token behind its opening."),
            Hint(lambda got: _NO not in got[-3:], "The turn ends at the first end token behind its opening."),
        ]),
        Case("nothing but an opening", _labelled([1, 7, 3], [True]), [_NO] * 3),
        Case("an opening at once behind a turn", _labelled([1, 7, 3, 2, 1, 7, 3, 2], [False, True]),
             [_NO] * 7 + [2]),
        Case("no assistant turn", _labelled([1, 5, 3, 40, 2], []), [_NO] * 5, [
            Hint(IndexError, "There is no assistant turn here: nothing carries loss."),
        ]),
    ]


_NO_TEXT = "21, 7, 3 is not 1, 7, 3: compare ids, not their digits as text."


def _other_openings() -> list[Case]:
    return [
        Case("a line break behind the end", _labelled([1, 7, 3, 9, 2, 3, 1, 7, 3, 8, 2], [True, True]),
             [_NO] * 3 + [9, 2] + [_NO] * 4 + [8, 2], [
            Hint(lambda got: got[-1] == _NO, "The next opening need not stand directly behind an end token: the "
                 "template writes a line break there."),
        ]),
        Case("an opening that begins twice", _labelled([1, 1, 1, 7, 5, 2], [True], [1, 1, 7]), [_NO] * 4 + [5, 2], [
            Hint([_NO] * 6, "1, 1, 7 stands at places 1 to 3. Where a token does not fit, go back: the opening may "
                 "have begun a place later."),
        ]),
        Case("an opening of one token", _labelled([7, 1, 5, 2, 6], [True], [1]), [_NO, _NO, 5, 2, _NO], [
            Hint(lambda got: True, "The opening is one token here, at place 1: take its length from the list."),
        ]),
        Case("an opening of four tokens", _labelled([1, 7, 3, 4, 9, 8, 2], [True], [1, 7, 3, 4]),
             [_NO] * 4 + [9, 8, 2], [
            Hint(lambda got: True, "The opening is four tokens here: take its length from the list."),
        ]),
        Case("ids that end with the same digit", _labelled([21, 7, 3, 6, 2, 1, 7, 3, 8, 2], [True]),
             [_NO] * 8 + [8, 2], [
            Hint(lambda got: got[3] == 6, _NO_TEXT),
            Hint(IndexError, _NO_TEXT),
        ]),
    ]


def label_cases() -> list[Case]:
    """Cases for 03.5."""
    return [
        Case("one turn", _labelled(_ONE, [True]), [_NO] * 8 + [41, 42, 2], [
            Hint([_NO] * 8 + [41, 42, _NO], "The end of the turn carries loss: without it the model never learns to "
                 "stop."),
            Hint([_NO] * 5 + _ONE[5:], "What opens the turn is written by the template, not by the model."),
            Hint(_ONE, "The prompt carries no loss."),
            Hint([_NO] * 4 + [2] + [_NO] * 3 + [41, 42, 2], "The end of the user's turn is not the model's to learn."),
            Hint([_NO] * 7 + [41, 42, 2, _NO], "Labels stand at their own token's place: the loss does the shift."),
            Hint(lambda got: len(got) < len(_ONE), "There is a label for each token, -100 where it carries no loss."),
            Hint([_NO] * 7 + [3, 41, 42, 2], "The line break belongs to what opens the turn: its last token."),
            Hint([0] * 8 + [41, 42, 2], "A token without loss has the label -100."),
        ]),
        Case("two turns", _labelled(_TALK, [True, True]), _BOTH, [
            Hint(_SECOND, "Every assistant turn carries loss where it is to be trained, not the last alone."),
            Hint(_FIRST, "Go on behind the first turn: there is another."),
            Hint([_NO] * 8 + _TALK[8:], "The turn ends at its end token: what the user says next carries no loss."),
        ]),
        Case("the first is context alone", _labelled(_TALK, [False, True]), _SECOND, [
            Hint(_BOTH, "trained says of each assistant turn whether it carries loss: the first does not."),
            Hint(_FIRST, "The other way round: False is a turn without loss."),
            Hint([_NO] * len(_TALK), "A turn without loss counts all the same: the second answer is trained[1]."),
        ]),
        Case("the second is context alone", _labelled(_TALK, [True, False]), _FIRST, [
            Hint(_BOTH, "trained says of each assistant turn whether it carries loss: the second does not."),
        ]),
        *_turns_cut_off(),
        *_openings_in_answers(),
        *_other_openings(),
    ]


_LENGTHS = [(10, 6), (20, 20), (30, 10), (60, 4)]  # 40 answer tokens; whole: 16, 40, 40, 64


def _chosen(lengths: list, share: float, multiple: int = 8):
    return lambda answer: answer(list(lengths), share, multiple)


def _long_prompts() -> list[Case]:
    return [
        Case("a prompt longer than all", _chosen([(1000, 1), (4, 99)], 0.02, 8), 104, [
            Hint(lambda got: got > 900, "A record can lose no more than its own answer: one token here, however long "
                 "its prompt is."),
            Hint(112, "At 104 one answer token of 100 is lost."),
            Hint(96, "At 96 the second record loses 7: with the first one's token 8 of 100."),
        ]),
        Case("a prompt as long as the row", _chosen([(8, 4)], 0.0), 16, [
            Hint(8, "A prompt of 8 fills a row of 8: all four answer tokens are lost there."),
        ]),
        Case("one token too many", _chosen([(3, 6)], 0.0, 8), 16, [
            Hint(8, "Nine tokens do not fit in 8."),
            Hint(9, "The length is a multiple of 8."),
        ]),
        Case("many short records and a long one", _chosen([(1, 1)] * 10 + [(4, 8)], 0.0, 8), 16, [
            Hint(8, "A record that fits loses nothing: it does not make up for one that does not."),
        ]),
        Case("less than one token may be lost", _chosen([(3, 6)], 0.15, 8), 16, [
            Hint(8, "One of six answer tokens is more than 15 %: do not round what may be lost."),
        ]),
        Case("the kind of number", _chosen([(3, 6)], 0.0, 8), Rule("a whole number (int)",
                                                                   lambda got: type(got) is int), [
            Hint(lambda got: True, "Return an int, such as int(...) makes of a number of another kind."),
        ]),
    ]


def length_cases() -> list[Case]:
    """Cases for 03.6."""
    return [
        Case("nothing may be lost", _chosen(_LENGTHS, 0.0), 64, [
            Hint(72, "64 tokens fit in 64: nothing is lost there."),
            Hint(24, "Prompts take room, too: the answer begins behind them."),
            Hint(80, "64 tokens fit in 64: nothing is lost there."),
            Hint(lambda got: got < 64, "The last record has 64 tokens, and all of its answer would be lost."),
        ]),
        Case("a tenth may be lost", _chosen(_LENGTHS, 0.1), 40, [
            Hint(48, "At 40 four answer tokens of 40 are lost, exactly a tenth: that is allowed."),
            Hint(64, "At 40 just the four answer tokens of the last record are lost, exactly a tenth of all 40: that "
                 "is allowed. Prompt tokens do not count."),
            Hint(60, "The length is a multiple of 8."),
            Hint(lambda got: got < 40, "At 32 the second record loses 8 answer tokens, the third 8 and the last 4: "
                 "half of all 40."),
            Hint(56, "Of the last record four answer tokens can be lost, not more: the rest is prompt."),
        ]),
        Case("half may be lost", _chosen(_LENGTHS, 0.5), 32, [
            Hint(24, "At 24 the second record loses 16 and the third all 10: 30 of 40 with the last one's four."),
            Hint(lambda got: got > 32, "At 32 the second record loses 8, the third 8, the last 4: 20 of 40, exactly "
                 "half."),
            Hint(8, "At 8 all 40 answer tokens are lost: the share is one of answer tokens, prompts left out."),
            Hint(16, "Count lost answer tokens, not records."),
        ]),
        Case("all may be lost", _chosen(_LENGTHS, 1.0), 8, [
            Hint(0, "The smallest length is one multiple, not 0: a row holds at least a token."),
        ]),
        Case("multiples of 50", _chosen(_LENGTHS, 0.0, 50), 100, [
            Hint(64, "The length is a multiple of 50 here."),
            Hint(50, "50 cuts the last record's answer off."),
            Hint(150, "100 is enough."),
        ]),
        *_long_prompts(),
    ]


def _positions(*rows: list[int]) -> torch.Tensor:
    return torch.tensor(rows)


def _by_hand(position_ids: torch.Tensor, window: int | None = None) -> torch.Tensor:
    """The same, token by token: it looks back to the beginning of its record, or as far as the window goes."""
    rows, width = position_ids.shape
    visible = torch.zeros(rows, width, width, dtype=torch.bool)
    for row in range(rows):
        for at in range(width):
            start = at - int(position_ids[row, at])
            visible[row, at, max(start, at - (window or width) + 1):at + 1] = True
    return visible


def _other_widths() -> list[Case]:
    four, single, long = _positions([0, 1, 0, 1, 0, 0, 1]), _positions([0] * 300), _positions(list(range(300)))
    return [
        Case("four records in a row", lambda answer: answer(four.clone()), _by_hand(four), [
            Hint(lambda got: bool(got[0, 5:, 4].any()), "The fourth record is not the third: a row holds as many as "
                 "fit."),
        ]),
        Case("300 records of one token", lambda answer: answer(single.clone()), _by_hand(single), [
            Hint(lambda got: True, "A row may hold hundreds of records: let the counter count that far."),
        ]),
        Case("a record of 300 tokens", lambda answer: answer(long.clone()), _by_hand(long), [
            Hint(lambda got: not bool(got[0, 100, 0]), "Without a window a token sees as far back as the first of "
                 "its record."),
            Hint(lambda got: True, "A record may have hundreds of tokens: let the counter count that far."),
        ]),
        Case("the kind of result", lambda answer: answer(four.clone()), Rule(
            "a tensor of True and False", lambda got: isinstance(got, torch.Tensor) and got.dtype == torch.bool), [
            Hint(lambda got: True, "Return a tensor, not a list or an array."),
        ]),
    ]


def visible_cases() -> list[Case]:
    """Cases for 03.7."""
    two = _positions([0, 1, 2, 0, 1])
    several = _positions([0, 1, 2, 3, 0, 1, 0, 1, 2], [0, 0, 1, 2, 3, 4, 5, 0, 1])
    return [
        Case("two records in a row", lambda answer: answer(two.clone()), _by_hand(two), [
            Hint(torch.ones(1, 5, 5).tril().bool(), "Here the second record sees the first: the leak. A token sees "
                 "its own record alone."),
            Hint(_by_hand(two).mT, "This lets a token see what comes after it. The first of the last two dimensions "
                 "is the token that looks, the other what it looks at."),
            Hint(lambda got: got.dtype == torch.bool and torch.equal(got, _by_hand(two) | _by_hand(two).mT),
                 "A token sees itself and what stands before it, not what comes after."),
            Hint(~_by_hand(two), "True is where a token may look."),
            Hint(lambda got: got.dtype != torch.bool, "Return a tensor of True and False."),
            Hint(lambda got: got.dim() == 2, "Keep the rows: (rows, width, width)."),
            Hint(lambda got: not got.diagonal(dim1=1, dim2=2).any(), "A token sees itself."),
        ]),
        Case("one record alone", lambda answer: answer(_positions([0, 1, 2, 3])), torch.ones(1, 4, 4).tril().bool()),
        Case("records of one token", lambda answer: answer(_positions([0, 0, 0])), torch.eye(3).bool()[None], [
            Hint(lambda got: bool(got[0, 1, 0]), "Each 0 begins a record: equal positions belong to different ones."),
        ]),
        Case("several rows", lambda answer: answer(several.clone()), _by_hand(several), [
            Hint(lambda got: got.shape[0] == 1, "Each row has records of its own."),
            Hint(lambda got: torch.equal(got[0], _by_hand(several)[0]), "Each row begins anew: count within a row."),
            Hint(lambda got: bool(got[0, 6:, :4].any()), "The third record is not the first: positions that rise by "
                 "one step are not yet the same record."),
        ]),
        Case("a window of 2", lambda answer: answer(two.clone(), 2), _by_hand(two, 2), [
            Hint(_by_hand(two, 1), "A window of 2 is the token itself and one before it."),
            Hint(_by_hand(two), "The window limits how far back a token sees: here to itself and one before it."),
        ]),
        Case("a window of 3, several rows", lambda answer: answer(several.clone(), window=3), _by_hand(several, 3), [
            Hint(_by_hand(several, 4), "A window of 3 is the token itself and two before it."),
        ]),
        Case("a window wider than the row", lambda answer: answer(two.clone(), 9), _by_hand(two)),
        *_other_widths(),
        Case("a window of 1", lambda answer: answer(two.clone(), 1), torch.eye(5).bool()[None], [
            Hint(lambda got: bool(got[0, 1, 0]), "A window of 1 is the token alone."),
        ]),
    ]
