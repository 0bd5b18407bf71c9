"""Presets, which name good combinations of settings, and what a user changes in one."""

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from fewshot.errors import UsageError, unknown
from fewshot.migrations import RENAMED_METHODS, RENAMED_PRESETS, RENAMED_SETTINGS, migrate_settings
from fewshot.settings.schema import Settings, check_data, fixed_setting_names, setting_names, settings_from

DEFAULT_PRESET = "glyphs-protonet-5w1s"

_NAMES = ("method.name", "backbone.name")

_UNNAMEABLE = re.compile(r"[/:'\"\\\x00-\x1f\x7f]|.{200}")
"""MLflow refuses a model's name with one of the first two, and asks for names in quotes."""


def list_presets() -> list[str]:
    """The names of the presets that come with the package."""
    return sorted(file.name.removesuffix(".toml") for file in _presets() if file.name.endswith(".toml"))


def preset_summary(name: str) -> str:
    """The header of a preset: what it trains, its accuracy, the time it takes."""
    lines = _preset_text(name).splitlines()
    header = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    return "\n".join(header)


def load_settings(preset: str | Path = DEFAULT_PRESET, overrides: list[str] | None = None) -> Settings:
    """A preset, by name or as the path of a TOML file, with `overrides` such as "train.steps=2000".

    A missing file, or a wrong name or value, raises UsageError.
    """
    if isinstance(overrides, str):
        raise UsageError(f"overrides={overrides!r}: give a list of settings, such as [{overrides!r}]")
    try:
        values = migrate_settings(tomllib.loads(_preset_text(str(preset))), is_chosen=True)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"preset {preset} is not valid TOML: {error}") from None
    # Names first: the settings of a method are kept whether they stand before it or after it.
    for override in sorted(overrides or [], key=lambda one: one.partition("=")[0] not in _NAMES):
        _apply(values, override)
    settings = settings_from(values)
    check_data(settings)
    if wrong := _UNNAMEABLE.search(settings.model_name):
        name = settings.model_name
        raise UsageError(f"the model would be called {name!r}, but no name may hold {wrong[0]!r}; set register.model")
    return settings


def _presets() -> Any:
    return resources.files("fewshot.settings").joinpath("presets").iterdir()


def _preset_text(preset: str) -> str:
    if preset.endswith(".toml") or "/" in preset:
        file = Path(preset)
        if not file.is_file():
            raise UsageError(
                f"preset {preset}: there is no file {file.resolve()}; write the path of a TOML file or the name of a "
                "preset (`fewshot presets` lists them)"
            )
        return file.read_text(encoding="utf-8")
    name = RENAMED_PRESETS.get(preset, preset)
    if name not in list_presets():
        raise unknown("preset", name, list_presets())
    return resources.files("fewshot.settings").joinpath("presets", f"{name}.toml").read_text(encoding="utf-8")


def _apply(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals:
        raise UsageError(f"'{override}' is not of the form setting=value, for example train.steps=2000")
    name = RENAMED_SETTINGS.get(name, name)
    if name == "method.name":
        text = RENAMED_METHODS.get(text, text)
    *parents, last = name.split(".")
    if parents not in (["method"], ["backbone"]) and name not in fixed_setting_names():
        raise unknown("setting", name, setting_names())
    place = values
    for parent in parents:
        place = place.setdefault(parent, {})
    if last == "name" and place.get("name") != text:
        place.clear()  # the settings of the other method or backbone mean nothing to this one
    place[last] = _value(text)


def _value(text: str) -> Any:
    """Read a value as TOML would, and plain words as a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
