"""What trainings of one model and one data set share: their records, encoded, and what is held out of them.

Knows nothing about methods or training.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ftkit.chat import Example, encode_all, with_template
from ftkit.data.reading import read
from ftkit.data.splitting import split
from ftkit.files import sha256
from ftkit.hub import EMBEDDED, find_model
from ftkit.tiny import clinic

SEQ_LEN = 512  # tokens
LOSS_RECORDS = 96  # of the held-out split, for the loss; all of them are asked for the score


@dataclass(frozen=True)
class Material:
    """What trials of one model and one data set share, read once.

    Args:
        examples: the records to train on, encoded.
        held_out: those that the loss is measured on.
        asked: held-out questions of the clinic; empty with records of one's own.
        files: a name and a SHA-256 for each data file.
    """

    tokenizer: object
    examples: Sequence[Example]
    held_out: Sequence[Example]
    asked: Sequence[dict]
    files: Sequence[dict]

    @property
    def pad_id(self) -> int:
        """The token that fills rows."""
        pad_id = self.tokenizer.pad_token_id
        return self.tokenizer.eos_token_id if pad_id is None else pad_id


def material(model: str = EMBEDDED, data: str = "", columns: str = "") -> Material:
    """The records of a data set, encoded for a model; the same ones are held out whatever a trial's seed.

    Kept from call to call, until a file of the data changes.

    Raises:
        Refusal: no such model or data, or no record that can be used.
    """
    place = Path(data)
    files = sorted(path for path in (place, *place.rglob("*")) if path.is_file()) if data else ()
    return _read(model, data, columns, tuple((str(one), one.stat().st_mtime_ns, one.stat().st_size) for one in files))


@lru_cache(maxsize=2)
def _read(model: str, data: str, columns: str, _files: tuple) -> Material:
    from transformers import AutoTokenizer

    if data:
        reading = read(data, columns or None)
        parts, files, asked = split(reading.records, 0.1, seed=0), reading.files, ()
    else:
        parts = clinic.records("train"), clinic.records("held_out")
        files, asked = [{"name": "clinic", "sha256": sha256(repr(parts).encode())}], parts[1]
    tokenizer = with_template(AutoTokenizer.from_pretrained(find_model(model)))
    examples, _ = encode_all(parts[0], tokenizer, SEQ_LEN)
    held_out, _ = encode_all(parts[1][:LOSS_RECORDS], tokenizer, SEQ_LEN)
    return Material(tokenizer, examples, held_out, asked, files)


def drawn(examples: Sequence, many: int, seed: int) -> Sequence:
    """So many of the examples, drawn by the seed; 0 takes all, in their order."""
    return random.Random(f"records {seed}").sample(list(examples), min(many, len(examples))) if many else examples
