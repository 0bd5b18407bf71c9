"""Run each section of the check in a process of its own, with a time limit, and put their results together.

python -m benchmarks.gpu.check OUT [--device cuda] [--small] [--only SECTION ...]
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

SECTIONS = {"card": 60, "agreement": 150, "steps": 240, "syncs": 60, "encoders": 90, "training": 240}
"""Section (a module here) -> its time limit, seconds."""


def main() -> int:
    """Run the sections; exit status 1 if one failed. What the others found is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for check.json and a log of each section")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes for a test on a CPU")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, object] = {}
    failed = []
    for section in chosen.only:
        began = time.monotonic()
        result, problem = run(section, chosen.out, chosen.device, chosen.small)
        found[section] = result if problem is None else {"failed": problem}
        failed += [section] if problem else []
        print(f"== {section}: {problem or 'ok'}, {time.monotonic() - began:.0f} s", flush=True)
        (chosen.out / "check.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


def run(section: str, out: Path, device: str, small: bool) -> tuple[object, str | None]:
    """The result of a section, or why there is none."""
    target = out / f"{section}.json"
    target.unlink(missing_ok=True)
    command = [sys.executable, "-m", f"benchmarks.gpu.{section}", str(target), device, "small" if small else "whole"]
    problem = None
    with (out / f"{section}.log").open("w", encoding="utf-8") as log:
        try:
            done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=SECTIONS[section])
            problem = f"exit status {done.returncode}" if done.returncode else None
        except subprocess.TimeoutExpired:
            problem = f"longer than {SECTIONS[section]} s"
    text = (out / f"{section}.log").read_text(encoding="utf-8")
    print("\n".join(text.splitlines()[-40:]), flush=True)
    # A section writes what it has after each of its parts: what was found before a failure is kept.
    return (json.loads(target.read_text(encoding="utf-8")) if target.exists() else None), problem


if __name__ == "__main__":
    sys.exit(main())
