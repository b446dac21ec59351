import os
import subprocess
import sys

import pytest

from ftkit.errors import Refusal
from ftkit.locks import Lock

HOLD = "import sys; from ftkit.locks import Lock; lock = Lock(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, text=True,
                               stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "src"})
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_and_told_which_has_it(tmp_path, holder):
    with pytest.raises(Refusal, match=rf"must be written to by one process at a time, got 'one in use by process "
                                      rf"{holder.pid}'\. Wait for it, stop it, or choose another folder\."):
        Lock(tmp_path)


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, holder):
    holder.kill()
    holder.wait()
    lock = Lock(tmp_path)
    assert lock.held and (tmp_path / ".lock").read_text() == str(os.getpid())
    lock.release()


def test_a_released_lock_is_free_for_others(tmp_path):
    lock = Lock(tmp_path)
    lock.release()
    lock.release()
    assert not lock.held
    code = "import sys; from ftkit.locks import Lock; Lock(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env={**os.environ, "PYTHONPATH": "src"})


def test_the_same_process_takes_a_lock_again_and_the_earlier_one_ends(tmp_path):
    first = Lock(tmp_path)
    second = Lock(tmp_path)
    assert second.held and not first.held
    first.release()
    assert second.held
    second.release()
