"""What an answer to an exercise of lesson 03 is judged by. Knows nothing about the notebook around it."""

from ftkit.course.cases import Case, Check, Hint
from ftkit.course.checks.loss_places import label_cases, length_cases, visible_cases
from ftkit.course.checks.near_duplicates import kept_cases, shingle_cases

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # as the standard, GB 11643, prints them
_SIGNS = "10X98765432"  # by the remainder


def _number(region: str = "990101", born: str = "19491231", order: str = "002") -> str:
    """An id with its check sign; no region begins with 99, so it is nobody's."""
    digits = region + born + order
    values = [10 if digit == "X" else int(digit) for digit in digits]
    return digits + _SIGNS[sum(value * weight for value, weight in zip(values, _WEIGHTS, strict=True)) % 11]


def _wrong_sign(number: str) -> str:
    return number[:-1] + ("1" if number[-1] == "0" else "0")


def _with_x() -> str:
    return next(number for number in (_number(order=f"{order:03}") for order in range(1000)) if number[-1] == "X")


def _of_the_text() -> list[Case]:
    plain, other = _number(), _number("990502", "19990630", "117")
    long = plain + "7"
    return [
        Case("an id alone", lambda answer: answer(plain), [plain], [
            Hint([], "This is an id. Its check sign counts in the sum, the weights fall from 2 to the power of 17 to "
                     "1, and the remainder is 1."),
        ]),
        Case("in a Chinese sentence", lambda answer: answer(f"我的身份证{plain}丢了。"), [plain], [
            Hint([], "Was it found where it stood alone? Then this is why: a Chinese character is a letter to \\b and "
                     "to \\w, so there is no word boundary beside the number. Ask for no digit before and no letter or "
                     "digit after."),
            Hint([long[:17]], "An id has 18 signs."),
            Hint(lambda got: isinstance(got, list) and got and not isinstance(got[0], str), "Return the ids as text, "
                 "as they stand."),
            Hint(plain, "Return a list: there may be several."),
            Hint(True, "Return the ids, not whether there is one."),
        ]),
        Case("two, in their order", lambda answer: answer(f"{other}，{plain}"), [other, plain], [
            Hint([plain, other], "In the order of the text."),
            Hint([other], "There may be more than one."),
        ]),
        Case("the same one twice", lambda answer: answer(f"{plain}，{plain}"), [plain, plain], [
            Hint([plain], "All ids are wanted, the same one again, too: each is to be replaced where it stands."),
        ]),
        *_of_check_signs(plain),
        *_of_dates(plain),
        *_of_neighbours(plain, long),
        Case("no number", lambda answer: answer("没有号码"), [], [
            Hint(lambda got: got is False, "Return an empty list."),
        ]),
    ]


def _of_check_signs(plain: str) -> list[Case]:
    ends_x = _with_x()
    return [
        Case("a check sign that is wrong", lambda answer: answer(f"号码{_wrong_sign(plain)}。"), [], [
            Hint(lambda got: len(got) == 1, "Its check sign is wrong: the weighted sum of all 18 leaves another "
                 "remainder than 1."),
        ]),
        Case("two digits swapped", lambda answer: answer(plain[:14] + "020" + plain[17:]), [], [
            Hint(lambda got: len(got) == 1, "Two digits are swapped, and the weights differ by place to find that."),
        ]),
        Case("a check sign X", lambda answer: answer(f"ID: {ends_x}"), [ends_x], [
            Hint([], "X is a check sign, too, and stands for 10."),
            Hint(ValueError, "X is a check sign, too, and stands for 10: int() can't read it."),
        ]),
        Case("a small x", lambda answer: answer(f"ID {ends_x.lower()}."), [ends_x.lower()], [
            Hint([], "People write a small x as well."),
            Hint([ends_x], "Return the id as it stands in the text: it is to be found and replaced there."),
            Hint(ValueError, "People write a small x as well."),
        ]),
    ]


def _of_dates(plain: str) -> list[Case]:
    leap, century, no_leap = (_number(born=f"{year}0229") for year in (1904, 2000, 1901))
    month = _number(born="19490001")
    return [
        Case("month 13", lambda answer: answer(_number(born="19491301")), [], [
            Hint(lambda got: len(got) == 1, "There is no month 13: signs 7 to 14 are a date of birth."),
            Hint(ValueError, "datetime.date raises ValueError where there is no such day: that number is no id."),
        ]),
        Case("30 February", lambda answer: answer(_number(born="19880230")), [], [
            Hint(lambda got: len(got) == 1, "There is no 30 February: let datetime.date decide what a day is."),
        ]),
        Case("29 February, in leap years and in none", lambda answer: answer(f"{leap} {century} {no_leap}"),
             [leap, century], [
            Hint([], "1904 was a leap year: its 29 February is a day."),
            Hint([leap], "2000 was a leap year, unlike 1900: let datetime.date decide what a day is."),
            Hint([leap, century, no_leap], "1901 was no leap year."),
        ]),
        Case("29 February 1900", lambda answer: answer(_number(born="19000229")), [], [
            Hint(lambda got: len(got) == 1, "1900 was no leap year, though 4 divides it: let datetime.date decide."),
        ]),
        Case("day 00", lambda answer: answer(_number(born="19490100")), [], [
            Hint(lambda got: len(got) == 1, "There is no day 0: let datetime.date decide what a day is."),
        ]),
        Case("a bad date, then a good id", lambda answer: answer(f"{month} {plain}"), [plain], [
            Hint([], "Go on behind a number that is no id: another may follow."),
        ]),
        Case("31 October and 31 January", lambda answer: answer(
            f"{_number(born='19781031')} {_number(born='20010131')}"), [_number(born="19781031"),
                                                                     _number(born="20010131")]),
    ]


def _of_neighbours(plain: str, long: str) -> list[Case]:
    after = "9" + plain
    return [
        Case("the beginning of a longer number", lambda answer: answer(long), [], [
            Hint(lambda got: len(got) == 1, "19 digits are another kind of number, such as a card's: ask that no "
                 "letter or digit follows."),
        ]),
        Case("the end of a longer number", lambda answer: answer(after), [], [
            Hint(lambda got: len(got) == 1, "19 digits are another kind of number: ask that no digit comes before."),
        ]),
        Case("letters after it", lambda answer: answer(plain + "A"), [], [
            Hint(lambda got: len(got) == 1, "A letter follows: that is a longer code and no id."),
        ]),
        Case("a small letter after it", lambda answer: answer(plain + "a"), [], [
            Hint(lambda got: len(got) == 1, "A small letter follows: that is a longer code and no id."),
        ]),
        Case("an underscore after it", lambda answer: answer(plain + "_"), [plain], [
            Hint([], "An underscore is neither a letter nor a digit, but to \\b and \\w it is one."),
        ]),
        Case("letters before it", lambda answer: answer("ID" + plain), [plain], [
            Hint([], "Letters may come before it: 'ID' often does."),
        ]),
        Case("in brackets", lambda answer: answer(f"（{plain}）"), [plain]),
        Case("X in the middle", lambda answer: answer(_number(region="99X101")), [], [
            Hint(ValueError, "X is a check sign and no digit: only the last sign may be one."),
            Hint(lambda got: len(got) == 1, "X is a check sign and no digit: only the last sign may be one."),
        ]),
    ]


def _held(clusters: str, kinds: str, share: float):
    """Clusters and kinds as letters, one a record."""
    return lambda answer: answer(list(clusters), list(kinds), share)


def _of_shares() -> list[Case]:
    return [
        Case("a share that is no whole number of records", _held("abcde", "xxxxx", 0.5), [0, 1], [
            Hint([0, 1, 2], "Three of five are more than half: never more than the share."),
            Hint([0], "Two of five are not more than half: the share may be used up."),
        ]),
        Case("one and a half", _held("abc", "xxx", 0.5), [0], [
            Hint([0, 1], "Half of three is one and a half, and two are more: the share is not rounded."),
        ]),
        Case("three of ten", _held("abcdefghij", "xxxxxxxxxx", 0.3), [0, 1, 2], [
            Hint([0, 1], "Three of ten are exactly 0.3. Count records: tenths that are added up miss it by rounding, "
                 "since 0.1 + 0.1 + 0.1 is above 0.3 in floats."),
        ]),
        Case("exactly the share", _held("abcd", "xxyy", 0.5), [0, 2], [
            Hint([], "Half of two is one, of each kind: the share may be used up."),
        ]),
        Case("a rare kind", _held("abcde", "xxxxy", 0.25), [0], [
            Hint([0, 4], "The one record of kind y is more than a quarter of its kind."),
        ]),
        Case("three kinds, clusters of several", _held("aabbccdde", "xxyyzzxyz", 0.67), [0, 1, 2, 3, 4, 5], [
            Hint(lambda got: True, "Each kind has its own room: two of three x, two of three y, two of three z."),
        ]),
        Case("most of one kind", _held("ccb", "yxy", 0.6), [2], [
            Hint([0, 1], "Cluster c has a record of kind x, too, for which there is no room: ask for each kind."),
        ]),
        Case("two of one kind and one of another", _held("abbbc", "yxxyx", 0.67), [0, 4], [
            Hint(lambda got: 1 in got, "Cluster b needs room for kind y, too, of which none is left: ask for each "
                 "kind, not for that of most of its records."),
        ]),
        Case("nothing held out", _held("abc", "xyx", 0.0), []),
        Case("numbers as names", lambda answer: answer([7, 3, 7, 1], [0, 0, 0, 0], 0.5), [0, 2], [
            Hint(lambda got: 1 in got, "Clusters are taken in the order of their first record, whatever they are "
                 "called."),
        ]),
    ]


def _of_the_split() -> list[Case]:
    return [
        Case("no duplicates", _held("abcdefgh", "xxxxyyyy", 0.5), [0, 1, 4, 5], [
            Hint(lambda got: isinstance(got[0], list | tuple), "Return one list: the held-out places alone."),
            Hint([0, 1, 2, 3], "Half of each kind, not half of all: here one kind is held out as a whole."),
            Hint([2, 3, 6, 7], "These are the ones to train on: return those that are held out."),
            Hint(lambda got: len(got) == 2, "Half of four is two, of each kind: the share may be used up."),
        ]),
        Case("a cluster stays on one side", _held("abab", "xxxx", 0.5), [0, 2], [
            Hint([0, 1], "One record of each cluster is the leak: its near duplicate is in the training part. Both "
                 "records of a cluster are held out, or none."),
            Hint([0], "Both records of a cluster are held out, or none."),
            Hint([], "A cluster of two fits: half of four is two."),
        ]),
        Case("a cluster that is too large", _held("aaabc", "xxxxx", 0.4), [3, 4], [
            Hint([0, 1, 2], "Three records are more than two fifths of five: leave the cluster and go on."),
            Hint([0, 1], "Cluster a does not fit as a whole: none of it is held out then."),
            Hint([], "A cluster that does not fit is passed over: smaller ones follow."),
        ]),
        Case("records of a cluster far apart", _held("abcadb", "xxxxxx", 0.5), [0, 2, 3], [
            Hint([0, 1, 2], "Records 0 and 3 belong together wherever they stand."),
            Hint([0, 3, 4], "Go through the clusters in the order of their first record: c comes before d."),
            Hint([0, 3], "One place is left, and cluster c fits there."),
            Hint([0, 3, 2], "Return the places in rising order."),
        ]),
        Case("a cluster of two kinds", _held("abbcde", "xxyyyy", 0.5), [0, 3, 4], [
            Hint(lambda got: got[:3] == [0, 1, 2], "Cluster b takes a place of each kind, and of x none is left."),
            Hint(lambda got: 0 not in got, "Cluster a comes first."),
            Hint([0], "Clusters c and d, of kind y, fit."),
        ]),
        Case("a mixed cluster that fits", _held("aabcde", "xyxyxy", 0.34), [0, 1], [
            Hint([0, 1, 2, 3], "A third of three is one of each kind, and cluster a takes both."),
            Hint(lambda got: 0 not in got, "Cluster a comes first and fits: it takes one of each kind, and 1 is less "
                 "than 0.34 times 3."),
        ]),
        *_of_shares(),
    ]


CHECKS = {
    "03.1": Check("piece_shingles", "Shingles for two scripts", 1, 8, shingle_cases),
    "03.2": Check("kept_places", "What stays of each cluster", 2, 12, kept_cases),
    "03.3": Check("resident_ids", "Resident ids in running text", 2, 12, _of_the_text),
    "03.4": Check("split_clusters", "A stratified split that cuts no cluster", 3, 12, _of_the_split),
    "03.5": Check("turn_labels", "Labels turn by turn", 3, 12, label_cases),
    "03.6": Check("smallest_seq_len", "The shortest length that loses little", 3, 8, length_cases),
    "03.7": Check("visible_tokens", "What a packed token may see", 4, 12, visible_cases),
}
