"""The deployments of prefect.yaml on this machine's server, the nightly one at the time that the user named."""

import asyncio
import os
import subprocess
import sys
from typing import Any, NamedTuple

import yaml

from fewshot.errors import DataError, PipelineError, UsageError
from fewshot.project.paths import Home
from fewshot.project.server_key import server_key
from fewshot.system.files import write_bytes
from fewshot.system.yaml_files import read_yaml

NIGHTLY = "retrain/nightly"
MANUAL = "pipeline/manual"

_HOW = 'write minute hour day month weekday, for example "0 3 * * *" for three o\'clock each night'


class Schedule(NamedTuple):
    """When to retrain, and what."""

    cron: str
    timezone: str
    """A name of the IANA database, such as Europe/Berlin."""
    preset: str
    overrides: list[str]


def check_schedule(schedule: Schedule) -> None:
    """UsageError for times that cron does not know, or an unknown time zone. Imports Prefect, which decides."""
    from prefect.server.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    said = f"cron={schedule.cron!r}"
    try:
        when = CronSchedule(cron=schedule.cron, timezone="UTC")
    except ValidationError:
        raise UsageError(f"{said} is no time that cron knows; {_HOW}") from None
    if (fields := len(schedule.cron.split())) != 5 and not schedule.cron.strip().startswith("@"):
        # Prefect takes a sixth one for seconds: "0 3 * * * *" is sixty retrainings in a minute.
        raise UsageError(f"{said} has {fields} fields, and cron has five; {_HOW}")
    try:
        asyncio.run(when.get_dates(n=1))
    except ValueError:
        # Prefect's scheduler fails at it, each time that it plans the coming runs.
        raise UsageError(f"{said} is a time that never comes; {_HOW}") from None
    try:
        # An empty one would be the time zone of whichever machine the server runs on.
        CronSchedule(cron=schedule.cron, timezone=schedule.timezone or "?")
    except ValidationError:
        raise UsageError(f"unknown time zone {schedule.timezone!r}; write it as Europe/Berlin or UTC") from None


def deploy(home: Home, api: str, schedule: Schedule) -> None:
    """Deploy both flows. The schedule stands in place of the one in prefect.yaml, and of that of an earlier time."""
    file = home.prefect / "deployments.yaml"
    write_bytes(file, yaml.safe_dump(_declared(home, schedule), sort_keys=False).encode())
    command = ["prefect", "--no-prompt", "deploy", "--prefect-file", str(file), "--name", NIGHTLY, "--name", MANUAL]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=home.project,
        env={**os.environ, "PREFECT_API_URL": api, "PREFECT_API_AUTH_STRING": server_key(home)},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise PipelineError(f"prefect deploy failed: {lines[-1] if lines else 'it says nothing'}")


def _declared(home: Home, schedule: Schedule) -> dict[str, Any]:
    """What prefect.yaml declares, with the schedule in it."""
    place = home.project / "prefect.yaml"
    try:
        declared = read_yaml(place)
        [nightly] = [one for one in declared["deployments"] if one["name"] == NIGHTLY.partition("/")[2]]
    except (DataError, KeyError, TypeError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise PipelineError(
            f"{place} declares no one deployment called nightly ({said}); restore it from git"
        ) from None
    nightly["schedules"] = [{"cron": schedule.cron, "timezone": schedule.timezone}]
    nightly["parameters"] = {"preset": schedule.preset, "overrides": schedule.overrides}
    return dict(declared)
