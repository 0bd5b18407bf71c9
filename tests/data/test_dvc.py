"""DVC: the lock is current, a fresh copy reproduces it, deleted data comes back, nothing leaves the project."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fewshot.project.fingerprints import SOURCES, code_hashes
from fewshot.settings.declarations import FILE, catalogue, parse_declaration

STAGES = ("list", "fetch", "pack", "split")
Dvc = Callable[..., str]


@pytest.fixture(scope="module")
def copy(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What git tracks of the data layer, in a folder without git and without data."""
    copy = tmp_path_factory.mktemp("copy") / "project"
    shutil.copytree(root / "fewshot", copy / "fewshot", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "dvc.lock", "data/datasets.yaml", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        (copy / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(root / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def dvc(copy: Path, home: Path) -> Dvc:
    """Run dvc in the copy with a home of its own; returns what it printed."""
    foreign = ("DVC_", "XDG_", "FEWSHOT_", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    # `cmd: python ...` takes the PATH's interpreter.
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        environment = kept | {"PATH": path, "HOME": str(home)}
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    # An unpacked tarball has no git.
    run("config", "--local", "core.no_scm", "true")
    return run


def lock(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "dvc.lock").read_text())["stages"]


def outputs(folder: Path) -> dict[str, str]:
    """Path -> md5 of everything that the stages of a lock file made."""
    return {out["path"]: out["md5"] for stage in lock(folder).values() for out in stage["outs"]}


def declared(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((root / FILE).read_text())["datasets"]
    return found


def files(folder: Path) -> dict[Path, tuple[int, str]]:
    """Time of change and digest of every file of a folder."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, hashlib.md5(path.read_bytes()).hexdigest()) for path in found}


def test_the_lock_covers_the_datasets_that_need_no_network(root: Path) -> None:
    # More than these are there once a user has prepared another dataset.
    assert set(lock(root)) >= {f"{stage}@{dataset}" for stage in STAGES for dataset in ("glyphs", "digits")}


def test_the_lock_belongs_to_the_code_and_settings_in_the_tree(root: Path) -> None:
    for name, stage in lock(root).items():
        for dependency in stage.get("deps", []):
            if (root / dependency["path"]).is_file():
                md5 = hashlib.md5((root / dependency["path"]).read_bytes()).hexdigest()
                assert md5 == dependency["md5"], f"{name}: {dependency['path']} changed; run: dvc repro {name}"
        for key, value in stage.get("params", {}).get(FILE, {}).items():
            _, dataset, part = key.split(".")
            assert value == declared(root)[dataset][part], f"{key} changed; run: dvc repro {name}"


WITHOUT_EFFECT = {
    "fewshot.data.stages.disk": "words of errors",
    "fewshot.data.class_numbers": "words of errors",
    "fewshot.data.given": "carries options, which are parameters of the stage",
    "fewshot.data.sources": "opens a source",
    "fewshot.migrations": "reads declarations, which are parameters of the stage",
    "fewshot.project.paths": "finds the project",
    "fewshot.settings.declarations": "reads declarations, which are parameters of the stage",
    "fewshot.settings.base": "the base of options",
    "fewshot.system.text": "words of errors",
    "fewshot.system.progress": "tells how far it is",
    "fewshot.system.yaml_files": "reads declarations, which are parameters of the stage",
    "fewshot.errors": "words of errors",
    "fewshot.system.download": "a file that was fetched is checked by its digest",
    "fewshot.system.modules": "finds a source, and makes nothing",
}
"""Modules that a stage reaches although they can't change its bytes, and why."""
_SHAPES = "fewshot.settings.episode_shape"
OF_OTHERS = {
    # It reads each new image to see that it is one, and copies the file as it is.
    "fetch": {
        _SHAPES,
        "fewshot.randomness",
        *(f"fewshot.data.{name}" for name in ("bit_depth", "decoding", "image_files", "image_options", "pack")),
    },
    # It reads an archive that fetch made, and finds nothing.
    "pack": {_SHAPES, "fewshot.data.local_images", "fewshot.data.tables"},
}
"""Modules that a stage reaches by a source but that are another stage's."""


def reached(step: str, source: str) -> set[str]:
    """The files of this package that can determine the bytes of a stage."""
    modules = {*code_hashes(f"fewshot.data.stages.{step}")}
    if step in ("pack", "fetch"):
        modules |= {*code_hashes(f"fewshot.data.sources.{source}")}
    effective = modules - WITHOUT_EFFECT.keys() - OF_OTHERS.get(step, set())
    files = {name: SOURCES.joinpath(*name.split(".")).with_suffix(".py") for name in effective}
    return {file.relative_to(SOURCES).as_posix() for file in files.values() if file.is_file()}


def dependencies(step: str, source: str) -> set[str]:
    """What dvc.yaml says that a stage depends on."""
    listed = yaml.safe_load((SOURCES / "dvc.yaml").read_text())["stages"][step]["do"]["deps"]
    return {dependency.replace("${item.source}", f"fewshot/data/sources/{source}.py") for dependency in listed}


SOURCE_NAMES = sorted(file.stem for file in (SOURCES / "fewshot" / "data" / "sources").glob("[a-z]*.py"))


@pytest.mark.parametrize("source", SOURCE_NAMES)
@pytest.mark.parametrize("step", ["fetch", "pack", "split"])
def test_every_stage_depends_on_all_code_that_it_reaches(step: str, source: str) -> None:
    needed, listed = reached(step, source), dependencies(step, source)
    assert needed <= listed, f"add to dvc.yaml, {step}: {sorted(needed - listed)}"
    # And on nothing else: of the code, what the stage reaches for one source or another; else its data.
    of_any = set().union(*(reached(step, other) for other in SOURCE_NAMES))
    others = {path for path in listed - of_any if path.endswith(".py")} - {f"fewshot/data/sources/{source}.py"}
    assert not others, f"take out of dvc.yaml, {step}: {sorted(others)}"


def test_every_module_without_effect_is_still_there() -> None:
    for name in (*WITHOUT_EFFECT, *(name for names in OF_OTHERS.values() for name in names)):
        assert code_hashes(name)


def test_every_stage_depends_on_its_source_and_its_input(root: Path) -> None:
    for name, stage in lock(root).items():
        step, dataset = name.split("@")
        paths = {dependency["path"] for dependency in stage.get("deps", [])}
        assert step == "list" or declared(root)[dataset]["source"] in paths
        if step in ("pack", "split"):
            before = {"pack": "raw", "split": "pack"}[step]
            assert f"data/{dataset}/{before}" in paths


def test_every_dataset_of_the_project_is_declared_as_the_catalogue_has_it(root: Path) -> None:
    for name, values in declared(root).items():
        assert parse_declaration(name, values) == catalogue()[name].declaration


@pytest.mark.slow
def test_one_dataset_is_made_alone_pushed_and_pulled_back(root: Path, copy: Path, home: Path, dvc: Dvc) -> None:
    dvc("repro", "split@digits")
    assert {path.name for path in (copy / "data").iterdir()} == {"datasets.yaml", "digits"}
    assert outputs(copy) == outputs(root)
    made = {path: md5 for path, (_, md5) in files(copy / "data" / "digits").items()}
    assert len(made) == 7

    dvc("push", "split@digits", "pack@digits", "fetch@digits")
    shutil.rmtree(copy / "data" / "digits")
    shutil.rmtree(copy / ".dvc" / "cache")
    dvc("pull", "split@digits", "pack@digits", "fetch@digits")
    pulled = {path: md5 for path, (_, md5) in files(copy / "data" / "digits").items()}
    assert pulled == {path: md5 for path, md5 in made.items() if not path.name.startswith("listing")}

    dvc("repro", "split@digits")
    before = files(copy / "data")
    assert "Stage 'split@digits' didn't change" in dvc("repro", "split@digits")
    assert files(copy / "data") == before
    assert not list(home.rglob("*")), "something was written to the user's home"


@pytest.mark.slow
def test_a_fresh_copy_makes_glyphs_to_the_committed_byte(root: Path, copy: Path, home: Path, dvc: Dvc) -> None:
    shutil.rmtree(copy / "data" / "glyphs", ignore_errors=True)
    dvc("repro", "--force", "split@glyphs")
    assert outputs(copy) == outputs(root)
    assert (copy / "dvc.lock").read_text() == (root / "dvc.lock").read_text()
    assert not list(home.rglob("*")), "something was written to the user's home"
