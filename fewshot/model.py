"""A meta-trained model as a folder: `weights.safetensors` and `model.json`, nothing that runs code when it is read."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fewshot.errors import DamagedFileError
from fewshot.methods.base import Method
from fewshot.methods.build import build_method
from fewshot.settings.plugins import warn_of_changed_sources
from fewshot.settings.schema import Settings, settings_from
from fewshot.system.device import Compute, pick_precision
from fewshot.system.files import read_json, sha256_file, write_bytes, write_json

REMEDY = "delete the folder and train again"


def save_model(
    folder: Path,
    weights: dict[str, Tensor],
    settings: Settings,
    image_shape: tuple[int, int, int],
    data: dict[str, Any],
    sources: dict[str, str] | None = None,
) -> str:
    """Write a model folder; returns the SHA-256 of the weights file.

    `data` describes the training data; `sources` is what `plugin_sources` returns.
    """
    write_bytes(folder / "weights.safetensors", save({name: plain(tensor) for name, tensor in weights.items()}))
    digest = sha256_file(folder / "weights.safetensors")
    description = {
        "weights_sha256": digest,
        "image_shape": list(image_shape),
        "settings": settings.plain(),
        "data": data,
        "sources": sources or {},
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
    warn_of_changed_sources(description.get("sources", {}), settings)
    settings = settings.model_copy(update={"backbone": settings.backbone.without_download()})
    method = build_method(settings, tuple(description["image_shape"]), len(description["data"]["classes"]))
    try:
        method.load_state_dict(load(path.read_bytes()))
    except (SafetensorError, RuntimeError) as error:
        raise DamagedFileError(f"{path} does not fit its model.json ({error}); {REMEDY}") from None
    return method.to(device).eval()


def compute_of(folder: Path, device: torch.device) -> Compute:
    """The context in which the method of a model folder is used: the number format of its training."""
    train = describe_model(folder)["settings"]["train"]
    return Compute(device, pick_precision(train["precision"], device))


def plain(tensor: Tensor) -> Tensor:
    """A tensor on the CPU in plain row-major layout, as safetensors wants it."""
    return tensor.detach().cpu().contiguous(memory_format=torch.contiguous_format)
