r"""Takes out of text what must not leave a machine: tokens, keys, passwords, host names, paths of a user.

Knows nothing about cards or notebooks. A path is cut down to its last part: `/disk/name/data/x.json` becomes
`<path>/x.json`.
"""

import dataclasses
import getpass
import math
import os
import platform
import re
import socket
from collections.abc import Mapping
from pathlib import PurePath

SECRET, HOST, PATH = "<secret>", "<host>", "<path>"

_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"hf_(?:(?=[A-Za-z]{0,60}\d)[A-Za-z0-9]{8,}|[A-Za-z]{16,})"
    r"|sk-(?:(?=[\w-]{0,60}\d)[\w-]{8,}|[A-Za-z]{16,})"
    r"|(?:gh[pousr]|github_pat|npm|pypi|r8|wandb_v\d)_(?:(?=\w{0,60}\d)\w{8,}|[A-Za-z]{16,})"
    r"|(?:glpat|dop_v1|pypi)-[\w-]{8,}|xox[a-z]-[\w-]{8,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{12,}|AIza[\w-]{20,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r")")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+(?=\S{0,60}\d)[\w.~+/=-]{8,}", re.IGNORECASE)
_URL_LOGIN = re.compile(r"(?<=://)[^\s/@:]+(?::[^\s/@]*)?@")
_ASSIGNED = re.compile(r"\b(\w{0,40}(?:api_?key|secret|password|passwd|token)[\"']?\s*(?:=|:)\s*[\"']?)"
                       r"(?=[^\s\"']{0,60}\d)[^\s\"',;<>&]{8,}", re.IGNORECASE)
_LOGIN = re.compile(  # example.com and the like are nobody's; a Chinese character is no part of a name
    r"(?<![\w.+-])[\w.+-]+@(?!example\.(?:com|org|net)\b)[\w-]+(?:\.[\w-]+)*", re.ASCII)
_SECRET_KEY = re.compile(r"(?:.*_)?(?:api_?key|secret|secret_key|access_key|private_key|password|passwd|credentials?)"
                         r"|(?:hf|auth|access|api|refresh|hub|bearer|github|session|use_auth|wandb)_token"
                         r"|token|authorization", re.IGNORECASE)
_SECRET_VARIABLE = re.compile(r".*(?:TOKEN|API_?KEY|SECRET|PASSWORD|PASSWD|CREDENTIAL)S?", re.IGNORECASE)

_PART = r"[^\s\\/:\"'<>|*?`,;()\[\]{}=&]+"
_HOMES = r"(?:[A-Za-z]:)?[\\/]{1,4}(?:home|Users|Documents and Settings)[\\/]{1,4}"
_HOME = re.compile(rf"(?<![\w.-]){_HOMES}"
                   rf"(?:[^\\/\n\"'<>:|*?]+(?=[\\/])|{_PART})")
_SYSTEM = r"(?!(?:usr|dev|proc|sys|etc|bin|lib|api|v\d+)/)"  # the same everywhere: they tell nothing
_SPACED = re.compile(  # a whole text, or one in quotes, that is a path: its parts may have spaces
    rf"(^|[\"'])(?!{_HOMES}[^\\/]*(?:[\"']|$))(?:/{_SYSTEM}[^/\s\"']+/|[A-Za-z]:[\\/]{{1,4}}|~[\\/]{{1,4}}|\\\\{{1,4}}\w)"
    rf"[^\n\"'<>|*?:]*[\\/](?=[^\\/]*(?:\1|$))")
_DIRECTORY = re.compile(
    rf"(?<![\w.\\/<>~-])(?:/(?!/){_SYSTEM}|[A-Z]:[\\/]{{1,4}}|\\\\{{1,4}}(?=\w)|~[\\/]{{1,4}})"
    rf"(?:{_PART}[\\/]{{1,4}})+(?={_PART})|(?<![\w.\\/<>~-])~[\\/]{{1,4}}|(?<![\w.\\/<>~-])/root\b[\\/]*")
_REST = re.compile(rf"{PATH}(?:[\\/]*{PATH}|[\\/]{{1,4}}{_PART}(?=[\\/]))+[\\/]*|{PATH}[\\/]{{1,4}}")


def scrub(value: object) -> object:
    """The value without tokens, keys, host names and user paths, made of what JSON can hold.

    Text is searched; a dict's value under a name such as `password` or `hf_token` is replaced whole; paths, numpy
    numbers, tuples and dataclasses become text, numbers, lists and dicts; numbers that are not finite become None.

    Args:
        value: text, a number, a path, or a dict, list or tuple of them.

    Example:
        >>> scrub({"data": "/disk/ada/notes/x.json", "hf_token": "abc", "rank": 8})
        {'data': '<path>/x.json', 'hf_token': '<secret>', 'rank': 8}
    """
    return _scrub(value, _own_secrets(), _own_names())


def _scrub(value: object, secrets: list[str], names: re.Pattern | None) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {_text(str(key), secrets, names):
                SECRET if _is_secret(str(key), inner) else _scrub(inner, secrets, names)
                for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrub(inner, secrets, names) for inner in value]
    if value is None or isinstance(value, bool | int):
        return value
    if hasattr(value, "item") and not isinstance(value, str):  # a number of numpy or torch
        return _scrub(value.item(), secrets, names) if getattr(value, "ndim", 0) == 0 else _scrub(
            value.tolist(), secrets, names)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _text(str(value), secrets, names)


def _is_secret(key: str, value: object) -> bool:
    return isinstance(value, str) and bool(value) and _SECRET_KEY.fullmatch(key) is not None


def _text(text: str, secrets: list[str], names: re.Pattern | None) -> str:
    for secret in secrets:
        text = text.replace(secret, SECRET)
    text = _TOKEN.sub(SECRET, _PEM.sub(SECRET, text))
    text = _BEARER.sub(rf"\1 {SECRET}", text)
    text = _ASSIGNED.sub(rf"\1{SECRET}", _URL_LOGIN.sub("", text))
    text = _LOGIN.sub(HOST, text)
    text = _without_directories(text)
    return names.sub(HOST, text) if names else text


def _without_directories(text: str) -> str:
    if "/" not in text and "\\" not in text:
        return text
    text = _SPACED.sub(rf"\1{PATH}/", text.replace("file://", ""))
    text = _HOME.sub(PATH, text)
    text = _DIRECTORY.sub(f"{PATH}/", text)
    text = _REST.sub(lambda match: PATH + ("/" if match[0][-1] in "\\/" else ""), text)
    user = re.escape(_user())
    return re.sub(rf"{PATH}/(?:{user}\b|(?![^\s\"'])|$)", PATH, text)


def _own_secrets() -> list[str]:
    """What stands in this process's secret variables, longest first."""
    values = {value for name, value in os.environ.items() if _SECRET_VARIABLE.fullmatch(name) and len(value) >= 8}
    return sorted((value for value in values if not os.path.exists(value)), key=len, reverse=True)


def _own_names() -> re.Pattern | None:
    names = {name for full in (socket.gethostname(), platform.node()) for name in (full, full.partition(".")[0])}
    names = sorted((re.escape(name) for name in names if len(name) > 1 and name != "localhost"), key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(names)})(?:\.[A-Za-z][\w-]*)*(?![\w-])") if names else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no entry for this user, as in some containers
        return "nobody"


def last_part(path: str) -> str:
    """The file name at the end of a path, as `scrub` or any system writes it.

    Example:
        >>> last_part("<path>/x.json"), last_part("C:\\\\data\\\\x.json")
        ('x.json', 'x.json')
    """
    return PurePath(path.replace("\\", "/")).name
