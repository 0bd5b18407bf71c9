"""The result of a finished training, and whether a folder holds one."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fewshot.errors import DamagedFileError, UsageError
from fewshot.migrations import FORMAT, format_of, migrate_numbers
from fewshot.system.files import read_json, sha256_file, sha256_json, write_json
from fewshot.training.checkpoint import is_of_another
from fewshot.training.identity import TrainingIdentity

_REMEDY = "train again"


@dataclass(frozen=True)
class TrainResult:
    """A finished training."""

    model: Path
    """Folder with model.json and weights.safetensors: the weights of the best validation."""
    weights_sha256: str
    history: Path
    """JSON file: {"points": [{"step", "loss", "accuracy", "learning_rate", "tasks_per_s", and where a validation
    was made "val_accuracy", "val_ci95"}, ...]}; accuracies in [0, 1]. A training of no steps has one point, with the
    validation alone, or none."""
    steps: int
    best_step: int
    best_val_accuracy: float | None
    """None, as best_val_ci95, where nothing was validated: a training of no steps on data without val classes."""
    best_val_ci95: float | None
    seconds: float
    device: str
    precision: str


def write_result(folder: Path, result: TrainResult, identity: str) -> None:
    """Write the file that says that the training of this identity is finished."""
    values: dict[str, Any] = {key: value for key, value in asdict(result).items() if not isinstance(value, Path)}
    write_json(folder / "result.json", {"format": FORMAT, "run": identity, **values})


def read_result(folder: Path, identity: TrainingIdentity) -> TrainResult | None:
    """The result in `folder`, if the training there is finished and its files are whole.

    Raises UsageError, which names the differences, if anything there is of a training of another identity.
    """
    try:
        stored = read_json(folder / "result.json", _REMEDY)
    except DamagedFileError:
        if _holds_another(folder, identity):
            raise _of_another(folder, identity) from None
        return None
    format_of(stored, folder / "result.json")
    values = migrate_numbers(stored)
    if values.pop("run") != identity.digest:
        raise _of_another(folder, identity)
    values.pop("format", None)
    try:
        whole = sha256_file(folder / "model" / "weights.safetensors") == values["weights_sha256"]
        read_json(folder / "history.json", _REMEDY)
        read_json(folder / "model" / "model.json", _REMEDY)
    except (DamagedFileError, FileNotFoundError):
        return None
    return TrainResult(model=folder / "model", history=folder / "history.json", **values) if whole else None


def read_history(file: Path) -> list[dict[str, Any]]:
    """The points of the training curve in a `history.json`, of this or an earlier format."""
    return [migrate_numbers(point) for point in read_json(file, _REMEDY)["points"]]


def _holds_another(folder: Path, identity: TrainingIdentity) -> bool:
    """True if a folder without a whole result holds something of another training."""
    if is_of_another(folder, identity.digest):
        return True
    try:
        named = sha256_json(read_json(folder / "run.json", _REMEDY))
    except DamagedFileError:
        return False
    # A training that was ended before its first checkpoint left nothing to mix with.
    return named != identity.digest and ((folder / "model").exists() or any(folder.glob("checkpoint-*")))


def _of_another(folder: Path, identity: TrainingIdentity) -> UsageError:
    return UsageError(
        f"{folder} holds a training of {_differences(folder, identity)}; choose another folder or delete it"
    )


def _differences(folder: Path, identity: TrainingIdentity) -> str:
    try:
        found = identity.differences(read_json(folder / "run.json", _REMEDY))
    except DamagedFileError:
        found = []
    return "; ".join(found) or "other settings, data or code"
