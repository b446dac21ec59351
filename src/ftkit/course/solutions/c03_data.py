"""The official answers to the exercises of lesson 03, each as it stands in the notebook in place of its stub."""

import datetime
import re
from collections import Counter

IGNORED = -100


def piece_shingles(text, n):
    pieces = re.findall("[\u4e00-\u9fff]|[a-z0-9]+", text.lower())
    starts = range(max(1, len(pieces) - n + 1))  # a short text is one shingle, not none
    return {tuple(pieces[at:at + n]) for at in starts if pieces}


def kept_places(lengths, pairs):
    cluster = [{place} for place in range(len(lengths))]  # each record's own, until a pair joins two
    for one, other in pairs:
        joined = {*cluster[one], *cluster[other]}
        for place in joined:
            cluster[place] = joined
    once = {id(places): places for places in cluster}.values()
    return sorted(max(places, key=lambda place: (lengths[place], -place)) for places in once)


def resident_ids(text):
    found = []
    for match in re.finditer("(?<![0-9])[0-9]{17}[0-9Xx](?![0-9A-Za-z])", text):
        number = match[0]
        values = [10 if sign in "Xx" else int(sign) for sign in number]
        checked = sum(value * 2 ** (17 - place) for place, value in enumerate(values)) % 11
        try:
            datetime.date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
        except ValueError:
            continue
        if checked == 1:
            found.append(number)
    return found


def split_clusters(clusters, kinds, share):
    members = {}
    for place, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(place)
    room = {kind: share * many for kind, many in Counter(kinds).items()}
    held_out = []
    for places in members.values():
        wanted = Counter(kinds[place] for place in places)
        if all(many <= room[kind] for kind, many in wanted.items()):
            room = {kind: left - wanted[kind] for kind, left in room.items()}
            held_out += places
    return sorted(held_out)


def turn_labels(ids, opening, end, trained):
    labels, turn, inside = [IGNORED] * len(ids), -1, False
    for place, token in enumerate(ids):
        if inside:
            if trained[turn]:
                labels[place] = token  # the end token, too
            inside = token != end
        elif ids[:place + 1][-len(opening):] == opening:
            turn, inside = turn + 1, True
    return labels


def smallest_seq_len(lengths, lost_share, multiple):
    def lost(seq_len):
        return sum(min(answer, max(0, prompt + answer - seq_len)) for prompt, answer in lengths)

    allowed = lost_share * sum(answer for _, answer in lengths)
    longest = max(prompt + answer for prompt, answer in lengths)
    return next(seq_len for seq_len in range(multiple, longest + multiple, multiple) if lost(seq_len) <= allowed)


def visible_tokens(position_ids, window=None):
    record = (position_ids == 0).cumsum(1)  # (rows, width): counts up where a record begins
    same = record[:, :, None] == record[:, None, :]  # (rows, width, width)
    back = position_ids[:, :, None] - position_ids[:, None, :]  # how far the one stands behind the other
    visible = same & (back >= 0)
    return visible if window is None else visible & (back < window)


_ONE_DIMENSION = "of two dimensions, 1 is the last"
EQUIVALENT = {
    "03.2": {
        "joined = {*cluster[one], *cluster[other]} -> joined = {*cluster[other], *cluster[one]}": "a set has no order",
    },
    "03.3": {
        "values = [10 if sign in 'Xx' else int(sign) for sign in number] -> "
        "values = [10 if sign in 'xXx' else int(sign) for sign in number]": "x stands there twice",
    },
    "03.5": {
        "inside = token != end -> inside = -(token != end)": "-True is as true as True",
    },
    "03.7": {
        "record = (position_ids == 0).cumsum(1) -> record = -(position_ids == 0).cumsum(1)":
            "numbers of records are compared with each other alone",
        "record = (position_ids == 0).cumsum(1) -> record = (position_ids == 0).cumsum(-1)": _ONE_DIMENSION,
        "same = record[:, :, None] == record[:, None, :] -> same = record[:, :, None] == record[:, None]":
            "a slice of all that is left may be left out",
        "back = position_ids[:, :, None] - position_ids[:, None, :] -> "
        "back = position_ids[:, :, None] - position_ids[:, None]": "a slice of all that is left may be left out",
    },
}
