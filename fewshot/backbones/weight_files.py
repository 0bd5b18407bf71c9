"""Published weights in safetensors files: read whole, checked, never run."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fewshot.errors import DamagedFileError, UsageError
from fewshot.system.files import refuse_special

_PICKLE, _ZIP = b"\x80", b"PK\x03\x04"
"""First bytes of the files that torch.save and numpy.savez write."""


def read_tensors(file: Path, remedy: str) -> dict[str, Tensor]:
    """All tensors of a safetensors file. UsageError for a pickle, DamagedFileError, with `remedy`, for what is damaged.

    Each number must be finite.
    """
    refuse_pickle(file)
    try:
        with safe_open(file, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise DamagedFileError(f"{file} is no whole safetensors file ({error}); {remedy}") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DamagedFileError(f"{file}: {name} holds numbers that are not finite; {remedy}")
    return tensors


def check_safetensors(file: Path) -> None:
    """DamagedFileError for a file that is cut off or no safetensors file. Its head alone is read."""
    try:
        with safe_open(file, framework="pt"):
            return
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(f"{file.name} is no whole safetensors file ({error})") from None


def refuse_pickle(file: Path) -> None:
    """UsageError for weights as torch.save or NumPy writes them, by content, whatever their name."""
    refuse_special(file)
    if not file.is_file():
        raise UsageError(f"there is no file {file}; give the path of a .safetensors file")
    with file.open("rb") as opened:
        first = opened.read(4)
    if first.startswith(_PICKLE) or first == _ZIP:
        raise UsageError(
            f"{file} is a pickle or an archive of one, which runs code when it is read; give the same weights as a "
            ".safetensors file (safetensors.torch.save_file writes one, on a machine where you trust the pickle)"
        )


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values, in hexadecimal; whatever the device, layout or order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous(memory_format=torch.contiguous_format)
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        values: Any = tensor.reshape(-1).view(torch.uint8).numpy()
        digest.update(values)
    return digest.hexdigest()
