"""`python -m fewshot.data ...`: what DVC calls; an error is one line and an exit status."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import stages_by_name as stages
import yaml

from fewshot.data.__main__ import main
from fewshot.data.dataset import open_dataset
from fewshot.project.paths import MARKS
from fewshot.settings.declarations import parse_declaration, read_declarations
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.system.files import read_json

DECLARED = """
datasets:
  digits:
    source: fewshot/data/sources/digits.py
    splits: [digits/all]
    episodes: {number: 7, shapes: {test: [5w1s15q]}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that declares digits."""
    monkeypatch.chdir(tmp_path)
    for mark in MARKS:
        (tmp_path / mark).touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "datasets.yaml").write_text(DECLARED)
    return tmp_path


def test_four_stages_make_a_dataset_that_opens(folder: Path) -> None:
    for stage in ("list", "fetch", "pack", "split"):
        assert main([stage, "digits"]) == 0
    opened = open_dataset(folder / "data", "digits", "all")
    assert len(opened.fixed_episodes("test", EpisodeShape(5, 1, 15), 7)) == 7
    assert read_json(folder / "data" / "digits" / "listing.json", "") == {"classes": {}}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["fetch", "digts"], 2, "error: unknown dataset 'digts'; did you mean 'digits'?\n"),
        (["pack", "digits"], 1, "error: data/digits/raw does not exist; run: fewshot data prepare digits\n"),
    ],
)
def test_an_error_is_one_line_and_its_exit_status(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, message: str
) -> None:
    assert main([*arguments]) == status
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets: [", r"data/datasets\.yaml is not valid in line 1"),
        ("datasets: 1", r"data/datasets\.yaml: datasets holds no names and values"),
        ("datasets: {digits: 1}", r"data/datasets\.yaml: digits = 1: "),
        ("datasets: {digits: {splits: [hash]}}", r"data/datasets\.yaml: digits\.source = "),
        (
            "datasets: {digits: {source: a.py, episodes: {shapes: {test: [5w]}}}}",
            r"data/datasets\.yaml: digits\.episodes\.shapes\.test\.0 = '5w': '5w' is no episode shape",
        ),
        (
            "datasets: {digits: {source: fewshot/data/sources/digit.py}}",
            "unknown source .* 'digit'; did you mean 'digits'",
        ),
        ("datasets: {digits: {source: my.py}}", r"there is no file .*/my\.py"),
        (
            "datasets: {digits: {source: fewshot/data/sources/digits.py, options: {side: 9}}}",
            r"digits\.options: fewshot/data/sources/digits\.py takes none",
        ),
        (
            "datasets: {digits: {source: fewshot/data/sources/digits.py, splits: [digits/al]}}",
            "unknown split scheme of digits 'digits/al'; did you mean 'digits/all'",
        ),
    ],
)
def test_wrong_declarations_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    stages.fetch("digits", folder / "data")
    stages.pack("digits", folder / "data")
    (folder / "data" / "datasets.yaml").write_text(text)
    assert main(["split", "digits"]) in (1, 2)
    assert re.match(f"error: .*{message}", capsys.readouterr().err)


def test_the_datasets_of_an_earlier_release_are_read_where_it_had_them(folder: Path) -> None:
    (folder / "data" / "datasets.yaml").unlink()
    (folder / "params.yaml").write_text(
        """
datasets: {digits: fewshot/data/sources/digits.py, folder: fewshot/data/sources/folder.py, mine: mine.py}
downloads: {digits: fewshot/data/sources/digits.py, mine: mine.py}
folder: {path: photos, side: 32, channels: 1, ink: dark}
frozen:
  digits: {seed: 0, episodes: 7, shapes: {test: [5w1s15q]}}
  folder: {seed: 1, episodes: 9, shapes: {test: [5w1s4q]}}
"""
    )
    assert main(["split", "digits"]) == 1  # there is no pack yet
    found = read_declarations(folder)
    assert found["digits"] == parse_declaration("digits", yaml.safe_load(DECLARED)["datasets"]["digits"])
    assert found["folder"].plain() == {
        "source": "fewshot/data/sources/local.py",
        "path": "photos",
        "options": {"side": 32, "channels": 1, "ink": "dark"},
        "splits": ["hash"],
        "episodes": {"seed": 1, "number": 9, "shapes": {"test": ["5w1s4q"]}},
    }
    assert (found["mine"].source, found["mine"].splits) == ("mine.py", ())


def test_the_module_runs_as_a_program(folder: Path, root: Path) -> None:
    command = [sys.executable, "-m", "fewshot.data", "fetch", "digts"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: unknown dataset 'digts'; did you mean 'digits'?\n"
