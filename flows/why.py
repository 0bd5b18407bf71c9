"""Why a step would run: what it was made of last time, compared with now."""

from dataclasses import dataclass
from typing import Any

from fewshot.errors import unknown
from fewshot.project.paths import Home
from fewshot.settings.presets import load_settings
from fewshot.settings.schema import Settings
from fewshot.tracking.store import Store
from flows import plans
from flows.dvc import commands as dvc
from flows.plans import Plan, Record

STEPS = ("prepare", "features", "train", "evaluate", "register")
"""What a user may ask for; "train" is the step called meta-train."""


@dataclass(frozen=True)
class Verdict:
    """One step and what makes it stale."""

    label: str
    reasons: tuple[str, ...]
    """Empty if it is up to date."""
    stored: bool = False
    """Although something changed, a result of just these ingredients is stored from an earlier run."""


def why(home: Home, preset: str, overrides: list[str] | None = None, step: str | None = None) -> list[Verdict]:
    """A verdict for each step of a preset with these settings, in the order of the pipeline; or for one step alone."""
    if step is not None and step not in STEPS:
        raise unknown("step", step, STEPS)
    settings, last = load_settings(preset, overrides), plans.last_run(home, preset)
    planned = _plans(home, settings, {label: done["record"] for label, done in last.items()})
    stale = dvc.stale(home, [label.removeprefix("prepare ") for label in planned if label.startswith("prepare ")])
    verdicts: list[Verdict] = []
    for label, plan in planned.items():
        feeding = [verdict for verdict in verdicts if _feeds(verdict.label, label, settings.data.dataset)]
        before = next((verdict.label for verdict in feeding if verdict.reasons), None)
        verdicts.append(_verdict(home, label, plan, last.get(label), stale, before))
    wanted = "meta-train" if step == "train" else step
    return [verdict for verdict in verdicts if wanted is None or verdict.label.startswith(wanted)]


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between the ingredients of two plans, one phrase each."""
    if old.get("format") != new["format"]:
        return ["it was last run by an earlier version of fewshot"]
    found = [
        f"setting {name}: {_text(old['settings'], name)} -> {_text(new['settings'], name)}"
        for name in sorted(old["settings"].keys() | new["settings"].keys())
        if old["settings"].get(name) != new["settings"].get(name)
    ]
    for kind, words in (("data", "data"), ("code", "code of"), ("upstream", "result of")):
        before, now = old.get(kind, {}), new.get(kind, {})
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                how = "is gone" if name not in now else "is new" if name not in before else "changed"
                found.append(f"{words} {name} {how}")
    return found + (["requirements.lock changed"] if old["requirements"] != new["requirements"] else [])


def _plans(home: Home, settings: Settings, records: dict[str, Record]) -> dict[str, Plan | None]:
    """The plan of each step from the records of the last run; None where one that it needs is missing."""
    wanted = plans.datasets(settings)
    found: dict[str, Plan | None] = {}
    for name, split in wanted.items():
        found[f"prepare {name}"] = plans.plan_data(home, name, split)
    data = {name: records.get(f"prepare {name}", {"digest": "not prepared"}) for name in wanted}
    training, evaluation = records.get("meta-train"), records.get("evaluate")
    if settings.backbone.is_encoder:
        found["features"] = plans.plan_features(home, settings, data)
    found["meta-train"] = plans.plan_training(home, settings, data)
    found["evaluate"] = plans.plan_evaluation(home, settings, data, training) if training else None
    found["register"] = plans.plan_registration(home, settings, evaluation) if evaluation else None
    return found


def _verdict(
    home: Home, label: str, plan: Plan | None, last: dict[str, Any] | None, stale: dict[str, str], before: str | None
) -> Verdict:
    if plan is None or last is None:
        return Verdict(label, ("it has not run for this preset yet",))
    reasons = differences(last["ingredients"], plan.ingredients)
    stored = bool(reasons) and before is None and plans.is_stored(home, plan)
    if not reasons and not plans.is_stored(home, plan):
        reasons.append("its stored result was deleted")
    elif not reasons and not plans.holds(home, Store.open(home), plan, last["record"], stale):
        dataset = last["record"].get("dataset")
        gone = "what it made was deleted or changed (a file, an MLflow run, a model version)"
        reasons.append(stale.get(dataset) or gone)
    if before:
        reasons.append(f"{before} comes before it")
    return Verdict(label, tuple(reasons), stored)


def _feeds(earlier: str, later: str, trained_on: str) -> bool:
    """Whether the result of one step goes into another: datasets that are only evaluated do not concern training."""
    if earlier.startswith("prepare "):
        return later in ("features", "evaluate", "register") or (
            later == "meta-train" and earlier == f"prepare {trained_on}"
        )
    return True


def _text(settings: dict[str, Any], name: str) -> str:
    return str(settings[name]) if name in settings else "(none)"
