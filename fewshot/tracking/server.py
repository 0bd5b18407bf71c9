"""MLflow's server as an application of this process, so that a guard can stand before it."""

import os
from typing import Any

from fewshot.project.paths import Home


def application(home: Home) -> Any:
    """The ASGI application that `mlflow server` runs, on a project's database; artifacts travel through it.

    It is told by the same environment variables, which are set in this process.
    """
    from mlflow.server import constants

    # Every port: that of an SSH tunnel is another. Its own list holds names such as 10.evil.example.
    names = ("127.0.0.1", "127.0.0.1:*", "localhost", "localhost:*", "[::1]", "[[]::1]:*")
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: home.tracking_uri,
        constants.REGISTRY_STORE_URI_ENV_VAR: home.tracking_uri,
        constants.ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        constants.ARTIFACTS_DESTINATION_ENV_VAR: str(home.mlflow / "artifacts"),
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(names),
    }
    from mlflow.server.fastapi_app import app

    return app
