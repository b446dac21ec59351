"""Cases for shingles of mixed text, and for what stays of each cluster of near duplicates."""

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
            Hint(lambda got: not any("wifi6" in one for one in got), "A run of letters and digits is one piece among "
                 "the characters, where it stands."),
        ]),
        *_short_texts(),
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
        Case("a cluster of 2,000 in a chain", lambda answer: answer(
            list(range(2000)), [(at, at + 1) for at in range(1999)]), [1999], [
            Hint(RecursionError, "A chain is as long as it likes: follow it with a loop."),
        ]),
        Case("the kind of result", lambda answer: answer([1, 2], [(0, 1)]), Rule(
            "a list", lambda got: isinstance(got, list))),
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
    ]
