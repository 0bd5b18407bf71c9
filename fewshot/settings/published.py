"""Published split schemes, which come with the package: one JSON file for each dataset."""

import json
from functools import cache
from importlib import resources
from typing import Any

from fewshot.errors import unknown

_END = "-splits.json"


def published_schemes() -> tuple[str, ...]:
    """The published split schemes, as a declaration names them: "omniglot/vinyals"."""
    files = sorted(file.name for file in _folder().iterdir() if file.name.endswith(_END))
    return tuple(
        f"{place}/{scheme}" for place in (file.removesuffix(_END) for file in files) for scheme in _schemes_of(place)
    )


def published_scheme(scheme: str) -> dict[str, Any]:
    """The definition of a published split scheme. UsageError, with the nearest name, for an unknown one."""
    if scheme not in published_schemes():
        raise unknown("published split scheme", scheme, published_schemes())
    place, _, name = scheme.rpartition("/")
    return dict(_schemes_of(place)[name])


def published_classes(scheme: str) -> list[str]:
    """All classes of a published scheme that lists them by name, sorted. UsageError for an unknown one."""
    return sorted(name for names in published_scheme(scheme).get("classes", {}).values() for name in names)


@cache
def _schemes_of(place: str) -> dict[str, Any]:
    return dict(json.loads(_folder().joinpath(f"{place}{_END}").read_text(encoding="utf-8"))["splits"])


def _folder() -> Any:
    return resources.files("fewshot.data").joinpath("published")
