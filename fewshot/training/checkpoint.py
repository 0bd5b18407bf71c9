"""Checkpoints of meta-training: one file that holds everything a run needs to go on, to the bit.

A checkpoint is a safetensors file whose name carries its step and the digest of its bytes, so that writing it is one
atomic rename and a damaged one is known by its name. Randomness needs no state: episodes are a function of the step.
"""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from fewshot.model import plain
from fewshot.system.files import canonical_json, write_bytes

log = logging.getLogger(__name__)

KEPT = 2
"""Checkpoints on disk: the newest, and the one before in case that is damaged."""


@dataclass
class TrainingState:
    """How far a training has come, apart from tensors."""

    run: str
    """Digest of the settings and the data: a checkpoint of another run is never taken up."""
    step: int = 0
    best_step: int = 0
    best_accuracy: float | None = None
    """Before the first validation: None, as best_ci95."""
    best_ci95: float | None = None
    validations_without_better: int = 0
    seconds: float = 0.0
    """Time spent so far, over all sessions."""
    points: list[dict[str, Any]] = field(default_factory=list)
    """The training curve: one dict of numbers for each logged step."""


def save_checkpoint(
    folder: Path, state: TrainingState, method: nn.Module, best: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> Path:
    """Write a checkpoint of `state.step`, then delete all but the newest two."""
    tensors = {f"model/{name}": tensor for name, tensor in method.state_dict().items()}
    tensors |= {f"best/{name}": tensor for name, tensor in best.items()}
    for index, of_parameter in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": tensor for name, tensor in of_parameter.items()}
    metadata = {"progress": canonical_json(asdict(state))}
    content = save({name: plain(tensor) for name, tensor in tensors.items()}, metadata=metadata)
    digest = hashlib.sha256(content).hexdigest()[:32]
    path = folder / f"checkpoint-{state.step:08d}-{digest}.safetensors"
    write_bytes(path, content)
    for old in sorted(folder.glob("checkpoint-*.safetensors"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def is_of_another(folder: Path, run: str) -> bool:
    """True if the folder holds a whole checkpoint of another run, which a training there would mix with its own."""
    for path in folder.glob("checkpoint-*.safetensors"):
        try:
            with safe_open(path, framework="pt") as file:
                if json.loads((file.metadata() or {})["progress"])["run"] != run:
                    return True
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):  # damaged: it is deleted when it is read
            continue
    return False


def load_checkpoint(
    folder: Path, run: str, method: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[TrainingState, dict[str, Tensor]] | None:
    """Put the newest whole checkpoint of `run` into `method` and `optimizer`; returns its state and best weights.

    A damaged file is named in a warning, and deleted, and the one before is taken; None when there is none at all.
    """
    damaged = False
    for path in sorted(folder.glob("checkpoint-*.safetensors"), reverse=True):
        if hashlib.sha256(path.read_bytes()).hexdigest()[:32] != path.stem.rpartition("-")[2]:
            log.warning("%s is damaged and was deleted", path)
            # Left there, it counts as one of the newest, and every checkpoint of an earlier step is deleted for it.
            path.unlink(missing_ok=True)
            damaged = True
            continue
        with safe_open(path, framework="pt") as file:
            stored = json.loads(file.metadata()["progress"])
            if stored["run"] != run:  # of another training, perhaps of an earlier format
                continue
            state = TrainingState(**stored)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _restore(tensors, method, optimizer)
        if damaged:
            log.warning("going on from the checkpoint before, of step %d", state.step)
        return state, _below(tensors, "best/")
    if damaged:
        log.warning("no whole checkpoint is left in %s; the training begins anew", folder)
    return None


def _restore(tensors: dict[str, Tensor], method: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    method.load_state_dict(_below(tensors, "model/"))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _below(tensors, "optimizer/").items():
        index, _, key = name.partition("/")
        parameter = parameters[int(index)]
        # The moments take the parameter's memory layout, as they had it when they were made.
        like = torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
        state.setdefault(int(index), {})[key] = like
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
