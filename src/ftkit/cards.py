"""The card of a run: what was done, with what, on what, and what came out. A frozen dataclass, stored as card.json.

Knows nothing about training, folders being written to, or locks.
"""

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path

import ftkit
from ftkit.errors import refusal, unknown
from ftkit.files import read_json, sha256, write_json
from ftkit.scrub import HOST, PATH, SECRET, last_part, scrub

SCHEMA = 1
CARD = "card.json"
STATUSES = ("running", "done", "failed")
_PACKAGES = ("torch", "transformers", "accelerate", "peft", "tokenizers", "safetensors", "numpy")


@dataclass(frozen=True)
class Card:
    """What a run was and what came out.

    Args:
        schema: version of this layout.
        parameters: as given, scrubbed.
        versions: package name to version, and "python".
        commit: of ftkit's source, with "+changed" where files differ from it; None for an installed package.
        data: a name and a SHA-256 for each data file.
        model: name and SHA-256 of the model that training began with.
        threads: of torch; on a CPU another number may change the last bits of a result.
        started: UTC, ISO 8601.
        elapsed_s: seconds over all sessions that worked on the run.
        status: "running" (or stopped half-way), "done" or "failed".
        error: why it failed.
    """

    name: str
    parameters: dict
    seed: int
    started: str
    schema: int = SCHEMA
    versions: dict = field(default_factory=dict)
    commit: str | None = None
    data: list = field(default_factory=list)
    model: dict = field(default_factory=dict)
    hardware: dict = field(default_factory=dict)
    threads: int = 1
    elapsed_s: float = 0.0
    status: str = "running"
    metrics: dict = field(default_factory=dict)
    error: str | None = None

    def __post_init__(self):
        if isinstance(self.schema, bool) or not isinstance(self.schema, int) or self.schema < 1:
            raise refusal("card: schema", "a whole number, 1 or more", self.schema, "Is this a run card?")
        if self.schema > SCHEMA:
            raise refusal("card: schema", f"{SCHEMA} or less", self.schema,
                          "A newer ftkit wrote this card: upgrade ftkit to read it.")
        for name, kind, words in _KINDS:
            if not isinstance(getattr(self, name), kind):
                raise refusal(f"card: {name}", words, getattr(self, name), "Restore the card or delete the run.")
        if self.status not in STATUSES:
            raise unknown("card: status", self.status, STATUSES)


_KINDS = [("name", str, "text"), ("parameters", dict, "an object"), ("seed", int, "a whole number"),
          ("started", str, "text"), ("versions", dict, "an object"), ("commit", str | None, "text or null"),
          ("data", list, "a list"), ("model", dict, "an object"), ("hardware", dict, "an object"),
          ("threads", int, "a whole number"), ("elapsed_s", int | float, "a number"),
          ("metrics", dict, "an object"), ("error", str | None, "text or null")]


@dataclass(frozen=True)
class Rerun:
    """What it takes to repeat a run: the parameters with data files found again, the seed, and those files."""

    parameters: dict
    seed: int
    data: list[Path]


def read_card(folder: str | Path) -> Card:
    """The card of a run folder.

    Args:
        folder: the run's folder, or its card.json.

    Raises:
        Refusal: there is none, it is damaged, or a newer ftkit wrote it; the sentence names file and field.
    """
    path = Path(folder)
    path = path / CARD if path.is_dir() else path
    if not path.is_file():
        raise refusal("run folder", f"one that holds a {CARD}", path.parent.name, "Check the path.")
    content = read_json(path)
    if not isinstance(content, dict):
        raise refusal(f"{path.parent.name}/{CARD}", "a JSON object", content, "Restore the card or delete the run.")
    if isinstance(content.get("schema"), int) and content["schema"] > SCHEMA:
        return Card("", {}, 0, "", schema=content["schema"])  # refused there: its fields may be named otherwise
    known = {one.name for one in fields(Card)}
    missing = sorted({"schema", "name", "parameters", "seed", "started", "status"} - content.keys())
    if missing:
        raise refusal(f"{path.parent.name}/{CARD}", "a whole card", f"one without {', '.join(missing)}",
                      "Restore the card or delete the run.")
    for name in content.keys() - known:
        raise unknown(f"a field of {path.parent.name}/{CARD}", name, sorted(known))
    return Card(**content)


def write_card(folder: str | Path, card: Card) -> Card:
    """The card as it was written: scrubbed, atomically."""
    clean = Card(**scrub(asdict(card)))
    write_json(Path(folder) / CARD, asdict(clean))
    return clean


def rerun_request(card: Card, folders: Iterable[str | Path] = (".",), changes: Mapping | None = None) -> Rerun:
    """What repeats the run of a card, with its data files found by their hash.

    Args:
        folders: where to look for the data files, not into their subfolders.
        changes: parameters to take instead, and those that the card does not hold because they were secret.

    Raises:
        Refusal: a data file is not found or has changed, or a parameter was taken out of the card.

    Example:
        >>> rerun_request(Card("try", {"rank": 8}, seed=0, started="2026-01-01")).parameters
        {'rank': 8}
    """
    parameters, changes, found = dict(card.parameters), dict(changes or {}), []
    for entry in card.data:
        path = _find(entry, [Path(folder) for folder in folders])
        found.append(path)
        for name, value in parameters.items():
            if isinstance(value, str) and last_part(value) == entry["name"]:
                changes.setdefault(name, str(path))
    parameters |= changes
    for name, value in parameters.items():
        for mark in (SECRET, HOST, PATH):
            if isinstance(value, str) and mark in value and name not in changes:
                raise refusal(name, "given again, since a card does not keep it", value, "Pass it in changes.")
    return Rerun(parameters, card.seed, found)


def _find(entry: Mapping, folders: list[Path]) -> Path:
    name, want = entry["name"], entry.get("sha256")
    named = [folder / name for folder in folders if (folder / name).is_file()]
    for path in named:
        if sha256(path) == want:
            return path
    others = (path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir()) if path.is_file())
    for path in others:
        if path.suffix == Path(name).suffix and sha256(path) == want:
            return path
    if named:
        raise refusal(name, f"the file this run used (sha256 {str(want)[:12]}…)", f"one with {sha256(named[0])[:12]}…",
                      "It was changed since: name a folder that holds the old one.")
    raise refusal("folders", f"where {name} is (sha256 {str(want)[:12]}…)", [folder.name or "." for folder in folders],
                  "Name the folder that holds this data file.")


def data_entries(data: Iterable | None) -> list[dict]:
    """Name and hash of each data file; takes paths, or dicts that hold both already.

    Raises:
        Refusal: a file is missing.
    """
    entries = []
    for one in data or []:
        if isinstance(one, Mapping):
            entries.append({"name": last_part(str(one["name"])), "sha256": one["sha256"]})
            continue
        if not Path(one).is_file():
            raise refusal("data", "paths of files", str(one), "Check the path.")
        entries.append({"name": Path(one).name, "sha256": sha256(one)})
    return entries


def model_entry(model: object) -> dict:
    """Name and hash of the base model, from a dict or from a name alone; a folder's path becomes its last part."""
    if model is None:
        return {}
    given = dict(model) if isinstance(model, Mapping) else {"name": str(model)}
    name = str(given.get("name", ""))
    is_path = Path(name).is_absolute() or Path(name).is_dir() or "\\" in name
    return {"name": last_part(name) if is_path else name, "sha256": given.get("sha256")}


def versions() -> dict[str, str]:
    """The versions of Python, ftkit and the packages that decide a training's numbers."""
    found = {"python": ".".join(map(str, __import__("sys").version_info[:3])), "ftkit": ftkit.__version__}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The git commit of ftkit's own source, with "+changed" where it differs; None where it is no checkout."""
    root = Path(ftkit.__file__).resolve().parents[2]
    if not (root / ".git").exists() or not (root / "src" / "ftkit").is_dir():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+changed" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(root), *words], check=True, capture_output=True, text=True).stdout.strip()
