"""Sends the training curve to MLflow, in batches."""

import logging
import time
from collections.abc import Sequence
from typing import Any

from fewshot.errors import RegistryError
from fewshot.tracking.store import Store

log = logging.getLogger(__name__)

FLUSH_EVERY_S = 2.0
"""Points of a curve are sent together: 100 single calls take 0.8 s, one batch 0.02 s."""
PAUSE_S = 60.0
"""The pause after MLflow did not answer. The training waits during each attempt, so that attempts must be rare."""
BATCH = 900
"""Metrics in one call; MLflow takes up to 1,000."""


class MetricWriter:
    """Writes the points of a training curve to a run, in batches."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._run_id, self._client = run_id, store.client
        self._waiting: list[tuple[int, dict[str, float], int]] = []
        self._sent: set[int] = set()
        self._flushed = time.monotonic()

    def add(self, step: int, metrics: dict[str, float]) -> None:
        """Add the point of a step. If MLflow does not answer, the point waits and the training goes on."""
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
        """Send the waiting points, and those of `points`, a whole history, that an earlier process did not send."""
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
        for first in range(0, len(metrics), BATCH):
            self._client.log_batch(self._run_id, metrics=metrics[first : first + BATCH])
        self._sent |= {step for step, _, _ in self._waiting}
        self._waiting.clear()


def _metric_name(name: str) -> str:
    return f"validation/{name.removeprefix('val_')}" if name.startswith("val_") else f"train/{name}"
