"""One contestant in a process of its own, so that no library's settings of threads or memory reach another.

    python -m benchmarks.speed.worker CASE CONTESTANT THREADS [VARIANT] [--quick] [--tuning] [--folder FOLDER]

JSON lines, one answer for each: "check" -> {"numbers": {name: value}}, {"step": times} -> {"seconds": [of each time]}.
The first answer, unasked, says that it is ready. It ends when its input does.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.speed.cases import CASES, MODULES, Case
from benchmarks.speed.contestants import Contestant, build
from fewshot.system.device import prepare_cpu


def main() -> None:
    """Build the contestant, then do as asked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("case", choices=CASES)
    parser.add_argument("contestant")
    parser.add_argument("threads", type=int)
    parser.add_argument("variant", nargs="?", default="")
    parser.add_argument("--quick", action="store_true", help="the case in small")
    parser.add_argument("--tuning", action="store_true", help="in the size that threads and variants are tried with")
    parser.add_argument("--tasks", type=int, help="tasks of a step, if not as many as the case has")
    parser.add_argument("--folder", type=Path, default=Path(), help="what benchmarks.speed.disk prepared")
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not get between the answers

    if options.contestant in MODULES:
        torch.set_num_threads(options.threads)
    else:
        prepare_cpu(options.threads)
    case = sized(CASES[options.case], options.quick, options.tuning)
    case = replace(case, tasks=options.tasks or case.tasks)
    which = (options.contestant, options.variant, options.folder)
    contestant = build(case, *which)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked == "check":
            checked = case.checked()
            of_check = contestant if checked == case else build(checked, *which)
            answer: dict[str, object] = {"numbers": of_check.check()}
        else:
            answer = {"seconds": [_timed(contestant) for _ in range(asked["step"])]}
        print(json.dumps(answer), file=answers, flush=True)


def sized(case: Case, quick: bool, tuning: bool) -> Case:
    """The case in the size that is asked for."""
    case = case.quick() if quick else case
    return replace(case, tasks=case.tuning_tasks or case.tasks) if tuning else case


def _timed(contestant: Contestant) -> float:
    began = time.perf_counter()
    contestant.step()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
