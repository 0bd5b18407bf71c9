"""fewshot: learn to classify images from a handful of examples a class.

dataset = fewshot.Dataset.from_arrays(images, labels)
result = fewshot.train(fewshot.load_settings(), dataset)
print(fewshot.evaluate(fewshot.load_model(result.model), dataset).results)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewshot.backbones.encoder_list import list_encoders
    from fewshot.classifier import FewShotClassifier
    from fewshot.data.dataset import Dataset, open_dataset
    from fewshot.data.torch_loader import EpisodeBatchSampler, collate
    from fewshot.errors import (
        DamagedFileError,
        DataError,
        FewshotError,
        Interrupted,
        PipelineError,
        RegistryError,
        TrainingError,
        UsageError,
    )
    from fewshot.evaluation.evaluate import evaluate
    from fewshot.model import Model, load_model
    from fewshot.settings.lists import list_backbones, list_datasets, list_methods
    from fewshot.settings.presets import list_presets, load_settings
    from fewshot.settings.schema import Settings
    from fewshot.training.loop import train

__version__ = "0.1.0"

__all__ = [
    "DamagedFileError",
    "DataError",
    "Dataset",
    "EpisodeBatchSampler",
    "FewShotClassifier",
    "FewshotError",
    "Interrupted",
    "Model",
    "PipelineError",
    "RegistryError",
    "Settings",
    "TrainingError",
    "UsageError",
    "collate",
    "evaluate",
    "list_backbones",
    "list_datasets",
    "list_encoders",
    "list_methods",
    "list_presets",
    "load_model",
    "load_settings",
    "open_dataset",
    "train",
]

_PLACES = {
    "fewshot.backbones.encoder_list": ("list_encoders",),
    "fewshot.classifier": ("FewShotClassifier",),
    "fewshot.data.dataset": ("Dataset", "open_dataset"),
    "fewshot.data.torch_loader": ("EpisodeBatchSampler", "collate"),
    "fewshot.errors": tuple(name for name in __all__ if name.endswith("Error") or name == "Interrupted"),
    "fewshot.evaluation.evaluate": ("evaluate",),
    "fewshot.model": ("Model", "load_model"),
    "fewshot.settings.lists": ("list_backbones", "list_datasets", "list_methods"),
    "fewshot.settings.presets": ("list_presets", "load_settings"),
    "fewshot.settings.schema": ("Settings",),
    "fewshot.training.loop": ("train",),
}
_PLACE_OF = {name: module for module, names in _PLACES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used: `import fewshot` itself takes no time."""
    if name not in _PLACE_OF:
        raise AttributeError(f"module 'fewshot' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(import_module(_PLACE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
