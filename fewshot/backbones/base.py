"""The interface that every network that embeds images implements."""

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from fewshot.backbones.preprocessing import Preprocessing
from fewshot.settings.base import BackboneSettings


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

    @abstractmethod
    def maps(self, images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image feature h w"]:
        """The last feature maps of images."""

    def forward(self, images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image feature"]:
        """Embeddings of images."""
        maps = self.maps(images)
        return maps.mean((2, 3)) if self.averages else maps.flatten(1)
