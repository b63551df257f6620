"""The other end of `processes.run`: one measurement in a process of its own.

    python -m benchmarks.worker MODULE:FUNCTION ARGUMENTS CORES STARTED

Runs in any Python: the peers may live in an environment without edgespike.
"""

from __future__ import annotations

import importlib
import json
import os
import sys


def main() -> None:
    """Pin this process to its cores, call the task, print its result as JSON on the last line."""
    task, arguments, cores, started = sys.argv[1:5]
    if int(cores):
        # The last cores: interrupts tend to be served by the first.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-int(cores) :])
    module, _, name = task.partition(":")
    keywords = json.loads(arguments)
    if keywords.pop("from_start", False):
        keywords["started"] = float(started)
    result = getattr(importlib.import_module(module), name)(**keywords)
    print("\n" + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
