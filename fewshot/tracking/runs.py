"""MLflow runs: one for each pipeline execution that did work, with its curve, results and lineage.

Runs are named by id, never taken from MLflow's thread-local active run, which other threads do not see.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fewshot.errors import Interrupted
from fewshot.migrations import FORMAT, FORMAT_TAG
from fewshot.project.fingerprints import flatten
from fewshot.project.lineage import Lineage
from fewshot.settings.schema import Settings
from fewshot.system.files import canonical_json
from fewshot.system.process_id import is_dead, this_process
from fewshot.system.text import in_markdown
from fewshot.tracking.metric_writer import MetricWriter
from fewshot.tracking.store import Store
from fewshot.training.result import read_history

if TYPE_CHECKING:
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


@dataclass(frozen=True)
class Run:
    """A run in a store, by its id. Every method raises RegistryError where MLflow does not answer."""

    store: Store
    id: str

    @classmethod
    def start(cls, store: Store, experiment: str, name: str, tags: Mapping[str, str] | None = None) -> "Run":
        """A new run of an experiment, with the status RUNNING."""
        number = store.experiment_id(experiment)
        tags = {FORMAT_TAG: str(FORMAT), **(tags or {})}
        return cls(store, store.client.create_run(number, tags=tags, run_name=name).info.run_id)

    @classmethod
    def open(cls, store: Store, settings: Settings, lineage: Lineage) -> "Run":
        """A new run with its settings and lineage, owned by this process."""
        from mlflow.entities import Param

        tags = lineage.tags() | {OWNER: this_process(store.alive)}
        run = cls.start(store, settings.register_.experiment, settings.run_name, tags)
        params = [Param(name, str(value)) for name, value in flatten(settings.plain()).items()]
        store.client.log_batch(run.id, params=params)
        return run

    @contextmanager
    def working(self) -> Iterator[MetricWriter]:
        """Mark the run as written by this process: RUNNING in the block, then FINISHED, FAILED or KILLED."""
        client = self.store.client
        client.set_tag(self.id, OWNER, this_process(self.store.alive))
        client.update_run(self.id, status="RUNNING")
        status = "FAILED"
        try:
            with _system_metrics(self):
                yield MetricWriter(self.store, self.id)
            status = "FINISHED"
        except (Interrupted, KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            client.set_terminated(self.id, status)

    def finish(self) -> None:
        """Set the status FINISHED."""
        self.store.client.set_terminated(self.id)

    def log_training(self, curve: MetricWriter, result: "TrainResult", dataset: "Dataset") -> None:
        """Log the whole curve, the summary and the data of a finished training."""
        from fewshot.evaluation import figures

        points = read_history(result.history)
        curve.complete(points)
        summary = {
            "validation/best_accuracy": result.best_val_accuracy,
            "validation/best_ci95": result.best_val_ci95,
            "train/seconds": result.seconds,
        }
        self.log_metrics({name: value for name, value in summary.items() if value is not None}, result.best_step)
        self._tag("fewshot.weights_sha256", result.weights_sha256)
        self._tag("fewshot.device", f"{result.device} {result.precision}")
        self.log_bytes("training_curve.png", figures.training_curve(points))
        self.store.client.log_artifact(self.id, str(result.history))
        self._log_dataset(dataset, "training")

    def training_curve(self) -> list[dict[str, Any]]:
        """The points of the training curve that `log_training` kept; empty if there are none."""
        if not any(item.path == HISTORY for item in self.store.client.list_artifacts(self.id)):
            return []
        return read_history(self.store.download(f"runs:/{self.id}/{HISTORY}"))

    def has_other_evaluation(self, key: str) -> bool:
        """True if the run already holds an evaluation that is not `key`'s."""
        return bool(self.store.client.get_run(self.id).data.tags.get(EVALUATED, key) != key)

    def log_evaluation(self, key: str, measured: "Sequence[tuple[Dataset, Evaluation]]") -> None:
        """Log the results of an evaluation: numbers, files and confusion figures; `key` is its cache key."""
        self.log_metrics(
            {
                f"test/{name}/{kind}": value
                for _, evaluation in measured
                for name, result in evaluation.results.items()
                for kind, value in (("accuracy", result.accuracy), ("ci95", result.ci95))
            }
        )
        for dataset, evaluation in measured:
            self._log_dataset(dataset, "evaluation")
            for file in (evaluation.file, evaluation.per_episode):
                self.store.client.log_artifact(self.id, str(file), "evaluation")
            self._log_confusion(evaluation)
        self._tag("mlflow.note.content", _description(measured))
        self._tag(EVALUATED, key)

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers, all at the same training step."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        metrics = [Metric(name, float(value), now, step) for name, value in values.items()]
        self.store.client.log_batch(self.id, metrics=metrics)

    def log_text(self, name: str, text: str) -> None:
        """Write a text file of the run; `name` is its path in the run."""
        self.store.client.log_text(self.id, text, name)

    def log_json(self, name: str, values: dict[str, Any]) -> None:
        """Write a JSON file of the run; `name` is its path in the run."""
        self.store.client.log_dict(self.id, values, name)

    def log_bytes(self, name: str, content: bytes) -> None:
        """Write a file of the run; `name` is its path in the run."""
        with TemporaryDirectory() as folder:
            file = Path(folder, Path(name).name)
            file.write_bytes(content)
            parent = str(Path(name).parent)
            self.store.client.log_artifact(self.id, str(file), None if parent == "." else parent)

    def _tag(self, name: str, value: str) -> None:
        self.store.client.set_tag(self.id, name, value)

    def _log_confusion(self, evaluation: "Evaluation") -> None:
        import numpy as np

        from fewshot.evaluation.figures import confusion

        for name, table in evaluation.confusion.items():
            picture = confusion(np.array(table.counts), table.names, name)
            self.log_bytes(f"confusion/{name.replace('/', '-').replace(' ', '-')}.png", picture)

    def _log_dataset(self, dataset: "Dataset", context: str) -> None:
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
        self.store.client.log_inputs(self.id, [DatasetInput(logged, [InputTag("mlflow.data.context", context)])])
        self._tag(f"fewshot.episodes_sha256.{dataset.name}", dataset.scheme.episodes_digest)


def mark_crashed_runs(store: Store) -> list[str]:
    """Mark runs as KILLED whose process is dead; returns their ids. Quick where no run has the status RUNNING."""
    if not store.may_have_running_runs():
        return []
    client = store.client
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    running = client.search_runs(experiments, filter_string="attributes.status = 'RUNNING'")
    dead = [run.info.run_id for run in running if is_dead(run.data.tags.get(OWNER, ""), store.alive)]
    for run_id in dead:
        client.set_terminated(run_id, "KILLED")
    return dead


def _description(measured: "Sequence[tuple[Dataset, Evaluation]]") -> str:
    """The results as the Markdown table that MLflow shows at the foot of a run's page."""
    rows = [
        f"| {in_markdown(name)} | {result} | {result.episodes} |"
        for _, evaluation in measured
        for name, result in evaluation.results.items()
    ]
    return "\n".join(["| test | accuracy ± 95 % interval | episodes |", "|---|---|---|", *rows])


@contextmanager
def _system_metrics(run: Run) -> Iterator[None]:
    """Processor, memory, disk and GPU use while the block runs, sampled every 10 s by a thread of MLflow."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    with run.store.module_functions():
        monitor = SystemMetricsMonitor(run.id, resume_logging=True)
        monitor.start()
    try:
        yield
    finally:
        monitor.finish()
