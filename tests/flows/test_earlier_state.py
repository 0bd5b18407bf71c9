"""A state folder of an earlier release: its models load, evaluate, classify, report and roll back, and runs go on."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Place, at_home
from earlier_state import unpack
from PIL import Image
from project_copy import TINY, link

from fewshot.project.paths import Home
from fewshot.tracking.store import Store
from fewshot.tracking.versions import find_version

pytestmark = [
    pytest.mark.usefixtures("command_line_leaves_no_trace"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MODEL, PRESET = "glyphs-protonet", "glyphs-protonet-5w1s"


@pytest.fixture(scope="module")
def earlier(template: Path, tmp_path_factory: pytest.TempPathFactory, servers: Place) -> Iterator[Home]:
    """A project whose state is that of the earlier release."""
    project = tmp_path_factory.mktemp("earlier") / "project"
    shutil.copytree(template, project, copy_function=link)
    unpack(project, project / ".fewshot")
    home = Home(project, project / ".fewshot")
    kept = home.state.with_name("mlflow-kept")
    (home.state / "mlflow").rename(kept)
    with at_home(home, servers), pytest.MonkeyPatch.context() as patch:
        shutil.rmtree(home.mlflow)
        kept.rename(home.mlflow)
        patch.chdir(project)
        yield home


def say(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command; what it wrote. It must end well."""
    from flows.cli.app import main

    status = main(list(arguments))
    out, err = capsys.readouterr()
    assert status == 0, out + err
    assert "Traceback" not in out + err
    return str(out)


def test_versions_are_told_and_traced(earlier: Home, capsys: pytest.CaptureFixture[str]) -> None:
    text = say(capsys, "history", MODEL)
    assert "1  first " in text
    assert "2  promoted " in text
    assert "p = 1.3e-07" in text
    text = say(capsys, "lineage", f"{MODEL}/2")
    assert "data/glyphs/pack md5" in text
    text = say(capsys, "why", "all", PRESET)
    assert "meta-train" in text
    assert "it was last run by an earlier version of fewshot" in text


def test_a_version_is_evaluated_to_the_numbers_that_stand_on_it(
    earlier: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The versions that were locked then are no longer installed.
    then = find_version(Store.open(earlier), f"{MODEL}/2").tag("fewshot.lock_key")
    monkeypatch.setattr("flows.verify.requirements_hash", lambda _: then)
    text = say(capsys, "verify", f"{MODEL}/2", "--evaluate-only")
    assert "numbers        glyphs/5w1s" in text
    assert "settings       those of the record" in text
    text = say(capsys, "evaluate", "alone/model", "--episodes", "4")
    assert "glyphs/5w1s" in text


def test_a_version_classifies_reports_and_is_ranked(
    earlier: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, name in enumerate(("left", "right")):
        (tmp_path / name).mkdir()
        pixels = np.full((28, 28), 255, np.uint8)
        pixels[4:24, 4 + 14 * place : 10 + 14 * place] = 0
        Image.fromarray(pixels).save(tmp_path / name / "one.png")
    text = say(capsys, "classify", f"models:/{MODEL}@champion", str(tmp_path), str(tmp_path / "left"))
    assert "left" in text
    say(capsys, "report", f"{MODEL}/2", "--episodes", "4", "--out", str(tmp_path / "card.html"))
    page = (tmp_path / "card.html").read_text(encoding="utf-8")
    assert "Accuracy over training steps" in page
    assert "better: 15.51" in page
    text = say(capsys, "leaderboard", "glyphs", "--shape", "5w1s", "--episodes", "4", "--out", str(tmp_path))
    assert "of the MLflow experiment leaderboard" in text
    assert len(list(earlier.state.glob("evaluations/leaderboard-*"))) >= 2, "of both versions"


def test_mlflow_itself_loads_it_with_the_code_that_travels_in_it(earlier: Home) -> None:
    program = (
        "import json, mlflow, numpy as np\n"
        f"model = mlflow.pyfunc.load_model('models:/{MODEL}/2')\n"
        "images = np.zeros((5, 1, 28, 28), np.uint8)\n"
        "print(json.dumps(model.predict({'support': images[:, None], 'query': images}).tolist()))\n"
    )
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=earlier.state, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert np.allclose(json.loads(done.stdout.splitlines()[-1]), 0.2)


def test_the_champion_is_rolled_back_and_forth(earlier: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert "version 1 is the champion again, version 2 is not" in say(capsys, "rollback", MODEL)
    assert "version 2 is the champion again, version 1 is not" in say(capsys, "rollback", MODEL, "--to", "2")


def test_a_training_folder_of_the_earlier_release_is_not_taken_for_a_present_one(
    earlier: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.cli.app import main

    settings = [part for setting in TINY for part in ("--set", setting)]
    assert main(["train", *settings, "--out", "alone"]) == 2
    assert "alone holds a training of an earlier version of fewshot; choose another folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_retraining_goes_on_from_it(earlier: Home) -> None:
    from flows.retrain import retrain

    found = retrain(PRESET, [*TINY, "gate.episodes=30", "backbone.channels=4", "backbone.form=strided"])
    assert (found["version"], found["against"]) == ("3", "2")
    assert found["outcome"] in ("kept", "promoted")
    # The one test of the last 365 days that the earlier release made is not forgotten.
    assert found["verdict"]["level"] == pytest.approx(0.05 / 365)
