"""Settings: presets, overrides and what is said about wrong ones."""

import pytest

from fewshot.errors import UsageError
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.settings.methods import MAMLSettings
from fewshot.settings.presets import list_presets, load_settings, preset_summary
from fewshot.settings.schema import Settings, setting_names, settings_from


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_is_valid_and_says_what_it_does(name: str) -> None:
    settings = load_settings(name)
    assert settings_from(settings.plain()) == settings
    assert preset_summary(name)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.stepz=3", "unknown setting 'train.stepz'; did you mean 'train.steps'?"),
        ("train.steps", "'train.steps' is not of the form setting=value"),
        ("train.steps=0", "setting train.steps = 0: input should be greater than or equal to 1"),
        ("data.dataset=omniglit", "unknown dataset 'omniglit'; did you mean 'omniglot'?"),
        ("data.split_scheme=vinyals", "unknown split scheme of glyphs 'vinyals'; choose one of: scripts"),
        ("evaluate.also=['digit']", "unknown dataset 'digit'; did you mean 'digits'?"),
        ("evaluate.also=[digits]", 'setting evaluate.also = \'[digits]\': a list is written ["a", "b"]'),
        ("method.name=mamml", "unknown method 'mamml'; did you mean 'maml'?"),
        ("method.inner_steps=2", "setting method.inner_steps does not belong to method protonet"),
        ("train.episode=1w1s", "'1w1s' is no episode shape; write way"),
        ("device=tpu", "setting device = 'tpu'"),
    ],
)
def test_wrong_settings_are_named(override: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(overrides=[override])
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown preset 'glyphs-protonet'; did you mean 'glyphs-protonet-5w1s'"):
        load_settings("glyphs-protonet")


def test_overrides_reach_every_kind_of_value() -> None:
    settings = load_settings(
        overrides=["train.steps=7", "train.episode=7w2s3q", "method.name=maml", "method.inner_steps=4",
                   'evaluate.shapes=["5w1s", "20w5s15q"]', "register.model=mine", "train.learning_rate=1e-4"]
    )  # fmt: skip
    assert settings.train.steps == 7
    assert settings.train.episode == EpisodeShape(7, 2, 3)
    assert settings.method == MAMLSettings(inner_steps=4)
    assert settings.evaluate.shapes == (EpisodeShape(5, 1, 15), EpisodeShape(20, 5, 15))
    assert settings.model_name == "mine"
    assert settings.train.learning_rate == 1e-4


def test_changing_the_dataset_changes_its_split() -> None:
    assert load_settings(overrides=["data.dataset=omniglot"]).data.split_scheme == "vinyals"


def test_names_say_dataset_method_way_and_shot() -> None:
    settings = Settings()
    assert settings.run_name == "glyphs-protonet-5w1s"
    assert settings.model_name == "glyphs-protonet"


def test_every_setting_has_a_dotted_name() -> None:
    assert {"seed", "train.steps", "method.inner_steps", "register.model", "data.dataset"} <= set(setting_names())


def test_settings_are_frozen() -> None:
    with pytest.raises(Exception, match="frozen"):
        Settings().seed = 3  # type: ignore[misc]
