"""The training curve on its way to MLflow."""

import logging
import time
from collections.abc import Sequence
from typing import Any

from fewshot.errors import RegistryError
from fewshot.project.paths import Home
from fewshot.tracking.store import connect, mlflow_errors

log = logging.getLogger(__name__)

FLUSH_EVERY_S = 2.0
"""Points of a curve are sent together: 100 single calls cost 0.8 s, one batch 0.02 s."""
PAUSE_S = 60.0
"""After MLflow did not answer: the training waits for each try, and is not to wait at every other step."""
BATCH = 900
"""Metrics in one call; MLflow takes 1,000."""


class MetricWriter:
    """Points of a training curve on their way to a run, sent in batches."""

    def __init__(self, home: Home, run_id: str) -> None:
        self._home, self._run_id, self._client = home, run_id, connect(home)
        self._waiting: list[tuple[int, dict[str, float], int]] = []
        self._sent: set[int] = set()
        self._flushed = time.monotonic()

    def add(self, step: int, metrics: dict[str, float]) -> None:
        """Take the point of a step. An MLflow that does not answer must not end a training: the point waits."""
        self._waiting.append((step, metrics, time.time_ns() // 1_000_000))
        if time.monotonic() - self._flushed < FLUSH_EVERY_S:
            return
        try:
            self._flush()
            self._flushed = time.monotonic()
        except RegistryError as error:
            log.warning("the training goes on, its curve will be sent later, although %s", error)
            self._flushed = time.monotonic() + PAUSE_S

    def complete(self, points: Sequence[dict[str, Any]]) -> None:
        """Send what waits, and all `points` of a history that never came this way: those of an earlier process."""
        known = self._sent | {step for step, _, _ in self._waiting}
        now = time.time_ns() // 1_000_000
        for point in points:
            step, metrics = int(point["step"]), {name: value for name, value in point.items() if name != "step"}
            if step not in known:
                self._waiting.append((step, metrics, now))
        self._flush()

    def _flush(self) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(_metric_name(name), float(value), when, step)
            for step, values, when in self._waiting
            for name, value in values.items()
        ]
        with mlflow_errors(self._home):
            for first in range(0, len(metrics), BATCH):
                self._client.log_batch(self._run_id, metrics=metrics[first : first + BATCH])
        self._sent |= {step for step, _, _ in self._waiting}
        self._waiting.clear()


def _metric_name(name: str) -> str:
    return f"validation/{name.removeprefix('val_')}" if name.startswith("val_") else f"train/{name}"
