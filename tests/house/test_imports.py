"""The floor plan, as data, and the imports held to it by reading the source."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "ftkit"
TORCH = {"torch", "numpy"}
# module or folder -> (floor, third-party packages it may import)
FLOORS: dict[str, tuple[int, set[str]]] = {
    "errors": (0, set()),
    "units": (1, set()), "files": (1, set()), "decoding": (1, set()), "cpu": (1, TORCH), "tables": (1, set()),
    "layer_places": (1, set()), "memory": (2, set()), "memory_bars": (3, {"matplotlib"}),
    "hub_config": (3, {"huggingface_hub"}),
    "device": (2, TORCH | {"psutil"}), "targets": (2, TORCH), "chat": (2, TORCH), "batches": (2, TORCH),
    "losses": (2, TORCH), "low_rank": (2, TORCH), "frozen_codes": (2, TORCH | {"bitsandbytes"}),
    "fused": (2, TORCH | {"transformers"}), "segments": (2, TORCH | {"transformers"}),
    "compiled": (3, TORCH), "scrub": (1, set()),
    "checkpoints": (2, set()), "footprint": (3, {"psutil", "torch"}), "progress": (2, set()),
    "causal": (1, {"transformers"}),
    "loading": (3, {"transformers", "torch"}), "converting": (4, {"torch", "safetensors"}),
    "checkpoint_commands": (10, set()), "peft_layout": (2, TORCH | {"safetensors"}),
    "fonts": (1, {"matplotlib"}), "axes": (2, {"matplotlib"}), "cards": (2, set()), "warm": (2, {"threadpoolctl"}),
    "locks": (2, {"psutil"}), "runs": (3, {"pandas", "torch"}),
    "modes": (1, TORCH), "trained": (2, TORCH | {"safetensors"}), "lora": (3, TORCH | {"safetensors"}),
    "layer_parts": (3, TORCH), "toy_layer": (4, TORCH), "freeze": (4, TORCH), "adapters": (4, {"transformers"} | TORCH),
    "quant": (3, TORCH | {"scipy"}), "quantization": (3, TORCH | {"transformers", "bitsandbytes"}), "loftq": (4, TORCH),
    "tiny": (3, {"transformers", "tokenizers"}),
    "live_bytes": (2, TORCH), "meter": (7, {"transformers", "peft", "bitsandbytes"} | TORCH),
    "masks": (3, TORCH), "lengths": (3, TORCH),
    "hub": (4, {"transformers", "datasets", "bitsandbytes", "huggingface_hub"} | TORCH),
    "data": (5, {"datasets", "pyarrow", "numpy", "datasketch", "presidio_analyzer", "presidio_anonymizer", "py3langid",
                 "pypdf", "trafilatura"}), "methods": (5, {"transformers"} | TORCH),
    "evaluate": (5, {"sklearn", "sacrebleu", "rouge_score", "transformers"} | TORCH),
    "train": (6, {"accelerate", "tensorboard", "safetensors"} | TORCH), "plots": (6, {"matplotlib", "numpy"}),
    "material": (6, {"transformers"}), "merge": (6, TORCH | {"safetensors"}), "trials": (7, TORCH),
    "pretrain": (7, {"tokenizers", "transformers", "safetensors"} | TORCH),
    "notebooks": (7, {"papermill", "nbformat", "nbconvert", "latex2mathml", "nbclient", "ipykernel",
                      "jupyter_client", "zmq", "psutil"}),
    "doctor": (7, TORCH | {"psutil", "bitsandbytes", "matplotlib", "packaging", "huggingface_hub"}),
    "sweep": (8, TORCH | {"optuna", "distributed", "dask_jobqueue", "pandas", "scipy", "matplotlib", "psutil",
                          "transformers"}),
    "widgets": (9, {"ipywidgets", "IPython", "matplotlib"} | TORCH),
    "course": (10, TORCH | {"nbformat", "psutil"}),
    "sweep_commands": (10, set()), "plan_commands": (10, {"matplotlib"}), "cli": (11, set()),
}


def imports_of(path: Path) -> list[str]:
    """Every module a file imports, late imports too, as dotted names."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def room_of(path: Path) -> str:
    """The top-level module or folder that a source file belongs to."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_module_imports_only_from_lower_floors_and_its_own_packages(path):
    room = room_of(path)
    assert room in FLOORS, f"{room} has no floor: give it one in this table"
    floor, allowed = FLOORS[room]
    for name in imports_of(path):
        top = name.split(".")[0]
        if top == "ftkit":
            target = name.split(".")[1] if "." in name else ""
            if target not in FLOORS or target == room and path.parent != SOURCE:
                continue
            assert FLOORS[target][0] < floor, f"{path.name} on floor {floor} imports {target}"
        elif top not in sys.stdlib_module_names:
            assert top in allowed, f"{path.name} may not import {top}"


def test_every_room_of_the_plan_exists():
    rooms = {room_of(path) for path in MODULES}
    assert rooms == set(FLOORS)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_init_files_hold_no_imports(path):
    assert imports_of(path) == []


@pytest.mark.parametrize(("arguments", "limit_s"), [
    (["-c", "import ftkit"], 0.3), (["-m", "ftkit.cli", "--help"], 0.5)], ids=["import ftkit", "ftkit --help"])
def test_a_light_start_imports_no_torch_and_is_quick(arguments, limit_s):
    code = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True,
                          encoding="utf-8", check=True).stderr
    assert not any(line.split("|")[-1].strip() == "torch" for line in code.splitlines())

    def cpu_seconds(command: list[str]) -> float:  # of the processor: a busy machine doesn't count
        before = os.times()
        subprocess.run(command, capture_output=True, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    bare = min(cpu_seconds([sys.executable, "-c", "pass"]) for _ in range(5))
    ours = min(cpu_seconds([sys.executable, *arguments]) for _ in range(5))
    assert ours - bare <= limit_s  # the interpreter's own start is not ours to answer for
