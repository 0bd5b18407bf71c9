"""Settings that are secrets: used, never written."""

import pytest

from fewshot.errors import UsageError
from fewshot.migrations import migrate_settings
from fewshot.settings.presets import load_settings
from fewshot.settings.schema import notify_settings, settings_from
from fewshot.settings.secrets import take_secrets

ADDRESS = "https://hooks.example/services/T0/B0/planted"


def test_a_webhook_is_read_and_in_no_plain_value_and_no_text_of_the_settings() -> None:
    settings = load_settings(overrides=[f"notify.webhook={ADDRESS}"])
    assert settings.notify.webhook.get_secret_value() == ADDRESS
    assert settings.plain()["notify"] == {"webhook": ""}
    assert "planted" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert settings_from(settings.plain()).notify.webhook.get_secret_value() == ""


def test_the_environment_names_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_WEBHOOK", ADDRESS)
    assert load_settings().notify.webhook.get_secret_value() == ADDRESS
    assert notify_settings().webhook.get_secret_value() == ADDRESS
    monkeypatch.setenv("FEWSHOT_WEBHOOK", "planted")
    for load in (load_settings, notify_settings):
        with pytest.raises(UsageError, match="it is no http or https address") as caught:
            load()
        assert "planted" not in str(caught.value)


def test_what_a_flow_is_called_with_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_WEBHOOK", "")
    assert take_secrets(["seed=1", f'notify.webhook="{ADDRESS}"', "train.steps=2"]) == ["seed=1", "train.steps=2"]
    assert load_settings().notify.webhook.get_secret_value() == ADDRESS


@pytest.mark.parametrize(
    "value", ["http://127.0.0.1:80:80/planted", "ftp://planted", "planted", "http://", "//planted"]
)
def test_a_wrong_address_is_said_without_it(value: str) -> None:
    with pytest.raises(UsageError, match=r"setting notify.webhook = \*\*\*: it is no http or https address") as caught:
        load_settings(overrides=[f"notify.webhook={value}"])
    assert "planted" not in str(caught.value)


def test_what_an_earlier_release_stored_is_not_shown() -> None:
    assert migrate_settings({"notify": {"webhook": ADDRESS}, "seed": 1}) == {"notify": {"webhook": ""}, "seed": 1}
