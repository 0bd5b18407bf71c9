"""ResNet-12: the deep backbone of most later papers (Oreshkin et al. 2018; Lee et al. 2019, section 4.1)."""

from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, max_pool2d

from fewshot.backbones.base import Backbone
from fewshot.backbones.normalize import Normalize, NormalizedSettings
from fewshot.errors import UsageError

SLOPE = 0.1
"""Slope of leaky ReLU below zero."""
DROP_SIZE = 5
"""Side of the squares that DropBlock drops, in the last two blocks; elsewhere single values are dropped."""


class ResNet12Settings(NormalizedSettings):
    """ResNet-12 with DropBlock, as in MetaOptNet and most later papers."""

    channels: tuple[int, int, int, int] = Field((64, 160, 320, 640), description="filters of the four blocks")
    drop: float = Field(0.1, ge=0, lt=1, description="share of a map that is dropped in training, in squares")


class ResNet12(Backbone):
    """Four residual blocks of three convolutions, each ending with max-pooling; the embedding is the mean of the maps.

    The dropped share is constant from the first step on; the authors of MetaOptNet let it grow over their first 40,000
    steps.
    """

    Settings: ClassVar = ResNet12Settings
    averages = True

    def __init__(self, image_shape: tuple[int, int, int], settings: ResNet12Settings) -> None:
        """`image_shape` is (channel, height, width). Raises UsageError when four halvings leave nothing."""
        super().__init__()
        in_channels, height, width = image_shape
        if min(height, width) < 16:
            raise UsageError(
                f"backbone.name=resnet12 halves the image four times and needs 16x16 pixels or more, not "
                f"{height}x{width}; use backbone.name=conv4 with backbone.form=strided or larger images"
            )
        self.is_random = settings.drop > 0
        self.map_shape = (settings.channels[-1], height // 16, width // 16)
        self.normalize = Normalize(in_channels, settings)
        self.blocks = nn.Sequential(
            *[
                _Block(before, after, settings.drop, DROP_SIZE if number >= 2 else 1)
                for number, (before, after) in enumerate(pairwise((in_channels, *settings.channels)))
            ]
        )
        self.to(memory_format=torch.channels_last)

    def maps(self, images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image feature h w"]:
        maps: Tensor = self.blocks(self.normalize(images))
        return maps


class _Block(nn.Module):
    """Three convolutions beside a shortcut of one, then max-pooling and dropping."""

    def __init__(self, before: int, after: int, drop: float, drop_size: int) -> None:
        super().__init__()
        widths = [before, after, after, after]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for _ in range(3))
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))
        self.drop = DropBlock(drop, drop_size)

    def forward(self, x: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image feature h w"]:
        inside = x
        for place, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            inside = norm(convolution(inside))
            inside = leaky_relu(inside, SLOPE) if place < 2 else inside
        dropped: Tensor = self.drop(max_pool2d(leaky_relu(inside + self.shortcut(x), SLOPE), 2))
        return dropped


class DropBlock(nn.Module):
    """Sets squares of the maps to zero in training and makes up for the loss (Ghiasi, Lin & Le 2018, algorithm 1)."""

    def __init__(self, share: float, size: int) -> None:
        """`share` of a map is dropped, in squares of `size` (of the whole map, where that is smaller)."""
        super().__init__()
        self.share, self.size = share, size

    def forward(self, maps: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image channel height width"]:
        if not self.training or not self.share:
            return maps
        height, width = maps.shape[-2:]
        size = min(self.size, height, width)
        # Centres are so frequent that their squares cover `share` of the map (equation 1 of the paper).
        frequency = self.share / size**2 * height * width / ((height - size + 1) * (width - size + 1))
        centres = torch.rand(*maps.shape[:2], height - size + 1, width - size + 1, device=maps.device) < frequency
        squares = nn.functional.pad(centres.to(maps.dtype), [size - 1] * 4)
        kept = 1 - max_pool2d(squares, size, stride=1)
        return maps * kept * (kept.numel() / kept.sum().clamp_min(1))
