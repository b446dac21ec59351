"""A person at a front end, made up; and a training process that says what it is told to, without torch."""

import sys

import pytest

from ftkit.widgets import live_trial

SAYS = """
import json, sys, time
def say(**event):
    print(json.dumps(event), flush=True)
say(ready=True)
for line in sys.stdin:
    trial = json.loads(line)
    if trial["seed"] == 13:
        say(refused="rank must be 1 or more, got 13.")
        continue
    if trial["seed"] == 14:
        sys.exit(3)
    if trial["seed"] == 16:
        print('{"record": {"st', end="", flush=True)
        sys.exit(4)
    steps = trial["max_steps"]
    for step in range(1, steps + 1):
        say(record={"step": step, "loss": 2 / step, "held_out_loss": 1 / step if step % 4 == 0 else None})
        time.sleep(60 if trial["seed"] == 15 and step == 2 else 0.001)
    say(asking=True)
    parameters = {name: value for name, value in trial.items() if name != "seed"}
    say(done={"parameters": parameters, "metrics": {
        "held_out_loss": 0.125, "clinic": 0.75, "trainable": 1000, "saved_bytes": 4000, "optimizer_bytes": 8000,
        "curve": [[step, 1 / step] for step in range(4, steps + 1, 4)], "step_cpu_s": 0.1, "train_s": 1.0}})
"""


@pytest.fixture
def live(monkeypatch):
    """Everything is shown as to a person who can click."""
    monkeypatch.setattr("ftkit.widgets.shell.live", lambda: True)


@pytest.fixture
def quick_training(monkeypatch, tmp_path):
    """Trials that take milliseconds; 13 is refused, 14 ends the process, 15 hangs at step 2, 16 ends in mid-line."""
    script = tmp_path / "says.py"
    script.write_text(SAYS, "utf-8")
    monkeypatch.setattr(live_trial, "COMMAND", (sys.executable, str(script)))
