"""Loading the embedded base: a checkpoint like any other, checked against its recorded hashes first."""

from pathlib import Path

from ftkit import files
from ftkit.errors import Refusal, refusal

NAME = "ftkit-tiny"
ASSETS = Path(__file__).parent / "assets"
PROVENANCE = "provenance.json"
REBUILD = "Install the package again, or rebuild the base with: python -m ftkit.pretrain"


def folder(path: str | Path = ASSETS) -> Path:
    """The base's checkpoint folder, for `AutoModelForCausalLM.from_pretrained`; whole and unchanged.

    Raises:
        Refusal: a file is missing or differs from the hash recorded when the base was built.
    """
    path = Path(path)
    try:
        recorded = files.read_json(path / PROVENANCE)["sha256"]
    except (Refusal, KeyError, TypeError) as error:
        raise refusal(f"{NAME}/{PROVENANCE}", "the record of the built base", str(error), REBUILD) from error
    for name, digest in recorded.items():
        if not (path / name).is_file():
            raise refusal(f"{NAME}/{name}", "in the package", "no such file", REBUILD)
        if files.sha256(path / name) != digest:
            raise refusal(f"{NAME}/{name}", "the file that was built", "another content", REBUILD)
    return path


def load() -> tuple:
    """The base and its tokenizer, on the CPU in float32.

    Returns:
        a `Qwen2ForCausalLM` and a fast tokenizer, both by transformers' own `from_pretrained`.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = folder()
    return AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
