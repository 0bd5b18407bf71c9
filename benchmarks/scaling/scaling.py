"""Measure what more work costs: a table, and with it benchmarks/scaling/results/scaling.json and scaling.png.

    python -m benchmarks.scaling.scaling                  # everything, about 15 minutes on 2 cores; 2 GB of disk
    python -m benchmarks.scaling.scaling --quick          # fewer and smaller sizes, about 1 minute; writes no files
    python -m benchmarks.scaling.scaling --only images    # one curve; writes no files

Every point is measured in a process of its own, in rounds over all sizes of a curve, so that a slow minute of the
machine does not look like a slow size. Run it on a quiet machine.
"""

import argparse
import json
import logging
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.scaling.conditions import Conditions
from benchmarks.scaling.curves import CURVES
from benchmarks.scaling.report import Points, laws_of, picture, table
from fewshot.system.progress import report_progress

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
ROUNDS = 3


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write down what was measured if it was everything."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    conditions = Conditions(options.quick, options.device, options.threads)
    machine = _machine()
    found = {name: measure(name, conditions) for name in options.only or CURVES}
    print("\n".join(["", *(table(name, points) for name, points in found.items())]))
    if not options.quick and not options.only:
        command = shlex.join(["python", "-m", "benchmarks.scaling.scaling", *(arguments or sys.argv[1:])])
        _write(found, {"command": command, "conditions": asdict(conditions), **machine})


def measure(name: str, conditions: Conditions) -> Points:
    """All points of a curve, with progress on standard error."""
    curve = CURVES[name]
    sizes, rounds = (curve.quick, 1) if conditions.quick else (curve.sizes, ROUNDS)
    points: Points = {size: [] for size in sizes}
    total = len(sizes) * (rounds + (curve.prepare is not None))
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder, report_progress(name, total) as report:
        done = 0
        if curve.prepare is not None:
            for size in sizes:
                _in_own_process("prepare", name, size, folder, conditions)
                done += 1
                report(done, f"{size:,} prepared")
        for _ in range(rounds):
            for size in sizes:
                points[size].append(json.loads(_in_own_process("measure", name, size, folder, conditions)))
                done += 1
                report(done, f"{size:,} measured")
    return points


def _in_own_process(job: str, name: str, size: int, folder: str, conditions: Conditions) -> str:
    """What `benchmarks.scaling.point` prints; its error ends this program, too."""
    command = [sys.executable, "-m", "benchmarks.scaling.point", job, name, str(size), folder]
    done = subprocess.run(
        [*command, json.dumps(asdict(conditions))], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"error: {name} at {size:,} failed with status {done.returncode}; its messages are above")
    return done.stdout


def _write(found: dict[str, Points], about: dict[str, Any]) -> None:
    curves = {
        name: {
            "axis": CURVES[name].axis,
            "points": {str(size): rounds for size, rounds in points.items()},
            "laws": {key: law._asdict() for key, law in laws_of(CURVES[name], points).items()},
        }
        for name, points in found.items()
    }
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({**about, "curves": curves}, indent=1) + "\n"
    (RESULTS / "scaling.json").write_text(text, encoding="utf-8")
    picture(found).savefig(RESULTS / "scaling.png", dpi=110)
    print(f"wrote {RESULTS / 'scaling.json'} and scaling.png")


def _machine() -> dict[str, Any]:
    """Versions and machine, and how busy it was before."""
    packages = ("torch", "numpy")
    return {
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "processor": _processor(),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "load_before": os.getloadavg()[0],
        },
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling.scaling", description="What more work costs.")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller sizes, one round; writes no files")
    parser.add_argument(
        "--only", action="append", choices=list(CURVES), help="this curve (again for another); no files"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: one for each core)")
    return parser


if __name__ == "__main__":
    main()
