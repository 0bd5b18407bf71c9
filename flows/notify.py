"""Notifications about the end of a retraining: an event in Prefect, and a POST of the same JSON to a webhook."""

import time
from typing import Any

import httpx
from prefect.events import emit_event

from flows import steps

TRIES, TIMEOUT_S, WAIT_S = 3, 10.0, 2.0


def notify(webhook: str, outcome: dict[str, Any]) -> None:
    """Emit `fewshot.retrain.<outcome>` about the model, and send the outcome to `webhook` if one is set.

    A listener must never decide how a retraining ends: a webhook that can't be reached causes a remark, not an error.
    """
    resource = {"prefect.resource.id": f"fewshot.model.{outcome['model']}", "prefect.resource.name": outcome["model"]}
    emit_event(f"fewshot.retrain.{outcome['outcome'].replace(' ', '-')}", resource, payload=outcome)
    if webhook:
        _post(webhook, outcome)


def _post(webhook: str, outcome: dict[str, Any]) -> None:
    said = ""
    for number in range(TRIES):
        time.sleep(WAIT_S if number else 0)
        try:
            httpx.post(webhook, json=outcome, timeout=TIMEOUT_S).raise_for_status()
            return
        except httpx.HTTPError as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
    steps.remark(f"the webhook {webhook} was not told in {TRIES} tries: {said}")
