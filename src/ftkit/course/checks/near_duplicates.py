"""Cases for shingles of mixed text, and for what stays of each cluster of near duplicates."""

import random

from ftkit.course.cases import Case, Hint, Rule

_RIVER = [("河", "水"), ("水", "很"), ("很", "冷")]
_MIXED = [("我", "的", "wifi6"), ("的", "wifi6", "坏"), ("wifi6", "坏", "了")]


def _of(*words: str) -> set[tuple[str, ...]]:
    return {tuple(word.split()) for word in words}


def _lengths(got: object) -> set[int]:
    return {len(one) for one in got}


def _short_texts() -> list[Case]:
    return [
        Case("shorter than n: two texts", lambda answer: (answer("感冒", 5), answer("胃痛", 5)),
             ({("感", "冒")}, {("胃", "痛")}), [
            Hint(lambda got: any("" in one for one in got[0]), "A short text's shingle holds its own pieces alone: "
                 "nothing is put in to reach n."),
            Hint((set(), set()), "A text of fewer than n pieces is one shingle of all its pieces. With none, all "
                 "short texts are the same text, and all but one are deleted."),
        ]),
        Case("exactly n pieces", lambda answer: answer("a b c", 3), _of("a b c"), [
            Hint(lambda got: len(got) == 0, "n pieces are one shingle."),
            Hint(lambda got: len(got) > 1, "n pieces are one shingle and no more: no shingle is shorter than n where "
                 "there are n pieces."),
        ]),
        Case("one piece more than n", lambda answer: answer("a b c d", 3), _of("a b c", "b c d"), [
            Hint(lambda got: len(_lengths(got)) > 1, "Only a text of fewer than n pieces has a shorter shingle."),
        ]),
        Case("no piece at all", lambda answer: answer("？！ …", 2), set(), [
            Hint({()}, "A text without a piece has no shingle, not an empty one: else all such texts are alike."),
        ]),
        Case("the same again and again", lambda answer: answer("ha ha ha ha", 2), _of("ha ha")),
        Case("one piece a shingle", lambda answer: answer("7 zz 七", 1), {("7",), ("zz",), ("七",)}),
        Case("the first and last of the range", lambda answer: answer("一鿿azAZ09", 2),
             {("一", "鿿"), ("鿿", "azaz09")}, [
            Hint(lambda got: True, "Characters from U+4E00 to U+9FFF count, and letters and digits from a to z and 0 "
                 "to 9."),
        ]),
    ]


_SIGNS = "Don't e-mail: A_b 37.5℃,wifi6坏了\ncafé"
_SIGN_PIECES = "don t e mail a b 37 5 wifi6 坏 了 caf".split()


def _among(*pieces: str):
    """A test: whether one of the pieces stands in a shingle."""
    return lambda got: any(piece in one for one in got for piece in pieces)


def _signs_between() -> list[Case]:
    return [
        Case("signs between, and two lines", lambda answer: answer(_SIGNS, 2),
             set(zip(_SIGN_PIECES, _SIGN_PIECES[1:], strict=False)), [
            Hint(_among("café"), "é is none of the letters a to z: it separates. \\w takes it for a letter."),
            Hint(_among("a_b", "_"), "An underscore is no letter: it separates."),
            Hint(_among("dont", "ab", "375", "email"), "A sign separates: put a space in its place, or 37.5 becomes "
                 "375."),
            Hint(_among("don't", "e-mail", "37.5"), "An apostrophe, a hyphen and a dot separate, inside a word or a "
                 "number, too."),
            Hint(lambda got: ("了", "wifi6") in got or ("5", "坏") in got, "A run ends where a Chinese character "
                 "begins, and stands before it: wifi6, then 坏."),
            Hint(lambda got: ("了", "caf") not in got, "A sign or a line break separates pieces and no more: a shingle "
                 "goes on across it."),
        ]),
        Case("letters and digits of other scripts", lambda answer: answer("㐀好 ３x ß٣ ﬁ", 1), {("好",), ("x",)}, [
            Hint(_among("㐀"), "㐀 is U+3400: characters from U+4E00 to U+9FFF count here."),
            Hint(_among("ss", "fi", "3x"), "Turn the text to lower case and change nothing else: ß, ﬁ and full-width "
                 "digits separate."),
            Hint(lambda got: True, "Letters from a to z and digits from 0 to 9 count: \\w and \\d take those of all "
                 "scripts."),
        ]),
    ]


def shingle_cases() -> list[Case]:
    """Cases for 03.1."""
    return [
        Case("a Chinese sentence, pairs", lambda answer: answer("河水很冷。", 2), set(_RIVER), [
            Hint(lambda got: isinstance(got, list), "Return a set: how often a shingle occurs does not count."),
            Hint(lambda got: any("。" in one for one in got), "Punctuation is no piece: only characters, and runs of "
                 "letters and digits."),
            Hint(lambda got: any(isinstance(one, str) for one in got), "A shingle is a tuple of pieces, so that "
                 "('ab', 'c') and ('a', 'bc') are two."),
            Hint(lambda got: ("河水很冷",) in got, "Each Chinese character is a piece of its own: no spaces tell "
                 "words apart."),
            Hint(lambda got: set(_RIVER) < set(got) or len(got) == 2, "Four pieces have three pairs: count where the "
                 "last one begins."),
        ]),
        Case("an English sentence, triples", lambda answer: answer("The river is cold.", 3),
             _of("the river is", "river is cold"), [
            Hint(lambda got: any("The" in one for one in got), "Capital letters are no difference: turn the text to "
                 "lower case."),
            Hint(lambda got: ("t", "h", "e") in got, "A run of letters and digits is one piece, not one a letter."),
            Hint(lambda got: any("cold." in one for one in got), "The dot is no part of the word."),
            Hint(lambda got: _lengths(got) == {2}, "n pieces make a shingle, and n is 3 here."),
        ]),
        Case("both in one text", lambda answer: answer("我的 Wifi6 坏了", 3), set(_MIXED), [
            Hint(lambda got: any("wifi" in one for one in got), "Digits belong to the run of letters: wifi6 is one "
                 "piece."),
            Hint(_among("Wifi6"), "Capital letters are no difference: turn the text to lower case."),
            Hint(lambda got: not any("wifi6" in one for one in got), "A run of letters and digits is one piece among "
                 "the characters, where it stands."),
        ]),
        *_short_texts(),
        *_signs_between(),
    ]


_TIES = "Of equally long records the first one stays: another run must keep the same."


def _ties_and_rings() -> list[Case]:
    return [
        Case("pairs in any order", lambda answer: answer([4, 4, 4, 4, 5], [(3, 2), (1, 0), (2, 0)]), [0, 4], [
            Hint(lambda got: 4 not in got, "A record without a near duplicate stays, the last one, too."),
            Hint(lambda got: len(got) == 2, _TIES),
            Hint(lambda got: len(got) > 2, "3, 2, 1 and 0 are one cluster: follow each place to the top of its "
                 "cluster before joining two."),
        ]),
        Case("equally long", lambda answer: answer([7, 7, 7], [(2, 1), (0, 2)]), [0], [
            Hint(lambda got: len(got) == 1, _TIES),
        ]),
        Case("equally long, and a shorter one first", lambda answer: answer([0, 6, 6], [(2, 0), (2, 1)]), [1], [
            Hint([2], "Of equally long records the first one stays, by its place and not by the way it was reached."),
        ]),
        Case("equally long, far apart", lambda answer: answer([2] * 9, [(8, 1)]), [0, 1, 2, 3, 4, 5, 6, 7], [
            Hint([0, 2, 3, 4, 5, 6, 7, 8], _TIES),
        ]),
        Case("no pairs", lambda answer: answer([2, 1, 3], []), [0, 1, 2], [
            Hint([], "Without pairs all stay."),
            Hint(lambda got: sorted(got) == [0, 1, 2], "Return the places in rising order."),
        ]),
        Case("a pair twice, and one that is itself", lambda answer: answer([2, 1], [(0, 1), (1, 0), (0, 0)]), [0], [
            Hint(lambda got: True, "A pair may come twice and in either order: the cluster stays what it is."),
        ]),
        Case("a ring", lambda answer: answer([1, 2, 3], [(0, 1), (1, 2), (2, 0)]), [2]),
        Case("nothing", lambda answer: answer([], []), []),
        Case("a record of length 0", lambda answer: answer([0], []), [0], [
            Hint([], "A record without a near duplicate stays, an empty one, too: begin with none, not with length 0."),
        ]),
        Case("the kind of result", lambda answer: answer([1, 2], [(0, 1)]), Rule(
            "a list", lambda got: isinstance(got, list | tuple)), [Hint(lambda got: True, "Return a list.")]),
    ]


def _long_chain() -> tuple[list[int], list[tuple[int, int]]]:
    """A cluster of 2,000 whose lengths and pairs come in a drawn order: no number of passes that is set is enough."""
    drawn = random.Random(3)
    pairs = [(at, at + 1) for at in range(1999)]
    drawn.shuffle(pairs)
    return drawn.sample(range(2000), 2000), pairs


def _joined_late() -> list[Case]:
    lengths, chain = _long_chain()
    return [
        Case("a pair joins two clusters", lambda answer: answer([9, 4, 7], [(0, 1), (2, 2), (0, 2)]), [0], [
            Hint([0, 2], "Record 2 has a cluster of its own when the third pair comes: join the two clusters."),
        ]),
        Case("the last of three pairs", lambda answer: answer([4, 0, 9, 1], [(0, 3), (1, 2), (1, 3)]), [2], [
            Hint([0, 2], "1 is near 3 and 3 near 0: what a later pair joins reaches back to the earlier ones."),
        ]),
        Case("pairs that run backwards", lambda answer: answer([4, 8, 0, 9], [(1, 3), (3, 2), (0, 2)]), [3], [
            Hint(lambda got: len(got) > 1, "0 is near 2, 2 near 3 and 3 near 1: one pass over the pairs does not "
                 "carry that to all four."),
        ]),
        Case("a cluster of 2,000 in a chain", lambda answer: answer(list(lengths), list(chain)),
             [lengths.index(1999)], [
            Hint(RecursionError, "A chain is as long as it likes: follow it with a loop."),
            Hint(lambda got: len(got) > 1, "A fixed number of passes, or of steps from record to record, is too few "
                 "for a long chain: go on until nothing changes."),
        ]),
    ]


def kept_cases() -> list[Case]:
    """Cases for 03.2."""
    return [
        Case("one pair", lambda answer: answer([5, 9, 4], [(0, 1)]), [1, 2], [
            Hint([0, 1], "A record without a near duplicate stays."),
            Hint([0, 2], "The longer one stays: 9, at place 1."),
            Hint([1], "A record without a near duplicate stays: a cluster of one."),
            Hint([9, 4], "Return places, not lengths."),
            Hint([2, 1], "Return the places in rising order."),
            Hint([2], "Both of the pair are gone: one of a cluster has to stay."),
            Hint([0], "Return the places that stay, not those that go."),
        ]),
        Case("a chain", lambda answer: answer([1, 2, 3, 4], [(0, 1), (1, 2), (2, 3)]), [3], [
            Hint(lambda got: len(got) > 1, "Near duplicates of near duplicates are one cluster: 0 with 1, 1 with 2, 2 "
                 "with 3."),
        ]),
        Case("a chain whose best is in the middle", lambda answer: answer([1, 9, 3], [(0, 1), (1, 2)]), [1]),
        Case("one record in two pairs", lambda answer: answer([1, 2, 3], [(0, 1), (0, 2)]), [2], [
            Hint([1, 2], "Record 0 is in both pairs, so all three are one cluster: the second pair must not take it "
                 "out of the first."),
        ]),
        Case("two clusters that meet late", lambda answer: answer([3, 2, 8, 1, 6, 7], [(0, 1), (4, 5), (5, 1)]),
             [2, 3, 5], [
            Hint([0, 2, 3, 5], "The third pair joins two clusters: all four are one then."),
            Hint(lambda got: len(got) > 3, "A later pair can join two clusters that there already are: all their "
                 "members then belong together, not the two of the pair alone."),
        ]),
        *_ties_and_rings(),
        *_joined_late(),
    ]
