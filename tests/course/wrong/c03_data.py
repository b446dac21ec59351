"""Known wrong answers to the exercises of lesson 03: by exercise, the hint each must get and its source.

A wrong answer is the official one with a few words of it changed, so that what is wrong is what is shown.
"""

from ftkit.course.catalogue import solution_source

HEAD = "import datetime\nimport re\nfrom collections import Counter\n\nimport torch\n\nIGNORED = -100\n\n\n"


def changed(exercise, *pairs):
    """The official answer with pieces of its source replaced, each of them once or more."""
    source = solution_source(exercise)
    for old, new in pairs:
        assert old in source, f"{exercise}: {old}"
        source = source.replace(old, new)
    return HEAD + source


def labels_passed(order):
    """An answer to 03.2 that passes over the pairs in this order and carries the smaller place along."""
    return HEAD + (
        "def kept_places(lengths, pairs):\n"
        "    top = list(range(len(lengths)))\n"
        f"    for one, other in {order}:\n"
        "        top[one] = top[other] = min(top[one], top[other])\n"
        "    best = {}\n"
        "    for place in range(len(lengths)):\n"
        "        best[top[place]] = max(best.get(top[place], place), place, key=lambda one: (lengths[one], -one))\n"
        "    return sorted(best.values())\n")


_DATE = "datetime.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))"

WRONG = {
    "03.1": {
        "all but one are deleted": changed("03.1", ("range(max(1, len(pieces) - n + 1))",
                                                    "range(len(pieces) - n + 1)")),
        "Each Chinese character is a piece": changed("03.1", (r'"[\u4e00-\u9fff]|[a-z0-9]+", text.lower()',
                                                              'r"\\w+", text.lower()')),
        "turn the text to lower case": changed("03.1", ("text.lower()", "text"), ("a-z0-9", "A-Za-z0-9")),
        "is one piece, not one a letter": changed("03.1", ("[a-z0-9]+", "[a-z0-9]")),
        "Punctuation is no piece": changed("03.1", ("[a-z0-9]+", r"[a-z0-9]+|[^\\s]")),
        "Return a set": changed("03.1", ("{tuple(pieces[at:at + n]) for at in starts if pieces}",
                                         "[tuple(pieces[at:at + n]) for at in starts if pieces]")),
        "A shingle is a tuple of pieces": changed("03.1", ("tuple(pieces[at:at + n])", '"".join(pieces[at:at + n])')),
        "Digits belong to the run": changed("03.1", ("[a-z0-9]+", "[a-z]+|[0-9]+")),
        "has no shingle, not an empty one": changed("03.1", (" if pieces", "")),
        "Only a text of fewer than n pieces": changed("03.1", ("range(max(1, len(pieces) - n + 1))",
                                                               "range(len(pieces))")),
        "Four pieces have three pairs": changed("03.1", ("len(pieces) - n + 1", "len(pieces) - n")),
        "n pieces make a shingle, and n is 3": changed("03.1", ("at:at + n]", "at:at + 2]")),
        "The dot is no part of the word": HEAD + (
            "def piece_shingles(text, n):\n"
            "    pieces = text.lower().split()\n"
            "    if not text.isascii():\n"
            "        pieces = re.findall('[\u4e00-\u9fff]|[a-z0-9]+', text.lower())\n"
            "    return {tuple(pieces[at:at + n]) for at in range(max(1, len(pieces) - n + 1))}\n"),
        "Characters from U+4E00 to U+9FFF count": changed("03.1", (r"\u9fff", r"\u9fa5")),
        "é is none of the letters a to z": changed("03.1", ("[a-z0-9]+", r"[^\\W\u4e00-\u9fff]+")),
        "An underscore is no letter": changed("03.1", ("[a-z0-9]+", "[a-z0-9_]+")),
        "put a space in its place": changed("03.1", ("text.lower()", r're.sub("[^\\w\\s]", "", text.lower())')),
        "An apostrophe, a hyphen and a dot separate": changed("03.1", ("[a-z0-9]+", "[a-z0-9'-]+")),
        "A run ends where a Chinese character begins": HEAD + (
            "def piece_shingles(text, n):\n"
            "    pieces, run = [], ''\n"
            "    for sign in text.lower():\n"
            "        if sign.isascii() and sign.isalnum():\n"
            "            run += sign\n"
            "        elif '\u4e00' <= sign <= '\u9fff':\n"
            "            pieces.append(sign)\n"
            "        elif run:\n"
            "            pieces, run = [*pieces, run], ''\n"
            "    pieces += [run] * bool(run)\n"
            "    return {tuple(pieces[at:at + n]) for at in range(max(1, len(pieces) - n + 1)) if pieces}\n"),
        "a shingle goes on across it": HEAD + (
            "def piece_shingles(text, n):\n"
            "    lines = [re.findall('[\u4e00-\u9fff]|[a-z0-9]+', line) for line in text.lower().splitlines()]\n"
            "    return {tuple(line[at:at + n]) for line in lines if line for at in range(max(1, len(line) - n + 1))}"),
        "characters from U+4E00 to U+9FFF count here": changed("03.1", (r"\u4e00", r"\u3400")),
        "Turn the text to lower case and change nothing else": changed("03.1", ("text.lower()", "text.casefold()")),
        "take those of all scripts": changed("03.1", ("[a-z0-9]+", r"[a-z\\d]+")),
        "nothing is put in to reach n": changed("03.1", ("tuple(pieces[at:at + n])",
                                                         "(*pieces[at:at + n], *[''] * (n - len(pieces)))")),
    },
    "03.2": {
        "are one cluster: 0 with 1": HEAD + (
            "def kept_places(lengths, pairs):\n"
            "    partner = {one: other for one, other in pairs}\n"
            "    gone = {min((one, other), key=lambda place: lengths[place]) for one, other in partner.items()"
            " if lengths[one] > 2 or one == 0}\n"
            "    return [place for place in range(len(lengths)) if place not in gone]\n"),
        "The longer one stays": changed("03.2", ("max(places, key=lambda place: (lengths[place], -place))",
                                                 "min(places)")),
        "Of equally long records the first": changed("03.2", ("(lengths[place], -place)", "(lengths[place], place)")),
        "A record without a near duplicate stays": changed("03.2", (
            "for places in cluster}", "for places in cluster if len(places) > 1}")),
        "Return places, not lengths": changed("03.2", (
            "sorted(max(places, key=lambda place: (lengths[place], -place)) for places in once)",
            "[max(lengths[place] for place in places) for places in once]")),
        "Return the places in rising order": changed("03.2", ("return sorted(", "return list("),
                                                     ("for places in once)", "for places in reversed(once))")),
        "not those that go": changed("03.2", (
            "return sorted(max(places, key=lambda place: (lengths[place], -place)) for places in once)",
            "stay = [max(places, key=lambda place: (lengths[place], -place)) for places in once]\n"
            "    return [place for place in range(len(lengths)) if place not in stay]")),
        "Both of the pair are gone": HEAD + (
            "def kept_places(lengths, pairs):\n"
            "    near = {place for pair in pairs for place in pair}\n"
            "    return [place for place in range(len(lengths)) if place not in near]\n"),
        "must not take it out of the first": HEAD + (
            "def kept_places(lengths, pairs):\n"
            "    above = list(range(len(lengths)))\n"
            "    for one, other in pairs:\n"
            "        above[one] = other\n"
            "    best = {}\n"
            "    for place in range(len(lengths)):\n"
            "        top, seen = place, set()\n"
            "        while above[top] != top and top not in seen:\n"
            "            seen.add(top)\n"
            "            top = above[top]\n"
            "        best.setdefault(top, []).append(place)\n"
            "    return sorted(max(places, key=lambda place: lengths[place]) for places in best.values())\n"),
        "A later pair can join two clusters": changed("03.2", ("for place in joined:", "for place in (one, other):")),
        "follow it with a loop": HEAD + (
            "def kept_places(lengths, pairs):\n"
            "    beside = {place: [] for place in range(len(lengths))}\n"
            "    for one, other in pairs:\n"
            "        beside[one].append(other)\n"
            "        beside[other].append(one)\n"
            "    seen = set()\n\n"
            "    def reach(place):\n"
            "        seen.add(place)\n"
            "        return [place] + [far for near in beside[place] if near not in seen for far in reach(near)]\n\n"
            "    clusters = [reach(place) for place in range(len(lengths)) if place not in seen]\n"
            "    return sorted(max(places, key=lambda place: (lengths[place], -place)) for places in clusters)\n"),
        "has a cluster of its own when the third pair comes": HEAD + (
            "def kept_places(lengths, pairs):\n"
            "    clusters = []\n"
            "    for pair in pairs:\n"
            "        for cluster in clusters:\n"
            "            if cluster & set(pair):\n"
            "                cluster |= set(pair)\n"
            "                break\n"
            "        else:\n"
            "            clusters.append(set(pair))\n"
            "    alone = set(range(len(lengths))).difference(*clusters)\n"
            "    return sorted({max(sorted(one), key=lambda place: lengths[place]) for one in clusters} | alone)\n"),
        "what a later pair joins reaches back": labels_passed("sorted(map(sorted, pairs))"),
        "one pass over the pairs does not carry": labels_passed("pairs * 2"),
        "A fixed number of passes": labels_passed("pairs * 20"),
        "from record to record, is too few": HEAD + (
            "def kept_places(lengths, pairs):\n"
            "    near = {place: {place} for place in range(len(lengths))}\n"
            "    for one, other in pairs:\n"
            "        near[one].add(other)\n"
            "        near[other].add(one)\n"
            "    for _ in range(3):\n"
            "        near = {place: set().union(*(near[other] for other in near[place])) for place in near}\n"
            "    return [place for place in near if all((lengths[other], -other) <= (lengths[place], -place)"
            " for other in near[place])]\n"),
        "and not by the way it was reached": HEAD + (
            "def kept_places(lengths, pairs):\n"
            "    seen, kept = set(), []\n"
            "    for first in range(len(lengths)):\n"
            "        reached, left = [], [first]\n"
            "        while left:\n"
            "            place = left.pop()\n"
            "            if place not in seen:\n"
            "                seen.add(place)\n"
            "                reached.append(place)\n"
            "                left += [two for pair in pairs for two in pair if place in pair]\n"
            "        kept += [max(reached, key=lambda place: lengths[place])] if reached else []\n"
            "    return sorted(kept)\n"),
        "begin with none, not with length 0": changed("03.2", ("for places in once)",
                                                                "for places in once if max(lengths[place] for place "
                                                                "in places) > 0)")),
        "Return a list.": changed("03.2", ("return sorted(max(places, key=lambda place: (lengths[place], -place)) for "
                                           "places in once)",
                                           "return torch.tensor(sorted(max(places, key=lambda place: (lengths[place], "
                                           "-place)) for places in once))")),
    },
    "03.3": {
        "a Chinese character is a letter": changed("03.3", (
            '"(?<![0-9])[0-9]{17}[0-9Xx](?![0-9A-Za-z])"', r'r"\\b[0-9]{17}[0-9Xx]\\b"')),
        "Its check sign is wrong": changed("03.3", ("if checked == 1:", "if True:")),
        "and the weights differ by place": changed("03.3", ("value * 2 ** (17 - place)", "value"),
                                                   ("checked == 1", "True")),
        "There is no month 13": changed("03.3", (
            "datetime.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))", "int(number)")),
        "There is no 30 February": changed("03.3", (
            "datetime.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))",
            'if not (1 <= int(number[10:12]) <= 12 and 1 <= int(number[12:14]) <= 31):\n'
            '                raise ValueError')),
        "no letter or digit follows": changed("03.3", ("(?![0-9A-Za-z])", "")),
        "ask that no digit comes before": changed("03.3", ("(?<![0-9])", "")),
        "A letter follows": changed("03.3", ("(?![0-9A-Za-z])", "(?![0-9])")),
        "People write a small x": changed("03.3", ("[0-9Xx]", "[0-9X]")),
        "X is a check sign, too": changed("03.3", ("[0-9Xx]", "[0-9]")),
        "as it stands in the text": changed("03.3", ("number = match[0]", "number = match[0].upper()")),
        "Letters may come before it": changed("03.3", ("(?<![0-9])", "(?<![0-9A-Za-z])")),
        "Go on behind a number that is no id": changed("03.3", ("            continue", "            break")),
        "that number is no id": changed("03.3", ("        try:\n            datetime.date", "        datetime.date"),
                                        ("        except ValueError:\n            continue\n", "")),
        "only the last sign may be one": changed("03.3", ("[0-9]{17}[0-9Xx]", "[0-9X]{17}[0-9Xx]"),
                                                 ("checked == 1", "checked in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0)")),
        "1900 was no leap year": changed("03.3", (
            _DATE, 'datetime.date(int(number[6:10]), int(number[10:12]), int(number[12:14])) if number[6:14] != '
            '"19000229" else None')),
        "There is no day 0": changed("03.3", (
            _DATE, "datetime.date(int(number[6:10]), int(number[10:12]), max(1, int(number[12:14])))")),
        "the same one again, too": changed("03.3", ("return found", "return list(dict.fromkeys(found))")),
        "A small letter follows": changed("03.3", ("(?![0-9A-Za-z])", "(?![0-9A-Z])")),
        "An underscore is neither": changed("03.3", ("(?![0-9A-Za-z])", "(?![0-9A-Za-z_])")),
        "Its check sign counts in the sum": changed("03.3", ("checked == 1", "checked == 0")),
        "Return a list: there may be several": changed("03.3", ("found.append(number)", "return number")),
    },
    "03.4": {
        "Half of each kind, not half of all": changed("03.4", (
            "room = {kind: share * many for kind, many in Counter(kinds).items()}",
            "room = {kind: share * len(kinds) for kind in kinds}"),
            ("left - wanted[kind]", "left - sum(wanted.values())")),
        "return those that are held out": changed("03.4", (
            "return sorted(held_out)", "return [place for place in range(len(kinds)) if place not in held_out]")),
        "One record of each cluster is the leak": changed("03.4", ("members.setdefault(cluster, [])",
                                                      "members.setdefault(place, [])")),
        "leave the cluster and go on": changed("03.4", ("many <= room[kind] for", "room[kind] >= 1 for")),
        "none of it is held out then": HEAD + (
            "def split_clusters(clusters, kinds, share):\n"
            "    room = {kind: share * kinds.count(kind) for kind in set(kinds)}\n"
            "    held_out = []\n"
            "    for place in sorted(range(len(kinds)), key=lambda place: clusters.index(clusters[place])):\n"
            "        if room[kinds[place]] >= 1:\n"
            "            room[kinds[place]] -= 1\n"
            "            held_out.append(place)\n"
            "    return sorted(held_out)\n"),
        "passed over: smaller ones follow": changed("03.4", (
            "            held_out += places\n", "            held_out += places\n        else:\n            break\n")),
        "belong together wherever they stand": HEAD + (
            "from itertools import groupby\n\n\n"
            "def split_clusters(clusters, kinds, share):\n"
            "    room = {kind: share * kinds.count(kind) for kind in set(kinds)}\n"
            "    held_out = []\n"
            "    for _, run in groupby(range(len(kinds)), key=lambda place: clusters[place]):\n"
            "        places = list(run)\n"
            "        wanted = Counter(kinds[place] for place in places)\n"
            "        if all(many <= room[kind] for kind, many in wanted.items()):\n"
            "            room = {kind: left - wanted[kind] for kind, left in room.items()}\n"
            "            held_out += places\n"
            "    return sorted(held_out)\n"),
        "takes a place of each kind": changed("03.4", ("Counter(kinds[place] for place in places)",
                                                       "Counter({kinds[places[-1]]: len(places)})")),
        "in rising order": changed("03.4", ("return sorted(held_out)", "return held_out")),
        "never more than the share": changed("03.4", ("share * many for", "-(-share * many // 1) for")),
        "the share may be used up": changed("03.4", ("many <= room[kind]", "many < room[kind]")),
        "whatever they are called": changed("03.4", ("in members.values()",
                                                     "in [members[name] for name in sorted(members)]")),
        "the share is not rounded": changed("03.4", ("share * many for", "round(share * many) for")),
        "tenths that are added up": changed("03.4", ("share * many for", "share for"), (
            "Counter(kinds[place] for place in places)",
            "{kind: sum(1 / kinds.count(kind) for place in places if kinds[place] == kind) for kind in kinds}")),
        "has a record of kind x, too": changed("03.4", ("for kind, many in wanted.items()",
                                                        "for kind, many in wanted.most_common(1)")),
        "not for that of most of its records": changed("03.4", ("many <= room[kind] for",
                                                                "many <= room[kind] or many < len(places) / 2 for")),
        "Return one list": changed("03.4", ("return sorted(held_out)", "return sorted(held_out), [place for place in "
                                            "range(len(kinds)) if place not in held_out]")),
        "more than a quarter of its kind": changed("03.4", ("share * many for", "max(1, share * many) for")),
    },
    "03.5": {
        "the model never learns to stop": changed("03.5", ("if trained[turn]:", "if trained[turn] and token != end:")),
        "What opens the turn is written by the template": changed("03.5", (
            "            turn, inside = turn + 1, True",
            "            turn, inside = turn + 1, True\n"
            "            labels[place + 1 - len(opening):place + 1] = opening")),
        "The prompt carries no loss": changed("03.5", ("return labels", "return list(ids)")),
        "The end of the user's turn is not": changed("03.5", ("        elif ", "        elif token == end:\n"
                                                              "            labels[place] = token\n        elif ")),
        "the loss does the shift": changed("03.5", ("return labels", "return labels[1:] + [IGNORED]")),
        "There is a label for each token": changed("03.5", ("return labels", "return [label for label in labels if "
                                                            "label != IGNORED]")),
        "has the label -100": changed("03.5", ("[IGNORED]", "[0]")),
        "not the last alone": changed("03.5", ("turn, inside = turn + 1, True",
                                               "turn, inside = turn + 1, True\n"
                                               "            labels = [IGNORED] * len(ids)")),
        "Go on behind the first turn": changed("03.5", ("elif ", "elif turn < 0 and ")),
        "The turn ends at its end token": changed("03.5", ("inside = token != end", "inside = True")),
        "the first does not": changed("03.5", ("if trained[turn]:", "if True:")),
        "False is a turn without loss": changed("03.5", ("if trained[turn]:", "if not trained[turn] or all(trained):")),
        "the second answer is trained[1]": changed("03.5", (
            "labels[place] = token", "labels[place] = token\n"
            "            else:\n                inside = turn < 0\n"
            "                turn -= 1\n                continue")),
        "it reaches to the last token": HEAD + (
            "def turn_labels(ids, opening, end, trained):\n"
            "    labels, turn, place = [IGNORED] * len(ids), 0, 0\n"
            "    while place < len(ids):\n"
            "        first = place + len(opening)\n"
            "        if ids[place:first] != opening:\n"
            "            place += 1\n"
            "            continue\n"
            "        last = ids.index(end, first)\n"
            "        if trained[turn]:\n"
            "            labels[first:last + 1] = ids[first:last + 1]\n"
            "        turn, place = turn + 1, last + 1\n"
            "    return labels\n"),
        "tokens inside it that look like": changed("03.5", ("        if inside:", "        if inside and "
                                                            "ids[:place + 1][-len(opening):] != opening:")),
        "A turn without loss goes on": changed("03.5", ("inside = turn + 1, True",
                                                         "inside = turn + 1, trained[turn + 1]")),
        "The third turn carries loss": changed("03.5", ("if trained[turn]:", "if trained[turn] and turn < 2:")),
        "need not stand directly behind an end token": changed("03.5", (
            "        elif ", "        elif turn >= 0 and ids[place - len(opening)] != end:\n            continue\n"
            "        elif ")),
        "Where a token does not fit, go back": HEAD + (
            "def turn_labels(ids, opening, end, trained):\n"
            "    labels, turn, inside, fits = [IGNORED] * len(ids), -1, False, 0\n"
            "    for place, token in enumerate(ids):\n"
            "        if inside:\n"
            "            labels[place] = token if trained[turn] else IGNORED\n"
            "            inside = token != end\n"
            "            continue\n"
            "        fits = fits + 1 if token == opening[fits] else int(token == opening[0])\n"
            "        if fits == len(opening):\n"
            "            turn, inside, fits = turn + 1, True, 0\n"
            "    return labels\n"),
        "The opening is one token here": changed("03.5", ("[-len(opening):] == opening",
                                                          "[-3:] == opening or ids[:place + 1][-4:] == opening")),
        "The opening is four tokens here": changed("03.5", ("[-len(opening):] == opening", "[-3:] == opening[:3]")),
        "not their digits as text": changed("03.5", ("ids[:place + 1][-len(opening):] == opening",
                                                     '" ".join(map(str, ids[:place + 1])).endswith('
                                                     '" ".join(map(str, opening)))')),
        "compare the whole opening": changed("03.5", ("ids[:place + 1][-len(opening):] == opening",
                                                      "ids[:place][-2:] == opening[:2]")),
    },
    "03.6": {
        "Prompts take room, too": changed("03.6", ("prompt + answer - seq_len", "answer - seq_len"),
                                          ("longest = max(prompt + answer", "longest = max(prompt + 2 * answer")),
        "exactly a tenth of all 40": changed("03.6", ("<= allowed", "< allowed or lost(seq_len) == 0")),
        "Prompt tokens do not count": changed("03.6", ("min(answer, max(0, prompt + answer - seq_len))",
                                                          "max(0, prompt + answer - seq_len)")),
        "The length is a multiple of 8": changed("03.6", ("range(multiple, longest + multiple, multiple)",
                                                          "range(1, longest + 1)")),
        "Count lost answer tokens, not records": changed("03.6", (
            "min(answer, max(0, prompt + answer - seq_len))", "prompt + answer > 2.5 * seq_len"),
            ("sum(answer for _, answer in lengths)", "len(lengths)")),
        "however long its prompt is": changed("03.6", (
            "min(answer, max(0, prompt + answer - seq_len))", "max(0, prompt + answer - seq_len) * (answer < 5) or "
            "min(answer, max(0, prompt + answer - seq_len))")),
        "do not round what may be lost": changed("03.6", ("allowed = lost_share * sum(answer for _, answer in lengths)",
                                                          "allowed = round(lost_share * sum(answer for _, answer in "
                                                          "lengths))")),
        "it does not make up for one": changed("03.6", ("max(0, prompt + answer - seq_len)",
                                                        "prompt + answer - seq_len")),
        "A prompt of 8 fills a row of 8": changed("03.6", ("for prompt, answer in lengths)\n\n",
                                                           "for prompt, answer in lengths if prompt != seq_len)\n\n")),
        "Return an int": changed("03.6", ("return next(", "return torch.tensor(next("),
                                 ("<= allowed)", "<= allowed))")),
        "the share is one of answer tokens": changed("03.6", ("sum(answer for _, answer",
                                                              "sum(_ + answer for _, answer")),
        "one multiple, not 0": changed("03.6", ("range(multiple,", "range(0,")),
        "is a multiple of 50 here": changed("03.6", ("range(multiple, longest + multiple, multiple)",
                                                     "range(8, longest + 8, 8)")),
        "64 tokens fit in 64": changed("03.6", ("- seq_len))", "- seq_len + 1))"), ("longest + multiple,",
                                                                                    "longest + 2 * multiple,")),
        "all of its answer would be lost": changed("03.6", ("sum(min(", "sum(answer < 5 < 0 or prompt < 60 and min(")),
    },
    "03.7": {
        "the leak": changed("03.7", ("same & (back >= 0)",
                                     "torch.ones_like(same).tril()")),
        "This lets a token see what comes after": changed("03.7", ("back >= 0", "back <= 0")),
        "not what comes after": changed("03.7", ("visible = same & (back >= 0)", "visible = same")),
        "A token sees itself.": changed("03.7", ("back >= 0", "back > 0")),
        "a tensor of True and False": changed("03.7", ("return visible if window is None",
                                                       "return visible.long() if window is None")),
        "Keep the rows": changed("03.7", ("return visible if window is None", "return visible[0] if window is None")),
        "True is where a token may look": changed("03.7", ("return visible if window is None",
                                                           "return ~visible if window is None")),
        "equal positions belong to different ones": HEAD + (
            "def visible_tokens(position_ids, window=None):\n"
            "    starts = (position_ids.diff(dim=1) < 0).long().cumsum(1)\n"
            "    record = torch.cat([torch.zeros_like(starts[:, :1]), starts], 1)\n"
            "    back = position_ids[:, :, None] - position_ids[:, None, :]\n"
            "    visible = (record[:, :, None] == record[:, None, :]) & (back >= 0)\n"
            "    return visible if window is None else visible & (back < window)\n"),
        "Each row has records of its own": changed("03.7", ("return visible if window is None",
                                                            "return visible[:1] if window is None")),
        "count within a row": changed("03.7", ("record = (position_ids == 0).cumsum(1)",
                                               "record = (position_ids == 0).cumsum(1)[:1].expand_as(position_ids)")),
        "a row holds as many as fit": changed("03.7", (".cumsum(1)", ".cumsum(1).clamp(max=3)")),
        "A row may hold hundreds": changed("03.7", (".cumsum(1)", ".cumsum(1, dtype=torch.int8)")),
        "Without a window a token sees": changed("03.7", ("visible if window is None",
                                                                 "visible & (back < 8) if window is None")),
        "A record may have hundreds": changed("03.7", ("record = (position_ids", "position_ids = position_ids.to("
                                                       "torch.int8)\n    record = (position_ids"), (
            "visible if window is None", "visible | torch.eye(position_ids.shape[1]).bool() if window is None")),
        "not a list or an array": changed("03.7", ("return visible if", "return visible.tolist() if")),
        "the token alone": changed("03.7", ("visible & (back < window)", "visible & (back < max(window, 2))")),
        "itself and two before": changed("03.7", ("back < window", "back <= window")),
        "The window limits how far back": changed("03.7", ("visible & (back < window)", "visible")),
        "The third record is not the first": HEAD + (
            "def visible_tokens(position_ids, window=None):\n"
            "    at = torch.arange(position_ids.shape[1])\n"
            "    behind = at[:, None] - at\n"
            "    back = position_ids[:, :, None] - position_ids[:, None, :]\n"
            "    visible = (behind >= 0) & (back >= 0) & ((back == behind) | (position_ids[:, :, None] == 2) & "
            "(behind > 5))\n"
            "    return visible if window is None else visible & (back < window)\n"),
    },
}
