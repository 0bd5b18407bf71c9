"""Draw docs/time_to_accuracy.png: validation accuracy over training time, for recorded runs on Omniglot.

python benchmarks/curve.py
"""

import json
from pathlib import Path

from matplotlib import colormaps
from matplotlib.figure import Figure

HERE = Path(__file__).parent


def draw(target: Path) -> None:
    """A line for each file of omniglot/; the band is the 95 % interval."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=colormaps["tab20"](range(20)))
    axes.set_xscale("log")
    for file in sorted((HERE / "omniglot").glob("*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        of_step = found["training_seconds"] / found["steps"] / 60
        steps, accuracy, interval = zip(*found["validation_curve"], strict=True)
        minutes = [step * of_step for step in steps]
        shape = found["settings"]["train"]["validation"]
        label = f"{file.stem.removeprefix('omniglot-')} ({shape})"
        [line] = axes.plot(minutes, [100 * a for a in accuracy], marker=".", label=label)
        low, high = ([100 * (a + sign * i) for a, i in zip(accuracy, interval, strict=True)] for sign in (-1, 1))
        axes.fill_between(minutes, low, high, alpha=0.2, color=line.get_color())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="minutes of training on 2 CPU cores", ylabel="validation accuracy, %", ylim=(80, 100))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right center", fontsize=8)
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, dpi=90)
    print(f"wrote {target}")


if __name__ == "__main__":
    draw(HERE.parent / "docs" / "time_to_accuracy.png")
