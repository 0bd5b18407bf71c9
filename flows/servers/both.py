"""MLflow's and Prefect's servers of one project."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from fewshot.errors import PipelineError, UsageError
from fewshot.project.fingerprints import SOURCES
from fewshot.project.paths import Home
from fewshot.system.files import write_bytes
from flows import steps
from flows.servers.damaged_database import set_aside
from flows.servers.guarded import HOST
from flows.servers.mlflow_server import mlflow_address, mlflow_command
from flows.servers.prefect_server import api_address, server_command, server_variables
from flows.servers.supervisor import Part, Supervisor


@contextmanager
def both_servers(home: Home, mlflow_port: int, prefect_port: int) -> Iterator[Supervisor]:
    """Run MLflow's and Prefect's servers during the block, under a supervisor that can take further parts.

    The block is entered when both answer. A server that MLFLOW_TRACKING_URI names is used as it is. Raises
    PipelineError if a port is taken or one does not start, UsageError if both are given the same port.
    """
    from fewshot.tracking.store import Store

    mlflow_is_there = home.tracking_uri.startswith(("http://", "https://"))
    wanted = [("Prefect", prefect_port, "--prefect-port")]
    if not mlflow_is_there:
        wanted.append(("MLflow", mlflow_port, "--mlflow-port"))
    if not mlflow_is_there and mlflow_port == prefect_port:
        raise UsageError(f"both pages would have port {prefect_port}; give two: --mlflow-port and --prefect-port")
    api = api_address(prefect_port)
    note, ours = home.prefect / "api-url", FileLock(home.file_lock("supervisor"))
    try:
        ours.acquire(timeout=0)
    except Timeout:
        raise PipelineError("fewshot ui or fewshot up is running in this project already; stop it first") from None
    supervisor = Supervisor(home.state / "supervised.json")
    try:
        for name, port, option in wanted:
            _check_free(name, port, option)
        Store.open(home).connect()  # a new database is made by one process
        if not mlflow_is_there:
            health = f"{mlflow_address(home.tracking_uri, mlflow_port)}/health"
            log = home.mlflow / "server.log"
            supervisor.start(Part("MLflow", mlflow_command(mlflow_port), log, health, {"PYTHONPATH": str(SOURCES)}))
        log = home.prefect / "server.log"
        prefect = Part(
            "Prefect",
            server_command(prefect_port),
            log,
            f"{api}/health",
            server_variables(home, prefect_port, has_page=True),
            # The lock that `fewshot run` holds while its own server brings a new database up to date.
            home.file_lock("prefect"),
        )
        since = log.stat().st_size if log.exists() else 0
        try:
            supervisor.start(prefect)
        except PipelineError:
            if not (said := set_aside(home, log, since)):
                raise
            steps.remark(said)
            supervisor.restart(prefect)
        write_bytes(note, f"{api}\n".encode())
        yield supervisor
    finally:
        note.unlink(missing_ok=True)
        supervisor.stop()
        ours.release()


def _check_free(name: str, port: int, option: str) -> None:
    with socket.socket() as probe:
        # A port whose last connections are still closing is free for a server, which sets the same option.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PipelineError(
                f"port {port} for {name} can't be used ({error.strerror}); choose another with {option}"
            ) from None
