"""Race our training, evaluation and use against the libraries people take for them, side by side in one run.

    python -m benchmarks.speed.race                         # everything, about 40 minutes on 2 cores
    python -m benchmarks.speed.race --cases maml-15q        # some cases; their files are written with --out FOLDER
    python -m benchmarks.speed.race --quick --out /tmp/try  # everything in small, to see that it works

A full run writes results/race.json and results/race.png here. Leave the machine alone meanwhile.
"""

import argparse
import json
import logging
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from rich.console import Console

from benchmarks.speed.cases import CASES, MODULES, Case
from benchmarks.speed.chart import draw_chart
from benchmarks.speed.contest import ContestantFailedError, DisagreementError, pieces, run_case
from benchmarks.speed.disk import archives
from benchmarks.speed.machine import QUIET, cores, describe_machine, describe_versions, wait_until_quiet
from benchmarks.speed.process import WorkerProcess
from benchmarks.speed.report import Record, record, targets_table, times_table
from fewshot.system.progress import report_progress

RESULTS = Path(__file__).parent / "results"
HOW = (
    "each contestant runs in a process of its own; only ours changes how its process allocates memory, as fewshot does",
    "the number of threads and, for peers, the 'variant' are chosen by the median of two steps; the fastest way races",
    "contestants take turns, A B C A B C; a ratio is of two times of one round, its interval between order statistics",
    "'ours' is what a user gets (train.precision=auto), 'ours-float32' is what is compared with the peers' numbers",
    "files of the case from-disk are in the page cache for everybody",
    "operations are those of convolutions and matrix products of the plain network, two for each multiply-add",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the race; returns 1 if a case failed."""
    options = _parse(arguments)
    console = Console()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = [CASES[name] for name in options.cases or CASES]
    _need_peers(chosen)
    load = wait_until_quiet()
    if load > QUIET:
        console.print(f"[bold red]The machine is busy: load {load:.2f} per core. These times are not to be believed.")
    began = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="race-") as folder:
        rates = _machine_rates()
        records = [_race(_sized(case, options), options.quick, Path(folder), rates, console) for case in chosen]
    console.print(targets_table(records))
    out = options.out or (None if options.quick or options.cases else RESULTS)
    if out:
        machine = {**describe_machine(), "load per core at the start": load, "quiet": load <= QUIET, "rates": rates}
        command = shlex.join(
            ["python", "-m", "benchmarks.speed.race", *(sys.argv[1:] if arguments is None else arguments)]
        )
        result = {"command": command, "began": began.isoformat(timespec="seconds"), "how": HOW,
                  "versions": describe_versions(), "machine": machine, "cases": records}  # fmt: skip
        _write(result, records, out, console)
    return int(any("failed" in found for found in records))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Race against other libraries.")
    parser.add_argument("--cases", nargs="+", choices=CASES, metavar="CASE", help=f"some of: {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, help="rounds of each case; below 6 the intervals cover less than 95 %%")
    parser.add_argument("--quick", action="store_true", help="fewer tasks and rounds, to see that everything works")
    parser.add_argument("--out", type=Path, help="folder for race.json and race.png")
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: take one or more")
    return options


def _need_peers(chosen: Sequence[Case]) -> None:
    missing = sorted({peer for case in chosen for peer in case.peers if find_spec(MODULES[peer]) is None})
    if missing:
        sys.exit(f"error: {', '.join(missing)} can't be imported; make race installs what the race needs")


def _sized(case: Case, options: argparse.Namespace) -> Case:
    case = case.quick() if options.quick else case
    return replace(case, rounds=options.rounds) if options.rounds else case


def _race(case: Case, quick: bool, folder: Path, rates: Record, console: Console) -> Record:
    """The record of one case; one that can't be raced says why."""
    if case.kind == "disk":
        if archives() is None:
            return _without(case, "skipped", "Omniglot is not here; fewshot data prepare omniglot fetches it", console)
        subprocess.run([sys.executable, "-m", "benchmarks.speed.disk", str(folder)], check=True)

    def start(contestant: str, variant: str, threads: int, tuning: bool) -> WorkerProcess:
        flags = ["--quick"] * quick + ["--tuning"] * tuning + ["--folder", str(folder)]
        return WorkerProcess([case.name, contestant, str(threads), variant, *flags], threads)

    done = count(1)
    try:
        with report_progress(case.name, pieces(case, cores())) as reporter:
            outcome = run_case(case, cores(), start, lambda text: reporter(next(done), text))
    except (ContestantFailedError, DisagreementError) as error:
        return _without(case, "failed", str(error), console)
    found = record(case, outcome, rates)
    console.print(times_table(found))
    return found


def _without(case: Case, how: str, reason: str, console: Console) -> Record:
    console.print(f"[yellow]{case.name}: {how}: {reason}", soft_wrap=True)
    return {"case": case.name, "what": case.what, how: reason}


def _machine_rates() -> Record:
    command = [sys.executable, "-m", "benchmarks.speed.rates", str(cores())]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def _write(result: Record, records: Sequence[Record], out: Path, console: Console) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "race.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    machine = result["machine"]
    title = f"{machine['cpu']}, {machine['cores']} cores, torch {result['versions']['torch']}, {result['began'][:10]}"
    draw_chart(records, title if machine["quiet"] else f"{title} (machine was busy)", out / "race.png")
    console.print(f"wrote {out / 'race.json'} and {out / 'race.png'}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
