"""The retraining flow on a copy of the project: what it decides, what it does not do twice, whom it tells."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from filelock import FileLock
from project_copy import TINY, command, wait_for
from pydantic import SecretStr
from test_pipeline import versions

from fewshot.errors import TrainingError
from fewshot.project.paths import Home
from fewshot.tracking.store import Store

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PRESET = "glyphs-protonet-5w1s"
GATE = [*TINY, "gate.episodes=30"]


@pytest.fixture
def heard() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook: its address, and what was posted to it."""
    posted: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook-{uuid4().hex}", posted
        server.shutdown()
        thread.join()


def retrain(*overrides: str) -> dict[str, Any]:
    from flows.retrain import retrain as flow

    return flow(PRESET, [*GATE, *overrides])


@pytest.mark.slow
def test_a_retraining_promotes_keeps_or_finds_nothing_to_do_and_tells_it(
    home: Home, heard: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, posted = heard
    monkeypatch.setenv("FEWSHOT_WEBHOOK", address)
    first = retrain()
    assert (first["outcome"], first["version"]) == ("first", "1")
    assert "glyphs-protonet version 1" in Path(first["report"]).read_text(encoding="utf-8")
    assert retrain()["outcome"] == "nothing to do"
    assert len(versions(home)) == 1

    other = retrain("seed=1")
    assert other["outcome"] in ("kept", "promoted")
    assert (other["version"], other["against"]) == ("2", "1")
    assert other["verdict"]["level"] == pytest.approx(0.05 / 365)
    champion = "2" if other["outcome"] == "promoted" else "1"
    assert "champion" in (Store.open(home).aliases("glyphs-protonet", champion) or [])
    assert retrain("seed=1")["outcome"] == "nothing to do"
    assert len(versions(home)) == 2

    with pytest.raises(TrainingError):
        retrain("train.learning_rate=1e30", "train.precision=float32")
    outcomes = [one["outcome"] for one in posted]
    assert outcomes == ["first", "nothing to do", other["outcome"], "nothing to do", "failed"]
    assert all(one["model"] == "glyphs-protonet" and one["flow_run"] != "none" for one in posted)
    assert posted[-1]["reason"].startswith("TrainingError: the loss is")


def test_two_retrainings_of_a_model_never_run_at_once(home: Home) -> None:
    with FileLock(home.file_lock("retrain-glyphs-protonet")):
        assert retrain()["outcome"] == "already running"
    assert versions(home) == []


def test_a_webhook_that_is_not_there_stops_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows import notify  # Prefect must not be imported before it is told where its home is

    monkeypatch.setattr("fewshot.promotion.webhook.WAIT_S", 0.01)
    secret = "http://127.0.0.1:9/hook-secret"
    notify.notify(SecretStr(secret), {"model": "m", "outcome": "nothing to do"})
    said = capsys.readouterr().err
    assert "the webhook was not told in 3 tries: " in said
    assert "secret" not in said
    # Neither an address that can't be read nor an outcome that is no JSON decides how a flow ends.
    for address in ("http://127.0.0.1:80:80/hook", "http://[", "gopher://x", "http://\udce4"):
        notify.notify(SecretStr(address), {"model": "m", "outcome": "kept"})
        assert "was not told" in capsys.readouterr().err
    notify.notify(SecretStr(secret), {"model": "m", "outcome": "kept", "value": object()})
    assert "was not told" in capsys.readouterr().err


@pytest.mark.slow
def test_the_commands_tell_the_story_of_a_model(home: Home, heard: tuple[str, list[dict[str, Any]]]) -> None:
    address, posted = heard

    def say(*arguments: str) -> tuple[int | None, str]:
        process = command(home, *arguments, PREFECT_API_URL="")
        out, err = process.communicate(timeout=200)
        return process.returncode, out + err

    settings = [part for setting in (*GATE, f"notify.webhook={address}") for part in ("--set", setting)]
    status, text = say("retrain", *settings)
    assert status == 0, text
    assert "first: model glyphs-protonet version 1" in text
    assert [one["outcome"] for one in posted] == ["first"]
    secret = address.rpartition("/")[2].encode()
    assert secret.decode() not in text
    assert [file for file in home.state.rglob("*") if file.is_file() and secret in file.read_bytes()] == []
    status, text = say("history", "glyphs-protonet")
    assert status == 0, text
    assert "there is no champion to compare with" in text
    card = home.state / "reports" / "glyphs-protonet-1.html"
    card.unlink()
    status, text = say("report", "glyphs-protonet", "--episodes", "4")
    assert status == 0, text
    page = card.read_text(encoding="utf-8")
    assert "there is no champion to compare with" in page
    assert "Accuracy over training steps" in page
    [found] = versions(home)
    assert [item.path for item in Store.open(home).client.list_artifacts(found.run_id, "report")] == [
        "report/glyphs-protonet-1.html"
    ]
    status, text = say("rollback", "glyphs-protonet")
    assert status == 1
    assert "glyphs-protonet has no version to go back to" in text


@pytest.mark.slow
def test_a_killed_retraining_is_marked_crashed_and_the_next_goes_on(home: Home) -> None:
    from prefect.client.orchestration import get_client

    from flows.crashed_runs import mark_crashed_flow_runs

    settings = [part for setting in (*GATE, "train.steps=4000") for part in ("--set", setting)]
    killed = command(home, "retrain", *settings)
    wait_for(lambda: list((home.state / "training").glob("*/checkpoint*")), killed)
    killed.kill()
    killed.communicate(timeout=20)
    notes = list((home.state / "flow-runs").glob("*.json"))
    assert len(notes) == 2, "of retrain and the pipeline in it"
    assert sorted(mark_crashed_flow_runs(home)) == sorted(note.stem for note in notes)
    assert mark_crashed_flow_runs(home) == []
    with get_client(sync_client=True) as client:
        states = [client.read_flow_run(UUID(note.stem)).state for note in notes]
    assert [state.name for state in states if state] == ["Crashed", "Crashed"]
    assert retrain()["outcome"] == "first"
    assert list((home.state / "flow-runs").glob("*.json")) == []
