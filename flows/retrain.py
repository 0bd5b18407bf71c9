"""Retraining: run the pipeline if anything changed; the challenger takes over only if it is shown to be better."""

from typing import Any

from filelock import FileLock, Timeout
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from fewshot.data.dataset import open_dataset
from fewshot.project.paths import Home, find_home
from fewshot.project.tool_environment import open_home
from fewshot.promotion.champion import decide_promotion
from fewshot.promotion.record import markdown
from fewshot.reporting.report_card import report_card
from fewshot.settings.presets import DEFAULT_PRESET, load_settings
from fewshot.settings.schema import Settings, settings_from
from fewshot.tracking.store import Store
from flows import steps
from flows.crashed_runs import NOTED
from flows.notify import notify
from flows.pipeline import RETRIED, pipeline


# Never cached: it asks the registry, and answers at once where nothing is new.
@task(name="gate", **RETRIED)
def gate(settings: dict[str, Any], model: str, version: str) -> dict[str, Any]:
    """Compare the version with the champion on the gate's episodes, and promote it if it is better."""
    home, chosen = find_home(), settings_from(settings)
    dataset = open_dataset(home.data, chosen.data.dataset, chosen.data.split_scheme)
    record, is_new = decide_promotion(Store.open(home), chosen, model, version, dataset)
    return {
        "outcome": record.decision,
        "version": record.version,
        "against": record.against,
        "reason": record.reason,
        "verdict": record.verdict,
        "is_new": is_new,
        "markdown": markdown(record),
    }


@task(name="report", **RETRIED)
def report(model: str, version: str, episodes: int) -> str:
    """Write the version's report card and log it with the version; returns the file."""
    home = find_home()
    reports = home.state / "reports"
    return str(report_card(Store.open(home), home.data, reports, f"{model}/{version}", None, episodes))


@task(name="clean")
def clean(keep_days: int) -> str:
    """Remove what nothing has needed for so many days; returns what was removed, in words."""
    from flows.cleaning.clean import clean as remove
    from flows.cleaning.clean import in_words

    return in_words(remove(find_home(), keep_days))


@flow(name="retrain", flow_run_name="{preset}", **NOTED)
def retrain(preset: str = DEFAULT_PRESET, overrides: list[str] | None = None) -> dict[str, Any]:
    """Bring a preset's model up to date, and promote it if it beats the champion.

    Returns {"model", "outcome", "reason", "flow_run", ...}; the outcome is promoted, kept, first, nothing to do or
    already running. A failure is told to the webhook, too, before it is raised.
    """
    home, settings = open_home(), load_settings(preset, overrides)
    steps.show_as_lines()
    said = {"model": settings.model_name, "preset": preset, "flow_run": flow_run.id or "none"}
    try:
        # Of two for one model the second has nothing to do: the first one is doing it.
        with FileLock(home.file_lock(f"retrain-{settings.model_name}"), timeout=0):
            outcome = said | _retrained(home, settings, preset, overrides or [])
            if settings.clean.keep_days:
                outcome = outcome | {"cleaned": _cleaned(settings.clean.keep_days)}
    except Timeout:
        outcome = said | {
            "outcome": "already running",
            "reason": f"another retraining of {settings.model_name} is under way",
        }
    except Exception as error:
        notify(settings.notify.webhook, said | {"outcome": "failed", "reason": f"{type(error).__name__}: {error}"})
        raise
    notify(settings.notify.webhook, outcome)
    return outcome


def _retrained(home: Home, settings: Settings, preset: str, overrides: list[str]) -> dict[str, Any]:
    summary = pipeline(preset, overrides)
    judged = gate(settings.plain(), summary["model"], summary["version"])
    text, is_new = judged.pop("markdown"), judged.pop("is_new")
    if not is_new and all(step["cached"] for step in summary["steps"]):
        return {
            "outcome": "nothing to do",
            "version": summary["version"],
            "reason": f"data, code, settings and environment are those of version {summary['version']}, which was "
            f"{'promoted' if judged['outcome'] != 'kept' else 'judged and kept back'} before",
        }
    create_markdown_artifact(text, key="verdict", description=f"{summary['model']} version {summary['version']}")
    remarks = list(summary["remarks"])
    # The decision is made: a card that can't be drawn does not make a failure of it.
    drawn = report(summary["model"], summary["version"], settings.gate.episodes, return_state=True)
    card = drawn.result(raise_on_failure=False)
    if not isinstance(card, str):
        again = f"fewshot report {summary['model']}/{summary['version']}"
        remarks.append(f"there is no report card ({type(card).__name__}: {card}); try it again: {again}")
        steps.remark(remarks[-1])
        card = ""
    return judged | {"results": summary["results"], "report": card, "remarks": remarks}


def _cleaned(keep_days: int) -> str:
    """Clean, and say in words what went. The retraining is done: what can't be removed makes no failure of it."""
    done = clean(keep_days, return_state=True).result(raise_on_failure=False)
    said = done if isinstance(done, str) else f"nothing could be removed ({type(done).__name__}: {done})"
    steps.remark(said)
    return said
