"""The interface that every network that embeds images implements."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from fewshot.backbones.preprocessing import Preprocessing
from fewshot.settings.base import BackboneSettings

NEARLY_ALL = 0.9
"""Share of a network's parameters; a part that holds more is looked into for blocks."""


class Backbone(nn.Module, ABC):
    """A network from images to embeddings, which are its last feature maps, flattened or averaged over places.

    It is built as `Net(image_shape, settings)`, image_shape being (channel, height, width) of the images.
    """

    Settings: ClassVar[type[BackboneSettings]] = BackboneSettings
    """The settings of this network."""
    map_shape: tuple[int, int, int]
    """(channel, height, width) of the last feature maps."""
    averages = False
    """True if an embedding is the mean of the maps over height and width, instead of all their values."""
    is_random = False
    """True if it drops something at random in training."""
    frozen = False
    """True for a network that no training changes."""
    preprocessing: Preprocessing | None = None
    """The pixels that it was pretrained on; None: it takes the images of the pack as they are."""

    @property
    def out_features(self) -> int:
        """The length of an embedding."""
        channels, height, width = self.map_shape
        return channels if self.averages else channels * height * width

    @property
    def encoder_digest(self) -> str:
        """SHA-256 of all that the embedding of an image depends on, for a network that never changes; "" for others.

        It covers weights, preprocessing and definition, and is computed at each call, which takes up to a second.
        """
        return ""

    def block_of(self, parameter: str) -> int:
        """The block that a parameter belongs to, by its name; 0 is the one nearest to the image.

        Here: its place among the parts of the network, in the order in which they are defined. A part that holds nearly
        all parameters, such as a container around the layers, is not one block but looked into. A parameter that is in
        none of the parts belongs to the first.
        """
        return next((place for place, prefix in enumerate(self._block_prefixes) if parameter.startswith(prefix)), 0)

    @cached_property
    def _block_prefixes(self) -> list[str]:
        return _prefixes_of_blocks(self)

    @abstractmethod
    def maps(self, images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image feature h w"]:
        """The last feature maps of images."""

    def forward(self, images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image feature"]:
        """Embeddings of images."""
        maps = self.maps(images)
        return maps.mean((2, 3)) if self.averages else maps.flatten(1)


def _prefixes_of_blocks(network: nn.Module) -> list[str]:
    """The prefix of the names in each block, in order."""
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    blocks = [""]
    while large := [prefix for prefix in blocks if _size(sizes, prefix) > NEARLY_ALL * sum(sizes.values())]:
        place = blocks.index(large[0])
        parts = network.get_submodule(large[0].removesuffix(".")).named_children()
        inside = [prefix for name, _ in parts if _size(sizes, prefix := f"{large[0]}{name}.")]
        if not inside:
            break
        blocks[place : place + 1] = inside
    return blocks


def _size(sizes: dict[str, int], prefix: str) -> int:
    return sum(size for name, size in sizes.items() if name.startswith(prefix))
