"""Every setting of the pipeline, with its range and unit, and the presets that name good combinations."""

import re
import tomllib
from importlib import resources
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from fewshot.errors import UsageError, unknown

SPLITS: dict[str, tuple[str, ...]] = {
    "glyphs": ("scripts",),
    "digits": ("all",),
    "omniglot": ("vinyals", "background"),
}
"""The splits of each dataset; the first is the default."""


class EpisodeShape(NamedTuple):
    """The size of an episode: `way` classes, `shot` support and `query` query images of each. Written "5w1s15q"."""

    way: int
    shot: int
    query: int

    def __str__(self) -> str:
        return f"{self.way}w{self.shot}s{self.query}q"

    @property
    def task(self) -> str:
        """The task without the number of queries, as papers write it: "5w1s"."""
        return f"{self.way}w{self.shot}s"

    @classmethod
    def parse(cls, text: Any) -> "EpisodeShape":
        """Read "5w1s15q", or "5w1s" for 15 queries. Raises ValueError with the expected form."""
        if isinstance(text, EpisodeShape):
            return text
        found = re.fullmatch(r"(\d+)w(\d+)s(?:(\d+)q)?", str(text))
        shape = cls(int(found[1]), int(found[2]), int(found[3] or 15)) if found else cls(0, 0, 0)
        if shape.way < 2 or shape.shot < 1 or shape.query < 1:
            raise ValueError(f"'{text}' is no episode shape; write way (>= 2), shot and query, for example 5w1s15q")
        return shape


Shape = Annotated[EpisodeShape, BeforeValidator(EpisodeShape.parse), PlainSerializer(str)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSettings(_Frozen):
    """Which images, and which of their classes are for training."""

    dataset: str = Field("glyphs", description="name of a dataset; `fewshot data list` shows them")
    split: str = Field("", description="name of a split of the dataset; empty: its default")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        dataset = values.get("dataset", "glyphs")
        if dataset not in SPLITS:
            raise unknown("dataset", dataset, SPLITS)
        split = values.get("split") or SPLITS[dataset][0]
        if split not in SPLITS[dataset]:
            raise unknown(f"split of {dataset}", split, SPLITS[dataset])
        return {**values, "dataset": dataset, "split": split}


class BackboneSettings(_Frozen):
    """The network that turns an image into an embedding."""

    name: Literal["conv4"] = "conv4"
    form: Literal["pool", "strided"] = Field(
        "pool", description="pool: max-pooling, flattened (ProtoNet paper); strided: stride 2, mean (MAML's code)"
    )
    channels: int = Field(64, ge=1, description="filters of each convolution")


class ProtoNetSettings(_Frozen):
    """Prototypical Networks (Snell et al. 2017)."""

    name: Literal["protonet"] = "protonet"


class MAMLSettings(_Frozen):
    """Model-Agnostic Meta-Learning (Finn et al. 2017)."""

    name: Literal["maml"] = "maml"
    order: Literal["second", "first"] = Field("second", description="first: FOMAML, no gradient through the update")
    inner_steps: int = Field(1, ge=0, description="inner-loop steps in meta-training")
    inner_steps_test: int = Field(3, ge=0, description="inner-loop steps when a task is learned for use")
    inner_learning_rate: float = Field(0.4, gt=0)
    batch_norm: Literal["inductive", "transductive"] = Field(
        "inductive", description="statistics for a query at test: of the support set, or of all queries together"
    )
    backend: Literal["auto", "grouped", "loop"] = Field(
        "auto", description="grouped: tasks side by side as channel groups; loop: one by one; auto: grouped if it can"
    )


Method = Annotated[ProtoNetSettings | MAMLSettings, Field(discriminator="name")]


class TrainSettings(_Frozen):
    """Meta-training: Adam over episodes, with validation, early stopping and checkpoints."""

    episode: Shape = Field(EpisodeShape(20, 1, 5), description="shape of a training episode")
    tasks: int = Field(1, ge=1, description="episodes (tasks) in one step")
    steps: int = Field(1000, ge=1)
    learning_rate: float = Field(1e-3, gt=0, description="Adam's")
    schedule: Literal["constant", "cosine", "halving"] = "cosine"
    halve_every: int = Field(2000, ge=1, description="steps; for schedule = halving")
    weight_decay: float = Field(0.0, ge=0)
    gradient_clip: float = Field(10.0, gt=0, description="largest norm of the whole gradient")
    validate_every: int = Field(250, ge=1, description="steps between meta-validations")
    validation: Shape = Field(EpisodeShape(5, 1, 15), description="shape of the frozen meta-validation episodes")
    validation_episodes: int = Field(200, ge=2)
    patience: int = Field(0, ge=0, description="stop after so many validations without a better one; 0: never")
    checkpoint_every: int = Field(100, ge=1, description="steps")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 where it is faster")


class EvaluateSettings(_Frozen):
    """What is measured after training, on frozen test episodes."""

    shapes: tuple[Shape, ...] = Field((EpisodeShape(5, 1, 15), EpisodeShape(5, 5, 15)), min_length=1)
    episodes: int = Field(600, ge=2, description="episodes of each shape")
    also: tuple[str, ...] = Field((), description="further datasets, none of which was trained on")

    @model_validator(mode="after")
    def _known(self) -> "EvaluateSettings":
        for name in self.also:
            if name not in SPLITS:
                raise unknown("dataset", name, SPLITS)
        return self


class RegisterSettings(_Frozen):
    """Where the result is remembered."""

    experiment: str = Field("fewshot", min_length=1, description="MLflow experiment")
    model: str = Field("", description="registered model; empty: dataset-method")


METHODS = ("protonet", "maml")
"""The names of the methods."""


class Settings(_Frozen):
    """The whole pipeline. Two runs with equal settings, data, code and environment give the same weights."""

    seed: int = Field(0, ge=0)
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto: CUDA, then MPS, then CPU")
    threads: int = Field(0, ge=0, description="CPU threads; 0: one for each core")
    data: DataSettings = DataSettings()
    backbone: BackboneSettings = BackboneSettings()
    method: Method = ProtoNetSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    register_: RegisterSettings = Field(RegisterSettings(), alias="register")

    @property
    def model_name(self) -> str:
        """The name of the registered model."""
        return self.register_.model or f"{self.data.dataset}-{self.method.name}"

    @property
    def run_name(self) -> str:
        """dataset-method-way-shot, the shot and way being those of the first evaluated shape."""
        return f"{self.data.dataset}-{self.method.name}-{self.evaluate.shapes[0].task}"

    def plain(self) -> dict[str, Any]:
        """As plain JSON values: `Settings.model_validate(settings.plain())` gives the settings back."""
        return self.model_dump(mode="json", by_alias=True)


DEFAULT_PRESET = "glyphs-protonet-5w1s"


def preset_names() -> list[str]:
    """The names of the presets that come with the package."""
    return sorted(file.name.removesuffix(".toml") for file in _presets() if file.name.endswith(".toml"))


def preset_summary(name: str) -> str:
    """The header of a preset: what it trains, its accuracy, the time it takes."""
    lines = _preset_text(name).splitlines()
    header = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    return "\n".join(header)


def load_settings(preset: str = DEFAULT_PRESET, overrides: list[str] | None = None) -> Settings:
    """A preset with `overrides` such as "train.steps=2000". A wrong name or value raises UsageError."""
    values = tomllib.loads(_preset_text(preset))
    for override in overrides or []:
        _apply(values, override)
    return settings_from(values)


def settings_from(values: dict[str, Any]) -> Settings:
    """Settings from plain values; an unknown or wrong one raises UsageError that names it and the nearest."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise _usage_error(error) from None


def setting_names(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """The dotted names of all settings, those of every method included."""
    names = []
    for key, field in model.model_fields.items():
        name = prefix + (field.alias or key)
        inner = [kind for kind in _models_in(field.annotation)]
        names += [deep for kind in inner for deep in setting_names(kind, name + ".")] or [name]
    return sorted(set(names))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    kinds = getattr(annotation, "__args__", (annotation,))
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]


def _presets() -> Any:
    return resources.files("fewshot").joinpath("presets").iterdir()


def _preset_text(name: str) -> str:
    if name not in preset_names():
        raise unknown("preset", name, preset_names())
    return resources.files("fewshot").joinpath("presets", f"{name}.toml").read_text(encoding="utf-8")


def _apply(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals:
        raise UsageError(f"'{override}' is not of the form setting=value, for example train.steps=2000")
    if name not in setting_names():
        raise unknown("setting", name, setting_names())
    *parents, last = name.split(".")
    place = values
    for parent in parents:
        place = place.setdefault(parent, {})
    if name == "method.name" and place.get("name") != text:
        place.clear()  # the other method's settings mean nothing to this one
    place[last] = _value(text)


def _value(text: str) -> Any:
    """Read a value as TOML would, and plain words as a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _usage_error(error: ValidationError) -> UsageError:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in METHODS]
    name = ".".join(place)
    if first["type"] == "extra_forbidden":
        if name in setting_names():
            return UsageError(f"setting {name} does not belong to method {first['loc'][1]}")
        return unknown("setting", name, setting_names())
    if first["type"] == "union_tag_invalid":
        return unknown(name, str(first["input"]["name"]), METHODS)
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "tuple_type":
        reason = 'a list is written ["a", "b"]'
    return UsageError(f"setting {name} = {first['input']!r}: {reason[0].lower()}{reason[1:]}")
