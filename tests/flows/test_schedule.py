"""The schedule of `fewshot up`: said before anything starts, deployed in place of every other, and looked after."""

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Place
from project_copy import command, ended

from fewshot.errors import PipelineError, UsageError
from fewshot.project.paths import Home
from flows.servers.prefect_http import ask
from flows.servers.schedule import Schedule, check_schedule, deploy
from flows.servers.up import look_after

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
PRESET = "glyphs-protonet-5w1s"


@pytest.mark.parametrize(
    ("cron", "timezone", "message"),
    [
        ("every night", "UTC", "cron='every night' is no time that cron knows; write minute hour day month weekday"),
        ("61 3 * * *", "UTC", "cron='61 3"),
        ("", "UTC", "cron=''"),
        ("0 3 * * * *", "UTC", "cron='0 3 * * * *' has 6 fields, and cron has five; write minute hour day"),
        ("0 0 1 1 * 0 2020", "UTC", "has 7 fields, and cron has five"),
        ("0 0 31 2 *", "UTC", "cron='0 0 31 2 *' is a time that never comes; write minute hour day"),
        ("0 3 * * *", "Europe/Berlim", "unknown time zone 'Europe/Berlim'; write it as Europe/Berlin or UTC"),
        ("0 3 * * *", "", "unknown time zone ''"),
    ],
)
def test_a_wrong_time_is_said(cron: str, timezone: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("*", r"\*")):
        check_schedule(Schedule(cron, timezone, PRESET, []))


@pytest.mark.parametrize("cron", ["0 3 * * *", "@daily", "30 2 * * MON-FRI", "0 3 29 2 *", "0 3 L * *"])
def test_a_time_that_comes_is_taken(cron: str) -> None:
    check_schedule(Schedule(cron, "Europe/Berlin", PRESET, []))


def test_a_wrong_time_is_said_before_anything_starts(home: Home) -> None:
    status, text = ended(command(home, "up", "--cron", "every night", PREFECT_API_URL=""))
    assert (status, text.count("\n")) == (2, 1)
    assert not (home.prefect / "server.log").exists()


@pytest.mark.slow
def test_a_schedule_takes_the_place_of_every_other(own_home: Home, servers: Place) -> None:
    api, key = servers[0], os.environ["PREFECT_API_AUTH_STRING"]
    own_home.prefect.mkdir(parents=True, exist_ok=True)
    (own_home.prefect / "api-key").write_text(key)
    ask(api, key, "/work_pools/", {"name": "local", "type": "process"})

    def nightly() -> dict[str, Any]:
        found = ask(api, key, "/deployments/filter", {"deployments": {"name": {"any_": ["nightly"]}}})
        return dict(next(one for one in found if one["parameters"].get("preset")))

    deploy(own_home, api, Schedule("0 3 * * *", "UTC", PRESET, []))
    deploy(own_home, api, Schedule("30 2 * * 1-5", "Europe/Berlin", "omniglot-protonet-5w1s", ["seed=3"]))
    held = nightly()
    assert [(one["schedule"]["cron"], one["schedule"]["timezone"]) for one in held["schedules"]] == [
        ("30 2 * * 1-5", "Europe/Berlin")
    ]
    assert held["parameters"] == {"preset": "omniglot-protonet-5w1s", "overrides": ["seed=3"]}
    (own_home.project / "prefect.yaml").write_text("deployments: []\n")
    with pytest.raises(PipelineError, match=r"prefect.yaml declares no one deployment called nightly .* from git"):
        deploy(own_home, api, Schedule("0 3 * * *", "UTC", PRESET, []))


class _Rounds:
    """A supervisor that has nothing to do, for a number of rounds."""

    def __init__(self, number: int) -> None:
        self._left = number

    def watch(self, seconds: float, remark: object) -> None:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt


def test_a_server_that_is_away_for_a_while_is_said_once_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Exception | None] = [
        httpx.ConnectError("away"),
        httpx.ConnectError("away"),
        None,
        httpx.ReadError(""),
    ]

    def free(*_: object) -> None:
        if (error := answers.pop(0)) is not None:
            raise error

    monkeypatch.setattr("flows.servers.up.free_crashed_runs", free)
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        look_after(Home(tmp_path, tmp_path), "http://127.0.0.1:1/api", _Rounds(4), said.append)  # type: ignore[arg-type]
    assert said == [
        "could not look for crashed runs (away); they are looked for every 20 s",
        "could not look for crashed runs (ReadError); they are looked for every 20 s",
    ]
