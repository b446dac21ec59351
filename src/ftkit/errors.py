"""A worded refusal of bad input: name, rule, value, remedy, nearest names.

Knows nothing about what is being refused: every module words its own rule and remedy through here.
"""

import difflib
from collections.abc import Iterable

SHOWN_CHARACTERS = 80


class Refusal(ValueError):
    """Bad input, refused at the door in one sentence that names the input, the rule, the value and what to do."""


class MissingPackage(Refusal, ImportError):
    """An optional package is needed here and is not installed."""


def refusal(name: str, rule: str, value: object, remedy: str = "") -> Refusal:
    """An exception that reads `<name> must be <rule>, got <value>. <remedy>`.

    Args:
        name: the argument, file or field as the reader wrote it.
        rule: what it must be, as the end of "must be ...".
        value: what was given; shown shortened, with quotes around text.
        remedy: a sentence that says what to do.

    Example:
        >>> str(refusal("rank", "1 or more", 0, "Take 8 to begin with."))
        'rank must be 1 or more, got 0. Take 8 to begin with.'
    """
    return Refusal(f"{name} must be {rule}, got {_short(value)}. {remedy}".rstrip())


def unknown(name: str, value: object, known: Iterable[str], remedy: str = "") -> Refusal:
    """An exception for a name outside a closed set: the set is listed, the nearest names are offered.

    Example:
        >>> str(unknown("schedule", "linaer", ["constant", "linear"]))
        "schedule must be one of constant, linear, got 'linaer'. Did you mean linear?"
    """
    known = [str(item) for item in known]
    near = nearest(str(value), known)
    hint = f"Did you mean {' or '.join(near)}?" if near else ""
    return refusal(name, f"one of {', '.join(known) or '(none known)'}", value, f"{hint} {remedy}".strip())


def missing_package(package: str, extra: str) -> MissingPackage:
    """An exception that names the command which installs an optional package.

    Example:
        >>> str(missing_package("tensorboard", "track"))
        'tensorboard is not installed. Install it with: pip install "ftkit[track]"'
    """
    return MissingPackage(f'{package} is not installed. Install it with: pip install "ftkit[{extra}]"')


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known names that look most like `name`, best first; empty when none is close.

    Example:
        >>> nearest("learning_rte", ["rank", "learning_rate"])
        ['learning_rate']
    """
    return difflib.get_close_matches(name, list(known), n=most, cutoff=0.6)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
