"""The race as a picture: for each case how many times as long as ours each peer takes."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.speed.cases import CASES, MODULES, OURS
from benchmarks.speed.report import Record

_BAR = 0.8


def draw_chart(records: Sequence[Record], title: str, target: Path) -> None:
    """A bar for each peer with its interval; our time is the line at 1, a target of ours is a tick."""
    bars = [
        (found["case"], peer, ratios[OURS])
        for found in records
        for peer, ratios in found.get("times as long as ours", {}).items()
    ]
    colours = dict(zip(MODULES, ("tab:blue", "tab:orange", "tab:green", "tab:purple", "tab:gray"), strict=True))
    figure = Figure(figsize=(9, 1.2 + 0.32 * len(bars)), layout="constrained")
    axes = figure.subplots()
    for place, (case, peer, ratio) in enumerate(bars):
        reach = [[ratio["median"] - ratio["low"]], [ratio["high"] - ratio["median"]]]
        axes.barh(place, ratio["median"], _BAR, xerr=reach, color=colours[peer], capsize=2)
        axes.text(ratio["high"], place, f"  {ratio['median']:.1f}x", va="center", fontsize=8)
        for aim in CASES[case].targets if case in CASES else ():
            if aim.measure == "ratio":
                axes.plot([aim.bound] * 2, [place - _BAR / 2, place + _BAR / 2], color="black", linewidth=1.5)
    axes.axvline(1, color="tab:red", linewidth=1)
    axes.set_yticks(range(len(bars)), [f"{case}   {peer}" for case, peer, _ in bars], fontsize=8)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * max([2.0, *(ratio["high"] for _, _, ratio in bars)]))
    covered = min((ratio["coverage"] for _, _, ratio in bars), default=0)
    interval = f"with {100 * covered:.0f} % interval or wider"
    axes.set_xlabel(f"times as long as fewshot (red line), {interval}; black ticks are what we aim at")
    axes.set_title(title, fontsize=9)
    figure.savefig(target, dpi=110)
