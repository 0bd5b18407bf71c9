"""Write down what a finished `fewshot run PRESET` reached: benchmarks/DATASET/PRESET.json, and the preset's header.

    fewshot run omniglot-protonet-5w1s
    python benchmarks/record.py omniglot-protonet-5w1s

Everything is read from the records of that run, so a number can't stand here without a run behind it. The second line
of the preset, which `fewshot presets` shows, is written from the same numbers.
"""

import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fewshot.model import describe_model
from fewshot.project.paths import find_home
from fewshot.settings.presets import load_settings
from fewshot.system.files import canonical_json, read_json
from flows.plans import last_run

HERE = Path(__file__).parent
PACKAGES = ("torch", "torchvision", "numpy", "prefect", "mlflow", "dvc")


def record(preset: str) -> dict[str, Any]:
    """Command, settings, data, weights, versions, machine, time and every result of a preset's last run."""
    home = find_home()
    steps = last_run(home, preset)
    if not {"meta-train", "evaluate"} <= steps.keys():
        sys.exit(f"error: {preset} has not run here; run: fewshot run {preset}")
    training, evaluation = steps["meta-train"]["record"], steps["evaluate"]["record"]
    model = describe_model(home.state / training["model"])
    settings, data = model.settings_values, model.data
    if canonical_json(settings["train"]) != canonical_json(load_settings(preset).plain()["train"]):
        sys.exit(f"error: the last run of {preset} had other settings; run: fewshot run {preset}")
    return {
        "command": f"fewshot run {preset}",
        "results": {
            name: {key: round(one[key], 8) for key in ("accuracy", "ci95", "episodes")}
            for name, one in evaluation["results"].items()
        },
        "training_seconds": round(training["seconds"], 1),
        "steps": training["steps"],
        "best_step": training["best_step"],
        "seed": settings["seed"],
        "settings": settings,
        "weights_sha256": training["weights_sha256"],
        "data": {
            "dataset": data.dataset,
            "split_scheme": data.split_scheme,
            "digest": data.digest,
            "md5": steps[f"prepare {data.dataset}"]["record"]["md5"],
        },
        "validation_curve": [
            [point["step"], round(point["val_accuracy"], 4), round(point["val_ci95"], 4)]
            for point in read_json(home.state / training["history"], "run it again")["points"]
            if "val_accuracy" in point
        ],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "machine": f"{os.cpu_count()} cores, {training['device']}, {training['precision']}",
    }  # fmt: skip


def header(found: dict[str, Any]) -> str:
    """The line of a preset that says what it reached."""
    own = f"{found['data']['dataset']}/"
    accuracies = [
        f"{name.removeprefix(own)} {100 * one['accuracy']:.1f} ± {100 * one['ci95']:.1f} %"
        for name, one in found["results"].items()
        if name.startswith(own)
    ]
    minutes = found["training_seconds"] / 60
    return f"# {', '.join(accuracies)}; {minutes:.1f} min of training on {found['machine'].partition(',')[0]}."


def main() -> None:
    """Record each preset named on the command line."""
    for preset in sys.argv[1:] or sys.exit("usage: python benchmarks/record.py PRESET ..."):
        found = record(preset)
        file = HERE / found["data"]["dataset"] / f"{preset}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {file}")
        source = HERE.parent / "fewshot" / "settings" / "presets" / f"{preset}.toml"
        first, *rest = source.read_text(encoding="utf-8").splitlines()
        settings = rest[rest.index("[data]") :] if "[data]" in rest else rest
        source.write_text("\n".join([first, header(found), *settings]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
