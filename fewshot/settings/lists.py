"""The names that settings take."""

from fewshot.settings.datasets import dataset_names
from fewshot.settings.plugins import names


def list_methods() -> tuple[str, ...]:
    """The methods that `method.name` takes."""
    return names("method")


def list_backbones() -> tuple[str, ...]:
    """The networks that `backbone.name` takes."""
    return names("backbone")


def list_datasets() -> tuple[str, ...]:
    """The datasets that `data.dataset` takes."""
    return dataset_names()
