"""MLflow's server behind the guard, as a process of its own: `python -m flows.servers.mlflow_server PORT`.

`mlflow server` itself lets in any page of this machine, whatever its port, and its host check knows no tunnel.
"""

import sys

from fewshot.project.paths import find_home
from fewshot.tracking.server import application
from flows.servers.guarded import HOST, serve


def mlflow_address(tracking_uri: str, port: int) -> str:
    """The address of MLflow's page: ours on a port of this machine, or that of a server that is there."""
    return tracking_uri if tracking_uri.startswith(("http://", "https://")) else f"http://{HOST}:{port}"


def mlflow_command(port: int) -> list[str]:
    """The command that runs the server. The database's address may hold a password: it is no argument."""
    return [sys.executable, "-m", __name__, str(port)]


if __name__ == "__main__":
    serve(application(find_home()), int(sys.argv[1]))
