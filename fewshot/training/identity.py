"""The identity of a training: everything that its weights depend on. Two trainings of one identity are one training."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fewshot.data.dataset import Dataset
from fewshot.migrations import FORMAT
from fewshot.project.fingerprints import SOURCES, code_hashes, pick, requirements_hash
from fewshot.settings.plugins import code_entries
from fewshot.settings.schema import Settings
from fewshot.system.files import sha256_json

TRAINING_KEYS = ("seed", "device", "threads", "data", "backbone", "method", "train")
"""The settings that decide the weights."""
ENTRY = "fewshot.training.loop"
"""The module by which a training enters the library."""


@dataclass(frozen=True)
class TrainingIdentity:
    """The ingredients of a training's weights, each comparable by name."""

    settings: dict[str, Any]
    """Those below TRAINING_KEYS, flat: {"train.steps": 400, ...}."""
    data: dict[str, str]
    """Dataset -> `Dataset.digest`."""
    code: dict[str, str]
    """Module -> hash of its syntax tree, for each module that the training reaches by import or by name."""
    requirements: str
    """SHA-256 of requirements.lock, or "none"."""

    @property
    def ingredients(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**vars(self), "format": FORMAT}

    @property
    def code_key(self) -> str:
        """One hash over the code."""
        return sha256_json(self.code)

    @property
    def digest(self) -> str:
        """SHA-256 of the ingredients."""
        return sha256_json(self.ingredients)

    @property
    def name(self) -> str:
        """The name of the training's folder and of its stored result."""
        return f"meta-train-{self.digest[:32]}"

    def differences(self, other: dict[str, Any]) -> list[str]:
        """Differences from the `ingredients` of another training, one phrase each."""
        if other.get("format") != FORMAT:
            return ["an earlier version of fewshot"]
        found = [
            f"setting {name}: {other['settings'].get(name)} there, {self.settings.get(name)} now"
            for name in sorted(self.settings.keys() | other["settings"].keys())
            if self.settings.get(name) != other["settings"].get(name)
        ]
        found += ["other data"] if other["data"] != self.data else []
        changed = sorted(
            name for name in self.code.keys() | other["code"].keys() if self.code.get(name) != other["code"].get(name)
        )
        found += [f"other code of {', '.join(changed)}"] if changed else []
        return found + (["another requirements.lock"] if other["requirements"] != self.requirements else [])


def identity_of(settings: Settings, data: dict[str, str], sources: Path = SOURCES) -> TrainingIdentity:
    """The identity of a training with these settings on data of these digests, by the code below `sources`."""
    entries = (ENTRY, *code_entries(settings))
    code = {module: digest for entry in entries for module, digest in _code(entry, sources).items()}
    chosen = pick(settings.plain(), TRAINING_KEYS)
    if digest := settings.backbone.weights_sha256:  # a path says nothing of what is in the file
        chosen["backbone.weights_sha256"] = digest
    return TrainingIdentity(chosen, data, code, requirements_hash(sources))


def training_identity(settings: Settings, dataset: Dataset) -> TrainingIdentity:
    """The identity of a training with these settings on an opened dataset."""
    return identity_of(settings, {dataset.name: dataset.digest})


@cache
def _code_of_package(entry: str, sources: Path) -> tuple[tuple[str, str], ...]:
    # Cached for the life of the process: the code that it runs is the one that it imported.
    return tuple(code_hashes(entry, sources).items())


def _code(entry: str, sources: Path) -> dict[str, str]:
    # A user's file is loaded again when it has changed.
    return code_hashes(entry, sources) if entry.endswith(".py") else dict(_code_of_package(entry, sources))
