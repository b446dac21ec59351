"""One truth about dependencies: pyproject; the conda file and the lock are checked against it."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCK = dict(line.lower().split("==") for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines()
            if line and not line.startswith("#"))


def requirements() -> list[Requirement]:
    extras = [text for group in PROJECT["optional-dependencies"].values() for text in group]
    return [Requirement(text) for text in PROJECT["dependencies"] + extras if not text.startswith("ftkit[")]


def test_every_dependency_has_an_upper_bound_and_a_locked_version_within_it():
    for requirement in requirements():
        assert any(specifier.operator == "<" for specifier in requirement.specifier), requirement.name
        locked = LOCK[requirement.name.lower()]
        assert requirement.specifier.contains(locked), f"{requirement.name} {locked}"


def test_the_lock_is_exact_and_names_no_build_of_torch_and_no_cuda_package():
    assert LOCK["torch"] == "2.13.0"
    assert all(re.fullmatch(r"[0-9][\w.]*", version) for version in LOCK.values())
    assert not [name for name in LOCK if name.startswith(("nvidia-", "cuda-", "triton"))]


def test_the_conda_file_installs_the_project_on_a_python_that_it_supports():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    python = next(text for text in environment["dependencies"] if isinstance(text, str) and text.startswith("python="))
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python.split("=")[1])
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    extras = set(re.fullmatch(r"-e \.\[(.*)\]", pip[0])[1].split(","))
    assert environment["channels"] == ["conda-forge"] and extras <= set(PROJECT["optional-dependencies"])


def test_what_the_readme_promises_make_has():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    assert {"course", "test", "lab", "bench"} <= targets
    readme = (ROOT / "README.md").read_text("utf-8")
    assert set(re.findall(r"make ([a-z0-9-]+)", readme)) <= targets
    assert re.search(r"^\s*make test$", (ROOT / ".ci" / "run").read_text("utf-8"), re.M)
