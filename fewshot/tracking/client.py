"""MLflow's client, and its errors in our words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fewshot.errors import RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_NO_ANSWER = re.compile(r"API request to \S+ failed with (timeout )?exception")


class Client:
    """A client of MLflow, every call of which raises RegistryError where MLflow raises an error of its own."""

    def __init__(self, client: "MlflowClient", uri: str) -> None:
        self._client, self._uri = client, uri

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def call_in_our_words(*arguments: Any, **options: Any) -> Any:
            with mlflow_errors(self._uri):
                return call(*arguments, **options)

        return call_in_our_words


@contextmanager
def mlflow_errors(uri: str) -> Iterator[None]:
    """Turn MLflow's errors into a RegistryError that says where MLflow was looked for."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except MlflowException as error:
        raise RegistryError(f"MLflow at {uri}{_in_words(error)}") from error
    except SQLAlchemyError as error:
        said = str(error).partition("\n")[0]
        raise RegistryError(
            f"MLflow at {uri}: its database can't be used ({said}); restore a copy of it, or move it away: the next "
            "run makes a new one, with the runs whose results are still there"
        ) from error


def error_code(error: RegistryError) -> str:
    """MLflow's code of an error, such as "RESOURCE_DOES_NOT_EXIST"; empty if the error is not one of MLflow's."""
    return str(getattr(error.__cause__, "error_code", ""))


def _in_words(error: Exception) -> str:
    """The message of an error of MLflow's, and the remedy where it is known."""
    if _NO_ANSWER.search(str(error)):
        return (
            " does not answer; start that server, or unset MLFLOW_TRACKING_URI, and run the same command again: "
            "what is done already is kept"
        )
    # SQLAlchemy begins with a remark in brackets about itself, then says what is wrong.
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("(raised as")]
    return f": {lines[0] if lines else repr(error)}"
