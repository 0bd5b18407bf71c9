"""MLflow runs: one row for each pipeline execution that did work, with its curve, results and lineage.

Runs are named by id, never taken from MLflow's thread-local active run, which other threads do not see.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewshot.errors import Interrupted
from fewshot.project.fingerprints import flatten
from fewshot.project.lineage import Lineage
from fewshot.project.paths import Home
from fewshot.settings.schema import Settings
from fewshot.system.files import canonical_json
from fewshot.system.process_id import is_dead, this_process
from fewshot.tracking.metric_writer import MetricWriter
from fewshot.tracking.store import connect, experiment_id, may_have_running_runs, mlflow_errors
from fewshot.training.result import read_history

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from fewshot.data.dataset import Dataset
    from fewshot.evaluation.evaluate import Evaluation
    from fewshot.training.result import TrainResult

EVALUATED = "fewshot.evaluation"
"""Tag of a run: the cache key of the evaluation that it holds."""
OWNER = "fewshot.owner"
"""Tag of a run: host/pid/start of the process that writes to it."""
HISTORY = "history.json"
"""File of a run: the whole training curve."""
_DIGEST_LENGTH = 36
"""MLflow cuts the digest of a dataset at so many characters."""


def open_run(home: Home, settings: Settings, lineage: Lineage) -> str:
    """A new run with its settings and lineage; returns its id."""
    from mlflow.entities import Param

    client = connect(home)
    with mlflow_errors(home):
        experiment = experiment_id(client, home, settings.register_.experiment)
        tags = lineage.tags() | {OWNER: this_process()}
        run_id: str = client.create_run(experiment, tags=tags, run_name=settings.run_name).info.run_id
        params = [Param(name, str(value)) for name, value in flatten(settings.plain()).items()]
        client.log_batch(run_id, params=params)
    return run_id


@contextmanager
def working(home: Home, run_id: str) -> Iterator[MetricWriter]:
    """A run that this process writes to while the block runs: RUNNING, then FINISHED, FAILED or KILLED."""
    client = connect(home)
    with mlflow_errors(home):
        client.set_tag(run_id, OWNER, this_process())
        client.update_run(run_id, status="RUNNING")
    status = "FAILED"
    try:
        with _system_metrics(run_id):
            yield MetricWriter(home, run_id)
        status = "FINISHED"
    except (Interrupted, KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        with mlflow_errors(home):
            client.set_terminated(run_id, status)


def log_training(home: Home, run_id: str, curve: MetricWriter, result: "TrainResult", dataset: "Dataset") -> None:
    """The whole curve, the summary and the data of a finished training."""
    from mlflow.entities import Metric

    from fewshot.evaluation import figures

    points = read_history(result.history)
    curve.complete(points)
    now = time.time_ns() // 1_000_000
    summary = {
        "validation/best_accuracy": result.best_val_accuracy,
        "validation/best_ci95": result.best_val_ci95,
        "train/seconds": result.seconds,
    }
    client = connect(home)
    with mlflow_errors(home):
        metrics = [Metric(name, float(value), now, result.best_step) for name, value in summary.items()]
        client.log_batch(run_id, metrics=metrics)
        client.set_tag(run_id, "fewshot.weights_sha256", result.weights_sha256)
        client.set_tag(run_id, "fewshot.device", f"{result.device} {result.precision}")
        _log_bytes(client, run_id, "training_curve.png", figures.training_curve(points))
        client.log_artifact(run_id, str(result.history))
        _log_dataset(client, run_id, dataset, "training")


def training_curve(home: Home, run_id: str) -> list[dict[str, Any]]:
    """The points of the training curve that `log_training` kept in a run; empty if it has none."""
    client = connect(home)
    import mlflow

    with mlflow_errors(home):
        if not any(item.path == HISTORY for item in client.list_artifacts(run_id)):
            return []
        file = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=HISTORY)
    return read_history(Path(file))


def has_other_evaluation(home: Home, run_id: str, key: str) -> bool:
    """Whether a run already holds an evaluation that is not `key`'s."""
    with mlflow_errors(home):
        return bool(connect(home).get_run(run_id).data.tags.get(EVALUATED, key) != key)


def log_evaluation(home: Home, run_id: str, key: str, measured: "Sequence[tuple[Dataset, Evaluation]]") -> None:
    """The results of an evaluation: numbers, files and confusion figures; `key` is its cache key."""
    from mlflow.entities import Metric

    client, now = connect(home), time.time_ns() // 1_000_000
    metrics = [
        Metric(f"test/{name}/{kind}", float(value), now, 0)
        for _, evaluation in measured
        for name, result in evaluation.results.items()
        for kind, value in (("accuracy", result.accuracy), ("ci95", result.ci95))
    ]
    with mlflow_errors(home):
        client.log_batch(run_id, metrics=metrics)
        for dataset, evaluation in measured:
            _log_dataset(client, run_id, dataset, "evaluation")
            for file in (evaluation.file, evaluation.per_episode):
                client.log_artifact(run_id, str(file), "evaluation")
            _log_confusion(client, run_id, evaluation)
        client.set_tag(run_id, "mlflow.note.content", _description(measured))
        client.set_tag(run_id, EVALUATED, key)


def sweep(home: Home) -> list[str]:
    """Mark runs as KILLED whose process is dead; returns their ids. Costs nothing where no run stands as RUNNING."""
    if not may_have_running_runs(home):
        return []
    client = connect(home)
    with mlflow_errors(home):
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        running = client.search_runs(experiments, filter_string="attributes.status = 'RUNNING'")
        dead = [run.info.run_id for run in running if is_dead(run.data.tags.get(OWNER, ""))]
        for run_id in dead:
            client.set_terminated(run_id, "KILLED")
    return dead


def _description(measured: "Sequence[tuple[Dataset, Evaluation]]") -> str:
    """The results as the Markdown table that MLflow shows at the foot of a run's page."""
    rows = [
        f"| {name} | {result} | {result.episodes} |"
        for _, evaluation in measured
        for name, result in evaluation.results.items()
    ]
    return "\n".join(["| test | accuracy ± 95 % interval | episodes |", "|---|---|---|", *rows])


def _log_confusion(client: "MlflowClient", run_id: str, evaluation: "Evaluation") -> None:
    import numpy as np

    from fewshot.evaluation.figures import confusion

    for name, table in evaluation.confusion.items():
        picture = confusion(np.array(table.counts), table.names, name)
        _log_bytes(client, run_id, f"confusion/{name.replace('/', '-').replace(' ', '-')}.png", picture)


def _log_bytes(client: "MlflowClient", run_id: str, name: str, content: bytes) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        file = Path(folder, Path(name).name)
        file.write_bytes(content)
        parent = str(Path(name).parent)
        client.log_artifact(run_id, str(file), None if parent == "." else parent)


def _log_dataset(client: "MlflowClient", run_id: str, dataset: "Dataset", context: str) -> None:
    from mlflow.entities import Dataset as LoggedDataset
    from mlflow.entities import DatasetInput, InputTag

    # MLflow keeps one input of the same name and digest for a run, so that the test episodes go by their own.
    name, digest = f"{dataset.name}/{dataset.scheme.name}", dataset.digest
    if context == "evaluation":
        name, digest = f"{name} test episodes", dataset.scheme.episodes_digest
    logged = LoggedDataset(
        name=name,
        digest=digest[:_DIGEST_LENGTH],
        source_type="dvc",
        source=canonical_json({"path": f"data/{dataset.name}", "sha256": digest}),
    )
    client.log_inputs(run_id, [DatasetInput(logged, [InputTag("mlflow.data.context", context)])])
    client.set_tag(run_id, f"fewshot.episodes_sha256.{dataset.name}", dataset.scheme.episodes_digest)


@contextmanager
def _system_metrics(run_id: str) -> Iterator[None]:
    """Processor, memory, disk and GPU use while the block runs, sampled every 10 s by a thread of MLflow."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
