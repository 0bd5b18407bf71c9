"""The names that settings take."""

from fewshot.settings.datasets import dataset_names
from fewshot.settings.methods import METHODS
from fewshot.settings.schema import BACKBONES


def list_methods() -> tuple[str, ...]:
    """The methods that `method.name` takes."""
    return METHODS


def list_backbones() -> tuple[str, ...]:
    """The networks that `backbone.name` takes."""
    return BACKBONES


def list_datasets() -> tuple[str, ...]:
    """The datasets that `data.dataset` takes."""
    return dataset_names()
