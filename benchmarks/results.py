"""Writing a benchmark's results: with the hardware, the versions, the commit that was measured, and the date."""

import datetime
from pathlib import Path

from ftkit import cards, device, files

FOLDER = Path(__file__).parent / "results"


def write(name: str, measured: dict) -> Path:
    """`benchmarks/results/<name>.json` with what was measured and where."""
    place = {"date": datetime.date.today().isoformat(), "commit": cards.commit(),
             "versions": cards.versions(), "hardware": device.hardware()}
    return files.write_json(FOLDER / f"{name}.json", place | measured)
