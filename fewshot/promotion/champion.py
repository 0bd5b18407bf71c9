"""Champion and challenger: compared on the gate's episodes, judged, exchanged, and taken back.

The gate's episodes are drawn from classes that are never trained on, selected on or reported as test accuracy. What was
decided, and why, stands on the challenger's version as tags and in its run as JSON and Markdown.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from fewshot.data.dataset import Dataset
from fewshot.errors import RegistryError
from fewshot.evaluation.costs import costs_of
from fewshot.migrations import migrate_numbers
from fewshot.model import load_model
from fewshot.project.paths import Home
from fewshot.promotion.gate import GateResult, decide
from fewshot.promotion.gate_episodes import compare
from fewshot.settings.schema import Settings
from fewshot.system.files import canonical_json, sha256_json
from fewshot.tracking.store import connect, mlflow_errors
from fewshot.tracking.versions import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    ROLLED_BACK,
    model_folder,
    standing_champion,
    version_with,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

VERDICT, DECISION = "fewshot.verdict", "fewshot.decision"
"""Tags of a version: the whole verdict as JSON; promoted, kept or first."""
TESTS = "fewshot.tests"
"""Tag of a model: JSON list of when its challengers were tested. A version's tags can be written anew, or deleted with
it; what was spent stays spent."""

REMEMBERED = 3000
"""Tests on that list, at most: eight years of nights, in less than the 100,000 characters that MLflow allows a tag."""


@dataclass(frozen=True)
class PromotionRecord:
    """A verdict on a version, as it is remembered."""

    model: str
    version: str
    """The challenger's."""
    against: str
    """The champion's version at that time; empty if there was none."""
    decision: str
    """promoted, kept, or first (there was no champion to compare with)."""
    reason: str
    time: str
    """UTC, ISO 8601."""
    question: str
    """Digest of what was asked: the data and the gate's settings."""
    on: str = ""
    """The gate episodes: "omniglot/5w1s15q"."""
    left_out: tuple[str, ...] = ()
    """Classes of the gate that one of the two had been trained on."""
    verdict: dict[str, Any] | None = None
    """The numbers of `fewshot.promotion.gate.GateResult`."""
    costs: dict[str, float] | None = None
    """The challenger's, of `fewshot.promotion.gate.Costs`."""


def decide_promotion(
    home: Home, settings: Settings, model: str, version: str, dataset: Dataset
) -> tuple[PromotionRecord, bool]:
    """Compare a version with the champion, write the record down, and promote it if it is shown to be better.

    Returns the record and whether it was made now: a version that was judged by the same gate, against the present
    champion and on the same data, is not judged again. A promotion that was interrupted is completed. What was rolled
    back is not promoted a second time.
    """
    client = connect(home)
    question = sha256_json([dataset.digest, dataset.scheme.episodes_digest, settings.plain()["gate"]])
    with FileLock(home.file_lock(f"promotion-{model}")), mlflow_errors(home):
        champion, tags = standing_champion(client, model), client.get_model_version(model, version).tags
        if ROLLED_BACK in tags:
            reason = f"it was rolled back at {tags[ROLLED_BACK]}; fewshot rollback {model} would bring it back"
            return PromotionRecord(model, version, champion, "kept", reason, _now(), question), False
        found = promotion_record_in(tags)
        if champion == version:
            champion = found.against if found else ""
        elif found is not None and (found.against, found.question) != (champion, question):
            found = None
        if is_new := found is None:
            found = _compared(home, client, settings, model, version, champion, dataset, question)
            _remember(client, found)
        if found.decision != "kept":
            _promote(client, model, version, champion)
    return found, is_new


def rollback(home: Home, model: str) -> tuple[str, str]:
    """Give the alias "champion" back to the version before; returns (version taken back, champion now).

    Raises RegistryError when there is none to go back to.
    """
    client = connect(home)
    with FileLock(home.file_lock(f"promotion-{model}")), mlflow_errors(home):
        champion, previous = champion_of(client, model), version_with(client, model, PREVIOUS)
        if not previous or previous == champion:
            raise RegistryError(f"{model} has no version to go back to; fewshot history {model} shows what there is")
        client.set_registered_model_alias(model, CHAMPION, previous)
        if ROLLED_BACK in client.get_model_version(model, previous).tags:
            client.delete_model_version_tag(model, previous, ROLLED_BACK)
        if champion:
            client.set_model_version_tag(model, champion, ROLLED_BACK, _now())
            client.set_registered_model_alias(model, PREVIOUS, champion)
    return champion, previous


def history(home: Home, model: str) -> list[tuple[str, PromotionRecord | None, list[str], str]]:
    """Every version of a model, oldest first: (version, record, aliases, when it was rolled back or "").

    Raises RegistryError if there is no such model.
    """
    client = connect(home)
    with mlflow_errors(home):
        versions = sorted(client.search_model_versions(f"name = '{model}'"), key=lambda found: int(found.version))
        if not versions:
            raise RegistryError(f"there is no version of a model {model}; fewshot ui shows those that are")
        named = client.get_registered_model(model).aliases
    return [
        (
            str(found.version),
            promotion_record_in(found.tags),
            sorted(alias for alias, of in named.items() if str(of) == str(found.version)),
            found.tags.get(ROLLED_BACK, ""),
        )
        for found in versions
    ]


def promotion_record_in(tags: dict[str, str]) -> PromotionRecord | None:
    """What was decided on the version that bears these tags; None if it was not judged."""
    if VERDICT not in tags:
        return None
    values = migrate_numbers(json.loads(tags[VERDICT]))
    return PromotionRecord(**values | {"left_out": tuple(values["left_out"])})


def champion_of(client: "MlflowClient", model: str) -> str:
    """The version of the champion; empty if the alias is not there or its version was deleted."""
    return version_with(client, model, CHAMPION)


def markdown(record: PromotionRecord) -> str:
    """A record for people."""
    against = f"version {record.against}" if record.against else "nobody"
    lines = [
        f"# {record.model} version {record.version}: {record.decision}",
        f"Against {against}, {record.time}: {record.reason}.",
    ]
    if record.verdict is not None and record.costs is not None:
        scores = {name: record.verdict[name] for name in ("champion", "challenger", "difference")}
        lines += ["", f"| on {record.on} | accuracy ± 95 % interval |", "|---|---|"]
        lines += [f"| {name} | {100 * s['accuracy']:.2f} ± {100 * s['ci95']:.2f} % |" for name, s in scores.items()]
        lines += [
            "",
            f"p = {record.verdict['p']:.2g}, level spent {record.verdict['level']:.2g}. The challenger's expected "
            f"calibration error is {record.costs['calibration_error']:.3f}; it learns a task and answers in "
            f"{record.costs['latency_ms']:.1f} ms.",
        ]
    if record.left_out:
        lines += ["", f"Left out, because one of the two was trained on them: {', '.join(record.left_out)}."]
    return "\n".join(lines) + "\n"


def _compared(
    home: Home,
    client: "MlflowClient",
    settings: Settings,
    model: str,
    version: str,
    champion: str,
    dataset: Dataset,
    question: str,
) -> PromotionRecord:
    if not champion:
        return PromotionRecord(model, version, "", "first", "there is no champion to compare with", _now(), question)
    folders = [model_folder(home, f"models:/{model}/{number}") for number in (champion, version)]
    standing, challenger = (load_model(folder, settings.device) for folder in folders)
    challenger.compute.prepare()
    old, new, left_out = compare(standing, challenger, dataset, settings.gate)
    costs = costs_of(challenger, new, dataset, settings.gate.shape)
    tested = _tests(client, model)
    verdict = decide(old.accuracy, new.accuracy, settings.gate, tested, datetime.now(UTC), costs)
    if verdict.level > 0:  # paid before anybody hears of it
        # Kept by number and not by age: a clock that is a year ahead for a night would forget what was spent.
        times = [time.isoformat(timespec="seconds") for time in (*tested, datetime.now(UTC))][-REMEMBERED:]
        client.set_registered_model_tag(model, TESTS, canonical_json(times))
    return PromotionRecord(
        model, version, champion, verdict.decision, verdict.reason, _now(), question,
        f"{dataset.name}/{settings.gate.shape}", left_out, _plain(verdict), asdict(costs),
    )  # fmt: skip


def _remember(client: "MlflowClient", record: PromotionRecord) -> None:
    """First in the run, for people; then as tags of the version: only now it counts as judged."""
    found = client.get_model_version(record.model, record.version)
    name = f"verdict/{record.model}-{record.version}"
    client.log_dict(found.run_id, asdict(record), f"{name}.json")
    client.log_text(found.run_id, markdown(record), f"{name}.md")
    client.set_model_version_tag(record.model, record.version, DECISION, record.decision)
    client.set_model_version_tag(record.model, record.version, VERDICT, canonical_json(asdict(record)))


def _promote(client: "MlflowClient", model: str, version: str, champion: str) -> None:
    """Each of these is one row of the database. Wherever this is interrupted, exactly one version is the champion."""
    if champion:
        client.set_registered_model_alias(model, PREVIOUS, champion)
    client.set_registered_model_alias(model, CHAMPION, version)
    if version_with(client, model, CHALLENGER) == version:
        client.delete_registered_model_alias(model, CHALLENGER)


def _tests(client: "MlflowClient", model: str) -> list[datetime]:
    """When challengers of this model were tested."""
    times = json.loads(client.get_registered_model(model).tags.get(TESTS, "[]"))
    return [datetime.fromisoformat(time) for time in times]


def _plain(verdict: GateResult) -> dict[str, Any]:
    return {key: value for key, value in asdict(verdict).items() if key not in ("decision", "reason")}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
