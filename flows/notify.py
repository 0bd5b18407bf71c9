"""Notifications about the end of a retraining: an event in Prefect, and a POST of the same JSON to a webhook."""

from typing import Any

from prefect.events import emit_event
from pydantic import SecretStr

from fewshot.promotion.webhook import tell_webhook
from flows import steps


def notify(webhook: SecretStr, outcome: dict[str, Any]) -> None:
    """Emit `fewshot.retrain.<outcome>` about the model, and send the outcome to `webhook` if one is set.

    A listener that can't be told causes a remark, never an error: it does not decide how a retraining ends.
    """
    resource = {"prefect.resource.id": f"fewshot.model.{outcome['model']}", "prefect.resource.name": outcome["model"]}
    try:
        emit_event(f"fewshot.retrain.{outcome['outcome'].replace(' ', '-')}", resource, payload=outcome)
    except Exception as error:
        steps.remark(f"Prefect did not take the event of the end: {type(error).__name__}")
    if said := tell_webhook(webhook, outcome):
        steps.remark(said)
