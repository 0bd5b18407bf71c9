"""A registered model that `mlflow models serve` answers with: clients at the same time, each with its own classes."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from project_copy import ended, run_tiny, wait_for

from fewshot.data.dataset import Dataset, open_dataset
from fewshot.data.episode_sampler import EpisodeSampler
from fewshot.model import Model, load_model
from fewshot.project.paths import Home
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.tracking.artifact import model_folder
from fewshot.tracking.store import Store
from flows.servers.ephemeral_prefect import free_port, stop
from flows.servers.prefect_http import answers

CLIENTS, REQUESTS = 8, 20


@pytest.mark.nightly
@pytest.mark.parametrize("method", ["protonet", "maml"])
def test_each_of_many_clients_gets_the_answers_for_its_own_classes(home: Home, method: str, tmp_path: Path) -> None:
    status, text = ended(run_tiny(home, f"method.name={method}"))
    assert status == 0, text
    address = f"models:/glyphs-{method}/1"
    model = load_model(model_folder(Store.open(home), address), "cpu")
    dataset = open_dataset(home.data, "glyphs")
    tasks = [_task(dataset, client) for client in range(CLIENTS)]
    expected = [_answer(model, task) for task in tasks]
    others = [_answer(model, {**task, "support": tasks[client - 1]["support"]}) for client, task in enumerate(tasks)]
    different = [
        one.shape != other.shape or bool(abs(one - other).max() > 1e-2)
        for one, other in zip(expected, others, strict=True)
    ]
    assert all(different), "the answers to another client's classes would be noticed"

    port, log = free_port(), tmp_path / "serve.log"
    command = ["models", "serve", "--model-uri", address, "--env-manager", "local", "--port", str(port)]
    variables = {**os.environ, "MLFLOW_TRACKING_URI": home.tracking_uri}
    with log.open("wb") as written:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *command, "--host", "127.0.0.1"],
            env=variables, stdout=written, stderr=written, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/ping"), server)

        def ask(client: int) -> list[float]:
            plain = {name: images.tolist() for name, images in tasks[client].items()}
            with httpx.Client(trust_env=False, timeout=120) as session:
                return [_gap(session, port, plain, expected[client]) for _ in range(REQUESTS)]

        with ThreadPoolExecutor(CLIENTS) as pool:
            gaps = [gap for of_client in pool.map(ask, range(CLIENTS)) for gap in of_client]
    finally:
        stop(server)
    assert len(gaps) == CLIENTS * REQUESTS
    assert max(gaps) < 1e-4, log.read_text(errors="replace")[-2000:]


def _task(dataset: Dataset, client: int) -> dict[str, np.ndarray]:
    """Classes of a client's own, as many as no neighbour has, and a query of each."""
    shape = EpisodeShape(3 + client % 3, 1 + client % 2, 1)
    drawn = EpisodeSampler(dataset.class_table("test"), shape, client, "clients").sample(0)
    images = np.asarray(dataset.pack.images[drawn.rows[0]])
    return {"support": images[:, : shape.shot], "query": images[:, shape.shot]}


def _answer(model: Model, task: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(model.predict_proba(model.fit(list(task["support"])), task["query"]))


def _gap(session: httpx.Client, port: int, task: dict[str, Any], expected: np.ndarray) -> float:
    """The largest difference of an answer from the one that this client must get."""
    answer = session.post(f"http://127.0.0.1:{port}/invocations", json={"inputs": task})
    assert answer.status_code == 200, answer.text
    found = np.asarray(answer.json()["predictions"])
    return float(abs(found - expected).max()) if found.shape == expected.shape else float("inf")
