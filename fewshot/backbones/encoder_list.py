"""A tested choice of pretrained encoders, with what one wants to know before choosing one."""

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class EncoderSummary:
    """A pretrained encoder: what it costs and gives, and the settings that choose it."""

    name: str
    """A short name for lite0, timm's name of network and weights for the others."""
    settings: tuple[str, ...]
    """Overrides for `load_settings`, such as "backbone.name=lite0"."""
    licence: str
    """Of the weights."""
    trained_on: str
    parameters: int
    """Without the classifier."""
    embedding: int
    """Values of an embedding."""
    side: int
    """Pixels of a side of its images."""
    images_per_second: float
    """As `measured_on` says."""
    is_here: bool
    """True if the weights are on this machine; the others are fetched when they are first needed."""

    @property
    def megabytes(self) -> float:
        """Size of the weights in float32."""
        return self.parameters * 4 / 1e6


def list_encoders() -> tuple[EncoderSummary, ...]:
    """The encoders that are tested with this package. Any other network of timm works by its name, too."""
    from fewshot.backbones import lite0, published

    found = []
    for entry in _content()["encoder"]:
        name, own = entry["name"], entry["backbone"] == "lite0"
        chosen = ["backbone.name=lite0"] if own else ["backbone.name=timm", f"backbone.network={name}"]
        found.append(
            EncoderSummary(
                name,
                (*chosen, *([f"backbone.size={entry['size']}"] if "size" in entry else [])),
                entry["licence"],
                entry["trained_on"],
                entry["parameters"],
                entry["embedding"],
                entry["side"],
                entry["images_per_second"],
                lite0.is_here() if own else published.is_here(name),
            )
        )
    return tuple(found)


def measured_on() -> str:
    """The conditions under which the speeds of `list_encoders` were measured."""
    how = _content()["measured"]
    return (
        f"{how['threads']} thread of {how['machine']}, batches of {how['batch']} in {how['precision']}, {how['date']}, "
        "random weights where the published ones were not there"
    )


def _content() -> dict[str, Any]:
    return tomllib.loads(resources.files(__package__).joinpath("encoders.toml").read_text(encoding="utf-8"))
