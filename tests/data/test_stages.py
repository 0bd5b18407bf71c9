"""`python -m fewshot.data ...`: what DVC calls; an error is one line and an exit status."""

import subprocess
import sys
from pathlib import Path

import pytest

from fewshot.data.__main__ import main
from fewshot.data.dataset import open_dataset
from fewshot.settings.episode_shape import EpisodeShape

PARAMS = "frozen: {digits: {seed: 0, episodes: 7, shapes: {test: [5w1s15q]}}}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def test_three_stages_make_a_dataset_that_opens(folder: Path) -> None:
    for stage in ("download", "pack", "split"):
        assert main([stage, "digits"]) == 0
    opened = open_dataset(folder / "data", "digits", "all")
    assert len(opened.fixed_episodes("test", EpisodeShape(5, 1, 15), 7)) == 7


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["download", "digts"], 2, "error: unknown dataset 'digts'; did you mean 'digits'?\n"),
        (["split", "glyphs"], 2, "error: unknown dataset in params.yaml 'glyphs'; choose one of: digits\n"),
        (["pack", "digits"], 1, "error: data/digits/raw does not exist; run: fewshot data prepare digits\n"),
    ],
)
def test_an_error_is_one_line_and_its_exit_status(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    assert main([*arguments]) == status
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("text", ["frozen: [", "other: 1", "", "frozen: {digits: {shapes: {test: [5w]}}}"])
def test_wrong_params_name_their_file(folder: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (folder / "params.yaml").write_text(text)
    assert main(["split", "digits"]) == 2
    assert capsys.readouterr().err.startswith("error: params.yaml")


def test_the_module_runs_as_a_program(folder: Path, root: Path) -> None:
    command = [sys.executable, "-m", "fewshot.data", "download", "digts"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: unknown dataset 'digts'; did you mean 'digits'?\n"
