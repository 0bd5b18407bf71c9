"""The two files of a model folder, read as those of a stranger: everything in them is checked before it is used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fewshot.errors import DamagedFileError
from fewshot.migrations import format_of, migrate_description
from fewshot.system.files import read_json

REMEDY = "delete the folder and train again"

_LARGEST = 2**24
"""Bytes of a model.json, most of which are names of classes; in memory it may take twenty times as much."""

_Side = Annotated[int, Field(ge=1, le=4096, strict=True)]


class _Data(BaseModel):
    """The values of a `fewshot.model.TrainingData`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    dataset: str
    split_scheme: str
    digest: str
    classes: list[str]


class _Encoder(BaseModel):
    """The values of a `fewshot.backbones.encoder_record.EncoderRecord`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    licence: str
    is_carried: bool


class Description(BaseModel):
    """The content of `model.json`, migrated."""

    model_config = ConfigDict(extra="allow")
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    image_shape: tuple[Annotated[int, Field(ge=1, le=16, strict=True)], _Side, _Side]
    settings: dict[str, Any]
    data: _Data
    encoder: _Encoder | None = None
    sources: dict[str, str]


def read_description(file: Path) -> Description:
    """`model.json` of this or an earlier format. DamagedFileError that says what is wrong with it."""
    if not file.exists():
        raise DamagedFileError(f"{file.parent} holds no model.json; give the folder of a model, as training wrote it")
    if file.is_file() and file.stat().st_size > _LARGEST:
        raise DamagedFileError(f"{file} is larger than any description of a model; {REMEDY}")
    try:
        stored = read_json(file, REMEDY)
        format_of(stored, file)
        return Description.model_validate(migrate_description(stored))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        said = f"{name}: {first['msg'].lower()}"
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        said = f"{type(error).__name__} {error}".partition("\n")[0]
    except RecursionError:
        said = "it is nested too deeply"
    raise DamagedFileError(f"{file} is no description of a model ({said}); {REMEDY}")


def read_weights(file: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a weights file; of those that are expected only names, shapes and types are looked at.

    They are compared with what the file's head says of itself before anything is read. DamagedFileError that names the
    first tensor that does not fit, or holds a number that is not finite.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            _compare(file, {name: opened.get_slice(name) for name in opened.keys()}, expected)  # noqa: SIM118
            tensors = {name: opened.get_tensor(name) for name in expected}
    except (SafetensorError, OSError, RuntimeError, ValueError, RecursionError, MemoryError) as error:
        raise DamagedFileError(f"{file} is no whole file of weights ({error}); {REMEDY}") from None
    for name, tensor in tensors.items():
        if tensor.dtype != expected[name].dtype:
            raise _does_not_fit(file, f"{name} is {tensor.dtype}, not {expected[name].dtype}")
        if not torch.isfinite(tensor).all():
            raise _does_not_fit(file, f"{name} holds numbers that are not finite")
    return tensors


def _compare(file: Path, there: Mapping[str, Any], expected: Mapping[str, Tensor]) -> None:
    for name in sorted(there.keys() ^ expected.keys()):
        raise _does_not_fit(file, f"{name} is {'not expected' if name in there else 'missing'}")
    for name, tensor in expected.items():
        if tuple(shape := there[name].get_shape()) != tuple(tensor.shape):
            raise _does_not_fit(file, f"{name} is {shape}, not {list(tensor.shape)}")


def _does_not_fit(file: Path, said: str) -> DamagedFileError:
    return DamagedFileError(f"{file} does not fit its model.json ({said}); {REMEDY}")
