"""A process that trains one trial after another and says what happens: `python -m ftkit.widgets.trial_worker`.

A line of JSON in, the fields of `trials.Trial`, and lines of JSON out, each with one key:

    ready      torch is imported and a first step was made, so that the next trial begins at once
    record     one step, as `train` gives it
    asking     the training is over, and the held-out questions are being asked
    done       the parameters and metrics, as `trials.run_trial` keeps them
    refused    a sentence: what was asked for cannot be trained, or failed

It ends with its input, or when nobody reads what it says. Knows nothing about widgets.
"""

import json
import os
import sys
from collections.abc import Iterator

from ftkit.errors import Refusal


def events(trial) -> Iterator[dict]:
    """What happens while a trial is trained and scored.

    Args:
        trial: a `trials.Trial`.
    """
    from ftkit import trials
    from ftkit.device import resident_peak_gib

    begun = trials.begin(trial)
    for record in begun.records():
        yield {"record": record}
    peak_gib = resident_peak_gib()
    yield {"asking": True}
    metrics = begun.metrics() | {"peak_gib": peak_gib} | begun.scores()
    yield {"done": {"parameters": trials.parameters_of(begun, "held_out"), "metrics": metrics}}


def main() -> int:
    """Answers every line of the input."""
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer

    def say(event: dict) -> None:
        said.write(json.dumps(event) + "\n")
        said.flush()

    from ftkit.trials import Trial

    next(events(Trial(max_steps=16)))  # imports what is imported late; this step is not evaluated
    say({"ready": True})
    for line in sys.stdin:
        try:
            for event in events(Trial(**json.loads(line))):
                say(event)
        except Refusal as error:
            say({"refused": str(error)})
        except Exception as error:  # too little memory, a file that is gone: nobody reads the traceback here
            say({"refused": f"{type(error).__name__}: {error}"})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
