"""The registry and the runs in it, on a small model."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR
from toy_data import toy_dataset

from fewshot.classifier import FewShotClassifier
from fewshot.errors import DamagedFileError, RegistryError
from fewshot.evaluation.stats import Score
from fewshot.methods.build import build_method
from fewshot.migrations import FORMAT, FORMAT_TAG
from fewshot.model import TrainingData, save_model
from fewshot.project.fingerprints import SOURCES
from fewshot.project.lineage import Lineage
from fewshot.project.paths import Home
from fewshot.project.tool_environment import environment
from fewshot.settings.presets import load_settings
from fewshot.settings.schema import Settings
from fewshot.system.files import write_json
from fewshot.system.process_id import this_process
from fewshot.tracking.artifact import ARTIFACT, is_as_registered, is_whole, model_folder
from fewshot.tracking.client import Client
from fewshot.tracking.registration import register
from fewshot.tracking.runs import OWNER, Run, mark_crashed_runs
from fewshot.tracking.store import Store
from fewshot.tracking.versions import SETTINGS as SETTINGS_TAG
from fewshot.tracking.versions import VERDICT, Version, find_version, list_versions
from fewshot.training.result import TrainResult

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ORIGIN = Lineage("d" * 64, "c" * 64, "none", "none", False, "none")
SETTINGS = load_settings(overrides=["backbone.channels=4"])


@pytest.fixture
def store(home: Home) -> Store:
    return Store.open(home)


def model_in(home: Home, name: str, seed: int, settings: Settings = SETTINGS) -> tuple[Path, str]:
    """A model with random weights: its folder and their digest."""
    method = build_method(settings.model_copy(update={"seed": seed}), (1, 28, 28))
    folder = home.state / name
    data = TrainingData("glyphs", "scripts", "d" * 64, ())
    return folder, save_model(folder, method.state_dict(), settings, (1, 28, 28), data)


def evaluation_in(store: Store, settings: Settings = SETTINGS) -> dict[str, object]:
    return {
        "run_id": Run.open(store, settings, ORIGIN).id,
        "results": {"glyphs/5w1s": asdict(Score(0.75, 0.0125, 600))},
    }


def test_versions_are_made_once_with_alias_and_origin(home: Home, store: Store) -> None:
    model, evaluation = model_in(home, "first", 0), evaluation_in(store)
    made = register(store, SETTINGS, *model, evaluation, ORIGIN)
    assert made == {"model": "glyphs-protonet", "version": "1", "run_id": evaluation["run_id"]}
    assert store.aliases("glyphs-protonet", "1") == ["champion"]
    assert register(store, SETTINGS, *model, evaluation_in(store), ORIGIN) == made, "the same weights and results"

    second = register(store, SETTINGS, *model_in(home, "second", 1), evaluation_in(store), ORIGIN)
    assert second["version"] == "2"
    assert store.aliases("glyphs-protonet", "2") == ["challenger"]
    assert store.aliases("glyphs-protonet", "3") is None

    version = find_version(store, "glyphs-protonet")
    assert version.number == "1"
    assert version.tags["test/glyphs/5w1s"] == "0.7500 ± 0.0125 (600 episodes)"
    assert version.tags["fewshot.weights_sha256"] == model[1]
    assert version.tags["fewshot.data_digest"] == ORIGIN.data_digest
    assert version.settings() == SETTINGS.plain()
    assert [(one.number, one.aliases) for one in list_versions(store)] == [("1", ("champion",)), ("2", ("challenger",))]


def test_runs_and_versions_have_a_format_number(store: Store) -> None:
    version = find_version(store, "glyphs-protonet/1")
    assert version.format == FORMAT
    assert store.client.get_run(version.run_id).data.tags[FORMAT_TAG] == str(FORMAT)
    assert store.client.get_run(Run.start(store, "any", "any").id).data.tags[FORMAT_TAG] == str(FORMAT)


def test_tags_of_an_earlier_format_are_read_with_the_present_names() -> None:
    record = {"decision": "kept", "verdict": {"difference": {"accuracy": 0.1, "interval": 0.2}}}
    settings = {"data": {"dataset": "glyphs", "split": "scripts"}}
    tags = {VERDICT: json.dumps(record), SETTINGS_TAG: json.dumps(settings)}
    version = Version("m", "1", "run", tags, ())
    assert version.settings() == {"data": {"dataset": "glyphs", "split_scheme": "scripts"}}
    assert version.promotion_record() == {
        "decision": "kept",
        "verdict": {"difference": {"accuracy": 0.1, "ci95": 0.2}},
    }
    later = replace(version, tags={**tags, FORMAT_TAG: str(FORMAT + 1)})
    with pytest.raises(DamagedFileError, match=r"models:/m/1 has format '3'; .* install a newer fewshot"):
        later.promotion_record()


def test_a_version_whose_files_were_changed_is_not_used(home: Home, store: Store) -> None:
    settings = load_settings(overrides=["backbone.channels=4", "register.model=changed"])
    register(store, settings, *model_in(home, "changed", 3, settings), evaluation_in(store, settings), ORIGIN)
    folder = model_folder(store, "models:/changed/1")
    version = find_version(store, "changed/1")
    files = folder.parents[1]
    assert is_as_registered(version, files) is True
    code = files / "code" / "fewshot" / "model.py"
    text = code.read_text()
    code.write_text(f"{text}\nimport os\n")
    with pytest.raises(
        DamagedFileError, match=r"the files of models:/changed/1 are not those .*fewshot verify changed/1"
    ):
        model_folder(store, "models:/changed@champion")
    code.write_text(text)
    (files / "code" / "sitecustomize.py").write_text("")
    with pytest.raises(DamagedFileError, match="are not used"):
        model_folder(store, "models:/changed/1")
    (files / "code" / "sitecustomize.py").unlink()
    assert model_folder(store, "models:/changed/1") == folder
    # A version of an earlier release has no digest, and is used as before.
    store.untag_version("changed", "1", ARTIFACT)
    code.write_text(f"{text}\n")
    assert model_folder(store, "models:/changed/1") == folder
    assert is_as_registered(find_version(store, "changed/1"), files) is None


@pytest.mark.parametrize("harm", ["gone", "changed", "one file gone"])
def test_a_version_whose_files_are_gone_or_changed_is_given_them_again(home: Home, store: Store, harm: str) -> None:
    name = f"harm-{harm}".replace(" ", "-")
    settings = load_settings(overrides=["backbone.channels=4", f"register.model={name}"])
    made = model_in(home, name, 5, settings), evaluation_in(store, settings)
    register(store, settings, *made[0], made[1], ORIGIN)
    folder = model_folder(store, f"models:/{name}/1")
    assert is_whole(store, name, "1")
    if harm == "gone":
        shutil.rmtree(folder.parents[1])
    elif harm == "changed":
        (folder / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes()[:-1])
    else:
        (folder.parents[1] / "code" / "fewshot" / "model.py").unlink()
    assert not is_whole(store, name, "1")
    assert register(store, settings, *made[0], made[1], ORIGIN)["version"] == "1"
    assert is_whole(store, name, "1")
    assert model_folder(store, f"models:/{name}@champion") == folder
    assert FewShotClassifier.load(folder, "cpu") is not None


def test_the_files_of_a_version_are_looked_for_where_the_state_folder_is_now(
    home: Home, store: Store, tmp_path: Path
) -> None:
    settings = load_settings(overrides=["backbone.channels=4", "register.model=copied"])
    register(store, settings, *model_in(home, "copied", 6, settings), evaluation_in(store, settings), ORIGIN)
    copy = Home(tmp_path, tmp_path / "state")
    shutil.copytree(home.mlflow, copy.mlflow)
    there = Store(f"sqlite:///{copy.mlflow / 'mlflow.db'}", copy.mlflow, copy.locks)
    files = there.files_of("copied", "1")
    assert files is not None
    assert files.is_relative_to(copy.mlflow)
    assert is_whole(there, "copied", "1")
    shutil.rmtree(files)
    assert not is_whole(there, "copied", "1")
    assert is_whole(store, "copied", "1"), "of the copy nothing leads to the original"


def test_an_emptied_database_beside_models_is_said(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / "state")
    (home.mlflow / "artifacts" / "models").mkdir(parents=True)
    (home.mlflow / "mlflow.db").touch()
    store = Store(f"sqlite:///{home.mlflow / 'mlflow.db'}", home.mlflow, home.locks)
    with pytest.raises(RegistryError, match=r"mlflow\.db is empty, but .* restore a copy of it, or delete it"):
        store.connect()


def test_a_registered_model_loads_elsewhere_without_pickle_and_predicts(
    home: Home, store: Store, tmp_path: Path
) -> None:
    settings = load_settings(overrides=["backbone.channels=4", "register.model=elsewhere"])
    register(store, settings, *model_in(home, "third", 2, settings), evaluation_in(store, settings), ORIGIN)
    folder = model_folder(store, "models:/elsewhere@champion")
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


def test_a_curve_is_sent_whole_and_each_point_once(store: Store) -> None:
    run = Run.open(store, SETTINGS, ORIGIN)
    with run.working() as curve:
        curve.add(2, {"loss": 1.0, "val_accuracy": 0.5})
        curve.complete([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "val_accuracy": 0.5}])
        curve.complete([{"step": 1, "loss": 2.0}])
    client = store.client
    sent = [(point.step, point.value) for point in client.get_metric_history(run.id, "train/loss")]
    assert sorted(sent) == [(1, 2.0), (2, 1.0)]
    assert client.get_run(run.id).data.metrics["validation/accuracy"] == 0.5
    assert client.get_run(run.id).info.status == "FINISHED"


def test_a_run_says_how_it_ended(store: Store) -> None:
    run = Run.open(store, SETTINGS, ORIGIN)
    with pytest.raises(ValueError, match="no"), run.working():
        raise ValueError("no")
    assert store.client.get_run(run.id).info.status == "FAILED"
    with pytest.raises(KeyboardInterrupt), run.working():
        raise KeyboardInterrupt
    assert store.client.get_run(run.id).info.status == "KILLED"


def test_only_runs_of_dead_processes_of_this_machine_are_marked(store: Store) -> None:
    client, host = store.client, socket.gethostname()
    owners = {
        "mine": this_process(),
        "elsewhere": f"not-{host}/1/1",
        "of nobody": "",
        "reused number": f"{host}/{os.getpid()}/1000",
        "free number": f"{host}/4194305/1000",
    }
    made = {}
    for name, owner in owners.items():
        made[name] = Run.open(store, SETTINGS, ORIGIN).id
        client.set_tag(made[name], OWNER, owner)
    assert set(mark_crashed_runs(store)) == {made["reused number"], made["free number"]}
    assert client.get_run(made["mine"]).info.status == "RUNNING"
    for run_id in made.values():
        client.set_terminated(run_id)
    assert mark_crashed_runs(store) == []


def test_a_champion_that_cannot_be_asked_for_is_not_one_that_does_not_exist(store: Store) -> None:
    class NoAnswer:
        def __getattr__(self, name: str) -> Callable[..., None]:
            def asked(*_: str) -> None:
                raise MlflowException("API request to http://127.0.0.1:9 failed with exception", INTERNAL_ERROR)

            return asked

    assert store.version_with("glyphs-protonet", "nobody") == ""
    store.uri = "http://127.0.0.1:9"
    store.client = Client(NoAnswer(), store.uri)  # type: ignore[arg-type]
    for ask in (
        lambda: store.version_with("glyphs-protonet", "champion"),
        lambda: store.aliases("glyphs-protonet", "1"),
        lambda: store.run_exists("0" * 32),
    ):
        with pytest.raises(RegistryError, match=r"MLflow at http://127\.0\.0\.1:9 does not answer; start that server"):
            ask()


def test_opening_the_store_and_its_quick_questions_need_no_import_of_mlflow(home: Home, store: Store) -> None:
    run_id = Run.open(store, SETTINGS, ORIGIN).id
    program = (
        "import sys\nfrom pathlib import Path\nfrom fewshot.tracking.store import Store\n"
        f"store = Store({store.uri!r}, Path({str(home.mlflow)!r}), Path({str(home.locks)!r}))\n"
        f"assert store.run_exists({run_id!r}) and store.may_have_running_runs()\n"
        "assert store.aliases('nobody', '1') is None\n"
        "assert 'mlflow' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_deleted_run_does_not_exist(store: Store) -> None:
    run = Run.open(store, SETTINGS, ORIGIN)
    assert store.run_exists(run.id)
    store.client.delete_run(run.id)
    assert not store.run_exists(run.id)
    assert not store.run_exists("0" * 32)


def test_a_model_that_is_not_there_is_one_sentence(store: Store, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"holds no model\.json; give a model folder or models:/NAME@champion"):
        model_folder(store, str(tmp_path))
    with pytest.raises(RegistryError, match="nothing has no champion: there is no such model"):
        model_folder(store, "models:/nothing@champion")


def test_three_processes_at_once_make_one_new_database(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / "state")
    program = (
        "from pathlib import Path\nfrom fewshot.project.paths import Home\nfrom fewshot.tracking.store import Store\n"
        f"Store.open(Home(Path({str(tmp_path)!r}), Path({str(home.state)!r}))).connect()\n"
    )
    environ = environment(home, {"PATH": os.environ["PATH"]}) | {"PYTHONPATH": str(SOURCES)}
    both = [subprocess.Popen([sys.executable, "-c", program], env=environ, stderr=subprocess.PIPE) for _ in range(3)]
    for process in both:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 0, err.decode()


def test_a_training_of_no_steps_that_was_not_validated_is_logged(store: Store, home: Home) -> None:
    dataset = toy_dataset(home.state / "toy")
    files = {"model": home.state / "model", "history": home.state / "training" / "history.json"}
    result = TrainResult(
        **files, weights_sha256="w" * 64, steps=0, best_step=0, best_val_accuracy=None, best_val_ci95=None, seconds=0.1,
        device="cpu", precision="float32",
    )  # fmt: skip
    write_json(result.history, {"points": []})
    run = Run.open(store, SETTINGS, ORIGIN)
    with run.working() as curve:
        run.log_training(curve, result, dataset)
    logged = store.client.get_run(run.id)
    assert logged.info.status == "FINISHED"
    assert {name: value for name, value in logged.data.metrics.items() if not name.startswith("system/")} == {
        "train/seconds": 0.1
    }
    assert run.training_curve() == []
