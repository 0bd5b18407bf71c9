"""A meta-trained model as a folder: `weights.safetensors` and `model.json`, nothing that runs code when it is read."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fewshot.errors import DamagedFileError
from fewshot.methods import build_method
from fewshot.methods.base import Method
from fewshot.settings.schema import Settings, TorchvisionSettings, settings_from
from fewshot.system.device import pick_precision
from fewshot.system.files import read_json, sha256_file, write_bytes, write_json

REMEDY = "delete the folder and train again"


def save_model(
    folder: Path,
    weights: dict[str, Tensor],
    settings: Settings,
    image_shape: tuple[int, int, int],
    data: dict[str, Any],
) -> str:
    """Write a model folder. `data` says what it learned from. Returns the SHA-256 of the weights file."""
    write_bytes(folder / "weights.safetensors", save({name: plain(tensor) for name, tensor in weights.items()}))
    digest = sha256_file(folder / "weights.safetensors")
    description = {
        "weights_sha256": digest,
        "image_shape": list(image_shape),
        "settings": settings.plain(),
        "data": data,
    }
    write_json(folder / "model.json", description)
    return digest


def describe_model(folder: Path) -> dict[str, Any]:
    """What `model.json` says: "weights_sha256", "image_shape", "settings" and "data"."""
    return read_json(folder / "model.json", REMEDY)


def load_model(folder: Path, device: torch.device) -> Method:
    """The method of a model folder, in evaluation mode. A missing or damaged file raises DamagedFileError."""
    description = describe_model(folder)
    path = folder / "weights.safetensors"
    if not path.exists() or sha256_file(path) != description["weights_sha256"]:
        raise DamagedFileError(f"{path} is missing or damaged (its digest differs from model.json); {REMEDY}")
    settings = settings_from(description["settings"])
    method = build_method(
        _without_download(settings), tuple(description["image_shape"]), len(description["data"]["classes"])
    )
    method.precision = pick_precision(settings.train.precision, device)
    try:
        method.load_state_dict(load(path.read_bytes()))
    except (SafetensorError, RuntimeError) as error:
        raise DamagedFileError(f"{path} does not fit its model.json ({error}); {REMEDY}") from None
    return method.to(device).eval()


def _without_download(settings: Settings) -> Settings:
    """Settings whose network doesn't begin with published weights, as its own are about to be loaded."""
    if not isinstance(settings.backbone, TorchvisionSettings):
        return settings
    return settings.model_copy(update={"backbone": settings.backbone.model_copy(update={"weights": ""})})


def plain(tensor: Tensor) -> Tensor:
    """A tensor on the CPU in plain row-major layout, as safetensors wants it."""
    return tensor.detach().cpu().contiguous(memory_format=torch.contiguous_format)
