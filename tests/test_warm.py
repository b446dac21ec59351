"""Processes forked from a prepared one. Most run in scripts that prepare a small module: the real one takes seconds."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

from ftkit import warm
from ftkit.errors import Refusal
from ftkit.notebooks.kernel import kernel_env

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

JOBS = '''
import os, re, resource, subprocess, sys, threading, time
from pathlib import Path
from ftkit import warm

def state(answer):
    answer.send({"pid": os.getpid(), "parent": os.getppid(), "group": os.getpgrp(), "cwd": os.getcwd(),
                 "env": dict(os.environ), "threads": len(os.listdir(f"/proc/{os.getppid()}/task")),
                 "prepared": "colorsys" in sys.modules, "main": getattr(sys.modules["__main__"], "MARK", None),
                 "limit": resource.getrlimit(resource.RLIMIT_DATA)})

def prints(text):
    print(text)
    print(text, file=sys.stderr)
    os.write(1, b"unbuffered\\n")
    Path("printed").touch()
    time.sleep(600)

def with_a_child(note):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(note).write_text(f"{os.getpid()} {child.pid}")
    time.sleep(600)

def holds_the_lock(note):
    Path(note + ".new").write_text(f"{os.getpid()}")
    os.replace(note + ".new", note)
    re.match("(a+)+$", 50 * "a" + "b")  # no thread of this process runs meanwhile

def nested(answer):
    process = warm.start(state, answer)
    process.join()

def changes(answer):
    import colorsys, random
    answer.send((getattr(colorsys, "changed", False), random.random()))
    colorsys.changed = True
'''
SCRIPT = '''
import os, sys, multiprocessing
MARK = "the script"
from ftkit import warm
import jobs
warm.PRELOADED, warm.PRELOADED_WITHOUT_GPU = ("colorsys", "jobs"), ()
def asked(job, *args, **settings):
    here, there = multiprocessing.Pipe()
    process = warm.start(job, there, *args, **settings)
    answer = here.recv()
    process.join()
    assert process.exitcode == 0
    return answer
'''


@pytest.fixture()
def script(tmp_path):
    """Runs Python text that begins with SCRIPT, beside the module `jobs`; gives back what it printed."""
    (tmp_path / "jobs.py").write_text(JOBS)

    def run(text, expected=0, **variables):
        (tmp_path / "script.py").write_text(SCRIPT + text)
        env = {name: value for name, value in kernel_env({"PYTHONPATH": str(tmp_path)}).items()
               if not name.startswith(warm._READ_AT_IMPORT)}  # without one of those, it is not forked from one with it
        env |= variables
        done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=env, capture_output=True, text=True,
                              timeout=600)
        assert done.returncode == expected, done.stderr
        return done

    return run


def test_a_process_is_forked_prepared_in_a_group_folder_and_environment_of_its_own_and_imports_no_main(script):
    said = script('''
answer = asked(jobs.state, cwd="/", env={"ONLY": "this"})
print(answer["prepared"], answer["cwd"], answer["env"].get("ONLY"), "PATH" in answer["env"], answer["main"])
print(answer["parent"] == os.getpid(), answer["group"] == answer["pid"], answer["threads"], warm.obstacle())
''').stdout
    assert said == "True / this False None\nFalse True 1 None\n"


def test_the_limits_of_its_caller_are_those_of_a_process(script):
    said = script('import resource\nasked(jobs.state)\nresource.setrlimit(resource.RLIMIT_DATA, (2**33, 2**34))\n'
                  'print(asked(jobs.state)["limit"] == (2**33, 2**34))').stdout
    assert said == "True\n"


def test_processes_do_not_see_what_others_change_and_draw_other_random_numbers(script):
    said = script("first, second = asked(jobs.changes), asked(jobs.changes)\n"
                  "print(first[0], second[0], first[1] == second[1])").stdout
    assert said == "False False False\n"


def test_a_child_of_a_process_is_forked_from_the_same_prepared_one(script):
    said = script("print(asked(jobs.state)['parent'] == asked(jobs.nested)['parent'])").stdout
    assert said == "True\n"


def test_a_fresh_interpreter_can_be_asked_for(script):
    said = script("import os\nhere, there = multiprocessing.Pipe()\nwarm.start(jobs.state, there, fresh=True)\n"
                  "answer = here.recv()\nprint(answer['parent'] == os.getpid(), answer['prepared'])")
    assert (said.stdout, said.stderr) == ("True False\n", "")


def test_what_a_killed_process_printed_is_kept(tmp_path, monkeypatch):
    (tmp_path / "jobs.py").write_text(JOBS)
    script = SCRIPT + ('process = warm.start(jobs.prints, "so far", output="log.txt")\nprint(process.pid, flush=True)\n'
                       "process.join()")
    (tmp_path / "script.py").write_text(script)
    runs = subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, env=kernel_env({"PYTHONPATH": str(tmp_path)}),
                            stdout=subprocess.PIPE, text=True)
    pid = int(runs.stdout.readline())
    _wait_for(lambda: (tmp_path / "log.txt").is_file() and "unbuffered" in (tmp_path / "log.txt").read_text())
    os.killpg(pid, signal.SIGKILL)
    assert runs.wait(60) == 0
    assert (tmp_path / "log.txt").read_text() == "so far\nso far\nunbuffered\n"


def test_what_a_process_prints_comes_out_where_its_caller_prints(script):
    said = script('process = warm.start(jobs.prints, "hello")\n'
                  'while not os.path.exists("printed"):\n    process.join(0.05)\nprocess.kill()')
    assert said.stdout == "hello\nunbuffered\n" and said.stderr == "hello\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_and_its_children_end_with_their_caller(tmp_path, number):
    (tmp_path / "jobs.py").write_text(JOBS)
    (tmp_path / "script.py").write_text(SCRIPT + 'warm.start(jobs.with_a_child, "note").join()')
    caller = subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path,
                              env=kernel_env({"PYTHONPATH": str(tmp_path)}))
    note = tmp_path / "note"
    _wait_for(lambda: note.is_file() and len(note.read_text().split()) == 2)
    family = [psutil.Process(int(pid)) for pid in note.read_text().split()]
    server = family[0].parent()
    caller.send_signal(number)
    caller.wait(60)
    _wait_for(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in [*family, server]))


@pytest.mark.parametrize("fresh", [False, True])
def test_a_process_that_holds_the_interpreters_lock_ends_with_its_caller_all_the_same(tmp_path, fresh):
    (tmp_path / "jobs.py").write_text(JOBS)
    (tmp_path / "script.py").write_text(SCRIPT + f'warm.start(jobs.holds_the_lock, "note", fresh={fresh}).join()')
    caller = subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path,
                              env=kernel_env({"PYTHONPATH": str(tmp_path)}))
    note = tmp_path / "note"
    _wait_for(note.is_file)
    process = psutil.Process(int(note.read_text()))
    time.sleep(0.2)  # into the search
    caller.kill()
    caller.wait(60)
    try:
        _wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    finally:
        with suppress(psutil.Error):
            process.kill()


@pytest.mark.parametrize(("preloaded", "words"), [
    ("threading.Thread(target=threading.Event().wait, daemon=True).start()", "process to fork from has 2 threads"),
    ("sys.modules['torch'] = Cuda", "CUDA was started in the process to fork from"),
    ("raise RuntimeError('broken')", "the process to fork from did not start"),
])
def test_a_prepared_process_that_cannot_be_forked_from_is_left_alone_and_it_is_said_once(
        script, tmp_path, preloaded, words):
    (tmp_path / "colorful.py").write_text(
        "import sys, threading\nclass Cuda:\n    class cuda:\n"
        f"        _is_in_bad_fork = staticmethod(lambda: True)\n{preloaded}\n")
    said = script('warm.PRELOADED = ("colorful",)\nprint(asked(jobs.state)["prepared"], asked(jobs.state)["prepared"])')
    assert said.stdout == "False False\n"
    assert said.stderr.count("processes start from a fresh interpreter") == 1 and words in said.stderr


def test_a_system_without_fork_gets_fresh_interpreters(script):
    said = script('warm._has_server = lambda: False\nanswer = asked(jobs.state, cwd="/", env={"ONLY": "this"})\n'
                  'print(answer["parent"] == os.getpid(), answer["cwd"], answer["env"]["ONLY"], answer["main"])\n'
                  "print(warm.obstacle()); warm.prepare()")
    assert said.stdout == f"True / this None\nprocesses cannot be forked safely on {sys.platform}\n"
    assert said.stderr.count("processes start from a fresh interpreter") == 1


def test_a_variable_that_a_library_has_read_at_its_import_asks_for_a_fresh_interpreter(script):
    said = script('print(warm.obstacle({**os.environ, "HF_HOME": "/elsewhere", "HOME": "/", "OMP_NUM_THREADS": "3"}))\n'
                  'print(warm.obstacle({name: value for name, value in os.environ.items() if name != "HF_HOME"}))\n'
                  'print(warm.obstacle({**os.environ, "FTKIT_HOME": "/", "OMP_NUM_THREADS": "2"}))',
                  HF_HOME="/here").stdout
    assert said == ("HF_HOME was set since modules were imported\nHF_HOME was set since modules were imported\nNone\n")


@pytest.mark.parametrize("function", [lambda: None, type("Local", (), {"__module__": "__main__"})])
def test_a_function_that_no_module_holds_is_refused(function):
    with pytest.raises(Refusal, match="function must be one that a module holds, got .* Write it into a file"):
        warm.start(function)


def test_importing_what_is_prepared_starts_no_thread_makes_no_tokenizer_and_computes_nothing():
    code = '''
import gc, importlib, os, sys
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from ftkit import warm
ran = []
class Noting(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        ran.append(str(function))
        return function(*args, **(kwargs or {}))
with Noting():
    torch.ones(2) + 1
    assert ran == ["aten.ones.default", "aten.add.Tensor"], ran
    ran.clear()
    for name in (*warm.PRELOADED, *warm.PRELOADED_WITHOUT_GPU):
        importlib.import_module(name)
made = [type(one).__name__ for one in gc.get_objects()
        if any(base.__name__ == "PreTrainedTokenizerBase" for base in type(one).__mro__[:-1])]
computed = sorted(set(ran) - {"aten.lift_fresh.default"})
print(computed, made, len(os.listdir("/proc/self/task")), torch.cuda.is_initialized())
'''
    env = kernel_env({**warm._PREPARED_WITH})  # lift_fresh: a library writes down constants by torch.tensor([…])
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "[] [] 1 False\n", done.stderr[-2000:]


def _wait_for(condition, limit_s=300):  # a machine may be busy with other things
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < limit_s, "it did not come to pass"
        time.sleep(0.05)
