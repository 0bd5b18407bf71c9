"""How far does what was learned on one dataset carry? Methods trained on drawn letters, tested on digits and Omniglot.

    fewshot data prepare glyphs
    fewshot data prepare digits
    fewshot data prepare omniglot
    python benchmarks/cross_domain.py       # about 10 minutes on 2 cores; goes on where it was stopped
    python benchmarks/cross_domain.py --table

Each method is trained as its Omniglot preset says, but on the glyphs and for fewer steps. Writes
benchmarks/results_cross_domain.json; with --table prints the README's table from it.
"""

import json
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from fewshot.data.dataset import open_dataset
from fewshot.evaluation.evaluate import evaluate
from fewshot.model import load_model
from fewshot.project.paths import find_home
from fewshot.settings.presets import load_settings
from fewshot.training.loop import train

STEPS = {"protonet": 1000, "matching": 1000, "r2d2": 1000, "metabaseline": 1000, "relation": 1000, "maml": 1000}
TESTED = ("glyphs", "digits", "omniglot")
TARGET = Path(__file__).parent / "results_cross_domain.json"


def main() -> None:
    """Train each method on the glyphs, test it on all, write."""
    home = find_home()
    found: dict[str, Any] = {"command": "python benchmarks/cross_domain.py", "methods": {}}
    for method, steps in STEPS.items():
        changes = ["data.dataset=glyphs", "data.split_scheme=scripts", f"train.steps={steps}"]
        settings = load_settings(f"omniglot-{method}-5w1s", [*changes, 'evaluate.shapes=["5w1s15q", "5w5s15q"]'])
        folder = home.state / "cross_domain" / method
        trained = train(settings, open_dataset(home.data, "glyphs", "scripts"), folder)
        of_method: dict[str, Any] = {
            "settings": settings.plain(),
            "weights_sha256": trained.weights_sha256,
            "training_seconds": round(trained.seconds, 1),
            "results": {},
        }
        for name in TESTED:
            tested = evaluate(load_model(trained.model), open_dataset(home.data, name), settings.evaluate, folder)
            of_method["results"] |= {key: asdict(one) for key, one in tested.results.items()}
        found["methods"][method] = of_method
    found["versions"] = {"python": platform.python_version(), "torch": version("torch"), "numpy": np.__version__}
    TARGET.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table())


def table() -> str:
    """The recorded results in Markdown: inductive accuracy."""
    head = ["trained on glyphs", *(f"{name} {shape}" for name in TESTED for shape in ("5w1s", "5w5s"))]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for method, found in json.loads(TARGET.read_text(encoding="utf-8"))["methods"].items():
        of_columns = [found["results"][column.replace(" ", "/")] for column in head[1:]]
        cells = [f"{100 * one['accuracy']:.1f} ± {100 * one['ci95']:.1f}" for one in of_columns]
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table()) if "--table" in sys.argv[1:] else main()
