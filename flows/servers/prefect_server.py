"""Prefect's server behind a guard, as a process of its own: `python -m flows.servers.prefect_server PORT [PARENT]`.

With a PARENT it has no page and no scheduler, and ends when that process is gone.
"""

import sys
from collections.abc import Mapping

from fewshot.project.fingerprints import SOURCES
from fewshot.project.paths import Home
from fewshot.project.server_key import server_key
from flows.servers.guard import ENTER, ENTER_PAGE
from flows.servers.guarded import HOST, serve


def api_address(port: int) -> str:
    """The API address of Prefect's server on a port of this machine."""
    return f"http://{HOST}:{port}/api"


def server_command(port: int, parent: int | None = None) -> list[str]:
    """The command that runs a server."""
    return [sys.executable, "-m", __name__, str(port), *([str(parent)] if parent else [])]


def server_variables(home: Home, port: int, has_page: bool) -> Mapping[str, str]:
    """The environment variables of a server, over those of this process."""
    # What Prefect sets for an embedded server of its own, for one with neither page nor scheduler.
    embedded = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"}
    # The page asks the server that it is from, by whichever name and through whichever tunnel; it would ask port 4200.
    page = {"PREFECT_SERVER_UI_API_URL": "/api"}
    return {
        "PYTHONPATH": str(SOURCES),
        "PREFECT__SERVER_FINAL": "1",
        "PREFECT_SERVER_API_AUTH_STRING": server_key(home),
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port}",
        **(page if has_page else embedded),
    }


if __name__ == "__main__":
    from prefect.server.api.server import create_app

    _parent = int(sys.argv[2]) if len(sys.argv) > 2 else None
    serve(create_app(), int(sys.argv[1]), {ENTER: ENTER_PAGE}, _parent)  # type: ignore[arg-type]
