"""What the doctor finds and which remedy it gives."""

import socket
import sys
import threading
import types
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata

import pytest
import torch

from ftkit import doctor
from ftkit.doctor import MISSING, NOTE, OK, diagnose, packages, scales
from ftkit.units import GIB


@pytest.fixture
def no_network(monkeypatch):
    """Every connection fails at once."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def memory_of(total_gib, free_gib):
    return lambda: types.SimpleNamespace(total=total_gib * GIB, available=free_gib * GIB)


def test_every_finding_that_is_not_ok_has_a_remedy_and_nothing_raises(no_network, tmp_path):
    findings = diagnose({"00_start_here": {}, "18_qlora_7b": {"full": 24.0}}, tmp_path)
    assert [one.name for one in findings[:2]] == ["Python", "packages"]
    assert [one.name for one in findings[-2:]] == ["00_start_here", "18_qlora_7b"]
    assert {"CPU", "memory", "disk", "GPU", "bitsandbytes", "model hub", "Chinese font"} <= {f.name for f in findings}
    for finding in findings:
        assert finding.state in (OK, NOTE, MISSING) and finding.value
        assert finding.state == OK or finding.remedy or finding.name == "packages"


@pytest.mark.parametrize(("version", "state", "remedy"), [
    ((3, 10, 4), MISSING, "Install Python 3.11 to 3.13."), ((3, 11, 0), OK, ""), ((3, 13, 9), OK, ""),
    ((3, 14, 0), MISSING, "Install Python 3.11 to 3.13."),
])
def test_a_python_outside_the_range_is_missing(monkeypatch, version, state, remedy):
    monkeypatch.setattr(doctor.sys, "version_info", version)
    assert (doctor.python().state, doctor.python().remedy) == (state, remedy)


def test_packages_are_held_against_the_lock():
    here = metadata.version("numpy")
    counted, wrong, absent = packages([f"numpy=={here}", "pandas==0.0.1", "no-such-package==1.0",
                                       'colorama==9; sys_platform == "nowhere"', f"torch=={torch_version()}"])
    assert (counted.state, counted.value) == (NOTE, "2 of 4 as in requirements.lock")
    assert wrong.value == f"{metadata.version('pandas')}, made with ==0.0.1"
    assert wrong.remedy == 'pip install "pandas==0.0.1"'
    assert (absent.state, absent.remedy) == (MISSING, 'pip install "no-such-package==1.0"')


def torch_version():
    """Without the part behind the plus that tells a CPU build: the lock has none either."""
    return metadata.version("torch").partition("+")[0]


def test_the_lock_of_the_checkout_is_read_and_else_the_kits_own_requirements(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor.ftkit, "__file__", str(tmp_path / "src" / "ftkit" / "__init__.py"))
    (tmp_path / "requirements.lock").write_text("# made by make lock\n--index-url x\nnumpy>=1  # via pandas\n\n")
    assert [one.value for one in packages()] == ["1 of 1 as in requirements.lock"]
    (tmp_path / "requirements.lock").unlink()
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: ["numpy>=1", 'nothing==1; extra == "dev"'])
    assert [one.value for one in packages()] == ["1 of 1 as in the kit's requirements"]

    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "requires", absent)
    assert packages()[0].value == "0 of 0 as in the kit's requirements (not installed: pip install -e .)"


def test_little_memory_disk_or_one_core_is_noted(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.psutil, "virtual_memory", memory_of(8, 1))
    assert (doctor.memory().state, doctor.memory().value) == (NOTE, "8.0 GiB, 1.0 free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=1 * GIB))
    assert (doctor.disk(tmp_path).state, doctor.disk(tmp_path).value) == (MISSING, "1.0 GiB free")
    monkeypatch.setattr(doctor.psutil, "cpu_count", lambda logical: 1)
    assert doctor.processor().state == NOTE and "expect about twice as long" in doctor.processor().remedy


@pytest.mark.parametrize(("memory_gib", "gpu_gib", "value", "remedy"), [
    (1.5, 0, "at no scale", "tiny needs 2 GiB of memory. small needs 8 GiB of memory or a GPU of as much."),
    (4, 0, "tiny", "small needs 8 GiB"), (16, 0, "tiny, small", "full needs a GPU of 16 GiB."),
    (4, 8, "tiny, small", "full needs a GPU"), (16, 24, "tiny, small, full", ""),
])
def test_a_lesson_runs_at_the_scales_that_fit(memory_gib, gpu_gib, value, remedy):
    finding = scales("00_start_here", {}, memory_gib, gpu_gib)
    assert finding.value == value and remedy in finding.remedy
    assert finding.state == (MISSING if value == "at no scale" else OK)
    assert bool(finding.remedy) == bool(remedy)


def test_a_lesson_can_need_more_than_the_others():
    assert scales("18_qlora_7b", {"full": 40.0}, 16, 24).remedy == "full needs a GPU of 40 GiB."


@pytest.mark.parametrize(("memories", "largest"), [([], 0.0), ([8 * GIB, 24 * GIB], 24.0)])
def test_the_largest_gpu_counts(monkeypatch, memories, largest):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(memories))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(memories))
    monkeypatch.setattr(torch.cuda, "get_device_properties",
                        lambda index: types.SimpleNamespace(total_memory=memories[index]))
    assert doctor.gpu_memory_gib() == largest


def test_the_compute_type_is_told_and_a_hidden_gpu_gets_a_remedy(monkeypatch):
    monkeypatch.setattr(doctor, "choose_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert doctor.gpu(0.0).value == "none, computes in float32 on the CPU"
    assert "Not needed at scale tiny" in doctor.gpu(0.0).remedy
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert "torch is a CPU build" in doctor.gpu(0.0).remedy
    monkeypatch.setattr(doctor, "choose_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(doctor, "choose_dtype", lambda device: torch.bfloat16)
    monkeypatch.setattr(doctor, "hardware", lambda: {"gpu": "A card"})
    assert doctor.gpu(24.0).value == "A card, 24.0 GiB, computes in bfloat16"
    monkeypatch.setattr(doctor, "choose_device", lambda: torch.device("mps"))
    assert doctor.gpu(0.0).value == "mps, computes in bfloat16"


def test_a_broken_bitsandbytes_is_noted_and_nothing_else_suffers(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    finding = doctor.quantisation()
    assert finding.state == NOTE and finding.value.startswith("not usable: ModuleNotFoundError")
    assert "Needed for 4-bit models only" in finding.remedy


def test_a_hub_that_answers_is_found(monkeypatch):
    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert (doctor.hub().state, doctor.hub().value) == (OK, "answers")
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("error", [urllib.error.URLError("no route"), socket.gaierror(), TimeoutError(), ValueError()])
def test_a_hub_that_does_not_answer_is_no_failure(monkeypatch, no_network, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert doctor.hub().state == NOTE and "Give a local folder as model" in doctor.hub().remedy


def test_a_hub_that_is_switched_off_is_not_asked(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("asked"))
    assert doctor.hub().value == "switched off by HF_HUB_OFFLINE"


@pytest.mark.parametrize(("font", "state"), [("Noto Sans CJK SC", OK), (None, NOTE)])
def test_a_missing_chinese_font_is_noted_with_the_way_to_get_one(monkeypatch, font, state):
    monkeypatch.setitem(sys.modules, "ftkit.fonts", types.SimpleNamespace(font_for_chinese=lambda: font))
    finding = doctor.chinese_font()
    assert finding.state == state and finding.value == (font or "none found")
    assert ("Install Noto Sans CJK SC" in finding.remedy) == (font is None)
