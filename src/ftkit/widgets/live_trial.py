"""Trials trained beside a notebook: in a warm process of their own, watched by one thread.

A thread of the kernel would do the training in less memory, but not without a trace: torch's random generator and the
rounding of its products are one for the whole process, so a cell that runs meanwhile would compute other numbers. And
a process can be stopped at any moment. Knows nothing about what is shown.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import ftkit

COMMAND = (sys.executable, "-m", "ftkit.widgets.trial_worker")
ENDED = "ended"


class LiveTrial:
    """Trains one trial at a time.

    Args:
        hear: called with each event of `trial_worker` as it comes, from a thread of its own; {"ended": a sentence}
            stands for a process that ended by itself.
    """

    def __init__(self, hear: Callable[[dict], None]):
        self._hear, self._process, self._listener = hear, None, None
        self._turn = threading.RLock()
        self.is_training = False

    def warm_up(self) -> None:
        """Starts the process, if there is none."""
        with self._turn:
            if self._process is not None:
                return
            paths = [str(Path(ftkit.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
            self._process = subprocess.Popen(
                COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                encoding="utf-8", start_new_session=True,  # a cell that is interrupted is none of its business
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)})
            self._listener = threading.Thread(target=self._listen, args=(self._process,), daemon=True,
                                              name="ftkit live trial")
            self._listener.start()

    def train(self, trial: Mapping) -> bool:
        """Begins a trial; false if another one is still being trained.

        Args:
            trial: fields of `trials.Trial`.
        """
        with self._turn:
            if self.is_training:
                return False
            self.warm_up()
            self.is_training = True
            try:
                self._process.stdin.write(json.dumps(trial) + "\n")
                self._process.stdin.flush()
            except OSError:  # it ended a moment ago: the listener says so
                pass
            return True

    def stop(self) -> None:
        """Ends the process, whatever it is doing; nothing is heard of it any more."""
        with self._turn:
            process, self._process, listener = self._process, None, self._listener
            self.is_training = False
        if process is None:
            return
        process.kill()
        process.wait()
        process.stdin.close()
        if listener is not threading.current_thread():
            listener.join()

    def _listen(self, process: subprocess.Popen) -> None:
        with process.stdout:
            for line in process.stdout:
                if self._process is not process:
                    return
                try:
                    event = json.loads(line)
                except ValueError:  # it was killed in the middle of a line
                    break
                if event.keys() & {"done", "refused"}:
                    self.is_training = False
                self._hear(event)
        with self._turn:
            if self._process is not process:  # it was stopped
                return
            self._process, self.is_training = None, False
        self._hear({ENDED: f"The training process ended by itself, with code {process.wait()}."})
