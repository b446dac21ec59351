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
    },
    "03.3": {
        "A Chinese character is a letter": changed("03.3", (
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
