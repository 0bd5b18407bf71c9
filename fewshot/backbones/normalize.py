"""Normalisation of images by the mean and standard deviation of each channel, as published colour recipes have it."""

from typing import Annotated

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from fewshot.errors import UsageError
from fewshot.settings.base import BackboneSettings

_Mean = Annotated[float, Field(allow_inf_nan=False)]
_Std = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class NormalizedSettings(BackboneSettings):
    """The settings of a backbone that may normalise its images."""

    mean: tuple[_Mean, ...] = Field(
        (), description="mean of each channel of the images, in [0, 1]; empty: the network sees them as they are"
    )
    std: tuple[_Std, ...] = Field((), description="standard deviation of each channel, in the same unit")

    @model_validator(mode="after")
    def _together(self) -> "NormalizedSettings":
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean has {len(self.mean)} numbers and std {len(self.std)}; give both one for each channel, or neither"
            )
        return self


class Normalize(nn.Module):
    """(image - mean) / std, channel by channel, or the image as it is. Nothing of it is saved with the weights."""

    def __init__(self, channels: int, settings: NormalizedSettings) -> None:
        """`channels` are those of the images. Raises UsageError if the settings have another number of them."""
        super().__init__()
        if settings.mean and len(settings.mean) != channels:
            raise UsageError(
                f"backbone.mean and backbone.std have {len(settings.mean)} numbers, but the images have {channels} "
                "channels; give one number for each channel"
            )
        self.is_active = bool(settings.mean)
        if self.is_active:
            self.register_buffer("mean", torch.tensor(settings.mean), persistent=False)
            self.register_buffer("std", torch.tensor(settings.std), persistent=False)

    def forward(
        self, images: Float[Tensor, "image channel height width"]
    ) -> Float[Tensor, "image channel height width"]:
        """The normalised images, also of several tasks side by side in the channels."""
        if not self.is_active:
            return images
        mean, std = (self._of_each_channel(name, images.shape[1]) for name in ("mean", "std"))
        return (images - mean) / std

    def _of_each_channel(self, name: str, channels: int) -> Float[Tensor, "channel 1 1"]:
        buffer = self.get_buffer(name)  # of one network or, put in with stacked weights, of all tasks already
        return buffer.repeat(channels // len(buffer)).view(-1, 1, 1)
