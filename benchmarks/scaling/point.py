"""Measure one point of a curve in a process of its own, so that no size sees the memory or the caches of another.

python -m benchmarks.scaling.point measure classes 1000 /tmp/folder '{"quick": true, "device": "cpu", "threads": 1}'
"""

import json
import sys
from pathlib import Path

from benchmarks.scaling.conditions import Conditions
from benchmarks.scaling.curves import CURVES


def main() -> None:
    """Prints the costs at one size as JSON."""
    job, curve, size, folder, conditions = sys.argv[1:]
    if job == "prepare":
        prepare = CURVES[curve].prepare
        if prepare is not None:
            prepare(int(size), Path(folder))
        return
    print(json.dumps(CURVES[curve].measure(int(size), Conditions(**json.loads(conditions)), Path(folder))))


if __name__ == "__main__":
    main()
