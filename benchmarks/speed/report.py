"""From times to what is said of them: the record of a case, and the tables on the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.speed.cases import MODULES, OURS, OURS_FLOAT32, Case, Target
from benchmarks.speed.contest import LossAndAccuracy, differences
from benchmarks.speed.paired import Ratio, paired_ratio, percentile

CHECKS = {
    "maml-step": "query loss and norm of the meta-gradient, from the same weights and tasks",
    "protonet-step": "loss in evaluation mode, with the same running statistics, under the squared distance. The "
    "losses in training differ by design: easyfsl's scores are the negative distance without the square, and easyfsl "
    "and parallel-metalearn normalise support and query images apart, we together as the method's authors do",
    "disk": "none is possible, as everybody draws episodes by chance; the mean accuracy on the first 20 training "
    "episodes shows that all of them learn",
    "maml-evaluation": "mean accuracy over the same episodes with the same weights",
    "protonet-evaluation": "mean accuracy over the same episodes with the same weights",
    "maml-latency": "probabilities of a query, with the same weights",
    "protonet-latency": "probabilities of a query, with the same weights; easyfsl's scores squared, as above",
}

Record = dict[str, Any]


def record(case: Case, outcome: LossAndAccuracy, rates: Mapping[str, Any]) -> Record:
    """All that is known of a raced case, as plain JSON values."""
    medians = {name: median(times) for name, times in outcome.seconds.items()}
    best = min(case.peers, key=lambda name: medians[name])
    ratios = {
        peer: {own: paired_ratio(outcome.seconds[own], outcome.seconds[peer]) for own in medians if own not in MODULES}
        for peer in case.peers
    }
    return {
        "case": case.name,
        "what": f"{case.what}; {case.shape}",
        "rounds": case.rounds,
        "tasks": case.tasks,
        "contestants": {name: _contestant(case, name, outcome, rates) for name in case.contestants},
        "check": {
            "what": CHECKS[case.kind],
            "numbers": {name: dict(numbers) for name, numbers in outcome.numbers.items()},
            f"relative difference from {case.reference}": {
                name: differences(case, outcome.numbers, name) for name in case.contestants if name != case.reference
            },
        },
        "times as long as ours": {
            peer: {own: asdict(ratio) for own, ratio in of_peer.items()} for peer, of_peer in ratios.items()
        },
        "best peer": best,
        "targets": [_judge(target, ratios[best][OURS], outcome.calls[OURS]) for target in case.targets],
    }


def _contestant(case: Case, name: str, outcome: LossAndAccuracy, rates: Mapping[str, Any]) -> Record:
    choice, calls, seconds = outcome.choices[name], outcome.calls[name], outcome.seconds[name]
    found: Record = {
        "threads": choice.threads,
        "variant": choice.variant,
        "median seconds": median(seconds),
        "seconds": list(seconds),
        "tuning": list(choice.tried),
    }
    if case.calls > 1:
        found |= {"calls": len(calls), "p50 ms": 1e3 * median(calls), "p99 ms": 1e3 * percentile(calls, 0.99)}
    of_task = rates.get("operations of a task", {}).get(case.name)
    if of_task and name in (OURS, OURS_FLOAT32):
        form = rates["auto"] if name == OURS else "float32"
        achieved = of_task * case.tasks / median(seconds) / 1e9
        found |= {
            "format": form,
            "GFLOP/s": achieved,
            "share of the matrix product": achieved / rates["matrix product"][form],
            "share of the convolution": achieved / rates["convolution"][form],
        }
    return found


def _judge(target: Target, ratio: Ratio, calls: Sequence[float]) -> Record:
    """A ratio meets its target when the whole interval does."""
    if target.measure == "ratio":
        return {"target": str(target), "reached": str(ratio), "met": ratio.low >= target.bound}
    reached = 1e3 * median(calls)
    return {"target": str(target), "reached": f"{reached:.1f} ms", "met": reached <= target.bound}


def times_table(found: Record) -> Table:
    """Every contestant's time in a case, and how many times as long as ours a peer takes."""
    rows = {"": ("run as", "time", "x ours", "x ours in float32", "GFLOP/s")}
    for name, one in found["contestants"].items():
        ratios = found["times as long as ours"].get(name, {})
        of_ours = _ratio(ratios.get(OURS)), _ratio(ratios.get(OURS_FLOAT32))
        rows[f"[bold]{name}" if name == OURS else name] = (_run_as(one), _time(one), *of_ours, _achieved(one))
    heading, *others = [(name, *cells) for name, cells in rows.items()]
    used = [place for place in range(len(heading)) if any(row[place] for row in others)]
    title = f"{found['case']}: {found['what']}"
    table = Table(*(heading[place] for place in used), title=title, title_justify="left")
    for row in others:
        table.add_row(*(row[place] for place in used))
    return table


def targets_table(records: Sequence[Record]) -> Table:
    """What we aim at and whether we are there: with the whole interval, where there is one."""
    covered = min((ratio["coverage"] for found in records for ratio in _ratios(found)), default=0)
    title = f"intervals cover {100 * covered:.0f} % or more" if covered else ""
    table = Table("case", "target", "reached", "best peer", "met", title=title)
    for found in records:
        if "contestants" not in found:
            table.add_row(found["case"], "", "skipped" if "skipped" in found else "failed", "", "")
        for one in found.get("targets", ()):
            met = "[green]yes" if one["met"] else "[red]no"
            table.add_row(found["case"], one["target"], one["reached"], found["best peer"], met)
    return table


def _ratios(found: Record) -> list[Record]:
    return [ratio for of_peer in found.get("times as long as ours", {}).values() for ratio in of_peer.values()]


def _run_as(one: Record) -> str:
    threads = f"{one['threads']} thread{'s' * (one['threads'] > 1)}"
    return f"{one['variant']}, {threads}" if one["variant"] else threads


def _time(one: Record) -> str:
    if "p50 ms" in one:
        return f"p50 {one['p50 ms']:.1f}, p99 {one['p99 ms']:.1f} ms"
    seconds = one["median seconds"]
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.0f} ms"


def _ratio(ratio: Record | None) -> str:
    return str(Ratio(**ratio)) if ratio else ""


def _achieved(one: Record) -> str:
    if "GFLOP/s" not in one:
        return ""
    return f"{one['GFLOP/s']:.0f}, {one['share of the convolution']:.0%} of a {one['format']} convolution's rate"
