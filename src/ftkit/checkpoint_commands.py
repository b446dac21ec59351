"""The command `ftkit convert`: arguments and what is printed. Knows nothing about weights."""

import argparse
from collections.abc import Callable
from pathlib import Path


def add_(command: Callable) -> None:
    """Adds the command's arguments.

    Args:
        command: makes the parser of a command from its function.
    """
    command(convert).add_argument("folder", help="holds config.json and pytorch_model.bin, or its pieces")


def convert(options: argparse.Namespace) -> int:
    """Turn pickled weights into safetensors, file by file; runs no code and keeps the pickled files."""
    from ftkit import checkpoints, converting

    folder = Path(options.folder)
    for path in converting.convert(folder):
        print(f"  {path.name}", flush=True)
    checkpoints.check(folder)
    print(f"{folder.name} can be loaded; its pickled files are no longer needed")
    return 0
