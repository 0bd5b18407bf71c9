"""Every setting of the pipeline, with its range and unit. A method and a backbone declare their own in their file."""

from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from fewshot.errors import UsageError, unknown
from fewshot.settings.base import BackboneSettings, Immutable, MethodSettings
from fewshot.settings.datasets import check_scheme
from fewshot.settings.episode_shape import EpisodeShape, Shape
from fewshot.settings.plugins import Kind, find, names
from fewshot.settings.secrets import VARIABLES, SecretAddress, webhook_variable
from fewshot.settings.training import TrainSettings


class DataSettings(Immutable):
    """The images, and the division of their classes into splits.

    A model keeps these names and is loaded where nobody declares them: `check_data` asks whether they are known here.
    """

    dataset: str = Field("glyphs", description="name of a dataset; `fewshot data list` shows them")
    split_scheme: str = Field("", description="name of a split scheme of the dataset; empty: its default")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
            return values  # the fields' own types say what is wrong
        dataset, scheme = values.get("dataset", "glyphs"), values.get("split_scheme", "")
        return {**values, "dataset": dataset, "split_scheme": scheme or check_scheme(dataset)}


class EvaluateSettings(Immutable):
    """What is measured after training, on fixed test episodes."""

    shapes: tuple[Shape, ...] = Field((EpisodeShape(5, 1, 15), EpisodeShape(5, 5, 15)), min_length=1)
    episodes: int = Field(600, ge=2, description="episodes of each shape")
    also: tuple[str, ...] = Field((), description="further datasets, none of which was trained on")


class RegisterSettings(Immutable):
    """Where the result is remembered."""

    experiment: str = Field("fewshot", min_length=1, description="MLflow experiment")
    model: str = Field("", description="registered model, without / : and quotes; empty: dataset-method")


class GateSettings(Immutable):
    """When a challenger takes the champion's place; see `fewshot.promotion.gate`."""

    alpha: float = Field(0.05, gt=0, lt=1, description="chance, in a year, to promote a model that is no better")
    tests_per_year: int = Field(365, ge=1, description="challengers tested in 365 days, at most; each spends its part")
    margin: float = Field(0.0, ge=0, lt=1, description="by how much it must be better, as a share: 0.01 is a point")
    shape: Shape = Field(EpisodeShape(5, 1, 15), description="shape of the fixed gate episodes")
    episodes: int = Field(600, ge=30, description="gate episodes")
    max_calibration_error: float | None = Field(None, ge=0, le=1, description="expected calibration error, at most")
    max_latency_ms: float | None = Field(None, gt=0, description="least time to learn a task and answer, at most")


class CleanSettings(Immutable):
    """Removal of what nothing needs, after a retraining; see `fewshot clean`."""

    keep_days: int = Field(0, ge=0, le=36_500, description="days that what nothing needs is kept; 0: for ever")


class NotifySettings(Immutable):
    """Who is told how a retraining ended."""

    webhook: SecretAddress = Field(
        default_factory=webhook_variable,
        description="address that gets a POST of JSON; it is a secret, better given as FEWSHOT_WEBHOOK; empty: none",
    )


def chosen_by_name(kind: Kind, values: Any) -> Any:
    """The settings of a method or backbone, by the class that its name stands for; no name: the default one."""
    if not isinstance(values, dict):
        return values
    named = {"name": names(kind)[0]} | values
    found = find(kind, str(named["name"]))
    try:
        return found.Settings.model_validate(named)
    except ValidationError as error:
        raise _usage_error(error, kind, str(named["name"])) from None


ChosenMethod = Annotated[SerializeAsAny[MethodSettings], BeforeValidator(partial(chosen_by_name, "method"))]
ChosenBackbone = Annotated[SerializeAsAny[BackboneSettings], BeforeValidator(partial(chosen_by_name, "backbone"))]


class Settings(Immutable):
    """The whole pipeline. Two runs with equal settings, data, code and environment give the same weights."""

    seed: int = Field(0, ge=0)
    device: str = Field("auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto: CUDA, then MPS, then CPU")
    threads: int = Field(0, ge=0, le=1024, description="CPU threads; 0: one for each core")
    data: DataSettings = DataSettings()
    backbone: ChosenBackbone = Field(default_factory=partial(chosen_by_name, "backbone", {}))
    method: ChosenMethod = Field(default_factory=partial(chosen_by_name, "method", {}))
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    gate: GateSettings = GateSettings()
    register_: RegisterSettings = Field(RegisterSettings(), alias="register")
    clean: CleanSettings = CleanSettings()
    notify: NotifySettings = Field(default_factory=NotifySettings)

    @property
    def model_name(self) -> str:
        """The name of the registered model; of a method from outside, its class is named."""
        return self.register_.model or f"{self.data.dataset}-{self._method}"

    @property
    def run_name(self) -> str:
        """dataset-method-way-shot, the shot and way being those of the first evaluated shape."""
        return f"{self.data.dataset}-{self._method}-{self.evaluate.shapes[0].task}"

    @property
    def _method(self) -> str:
        return self.method.name.rpartition(":")[2]

    def plain(self) -> dict[str, Any]:
        """As plain JSON values: `Settings.model_validate(settings.plain())` gives them back, but for secrets."""
        return self.model_dump(mode="json", by_alias=True)


def settings_from(values: dict[str, Any]) -> Settings:
    """Settings from plain values; an unknown or wrong one raises UsageError that names it and the nearest."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise _usage_error(error) from None


def check_data(settings: Settings) -> None:
    """UsageError, with the nearest name, for a dataset or split scheme that is not known here."""
    check_scheme(settings.data.dataset, settings.data.split_scheme)
    for name in settings.evaluate.also:
        check_scheme(name)


def notify_settings() -> NotifySettings:
    """Who is told, as the environment says; UsageError for a wrong address."""
    try:
        return NotifySettings()
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"{VARIABLES['notify.webhook']}: {reason}") from None


def setting_names() -> list[str]:
    """The dotted names of all settings, those of every method and backbone of this package included."""
    kinds: tuple[Kind, ...] = ("method", "backbone")
    own = {f"{kind}.{key}" for kind in kinds for name in names(kind) for key in find(kind, name).Settings.model_fields}
    return sorted(own.union(_names_in(Settings)))


def fixed_setting_names() -> list[str]:
    """The dotted names of all settings but those that belong to one method or backbone. Imports none of them."""
    return sorted(_names_in(Settings))


def _names_in(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for key, field in model.model_fields.items():
        name, inner = prefix + (field.alias or key), field.annotation
        section = isinstance(inner, type) and issubclass(inner, BaseModel)
        found += _names_in(inner, name + ".") if section else [name]  # type: ignore[arg-type]
    return found


def _usage_error(error: ValidationError, kind: Kind | None = None, chosen: str = "") -> UsageError:
    """The first of pydantic's findings in our words; `kind` is the section that was validated, by what it names."""
    first = error.errors()[0]
    name = ".".join([*([kind] if kind else []), *(str(part) for part in first["loc"])])
    if first["type"] == "extra_forbidden":
        known = setting_names()
        if kind and ":" in chosen:
            known = sorted(f"{kind}.{key}" for key in find(kind, chosen).Settings.model_fields)
        elif name in known:
            return UsageError(f"setting {name} does not belong to {kind} {chosen}")
        return unknown("setting", name, known)
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "tuple_type":
        reason = 'a list is written ["a", "b"]'
    value = "***" if name in VARIABLES else repr(first["input"])
    return UsageError(f"setting {name} = {value}: {reason[0].lower()}{reason[1:]}")
