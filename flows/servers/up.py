"""`fewshot up`: both servers, a worker and the schedule on one machine, and a check that they all answer."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from fewshot.errors import FewshotError
from fewshot.project.doctor import Finding
from fewshot.project.paths import Home
from fewshot.project.server_key import server_key
from flows.servers.both import both_servers
from flows.servers.ephemeral_prefect import running_api
from flows.servers.prefect_http import ask
from flows.servers.prefect_server import api_address
from flows.servers.schedule import NIGHTLY, Schedule, deploy
from flows.servers.supervisor import Part, Supervisor

POOL = "local"
SWEEP_S = 20.0
"""Seconds between looks for runs whose process was killed."""


@contextmanager
def everything(home: Home, mlflow_port: int, prefect_port: int, schedule: Schedule) -> Iterator[Supervisor]:
    """Run servers, worker and deployments during the block; `retrain` runs as the schedule says."""
    with both_servers(home, mlflow_port, prefect_port) as supervisor:
        api = api_address(prefect_port)
        worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
        supervisor.start(
            Part(
                "worker",
                [*worker, "--name", "fewshot-up"],
                home.prefect / "worker.log",
                f"{api}/work_pools/{POOL}",  # which a new worker makes
                {"PREFECT_API_URL": api, "PREFECT_API_AUTH_STRING": server_key(home)},
                key=server_key(home),
            )
        )
        deploy(home, api, schedule)
        yield supervisor


def check(home: Home) -> list[Finding]:
    """Ask the servers of a running `fewshot up` for each part."""
    api = running_api(home)
    if api is None:
        return [Finding("Prefect", False, "no server of this project answers; start: fewshot up")]
    findings = [Finding("Prefect", True, f"answers at {api}")]
    key = server_key(home)
    workers = ask(api, key, f"/work_pools/{POOL}/workers/filter", {})
    online = [worker["name"] for worker in workers or [] if worker["status"] == "ONLINE"]
    findings.append(Finding("worker", bool(online), ", ".join(online) or f"none is online in the pool {POOL}"))
    deployed = {one["name"]: one for one in ask(api, key, "/deployments/filter", {}) or []}
    nightly = deployed.get(NIGHTLY.partition("/")[2])
    held = [one["schedule"] for one in (nightly or {}).get("schedules", []) if one["active"]]
    active = [f"{one.get('cron', '')} ({one.get('timezone') or 'UTC'})" for one in held]
    when = f"retrain at {', '.join(active)}" if active else "none is active; start fewshot up again"
    return [*findings, Finding("schedule", bool(active), when)]


def look_after(home: Home, api: str, supervisor: Supervisor, remark: Callable[[str], None]) -> None:
    """Watch the parts and free crashed runs until PipelineError or Ctrl-C.

    A server that does not answer for a while, as one on another machine may, is said once and asked again.
    """
    lost = ""
    while True:
        supervisor.watch(SWEEP_S, remark)
        try:
            free_crashed_runs(home, api, remark)
            lost = ""
        except (FewshotError, httpx.HTTPError) as error:
            said = (str(error) or type(error).__name__).partition("\n")[0]
            if said != lost:
                remark(f"could not look for crashed runs ({said}); they are looked for every {SWEEP_S:.0f} s")
            lost = said


def free_crashed_runs(home: Home, api: str, remark: Callable[[str], None]) -> None:
    """Mark flow runs and MLflow runs whose process was killed, so that nothing waits for them."""
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    from fewshot.tracking.runs import mark_crashed_runs
    from fewshot.tracking.store import Store
    from flows.crashed_runs import mark_crashed_flow_runs

    with temporary_settings({PREFECT_API_URL: api, PREFECT_API_AUTH_STRING: server_key(home)}):
        for dead in (*mark_crashed_flow_runs(home), *mark_crashed_runs(Store.open(home))):
            remark(f"run {dead} was left behind by a process that was killed; it is marked so now")
