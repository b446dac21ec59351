"""One call in a new interpreter, for systems that cannot fork from a warm parent.

    python -m ftkit.sweep.cold < REQUEST

Knows nothing about points. It ends when its input closes, so it does not outlive a sweep.
"""

import json
import os
import sys
import threading

from ftkit.files import write_atomic
from ftkit.sweep.calls import Call, perform


def main() -> int:
    """Works on the request in the first line of the input; the outcome goes to the file that it names."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_follow, daemon=True).start()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    write_atomic(request["outcome"], json.dumps(perform(Call(**request["call"]))))
    sys.stdout.flush()
    os._exit(0)


def _follow() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
