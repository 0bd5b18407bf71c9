"""What is wrong with the machine itself: a disk that is full, a clock that jumps."""

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import Place, at_home
from project_copy import TINY, ended, python, retrain, run_tiny, wait_for
from test_pipeline import runs, versions

from fewshot.data.dataset import open_dataset
from fewshot.project.paths import Home
from fewshot.promotion.spent import TESTS
from fewshot.settings.presets import load_settings
from fewshot.system.process_id import is_dead, this_process
from fewshot.tracking.store import Store
from fewshot.training.loop import train

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
]

PRESET, MODEL = "glyphs-protonet-5w1s", "glyphs-protonet"
DAY = 86_400


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """A disk of 64 MB at `place`."""
    place.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def small(template: Path, tmp_path: Path, servers: Place) -> Iterator[Home]:
    """A state folder on a small disk."""
    disk = tmp_path / "disk"
    with small_disk(disk), at_home(Home(template, disk / "state"), servers) as home:
        yield home


def fill(ballast: Path) -> None:
    """Take all room that is left, to the last byte."""
    with ballast.open("wb", buffering=0) as file:
        for size in (2**16, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


def is_said(text: str) -> bool:
    """Whether the last line tells of the full disk and what to do."""
    last = text.splitlines()[-1]
    return last.startswith("error: the disk") and "full" in last and "free some space and run the same command" in last


@pytest.mark.slow
def test_a_full_disk_is_said_damages_nothing_and_the_same_command_goes_on_once_there_is_room(
    small: Home, tmp_path: Path
) -> None:
    longer = ["train.steps=40", "train.validate_every=20"]
    ballast = small.state.parent / "ballast"

    fill(ballast)
    status, text = ended(run_tiny(small, *longer, PREFECT_API_URL=""))
    assert status == 1, text
    assert is_said(text), text
    ballast.unlink()

    process = run_tiny(small, *longer, PREFECT_API_URL="", PREFECT_CLIENT_MAX_RETRIES="1")
    wait_for(lambda: list(small.state.glob("training/*/checkpoint-*")), process)
    fill(ballast)
    status, text = ended(process)
    assert status == 1, text
    assert is_said(text), text
    assert versions(small) == []
    ballast.unlink()
    for database in (small.mlflow / "mlflow.db", small.prefect / "prefect.db"):
        with closing(sqlite3.connect(database)) as opened:
            assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

    status, text = ended(run_tiny(small, *longer, PREFECT_API_URL=""))
    assert status == 0, text
    dataset = open_dataset(small.data, "glyphs", "scripts")
    undisturbed = train(load_settings(PRESET, [*TINY, *longer]), dataset, tmp_path / "undisturbed")
    [version] = versions(small)
    assert version.tags["fewshot.weights_sha256"] == undisturbed.weights_sha256
    assert Store.open(small).aliases(MODEL, str(version.version)) == ["champion"]
    assert "RUNNING" not in {found.info.status for found in runs(small)}


@pytest.mark.slow
def test_a_full_disk_of_the_trainings_alone_is_said_and_the_same_command_goes_on(home: Home) -> None:
    trainings = home.state / "training"
    with small_disk(trainings):
        fill(trainings / "ballast")
        status, text = ended(run_tiny(home))
        assert status == 1, text
        assert is_said(text), text
        assert str(trainings) in text.splitlines()[-1]
        assert versions(home) == []
        assert {found.info.status for found in runs(home)} <= {"FAILED"}
        (trainings / "ballast").unlink()
        status, text = ended(run_tiny(home))
        assert status == 0, text
        [version] = versions(home)
        assert Store.open(home).aliases(MODEL, str(version.version)) == ["champion"]


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """clock.c, compiled."""
    compiler = shutil.which("cc")
    if not compiler or sys.platform != "linux":
        pytest.skip("another clock for a process needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library


def shifted(shim: Path, seconds: int) -> dict[str, str]:
    """Variables of a process whose clock is so far ahead (or back), as if it had been set while this machine ran."""
    stat = shim.with_name(f"stat-{seconds}")
    lines = Path("/proc/stat").read_text().splitlines()
    moved = [f"btime {int(line.split()[1]) + seconds}" if line.startswith("btime") else line for line in lines]
    stat.write_text("\n".join(moved) + "\n")
    return {"LD_PRELOAD": str(shim), "CLOCK_SHIFT": str(seconds), "CLOCK_STAT": str(stat)}


def test_the_living_are_not_taken_for_dead_by_a_process_whose_clock_was_set(home: Home, shim: Path) -> None:
    ask = (
        "import sys, time; from fewshot.system.process_id import is_dead; "
        "print(time.time(), *map(is_dead, sys.argv[1:]))"
    )
    mine = this_process()
    with subprocess.Popen([sys.executable, "-c", ""]) as other:
        dead = mine.replace(mine.split("/")[1], str(other.pid))
    for seconds in (2 * DAY, -2 * DAY):
        status, text = ended(python(home, "-c", ask, mine, dead, **shifted(shim, seconds)))
        assert status == 0
        assert float(text.split()[0]) == pytest.approx(time.time() + seconds, abs=60)
        assert text.split(" ", 1)[1].strip() == "False True"
    assert not is_dead(mine)


@pytest.mark.nightly
def test_a_clock_that_was_wrong_for_a_night_does_no_harm(home: Home, shim: Path) -> None:
    def retrained(seed: int, seconds: int) -> str:
        clock = shifted(shim, seconds) if seconds else {}
        status, text = ended(retrain(home, f"seed={seed}", "gate.tests_per_year=1", PREFECT_API_URL="", **clock))
        assert status == 0, text
        return text

    assert "first: model glyphs-protonet version 1" in retrained(0, 2 * DAY)
    assert "have spent" not in retrained(1, 2 * DAY)
    # That one test lies in the future now. It counts, whatever the clock says.
    assert "the tests of the last 365 days have spent 0.05 of gate.alpha" in retrained(2, 0)
    assert "the tests of the last 365 days have spent 0.05 of gate.alpha" in retrained(3, -20 * 365 * DAY)

    found = Store.open(home).client.get_registered_model(MODEL)
    [[tested, level]] = json.loads(found.tags[TESTS])
    assert level == 0.05
    assert datetime.fromisoformat(tested) > datetime.now(UTC) + timedelta(days=1.9)
    assert len(versions(home)) == 4
    assert str(found.aliases["champion"]) in ("1", "2")
    assert {found.info.status for found in runs(home)} == {"FINISHED"}
    assert list((home.state / "flow-runs").glob("*.json")) == []
