"""Settings: presets, overrides and what is said about wrong ones."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot.errors import UsageError
from fewshot.methods.inner_loop_settings import InnerLoopSettings
from fewshot.settings.episode_shape import EpisodeShape
from fewshot.settings.presets import list_presets, load_settings, preset_summary
from fewshot.settings.schema import Settings, setting_names, settings_from


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_is_valid_and_says_what_it_does(name: str, own_datasets: None) -> None:
    settings = load_settings(name)
    assert settings_from(settings.plain()) == settings
    assert preset_summary(name)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.stepz=3", "unknown setting 'train.stepz'; did you mean 'train.steps'?"),
        ("train.steps", "'train.steps' is not of the form setting=value"),
        ("train.steps=-1", "setting train.steps = -1: input should be greater than or equal to 0"),
        ("train.augment.crops=4", "unknown setting 'train.augment.crops'; did you mean 'train.augment.crop'?"),
        ("train.augment.jitter=1.5", "setting train.augment.jitter = 1.5: input should be less than or equal to 1"),
        ("data.dataset=omniglit", "unknown dataset 'omniglit'; did you mean 'omniglot'?"),
        ("data.split_scheme=vinyals", "unknown split scheme of glyphs 'vinyals'; choose one of: scripts"),
        ("evaluate.also=['digit']", "unknown dataset 'digit'; did you mean 'digits'?"),
        ("evaluate.also=[digits]", 'setting evaluate.also = \'[digits]\': a list is written ["a", "b"]'),
        ("method.name=mamml", "unknown method 'mamml'; did you mean 'maml'?"),
        ("method.inner_steps=2", "setting method.inner_steps does not belong to method protonet"),
        ("train.episode=1w1s", "'1w1s' is no episode shape; write way"),
        ("method.steps=2", "setting method.steps does not belong to method protonet"),
        ("backbone.drop=0.2", "setting backbone.drop does not belong to backbone conv4"),
        ("backbone.name=resnet18", "unknown backbone 'resnet18'; did you mean 'resnet12'?"),
        ("method.inner_stepz=2", "unknown setting 'method.inner_stepz'; did you mean 'method.inner_steps'?"),
        ("train.steps.more=2", "unknown setting 'train.steps.more'; did you mean 'train.steps'?"),
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


def test_a_preset_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.toml").write_text('[method]\nname = "maml"\n[train]\nsteps = 7\n')
    assert load_settings("my.toml", ["method.inner_steps=2"]).method == InnerLoopSettings(name="maml", inner_steps=2)
    assert load_settings("./my.toml").train.steps == 7
    with pytest.raises(UsageError, match=r"preset gone\.toml: there is no file .*gone\.toml; write the path of a TOML"):
        load_settings("gone.toml")
    (tmp_path / "broken.toml").write_text("steps = \n")
    with pytest.raises(UsageError, match=r"preset broken\.toml is not valid TOML"):
        load_settings("broken.toml")


def test_a_preset_is_found_by_the_name_of_an_earlier_release() -> None:
    assert load_settings("omniglot-metalearner-5w1s") == load_settings("omniglot-learned-optimizer-5w1s")


def test_overrides_reach_every_kind_of_value() -> None:
    settings = load_settings(
        overrides=["train.steps=7", "train.episode=7w2s3q", "method.name=maml", "method.inner_steps=4",
                   'evaluate.shapes=["5w1s", "20w5s15q"]', "register.model=mine", "train.learning_rate=1e-4"]
    )  # fmt: skip
    assert settings.train.steps == 7
    assert settings.train.episode == EpisodeShape(7, 2, 3)
    assert settings.method == InnerLoopSettings(name="maml", inner_steps=4)
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


@pytest.mark.parametrize("name", ["a/b", "it's", "a:b", 'a"b', "a\\b", "a\nb", "x" * 201])
def test_a_name_that_no_model_can_bear_is_said_before_anything_is_trained(name: str) -> None:
    with pytest.raises(UsageError, match=r"the model would be called .*; set register\.model"):
        load_settings(overrides=[f"register.model={json.dumps(name)}"])


def test_a_method_from_outside_lends_a_model_the_name_of_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "own.py").write_text("from fewshot.methods.protonet import ProtoNet\n")
    monkeypatch.chdir(tmp_path)
    settings = load_settings(overrides=["method.name=dir/own.py:ProtoNet"])
    assert (settings.model_name, settings.run_name) == ("glyphs-ProtoNet", "glyphs-ProtoNet-5w1s")


def test_the_order_of_overrides_does_not_matter_where_one_chooses_the_method() -> None:
    words = ["method.inner_steps=3", "method.name=maml"]
    for order in (words, words[::-1]):
        assert load_settings(overrides=order).method.inner_steps == 3  # type: ignore[attr-defined]


_PLAIN = settings_from({}).plain()
_PLACES = [(section,) for section in _PLAIN] + [
    (section, name) for section, values in _PLAIN.items() if isinstance(values, dict) for name in values
]
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


@given(st.sampled_from(_PLACES), _ANYTHING)
def test_whatever_stands_in_the_place_of_a_setting_is_taken_or_said(place: tuple[str, ...], value: object) -> None:
    values = json.loads(json.dumps(_PLAIN))
    (values if len(place) == 1 else values[place[0]])[place[-1]] = value
    with contextlib.suppress(UsageError):
        settings_from(values)
