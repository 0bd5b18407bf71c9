"""State of earlier releases stays readable: models, records, versions, settings."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from earlier_state import LEGACY

from fewshot.errors import DamagedFileError, UsageError
from fewshot.migrations import FORMAT, migrate_description, migrate_numbers, migrate_settings
from fewshot.model import describe_model, load_model, save_model
from fewshot.settings.presets import load_settings
from fewshot.settings.schema import settings_from
from fewshot.system.files import read_json, write_json

EXPECTED = json.loads((LEGACY / "models" / "answers.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(EXPECTED["probabilities"]))
def test_a_model_folder_of_format_1_predicts_what_it_predicted(name: str) -> None:
    numbers = np.random.default_rng(EXPECTED["seed"])
    support, query = (numbers.integers(0, 256, EXPECTED[what], dtype=np.uint8) for what in ("support", "query"))
    model = load_model(LEGACY / "models" / name, "cpu")
    found = model.predict_proba(model.fit(list(support)), query)
    np.testing.assert_allclose(found, EXPECTED["probabilities"][name], atol=2e-4)


def test_a_migrated_description_is_that_of_this_release(tmp_path: Path) -> None:
    folder = LEGACY / "models" / "metalearner"
    description = describe_model(folder)
    assert description.settings.method.name == "learned_optimizer"
    assert description.data.split_scheme == "scripts"
    model = load_model(folder, "cpu")
    save_model(tmp_path, model.method.state_dict(), description.settings, description.image_shape, description.data)
    written = describe_model(tmp_path)
    assert replace(written, settings_values={}) == replace(description, settings_values={})
    assert settings_from(written.settings_values) == settings_from(description.settings_values)
    assert read_json(tmp_path / "model.json", "")["format"] == FORMAT


def test_migrating_twice_is_migrating_once() -> None:
    stored = read_json(LEGACY / "models" / "metalearner" / "model.json", "")
    once = migrate_description(stored)
    assert migrate_description(once) == once
    assert migrate_settings(once["settings"]) == once["settings"]
    settings_from(once["settings"])


def test_numbers_of_format_1_have_their_intervals_by_the_present_name() -> None:
    old = {"champion": {"accuracy": 0.5, "interval": 0.1}, "points": [{"val_interval": 0.2, "step": 3}]}
    new = {"champion": {"accuracy": 0.5, "ci95": 0.1}, "points": [{"val_ci95": 0.2, "step": 3}]}
    assert migrate_numbers(old) == migrate_numbers(new) == new


@pytest.mark.parametrize("number", [FORMAT + 1, 0, "x", None])
def test_a_format_of_a_later_release_is_named(tmp_path: Path, number: object) -> None:
    write_json(tmp_path / "model.json", {"format": number, "settings": {}})
    with pytest.raises(DamagedFileError, match=r"model\.json has format .*; this release reads formats 1 to 2"):
        describe_model(tmp_path)


def test_renamed_settings_and_presets_are_read_by_their_old_names() -> None:
    old = load_settings("omniglot-metalearner-5w1s", ["method.name=metalearner", "data.split=background"])
    assert (old.method.name, old.data.split_scheme) == ("learned_optimizer", "background")
    with pytest.raises(UsageError, match=r"unknown setting 'data.spilt'; did you mean 'data.split_scheme'"):
        load_settings(overrides=["data.spilt=background"])
