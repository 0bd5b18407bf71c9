"""The pipeline: prepare data -> features of a frozen encoder -> meta-train -> evaluate -> register.

A step runs only when something it uses changed.
"""

import time
from dataclasses import replace
from typing import Any

from filelock import FileLock
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from fewshot.errors import FewshotError, PipelineError, RegistryError
from fewshot.project.lineage import lineage
from fewshot.project.paths import Home, find_home
from fewshot.project.tool_environment import open_home
from fewshot.settings.presets import DEFAULT_PRESET, load_settings
from fewshot.settings.schema import Settings, settings_from
from fewshot.tracking.runs import Run, mark_crashed_runs
from fewshot.tracking.store import Store
from flows import plans, steps
from flows.crashed_runs import NOTED, mark_crashed_flow_runs
from flows.dvc import commands as dvc
from flows.plans import Plan, Record, seal
from flows.summary import markdown


def plan_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """The cache key of a step: that of its plan, whose ingredients name all that the result depends on."""
    plan: Plan = parameters["plan"]
    return plan.key


def may_pass(task: Any, run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again can help: the network, a busy database. A wrong setting or damaged file stays wrong."""
    error = state.data if isinstance(state.data, BaseException) else getattr(state.data, "result", None)
    return isinstance(error, (RegistryError, PipelineError, ConnectionError, TimeoutError))


STORED: dict[str, Any] = {"persist_result": True, "result_serializer": "json", "cache_result_in_memory": False}
RETRIED: dict[str, Any] = {"retries": 2, "retry_delay_seconds": [3, 20], "retry_condition_fn": may_pass}


@task(
    name="prepare data", task_run_name="{plan.label}", cache_key_fn=plan_key, timeout_seconds=3600, **STORED, **RETRIED
)
def prepare_data(plan: Plan, dataset: str, split: str) -> Record:
    """Let DVC bring a dataset up to date, and check every file of it."""
    from fewshot.data.dataset import open_dataset

    home = find_home()
    remark = dvc.prepare(home, dataset)
    if remark:
        steps.remark(remark)
    opened = open_dataset(home.data, dataset, split)
    digests = {"digest": opened.digest, "episodes_digest": opened.scheme.episodes_digest}
    md5 = dvc.dvc_lock(home, dataset)
    return seal({"dataset": dataset, "split": opened.scheme.name, **digests, "md5": md5, "remark": remark})


# No time limit: it goes on where it was ended.
@task(name="features", task_run_name="{plan.label}", cache_key_fn=plan_key, **STORED, **RETRIED)
def compute_features(plan: Plan, settings: dict[str, Any], data: dict[str, Record]) -> Record:
    """Compute the features of a frozen encoder: of all splits of the training data, of the tests of the others."""
    from fewshot.data.dataset import open_dataset
    from flows.records import features_record

    home, chosen = find_home(), settings_from(settings)
    datasets = [open_dataset(home.data, name, record["split"]) for name, record in data.items()]
    return seal(features_record(home, plan, chosen, datasets))


# No time limit: a training may take days, and it goes on from its checkpoint whenever it is ended.
@task(name="meta-train", task_run_name="{plan.label}", cache_key_fn=plan_key, **STORED, **RETRIED)
def meta_train(plan: Plan, settings: dict[str, Any], data: Record) -> Record:
    """Meta-train, or find the finished training in its folder, and log a run of it."""
    from fewshot.data.dataset import open_dataset
    from fewshot.training.choices import in_words, read_choices
    from fewshot.training.identity import training_identity
    from fewshot.training.loop import train
    from flows.records import training_record

    home, chosen = find_home(), settings_from(settings)
    dataset = open_dataset(home.data, data["dataset"], data["split"])
    identity = training_identity(chosen, dataset)
    origin = lineage(home, dataset.digest, identity.code_key, flow_run.id or "none", data["md5"])
    run = Run.open(Store.open(home), chosen, origin)
    with run.working() as curve:
        result = train(chosen, dataset, home.training(plan.key), curve.add)
        run.log_training(curve, result, dataset)
    if remark := in_words(read_choices(result.history)):
        steps.remark(f"{chosen.method.name}: {remark}")
    return seal(training_record(home, plan, run.id, result, origin) | {"remark": remark})


@task(
    name="evaluate", task_run_name="{plan.label}", cache_key_fn=plan_key, timeout_seconds=6 * 3600, **STORED, **RETRIED
)
def evaluate_model(plan: Plan, settings: dict[str, Any], data: dict[str, Record], training: Record) -> Record:
    """Measure the model on the fixed test episodes of each dataset."""
    from fewshot.data.dataset import open_dataset
    from flows.records import evaluated, evaluation_record, run_to_evaluate

    home, chosen = find_home(), settings_from(settings)
    datasets = [open_dataset(home.data, name, record["split"]) for name, record in data.items()]
    run = run_to_evaluate(home, Store.open(home), chosen, plan, training, datasets[0], flow_run.id or "none")
    with run.working():
        evaluations = [evaluated(home, chosen, plan, training, dataset) for dataset in datasets]
        run.log_evaluation(plan.key, list(zip(datasets, evaluations, strict=True)))
    return seal(evaluation_record(home, plan, run.id, evaluations))


@task(name="register", task_run_name="{plan.label}", cache_key_fn=plan_key, timeout_seconds=900, **STORED, **RETRIED)
def register_model(plan: Plan, settings: dict[str, Any], training: Record, evaluation: Record) -> Record:
    """Make a model version of the evaluated weights."""
    from fewshot.tracking.registration import register

    home, chosen = find_home(), settings_from(settings)
    md5 = dvc.dvc_lock(home, chosen.data.dataset)
    origin = lineage(home, training["data_digest"], training["code_key"], flow_run.id or "none", md5)
    # Of an earlier release's training it is not known.
    origin = replace(origin, machine=training.get("machine", origin.machine))
    model, weights = home.state / training["model"], training["weights_sha256"]
    version = register(Store.open(home), chosen, model, weights, evaluation, origin)
    return seal({"key": plan.key, **version})


def _run_name() -> str:
    parameters = flow_run.parameters
    try:
        return load_settings(parameters["preset"], parameters["overrides"]).run_name
    except FewshotError:  # the flow itself will say what is wrong
        return str(parameters["preset"])


@flow(name="pipeline", flow_run_name=_run_name, **NOTED)
def pipeline(preset: str = DEFAULT_PRESET, overrides: list[str] | None = None) -> dict[str, Any]:
    """Bring a preset's model up to date. `overrides` are settings such as "train.steps=2000".

    Returns {"run_name", "steps": [{"label", "cached", "seconds"}], "remarks" (how an own folder's classes changed),
    "results", "run_id", "model", "version", "aliases"}.
    """
    home, settings = open_home(), load_settings(preset, overrides)
    steps.show_as_lines()
    store = Store.open(home)
    for dead in mark_crashed_runs(store):
        steps.remark(f"run {dead} was left behind by a process that was killed; it is marked KILLED now")
    mark_crashed_flow_runs(home)
    done = _Steps(home, store, settings, preset)
    data = done.data()
    plain = settings.plain()
    main = data[settings.data.dataset]
    if settings.backbone.is_encoder:
        done.run(compute_features, plans.plan_features(home, settings, data), settings=plain, data=data)
    training = done.run(meta_train, plans.plan_training(home, settings, data), settings=plain, data=main)
    evaluation = done.run(
        evaluate_model,
        plans.plan_evaluation(home, settings, data, training),
        settings=plain,
        data=data,
        training=training,
    )
    version = done.run(
        register_model, plans.plan_registration(home, settings, evaluation), settings=plain, training=training,
        evaluation=evaluation,
    )  # fmt: skip
    summary = done.summary(evaluation, version)
    create_markdown_artifact(markdown(summary), key="result", description=settings.run_name)
    return summary


class _Steps:
    """Runs steps one after the other and keeps what they did."""

    def __init__(self, home: Home, store: Store, settings: Settings, preset: str) -> None:
        self._home, self._store, self._settings, self._preset = home, store, settings, preset
        self._stale: dict[str, str] = {}
        self._done: list[dict[str, Any]] = []
        self._remarks: list[str] = []

    def data(self) -> dict[str, Record]:
        """Prepare each dataset that is read; the training data come first."""
        wanted = plans.datasets(self._settings)
        self._stale = dvc.stale(self._home, list(wanted))
        return {
            name: self.run(prepare_data, plans.plan_data(self._home, name, split), dataset=name, split=split)
            for name, split in wanted.items()
        }

    def run(self, step: Any, plan: Plan, **arguments: Any) -> Record:
        """Run a step, or take its stored record if all that it points to still exists."""
        began = time.monotonic()
        # Two pipelines that need the same step: the second waits, then finds it stored.
        with FileLock(self._home.file_lock(plan.key)):
            state = step(plan, **arguments, return_state=True)
            cached = state.name == "Cached"
            if cached and not plans.holds(self._home, self._store, plan, state.result(), self._stale):
                state = step.with_options(refresh_cache=True)(plan, **arguments, return_state=True)
                cached = False
            record: Record = state.result()
            plans.mark_used(self._home, plan)
            plans.remember(self._home, self._preset, plan, record)
        if not cached and record.get("remark"):
            self._remarks.append(record["remark"])
        self._done.append({"label": plan.label, "cached": cached, "seconds": time.monotonic() - began})
        get_run_logger().info("%s: %s", plan.label, "cached" if cached else "ran")
        steps.step_done(**self._done[-1])
        return record

    def summary(self, evaluation: Record, version: Record) -> dict[str, Any]:
        """What the flow returns."""
        return {
            "run_name": self._settings.run_name,
            "preset": self._preset,
            "steps": self._done,
            "remarks": self._remarks,
            "results": evaluation["results"],
            "run_id": evaluation["run_id"],
            "model": version["model"],
            "version": version["version"],
            "aliases": self._store.aliases(version["model"], version["version"]) or [],
        }
