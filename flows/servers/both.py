"""MLflow's and Prefect's servers of one project."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from fewshot.errors import PipelineError
from fewshot.project.paths import Home
from fewshot.system.files import write_bytes
from flows.servers.supervisor import Part, Supervisor

HOST = "127.0.0.1"


@contextmanager
def both_servers(home: Home, mlflow_port: int, prefect_port: int) -> Iterator[Supervisor]:
    """Run MLflow's and Prefect's servers during the block, under a supervisor that can take further parts.

    The block is entered when both answer. Raises PipelineError if a port is taken or one does not start.
    """
    from fewshot.tracking.store import Store

    taken = (("MLflow", mlflow_port, "--mlflow-port"), ("Prefect", prefect_port, "--prefect-port"))
    api = api_address(prefect_port)
    python = [sys.executable, "-m"]
    places = ["--backend-store-uri", home.tracking_uri, "--artifacts-destination", str(home.mlflow / "artifacts")]
    mlflow = ["mlflow", "server", "--host", HOST, "--port", str(mlflow_port), "--workers", "1", *places]
    prefect = ["prefect", "server", "start", "--host", HOST, "--port", str(prefect_port)]
    note, ours = home.prefect / "api-url", FileLock(home.file_lock("supervisor"))
    try:
        ours.acquire(timeout=0)
    except Timeout:
        raise PipelineError("fewshot ui or fewshot up is running in this project already; stop it first") from None
    supervisor = Supervisor(home.state / "supervised.json")
    try:
        for name, port, option in taken:
            _check_free(name, port, option)
        Store.open(home).connect()  # a new database is made by one process
        supervisor.start(
            Part("MLflow", [*python, *mlflow], home.mlflow / "server.log", f"http://{HOST}:{mlflow_port}/health")
        )
        supervisor.start(
            Part(
                "Prefect",
                [*python, *prefect],
                home.prefect / "server.log",
                f"{api}/health",
                # The page asks this address; it would ask port 4200 whatever the server's own port is.
                {"PREFECT_SERVER_UI_API_URL": api},
                # The lock that `fewshot run` holds while its own server brings a new database up to date.
                home.file_lock("prefect"),
            )
        )
        write_bytes(note, f"{api}\n".encode())
        yield supervisor
    finally:
        note.unlink(missing_ok=True)
        supervisor.stop()
        ours.release()


def api_address(port: int) -> str:
    """The API address of Prefect's server on a port of this machine."""
    return f"http://{HOST}:{port}/api"


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
