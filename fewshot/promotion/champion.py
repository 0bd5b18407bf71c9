"""Champion and challenger: compared on the gate's episodes, promoted or kept back, and rolled back.

The gate's episodes are sampled from classes that are never trained on, selected on or reported as test accuracy. The
decision and its reason are stored as tags of the challenger's version, and in its run as JSON and Markdown.
"""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fewshot.data.dataset import Dataset
from fewshot.errors import RegistryError
from fewshot.evaluation.costs import costs_of
from fewshot.model import load_model
from fewshot.promotion.gate import GateResult, decide
from fewshot.promotion.gate_episodes import compare
from fewshot.promotion.record import PromotionRecord, markdown, promotion_record
from fewshot.promotion.spent import TESTS, Spent, read_spent, write_spent
from fewshot.settings.schema import Settings
from fewshot.system.files import canonical_json, sha256_json
from fewshot.tracking.aliases import aliases_of
from fewshot.tracking.artifact import model_folder
from fewshot.tracking.runs import Run
from fewshot.tracking.store import Store
from fewshot.tracking.versions import (
    DECISION,
    RESTORED,
    ROLLED_BACK,
    VERDICT,
    find_version,
    list_versions,
)


def decide_promotion(
    store: Store, settings: Settings, model: str, version: str, dataset: Dataset
) -> tuple[PromotionRecord, bool]:
    """Compare a version with the champion, store the record, and promote the version if it is shown to be better.

    Returns the record and whether it is new: a version that was compared by the same gate, with the present champion
    and on the same data, is not compared again. A promotion that was interrupted is completed. A version that was
    rolled back is not promoted a second time. Raises RegistryError if there is no such version.
    """
    question = sha256_json([dataset.digest, dataset.scheme.episodes_digest, settings.plain()["gate"]])
    with aliases_of(store, model) as aliases:
        champion, challenger = aliases.standing.champion, find_version(store, f"{model}/{version}")
        if challenger.is_rolled_back:
            when = challenger.tags[ROLLED_BACK]
            reason = f"it was rolled back at {when}; fewshot rollback {model} --to {version} would bring it back"
            return PromotionRecord(model, version, champion, "kept", reason, _now(), question), False
        found = promotion_record(challenger)
        if champion == version and found is not None:
            return found, False
        if champion == version:
            champion = ""
        elif found is not None and (found.against, found.question) != (champion, question):
            found = None
        if is_new := found is None:
            found = _compare_with_champion(store, settings, model, version, champion, dataset, question)
            _write_down(Run(store, challenger.run_id), found)
        if found.decision != "kept":
            aliases.promote(version)
    return found, is_new


def rollback(store: Store, model: str, version: str = "") -> tuple[str, str]:
    """Give the alias "champion" back to the version that bore it before, or to the one named.

    Returns (version rolled back, champion now). Raises RegistryError if there is no version to go back to.
    """
    if not list_versions(store, model):
        raise RegistryError(f"{model} has no version to go back to; fewshot history {model} shows what there is")
    with aliases_of(store, model) as aliases:
        return aliases.restore(version) if version else aliases.rollback()


class Told(NamedTuple):
    """What was decided on a version."""

    version: str
    record: PromotionRecord | None
    aliases: list[str]
    rolled_back: str
    """When, in UTC; empty if it never was."""
    restored: str
    """When it was made the champion again after that; empty if it was not."""


def history(store: Store, model: str) -> list[Told]:
    """Every version of a model, oldest first.

    Raises RegistryError if there is no such model.
    """
    versions = list_versions(store, model)
    if not versions:
        raise RegistryError(f"there is no version of a model {model}; fewshot ui shows those that are")
    return [
        Told(
            found.number,
            promotion_record(found),
            list(found.aliases),
            found.tags.get(ROLLED_BACK, ""),
            found.tags.get(RESTORED, ""),
        )
        for found in versions
    ]


def _compare_with_champion(
    store: Store, settings: Settings, model: str, version: str, champion: str, dataset: Dataset, question: str
) -> PromotionRecord:
    if not champion:
        return PromotionRecord(model, version, "", "first", "there is no champion to compare with", _now(), question)
    folders = [model_folder(store, f"models:/{model}/{number}") for number in (champion, version)]
    standing, challenger = (load_model(folder, settings.device, trust_code=True) for folder in folders)
    challenger.compute.prepare()
    shape = dataset.shape_for(dataset.gate, settings.gate.shape)
    old, new, left_out = compare(standing, challenger, dataset, settings.gate.model_copy(update={"shape": shape}))
    costs = costs_of(challenger, new, dataset, shape)
    spent = read_spent(store.model_tags(model).get(TESTS, ""), settings.gate.alpha / settings.gate.tests_per_year)
    now = datetime.now(UTC)
    verdict = decide(old.accuracy, new.accuracy, settings.gate, spent, now, costs)
    if verdict.level > 0:  # paid before anybody hears of it
        store.tag_model(model, TESTS, write_spent([*spent, Spent(now, verdict.level)]))
    return PromotionRecord(
        model, version, champion, verdict.decision, verdict.reason, _now(), question,
        f"{dataset.name}/{shape}", left_out, _plain(verdict), asdict(costs),
    )  # fmt: skip


def _write_down(run: Run, record: PromotionRecord) -> None:
    """Write the record to the run, for people; then as tags of the version, which make it count as compared."""
    name = f"verdict/{record.model}-{record.version}"
    run.log_json(f"{name}.json", asdict(record))
    run.log_text(f"{name}.md", markdown(record))
    tags = {DECISION: record.decision, VERDICT: canonical_json(asdict(record))}
    run.store.tag_version(record.model, record.version, tags)


def _plain(verdict: GateResult) -> dict[str, Any]:
    return {key: value for key, value in asdict(verdict).items() if key not in ("decision", "reason")}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
