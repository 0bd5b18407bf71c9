"""The POST to a webhook that says how a retraining or a rollback ended. The address is a secret and is never said."""

import logging
import time
from typing import Any

import httpx
from pydantic import SecretStr

TRIES, TIMEOUT_S, WAIT_S = 3, 10.0, 2.0


def tell_webhook(webhook: SecretStr, outcome: dict[str, Any]) -> str:
    """Send the outcome as JSON; returns a sentence if nobody took it, else "".

    It never raises: a listener does not decide how the work that it hears of ends.
    """
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log the address
    if not (address := webhook.get_secret_value()):
        return ""
    said = ""
    for number in range(TRIES):
        time.sleep(WAIT_S if number else 0)
        try:
            status = httpx.post(address, json=outcome, timeout=TIMEOUT_S).status_code
            if status < 400:
                return ""
            said = f"status {status}"
        except Exception as error:  # of whatever kind: an address that can't be read, a proxy that can't be used
            said = (str(error).partition("\n")[0] or type(error).__name__).replace(address, "its address")
    return f"the webhook was not told in {TRIES} tries: {said}"
