"""Checkpoints in a run folder: written whole or not at all, the last two kept, refused where they don't fit.

    checkpoints/step_00000100/
      weights.safetensors     the trainable weights, by parameter name
      optimizer.safetensors   the optimizer's state, `<parameter>|<name>`
      best.safetensors        the weights with the best held-out loss; only with early stopping
      state.json              progress, random generators, and whose checkpoint it is
      hashes.json             the SHA-256 of each file above

Knows nothing about the loop: tensors and plain values in, the same out. Nothing in here is pickled.
"""

import json
import os
import shutil
from dataclasses import dataclass, field, fields
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from ftkit.errors import Refusal, refusal
from ftkit.files import needs_room, read_json, replace_folder, sha256
from ftkit.runs import GO_ON
from ftkit.train.config import TrainConfig

FORMAT = 1
KEPT = 2
FOLDER = "checkpoints"
STATE = "state.json"
HASHES = "hashes.json"
_PARTS = ("weights", "optimizer", "best")
_DELETE = "Delete this checkpoint: the one before it is taken."


@dataclass(frozen=True)
class Snapshot:
    """Everything a training is made of at the end of a step.

    Args:
        step: optimizer steps done.
        identity: what must be the same for the training to go on: settings, model, data, threads, rounding.
        state: progress and random generators, as JSON can hold them.
        weights: trainable weights by parameter name.
        optimizer: its state, by `<parameter>|<name>`.
        best: the weights of the best evaluation, or none.
    """

    step: int
    identity: dict
    state: dict
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    best: dict[str, Tensor] = field(default_factory=dict)


def write(run_folder: str | Path, snapshot: Snapshot) -> Path:
    """The checkpoint's folder, complete; a kill before that leaves the checkpoints that were there.

    All is written into a hidden folder and brought to the disk before the folder gets its name.

    Raises:
        DiskFull: there is no room; the checkpoints that were there are whole, and nothing half-written stays.
    """
    run_folder, step = Path(run_folder), snapshot.step
    parent = run_folder / FOLDER
    partial = parent / f".partial_{step}"
    size = sum(tensor.nbytes for part in _PARTS for tensor in getattr(snapshot, part).values())
    try:
        with needs_room(run_folder, f"the checkpoint of step {step}", size, GO_ON):
            parent.mkdir(exist_ok=True)
            _write_parts(partial, snapshot)
            final = replace_folder(partial, parent / f"step_{step:08d}")
            _to_disk(parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _prune(parent)
    return final


def _write_parts(partial: Path, snapshot: Snapshot) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for part in _PARTS:
        tensors = {name: tensor.detach().contiguous() for name, tensor in getattr(snapshot, part).items()}
        save_file(tensors, partial / f"{part}.safetensors")
    state = {"format": FORMAT, "step": snapshot.step, "identity": snapshot.identity, "state": snapshot.state}
    (partial / STATE).write_text(json.dumps(state), "utf-8")
    (partial / HASHES).write_text(json.dumps({path.name: sha256(path) for path in partial.iterdir()}), "utf-8")
    for path in (*partial.iterdir(), partial):
        _to_disk(path)


def newest(run_folder: str | Path) -> Snapshot | None:
    """The latest whole checkpoint, None where there is none; one that is damaged is passed over for the one before.

    Raises:
        Refusal: all checkpoints are damaged, or a newer ftkit wrote the latest.
    """
    parent, damage = Path(run_folder) / FOLDER, []
    for left_over in parent.glob(".*"):  # by a kill
        shutil.rmtree(left_over, ignore_errors=True)
    for path in reversed(_complete(parent)):
        try:
            return read(path)
        except _NewerFormat:
            raise
        except Refusal as error:
            damage.append(str(error))
    if damage:
        raise refusal(f"{FOLDER} of run {Path(run_folder).name}", "whole, at least one of them", damage[0],
                      "Put a whole one back, or choose another run folder to start again.")
    return None


def read(folder: str | Path) -> Snapshot:
    """The checkpoint in one folder.

    Raises:
        Refusal: a file is missing, was changed or is not what it should be, or a newer ftkit wrote it.
    """
    folder = Path(folder)
    _check_hashes(folder)
    state = read_json(folder / STATE)
    if not isinstance(state, dict) or not isinstance(state.get("format"), int):
        raise refusal(f"checkpoint {folder.name}: {STATE}", "an object with a format", state, _DELETE)
    if state["format"] > FORMAT:
        raise _NewerFormat(str(refusal(f"checkpoint {folder.name}: format", f"{FORMAT} or less", state["format"],
                                       "A newer ftkit wrote it: upgrade ftkit to go on.")))
    parts = {part: load_file(folder / f"{part}.safetensors") for part in _PARTS}
    return Snapshot(state["step"], state["identity"], state["state"], **parts)


def check_fits(snapshot: Snapshot, identity: dict) -> None:
    """Nothing, if the checkpoint was made by a training with this identity.

    Raises:
        Refusal: it was made with other settings, of another model, on other data, with other threads or on
            a processor that rounds otherwise; the sentence says which.
    """
    defaults = {one.name: one.default for one in fields(TrainConfig)}  # of settings that came after this checkpoint
    old, name = snapshot.identity, f"checkpoint of step {snapshot.step}"
    other = "Choose another run folder, or train what this one holds."
    for key in {**old["config"], **identity["config"]}:
        was, now = old["config"].get(key, defaults.get(key)), identity["config"].get(key)
        if was != now:
            raise refusal(name, f"made with {key}={now!r}", was, other)
    _check_trainable(name, old["trainable"], identity["trainable"])
    for key, words in (("frozen", "of this model"), ("examples", "made on these examples"),
                       ("held_out", "made with these held-out examples")):
        if old[key] != identity[key]:
            raise refusal(name, words, "one of another model: the frozen weights differ" if key == "frozen"
                          else "one made on other data", other)
    for key, name, way in (("threads", "torch threads", "Call torch.set_num_threads({0}), or set OMP_NUM_THREADS={0}."),
                           ("matmul_precision", "matmul_precision", "Set matmul_precision={0!r}.")):
        was, now = old[key], identity[key]
        if None not in (was, now) and was != now:
            raise refusal(name, f"{was}, as when this run began", now,
                          f"Another one changes the last bits. {way.format(was)}")


def _check_trainable(name: str, old: dict, new: dict) -> None:
    remedy = "Prepare the model in the same way, or choose another run folder."
    lacking = sorted(old.keys() ^ new.keys())
    if lacking:
        where = "the checkpoint" if lacking[0] in old else "the model"
        raise refusal(name, "of this model", "one of another model", f"Only {where} trains {lacking[0]}. {remedy}")
    for parameter, shape in old.items():
        if list(shape) != list(new[parameter]):
            raise refusal(name, "of this model", "one of another model",
                          f"{parameter} is {shape} there and {new[parameter]} here. {remedy}")


class _NewerFormat(Refusal):
    pass


def _check_hashes(folder: Path) -> None:
    hashes = read_json(folder / HASHES)
    names = [f"{part}.safetensors" for part in _PARTS] + [STATE]
    if not isinstance(hashes, dict) or sorted(hashes) != sorted(names):
        raise refusal(f"checkpoint {folder.name}: {HASHES}", f"the hashes of {', '.join(names)}", hashes, _DELETE)
    for name in names:
        path = folder / name
        if not path.is_file() or sha256(path) != hashes[name]:
            got = "one that was changed or cut short" if path.is_file() else "no such file"
            raise refusal(f"checkpoint {folder.name}: {name}", "the file that was written", got, _DELETE)


def _complete(parent: Path) -> list[Path]:
    return sorted(path for path in parent.glob("step_*") if path.is_dir())


def _prune(parent: Path) -> None:
    for path in _complete(parent)[:-KEPT]:
        hidden = path.with_name(f".{path.name}.old")  # first the name: removing takes many steps
        os.replace(path, hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def _to_disk(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows has no handle of a folder to bring to the disk
        return
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
