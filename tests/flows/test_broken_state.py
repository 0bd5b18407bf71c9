"""Files of the state folder that were cut, or are garbage: a sentence, or they are made anew and it is said."""

from pathlib import Path

import pytest
from project_copy import command, ended, run_tiny

from fewshot.errors import RegistryError, UsageError
from fewshot.project.paths import Home
from fewshot.project.tool_environment import prepare_environment
from fewshot.tracking.store import Store
from fewshot.tracking.versions import find_version, list_versions
from flows.servers.damaged_database import set_aside


@pytest.mark.slow
def test_a_cut_database_of_prefect_is_made_anew_and_other_garbage_is_passed_over(own_home: Home) -> None:
    own_home.prefect.mkdir(parents=True, exist_ok=True)
    database = own_home.prefect / "prefect.db"
    database.write_bytes(b"SQLite format 3\0" + b"\xff" * 50_000)
    (own_home.prefect / "api-url").write_text("garbage\n")
    (own_home.state / "flow-runs").mkdir()
    (own_home.state / "flow-runs" / "not-a-uuid.json").write_text("{}")
    status, text = ended(run_tiny(own_home, PREFECT_API_URL=""))
    assert status == 0, text
    assert "note: Prefect's database was damaged; it is kept as" in text
    assert [file.read_bytes()[:20] for file in own_home.prefect.glob("prefect.db.damaged-*")] == [
        b"SQLite format 3\0" + b"\xff" * 4
    ]
    assert (own_home.state / "flow-runs" / "not-a-uuid.json").exists()
    # That of MLflow holds what is nowhere else: it is said, and stays.
    mlflow = own_home.mlflow / "mlflow.db"
    cut = mlflow.read_bytes()[:100_000]
    mlflow.write_bytes(cut)
    for rest in own_home.mlflow.glob("mlflow.db-*"):
        rest.unlink()
    status, text = ended(command(own_home, "history", "glyphs-protonet"))
    assert (status, text.count("\n")) == (1, 1), text
    assert "its database can't be used" in text
    assert "restore a copy of it, or move it away" in text


def test_a_database_is_set_aside_only_for_what_the_server_says_of_it(tmp_path: Path) -> None:
    home, log = Home(tmp_path, tmp_path), tmp_path / "log"
    home.prefect.mkdir()
    (home.prefect / "prefect.db").write_bytes(b"x")
    log.write_bytes(b"database disk image is malformed\n")
    since = log.stat().st_size
    with log.open("ab") as file:
        file.write(b"address already in use; database is locked; database or disk is full\n")
    assert set_aside(home, log, since) == ""
    with log.open("ab") as file:
        file.write(b"sqlite3.OperationalError: table flow already exists\n")
    assert "is kept as" in set_aside(home, log, since)
    assert not (home.prefect / "prefect.db").exists()
    assert set_aside(home, log, since) == ""


def test_garbage_in_prefects_profiles_is_said(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path)
    home.prefect.mkdir()
    (home.prefect / "profiles.toml").write_text("{{{")
    with pytest.raises(UsageError, match=r"profiles\.toml is no valid TOML .*; delete it"):
        prepare_environment(home)


@pytest.mark.parametrize("name", ["it's", 'say "x"', "a:b", "a%' OR name LIKE '%"])
def test_a_name_that_no_model_has_is_no_filter(name: str, home: Home) -> None:
    assert list_versions(Store.open(home), name) == []
    for reference in ("a/b/c", "a/x", "a/", "a/-1"):
        with pytest.raises(RegistryError, match=r"names no version; write NAME/NUMBER"):
            find_version(Store.open(home), reference)
    for reference in ("", "models:/", "@champion"):
        with pytest.raises(RegistryError, match=r"names no model; write NAME, NAME@ALIAS or NAME/NUMBER"):
            find_version(Store.open(home), reference)
