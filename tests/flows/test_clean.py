"""Cleaning: unneeded things go; things that an alias, a rollback, the last run or a record needs stay."""

import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import Place
from project_copy import TINY
from test_pipeline import ran
from test_retrain import retrain

from fewshot.errors import RegistryError
from fewshot.project.paths import Home
from fewshot.promotion.champion import history, rollback
from fewshot.system.files import sha256_file, write_json
from fewshot.tracking.artifact import is_whole, model_folder
from fewshot.tracking.store import Store
from fewshot.tracking.versions import CLEANED, find_version

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

MODEL, DAY_S = "glyphs-protonet", 86_400


def age(home: Home, days: int) -> None:
    """Let all that is in the state folder be so many days older."""
    for path in filter(Path.exists, home.state.rglob("*")):
        seen = path.stat()
        os.utime(path, (seen.st_atime - days * DAY_S, seen.st_mtime - days * DAY_S))
    with closing(sqlite3.connect(home.mlflow / "mlflow.db")) as opened, opened:
        for table, column in (("model_versions", "creation_time"), ("logged_models", "creation_timestamp_ms")):
            opened.execute(f"UPDATE {table} SET {column} = {column} - ?", (days * DAY_S * 1000,))


def listing(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_size for file in folder.rglob("*") if file.is_file() and "mlflow.db" not in file.name}


def test_a_year_later_only_what_nothing_needs_is_gone_and_all_goes_on(home: Home) -> None:
    from flows.cleaning.clean import clean

    store = Store.open(home)
    assert [retrain(f"seed={seed}")["outcome"] for seed in (0, 1, 2)] == ["first", "kept", "kept"]
    young = {one.kind: one for one in clean(home, 30)}
    assert [kind for kind, one in young.items() if one.number] == ["trainings"], "checkpoints of finished trainings"
    assert young["trainings"].number == 6
    assert list(home.trainings.rglob("checkpoint-*")) == []

    # MLflow's page promotes a version by copying it: the copy has the files of the first.
    store.client.copy_model_version(f"models:/{MODEL}/2", "prod")
    store.set_alias("prod", "champion", "1")
    age(home, 40)
    assert "files of versions" not in {one.kind for one in clean(home, 30, dry_run=True) if one.number}
    store.client.delete_model_version("prod", "1")
    before = listing(home.state)
    told = {one.kind: one for one in clean(home, 30, dry_run=True)}
    assert {kind: one.number for kind, one in told.items() if one.number} == {
        "trainings": 1, "evaluations": 2, "records and locks": 12, "reports": 1, "files of versions": 1,
    }  # fmt: skip
    assert listing(home.state) == before
    assert told["files of versions"].removed > 1_000_000
    assert {one.kind: one for one in clean(home, 30)} == told
    assert sum(before.values()) - sum(listing(home.state).values()) == sum(one.removed for one in told.values())

    # The champion and the newest keep all; of the other the record stays, which says how to make it again.
    assert [is_whole(store, MODEL, number) for number in "123"] == [True, False, True]
    assert len(history(store, MODEL)) == 3
    assert ("files", f"removed {find_version(store, f'{MODEL}/2').tags[CLEANED]}, as nothing led to them") in (
        find_version(store, f"{MODEL}/2").links()
    )
    with pytest.raises(RegistryError, match=r"were removed .* by fewshot clean"):
        model_folder(store, f"models:/{MODEL}/2")
    with pytest.raises(RegistryError, match=r"were removed .*; choose another version"):
        rollback(store, MODEL, "2")
    assert {one.kind: one.number for one in clean(home, 30) if one.number} == {}

    again = retrain("seed=2", "clean.keep_days=30")
    assert (again["outcome"], again["version"]) == ("nothing to do", "3")
    assert again["cleaned"].startswith("cleaned: 0.0 MB removed")
    # What was removed is made again if it is wanted: the same version, with its files.
    assert retrain("seed=1")["version"] == "2"
    assert [is_whole(store, MODEL, number) for number in "123"] == [True, True, True]
    assert CLEANED not in find_version(store, f"{MODEL}/2").tags
    # What the last run found stays, so that the next one has nothing to do.
    age(home, 40)
    assert {one.kind: one.number for one in clean(home, 30)}["files of versions"] == 0
    assert retrain("seed=1", "clean.keep_days=1")["outcome"] == "nothing to do"
    assert is_whole(store, MODEL, "2")

    # A version that was deleted in MLflow's page leaves its files behind; a copy of it may still need them.
    store.client.copy_model_version(f"models:/{MODEL}/2", "later")
    store.client.delete_model_version(MODEL, "2")
    age(home, 40)
    assert {one.kind: one.number for one in clean(home, 30)}["files of versions"] == 0
    store.client.delete_model_version("later", "1")
    assert {one.kind: one.number for one in clean(home, 30)}["files of versions"] == 1
    from flows.pipeline import pipeline

    assert ran(pipeline("glyphs-protonet-5w1s", [*TINY, "seed=1"]))[-1:] == ["register"]
    assert is_whole(store, MODEL, "4")


def test_what_unfinished_work_goes_on_from_and_what_others_hold_stays(home: Home) -> None:
    from filelock import FileLock

    from flows.cleaning.clean import clean

    unfinished = home.training("meta-train-" + "a" * 32)
    unfinished.mkdir(parents=True)
    (unfinished / "checkpoint-00000002-x.safetensors").write_bytes(b"x" * 100)
    outdated = home.training("meta-train-" + "d" * 32)
    write_json(outdated / "run.json", {"code": {"fewshot.training.loop": "of yore"}, "requirements": "of yore"})
    alone = home.training("meta-train-" + "e" * 32)  # of `fewshot train`: registered nowhere
    (alone / "model").mkdir(parents=True)
    (alone / "model" / "weights.safetensors").write_bytes(b"weights")
    write_json(alone / "result.json", {"weights_sha256": sha256_file(alone / "model" / "weights.safetensors")})
    (alone / "checkpoint-00000002-x.safetensors").write_bytes(b"x")
    os.mkfifo(home.state / "pipe.json")
    (home.state / "last").mkdir()
    os.mkfifo(home.state / "last" / "pipe.json")
    (home.state / "last" / "nowhere.json").symlink_to("nowhere")
    (home.state / ".half.json.1.part").touch()
    held, free, other = (home.file_lock(name) for name in (f"evaluate-{'b' * 32}", f"evaluate-{'c' * 32}", "dvc"))
    for lock in (held, free, other):
        lock.touch()
    with FileLock(held):
        clean(home, 1)
        assert unfinished.exists()
        assert free.exists()
        age(home, 20)
        clean(home, 30)
        assert unfinished.exists()
        age(home, 20)
        clean(home, 30)
    assert [path.exists() for path in (unfinished, held, free, other)] == [True, True, False, True]
    assert not outdated.exists(), "the code of today can't go on from it"
    assert [path.name for path in sorted(alone.iterdir())] == ["model", "result.json"], "there is no other copy"
    assert not (home.state / ".half.json.1.part").exists()


def test_what_can_not_be_removed_is_named_and_the_rest_goes(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import steps
    from flows.cleaning import state_folder
    from flows.cleaning.clean import clean

    cards = [home.evaluation(f"evaluate-{letter * 32}") for letter in "ab"]
    for card in cards:
        card.mkdir(parents=True)
        (card / "glyphs.json").write_text("{}")
    age(home, 40)
    delete, said = state_folder.delete, []

    def guarded(path: Path) -> None:
        if path == cards[0]:
            raise PermissionError(13, "Permission denied", "glyphs.json")
        delete(path)

    monkeypatch.setattr(state_folder, "delete", guarded)
    monkeypatch.setattr(steps, "remark", said.append)
    assert {one.kind: one.number for one in clean(home, 30) if one.number} == {"evaluations": 1}
    assert [card.exists() for card in cards] == [True, False]
    assert said == [f"{cards[0]} can't be removed (Permission denied); change its owner or mode"]


def test_objects_of_the_data_cache_that_a_commit_or_a_version_needs_stay(tmp_path: Path) -> None:
    from flows.dvc.cache import unneeded_objects
    from flows.dvc.repair import CACHE

    home = Home(tmp_path, tmp_path / ".fewshot")
    now = time.time()

    def put(md5: str, content: str = "") -> Path:
        file = home.project / CACHE / md5[:2] / md5[2:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        os.utime(file, (now - 40 * DAY_S, now - 40 * DAY_S))
        return file

    def lock(md5: str) -> None:
        (home.project / "dvc.lock").write_text(f"stages:\n  pack@folder:\n    outs:\n    - md5: {md5}.dir\n")

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "core.excludesFile=/dev/null"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    files = {}
    for name in "0123":  # committed, of a version, of the project, of nothing
        files[name] = put(name * 31 + "f")
        files[f"{name}.dir"] = put(name * 32 + ".dir", f'[{{"md5": "{name * 31}f", "relpath": "x"}}]')
    young = put("e" * 32)
    os.utime(young)
    git("init", "--quiet")
    lock("0" * 32)
    git("add", "dvc.lock")
    git("commit", "--quiet", "--message", "m")
    lock("2" * 32)
    before = datetime.now(UTC) - timedelta(days=30)
    of_versions = [{"data/folder/pack": f"{'1' * 32}.dir"}]
    going = [{"data/folder/pack": f"{name * 32}.dir"} for name in "0123"]
    assert set(unneeded_objects(home, going, of_versions, before)) == {files["3"], files["3.dir"]}
    assert set(unneeded_objects(home, going, [], before)) == {files[name] for name in ("1", "1.dir", "3", "3.dir")}
    assert set(unneeded_objects(home, going[:3], of_versions, before)) == set(), "3 may be anybody's"
    # What the user gave to DVC stays, in this work tree and in any commit.
    (home.project / "mine").mkdir()
    (home.project / "mine" / "big.dvc").write_text(f"outs:\n- md5: {'3' * 32}.dir\n  path: big\n")
    assert set(unneeded_objects(home, going, of_versions, before)) == set()
    git("add", "mine")
    git("commit", "--quiet", "--message", "m")
    git("rm", "-r", "--quiet", "mine")
    git("commit", "--quiet", "--message", "m")
    assert set(unneeded_objects(home, going, of_versions, before)) == set()
    # Where it can't be known what is needed, nothing goes.
    (tmp_path / ".git" / "HEAD").write_text("garbage")
    assert list(unneeded_objects(home, going, of_versions, before)) == []
    shutil.rmtree(tmp_path / ".git")
    assert files["0"] in set(unneeded_objects(home, going, of_versions, before))
    (tmp_path / ".dvc" / "config.local").write_text("[cache]\n    dir = /shared\n")
    assert list(unneeded_objects(home, going, of_versions, before)) == []


def test_old_runs_go_from_prefects_database_and_young_ones_stay(home: Home, servers: Place) -> None:
    from prefect import flow, get_run_logger

    from flows.cleaning import prefect_history

    @flow
    def inner() -> None:
        get_run_logger().info("a line")

    @flow
    def outer() -> None:
        inner()

    for _ in range(2):
        outer()
    database, ours = servers[1].parents[1] / "prefect" / "prefect.db", home.prefect / "prefect.db"
    with closing(sqlite3.connect(database)) as opened, closing(sqlite3.connect(ours)) as copy:
        opened.backup(copy)
    before = datetime.now(UTC) - timedelta(days=30)
    assert prefect_history.remove(home, before, dry_run=False) == 0
    with closing(sqlite3.connect(ours)) as opened, opened:
        (runs,) = opened.execute("SELECT count(*) FROM flow_run").fetchone()
        opened.execute("UPDATE flow_run SET end_time = strftime('%Y-%m-%d %H:%M:%f', end_time, '-40 days')")
        # One that is still going on, with the task by which it was called.
        [going] = opened.execute("SELECT id FROM flow_run WHERE parent_task_run_id IS NULL LIMIT 1").fetchone()
        opened.execute("UPDATE flow_run SET end_time = NULL, state_type = 'RUNNING' WHERE id = ?", (going,))
    found = prefect_history.remove(home, before, dry_run=True)
    assert 0 <= found < runs
    assert prefect_history.remove(home, before, dry_run=False) == found
    with closing(sqlite3.connect(ours)) as opened:
        left = {run for (run,) in opened.execute("SELECT id FROM flow_run")}
        assert going in left
        assert len(left) <= 2, "it, and the pipeline that it called"
        assert {run for (run,) in opened.execute("SELECT flow_run_id FROM log WHERE flow_run_id IS NOT NULL")} <= left


def test_features_that_nothing_used_of_late_are_removed(home: Home) -> None:
    from flows.cleaning.clean import clean

    old, of_last_run, used = (home.features / f"features-{letter * 32}" for letter in "abc")
    for folder in (old, of_last_run, used):
        folder.mkdir(parents=True)
        (folder / "features.npy").write_bytes(b"x" * 1000)
    last = home.state / "last" / "lite0.json"
    last.parent.mkdir(exist_ok=True)
    last.write_text(f'{{"files": {{"features/{of_last_run.name}/features.npy": "..."}}}}')
    age(home, 40)
    os.utime(used)
    found = {one.kind: one for one in clean(home, 30)}["features"]
    assert (found.number, found.there) == (1, 3000)
    assert sorted(home.features.iterdir()) == [of_last_run, used]
