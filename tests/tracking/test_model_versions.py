"""The registry and the runs in it, on a small model."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR

from fewshot.classifier import FewShotClassifier
from fewshot.errors import RegistryError
from fewshot.evaluation.stats import Score
from fewshot.methods.build import build_method
from fewshot.model import TrainingData, save_model
from fewshot.project.fingerprints import SOURCES
from fewshot.project.lineage import Lineage
from fewshot.project.paths import Home
from fewshot.project.tool_environment import environment
from fewshot.settings.presets import load_settings
from fewshot.settings.schema import Settings
from fewshot.system.process_id import this_process
from fewshot.tracking import runs as tracking
from fewshot.tracking.store import aliases, connect, run_exists
from fewshot.tracking.versions import is_registered, model_folder, register, version_with

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ORIGIN = Lineage("d" * 64, "c" * 64, "none", "none", False, "none")
SETTINGS = load_settings(overrides=["backbone.channels=4"])


def model_in(home: Home, name: str, seed: int, settings: Settings = SETTINGS) -> dict[str, str]:
    """The record of a training that never was: random weights."""
    method = build_method(settings.model_copy(update={"seed": seed}), (1, 28, 28))
    folder = home.state / name
    data = TrainingData("glyphs", "scripts", "d" * 64, ())
    return {"model": name, "weights_sha256": save_model(folder, method.state_dict(), settings, (1, 28, 28), data)}


def evaluation_in(home: Home, settings: Settings = SETTINGS) -> dict[str, object]:
    return {
        "run_id": tracking.open_run(home, settings, ORIGIN),
        "results": {"glyphs/5w1s": asdict(Score(0.75, 0.0125, 600))},
    }


def test_versions_are_made_once_with_alias_and_origin(home: Home) -> None:
    training, evaluation = model_in(home, "first", 0), evaluation_in(home)
    made = register(home, SETTINGS, training, evaluation, ORIGIN)
    assert made == {"model": "glyphs-protonet", "version": "1", "run_id": evaluation["run_id"]}
    assert aliases(home, "glyphs-protonet", "1") == ["champion"]
    assert register(home, SETTINGS, training, evaluation_in(home), ORIGIN) == made, "the same weights and results"

    second = register(home, SETTINGS, model_in(home, "second", 1), evaluation_in(home), ORIGIN)
    assert second["version"] == "2"
    assert aliases(home, "glyphs-protonet", "2") == ["challenger"]
    assert is_registered(home, second)
    assert not is_registered(home, {"model": "glyphs-protonet", "version": "3"})

    tags = connect(home).get_model_version("glyphs-protonet", "1").tags
    assert tags["test/glyphs/5w1s"] == "0.7500 ± 0.0125 (600 episodes)"
    assert tags["fewshot.weights_sha256"] == training["weights_sha256"]
    assert tags["fewshot.data_digest"] == ORIGIN.data_digest


def test_a_registered_model_loads_elsewhere_without_pickle_and_predicts(home: Home, tmp_path: Path) -> None:
    settings = load_settings(overrides=["backbone.channels=4", "register.model=elsewhere"])
    register(home, settings, model_in(home, "third", 2, settings), evaluation_in(home, settings), ORIGIN)
    folder = model_folder(home, "models:/elsewhere@champion")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 1, 28, 28), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    program = (
        "import json, sys, numpy as np, mlflow, fewshot\n"
        "images = np.load(sys.argv[1])\n"
        "model = mlflow.pyfunc.load_model('models:/elsewhere@champion')\n"
        "import fewshot.classifier\n"
        "answer = model.predict({'support': images[:5, None], 'query': images[5:]})\n"
        "print(json.dumps([str(answer.dtype), answer.tolist(), fewshot.classifier.__file__]))\n"
    )
    # From a folder without the package: what it needs travels in the model.
    program = program.replace(", fewshot\n", "\n")
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "images.npy")],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kind, answer, module = json.loads(done.stdout.splitlines()[-1])
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert kind == "float32"
    assert str(home.state) in module
    classifier = FewShotClassifier.load(folder, "cpu")
    classifier.fit(list(images[:5, None]), list("abcde"))
    np.testing.assert_allclose(np.array(answer), classifier.predict_proba(images[5:]), atol=1e-5)


def test_no_file_of_a_registered_model_is_a_pickle(home: Home) -> None:
    kinds = {file.suffix for file in (home.mlflow / "artifacts").rglob("*") if file.is_file()}
    assert not kinds & {".pkl", ".pickle", ".pt", ".pth", ".bin"}


def test_a_curve_is_sent_whole_and_each_point_once(home: Home) -> None:
    run_id = tracking.open_run(home, SETTINGS, ORIGIN)
    with tracking.working(home, run_id) as curve:
        curve.add(2, {"loss": 1.0, "val_accuracy": 0.5})
        curve.complete([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "val_accuracy": 0.5}])
        curve.complete([{"step": 1, "loss": 2.0}])
    client = connect(home)
    sent = [(point.step, point.value) for point in client.get_metric_history(run_id, "train/loss")]
    assert sorted(sent) == [(1, 2.0), (2, 1.0)]
    assert client.get_run(run_id).data.metrics["validation/accuracy"] == 0.5
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_run_says_how_it_ended(home: Home) -> None:
    run_id = tracking.open_run(home, SETTINGS, ORIGIN)
    with pytest.raises(ValueError, match="no"), tracking.working(home, run_id):
        raise ValueError("no")
    assert connect(home).get_run(run_id).info.status == "FAILED"
    with pytest.raises(KeyboardInterrupt), tracking.working(home, run_id):
        raise KeyboardInterrupt
    assert connect(home).get_run(run_id).info.status == "KILLED"


def test_only_runs_of_dead_processes_of_this_machine_are_swept(home: Home) -> None:
    client, host = connect(home), socket.gethostname()
    owners = {
        "mine": this_process(),
        "elsewhere": f"not-{host}/1/1",
        "of nobody": "",
        "reused number": f"{host}/{os.getpid()}/1000",
        "free number": f"{host}/4194305/1000",
    }
    made = {}
    for name, owner in owners.items():
        made[name] = tracking.open_run(home, SETTINGS, ORIGIN)
        client.set_tag(made[name], tracking.OWNER, owner)
    assert set(tracking.sweep(home)) == {made["reused number"], made["free number"]}
    assert client.get_run(made["mine"]).info.status == "RUNNING"
    for run_id in made.values():
        client.set_terminated(run_id)
    assert tracking.sweep(home) == []


def test_a_champion_that_cannot_be_asked_for_is_not_one_that_does_not_exist() -> None:
    class Client:
        def get_model_version_by_alias(self, name: str, alias: str) -> None:
            raise MlflowException("API request to http://127.0.0.1:9 failed with exception", error_code=INTERNAL_ERROR)

    with pytest.raises(MlflowException, match="API request"):
        version_with(Client(), "m", "champion")  # type: ignore[arg-type]


def test_a_deleted_run_does_not_exist(home: Home) -> None:
    run_id = tracking.open_run(home, SETTINGS, ORIGIN)
    assert run_exists(home, run_id)
    connect(home).delete_run(run_id)
    assert not run_exists(home, run_id)
    assert not run_exists(home, "0" * 32)


def test_a_model_that_is_not_there_is_one_sentence(home: Home, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"holds no model\.json; give a model folder or models:/NAME@champion"):
        model_folder(home, str(tmp_path))
    with pytest.raises(RegistryError, match="Registered Model with name=nothing not found"):
        model_folder(home, "models:/nothing@champion")


def test_three_processes_at_once_make_one_new_database(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / "state")
    program = (
        "from pathlib import Path\nfrom fewshot.project.paths import Home\nfrom fewshot.tracking.store import connect\n"
        f"connect(Home(Path({str(tmp_path)!r}), Path({str(home.state)!r})))\n"
    )
    environ = environment(home, {"PATH": os.environ["PATH"]}) | {"PYTHONPATH": str(SOURCES)}
    both = [subprocess.Popen([sys.executable, "-c", program], env=environ, stderr=subprocess.PIPE) for _ in range(3)]
    for process in both:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err.decode()
