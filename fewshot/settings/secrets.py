"""Settings that are secrets. They are used, and never written: not to a record, a model, a tag, a log or an error."""

import os
from collections.abc import Iterable
from typing import Annotated

from pydantic import AnyHttpUrl, BeforeValidator, PlainSerializer, SecretStr, TypeAdapter, ValidationError

VARIABLES = {"notify.webhook": "FEWSHOT_WEBHOOK"}
"""Secret setting -> the environment variable that holds it, from which child processes take it, too."""


def take_secrets(overrides: Iterable[str]) -> list[str]:
    """The overrides without those of secrets, which are moved into this process's environment.

    What a flow is called with is kept by Prefect and shown on its page.
    """
    left = []
    for override in overrides:
        name, _, value = override.partition("=")
        if name in VARIABLES:
            os.environ[VARIABLES[name]] = value.strip("\"'")
        else:
            left.append(override)
    return left


def webhook_variable() -> SecretStr:
    """The webhook that the environment names; empty: none."""
    return SecretStr(os.environ.get(VARIABLES["notify.webhook"], ""))


def _checked(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if text:
        try:
            TypeAdapter(AnyHttpUrl).validate_python(text)
        except ValidationError as error:
            # Without the value, which stands in the error's own text.
            raise ValueError(f"it is no http or https address: {error.errors()[0]['msg'].lower()}") from None
    return value


SecretAddress = Annotated[SecretStr, BeforeValidator(_checked), PlainSerializer(lambda _: "")]
"""An http or https address; as a plain value it is empty."""
