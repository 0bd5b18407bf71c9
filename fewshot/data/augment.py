"""Augmentation of training images: shifted crops, mirror images and colour jitter, as papers on photographs have it.

What happens to an image is a pure function of (seed, step, its place in the batch), so that a resumed training sees the
same images. The random numbers are drawn on the host; the images are changed where they are.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt64
from torch import Tensor
from torch.nn.functional import pad

from fewshot.data.batches import EpisodeBatch, send
from fewshot.errors import UsageError
from fewshot.randomness import below, key_of, many_bits
from fewshot.settings.training import AugmentSettings

Images = Float[Tensor, "image channel height width"]

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the brightness of a colour (ITU-R BT.601), as image libraries compute it."""


@dataclass(frozen=True)
class AugmentDraw:
    """The random numbers of some images."""

    row: Int64[np.ndarray, "image"]
    """First row of the crop in the padded image."""
    column: Int64[np.ndarray, "image"]
    flip: Bool[np.ndarray, "image"]
    factors: Float32[np.ndarray, "image 3"]
    """Of brightness, contrast and saturation."""


class Augment:
    """Changes the images of training batches.

    Crop and jitter are those of MetaOptNet's code (Lee et al. 2019), which has crop=8, flip=true and jitter=0.4 for
    images of 84x84: a crop of the zero-padded image, then brightness, contrast and saturation scaled by factors in
    [1 - jitter, 1 + jitter]. The order of these three is fixed here, where torchvision's ColorJitter draws it.
    """

    def __init__(self, settings: AugmentSettings, seed: int, image_shape: tuple[int, int, int]) -> None:
        """`image_shape` is (channel, height, width). UsageError for features, and for images that are not larger than
        the padding."""
        _, height, width = image_shape
        if height == width == 1:
            raise UsageError(
                f"train.augment can't change features ({image_shape[0]} numbers, not an image); set crop=0, flip=false "
                "and jitter=0 in train.augment, or train on images"
            )
        if settings.crop >= min(height, width):
            raise UsageError(
                f"train.augment.crop={settings.crop} would move images of {height}x{width} pixels out of sight; set at "
                f"most {min(height, width) - 1}"
            )
        self._settings, self._seed = settings, seed

    def __call__(self, batch: EpisodeBatch, step: int) -> EpisodeBatch:
        """The batch of a training step with its support images, queries or both changed."""
        task, way, shot = batch.support.shape[:3]
        shape = (task, way, shot + batch.query.shape[2])
        place = np.arange(np.prod(shape), dtype=np.uint64).reshape(shape)
        support, query, of = batch.support, batch.query, self._settings.of
        if of != "query":
            support = self._changed(support, step, place[..., :shot])
        if of != "support":
            query = self._changed(query, step, place[..., shot:])
        return replace(batch, support=support, query=query)

    def draw(self, step: int, place: UInt64[np.ndarray, "image"]) -> AugmentDraw:
        """The random numbers of the images at some places of a step's batch."""
        random = many_bits(key_of(self._seed, f"augment/{step}"), place, 0, 6)
        offsets = below(np.full((len(place), 2), 2 * self._settings.crop + 1), random[:, :2])
        share = (random[:, 3:] >> np.uint64(40)).astype(np.float64) / 2**24
        factors = 1 + self._settings.jitter * (2 * share - 1)
        flip = (random[:, 2] >> np.uint64(63)).astype(bool) & self._settings.flip
        return AugmentDraw(offsets[:, 0], offsets[:, 1], flip, factors.astype(np.float32))

    def _changed(
        self,
        images: Float[Tensor, "task way image channel height width"],
        step: int,
        place: UInt64[np.ndarray, "task way image"],
    ) -> Float[Tensor, "task way image channel height width"]:
        drawn = self.draw(step, place.reshape(-1))
        changed = crop(images.flatten(0, 2), self._settings.crop, drawn.row, drawn.column)
        changed = mirror(changed, drawn.flip)
        if self._settings.jitter:
            changed = jitter(changed, send(drawn.factors, images.device))
        return changed.reshape(images.shape)


def crop(images: Images, padding: int, row: Int64[np.ndarray, "image"], column: Int64[np.ndarray, "image"]) -> Images:
    """Of each image, padded with zeros, the part of its size that begins at (row, column)."""
    if not padding:
        return images
    height, width = images.shape[2:]
    padded = pad(images, (padding,) * 4)
    if images.device.type == "cpu":  # numpy copies whole rows; torch's index, here, takes five times as long
        windows = np.lib.stride_tricks.sliding_window_view(padded.numpy(), (height, width), (2, 3))
        taken: np.ndarray = windows[np.arange(len(images)), :, row, column]
        return torch.from_numpy(taken)
    every = torch.arange(len(images), device=images.device)
    parts = padded.unfold(2, height, 1).unfold(3, width, 1)
    cropped: Tensor = parts[every, :, send(row, images.device), send(column, images.device)]
    return cropped


def mirror(images: Images, flip: Bool[np.ndarray, "image"]) -> Images:
    """The images, those where `flip` is true with left and right exchanged."""
    if not flip.any():
        return images
    places = send(np.flatnonzero(flip), images.device)
    return images.index_copy(0, places, images.index_select(0, places).flip(-1))


def jitter(images: Images, factors: Float32[Tensor, "image 3"]) -> Images:
    """Scale brightness, then contrast about the mean brightness, then saturation; each result is clipped to [0, 1]."""
    brightness, contrast, saturation = factors[:, :, None, None, None].unbind(1)
    changed = (images * brightness).clamp_(0, 1)
    mean = _grey(changed).mean((2, 3), keepdim=True)
    changed = changed.mul_(contrast).add_(mean * (1 - contrast)).clamp_(0, 1)
    if images.shape[1] != len(LUMA):
        return changed
    grey = _grey(changed)
    return changed.mul_(saturation).add_(grey * (1 - saturation)).clamp_(0, 1)


def _grey(images: Images) -> Float[Tensor, "image 1 height width"]:
    if images.shape[1] != len(LUMA):
        return images.mean(1, keepdim=True)
    red, green, blue = (images[:, place : place + 1] for place in range(3))
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
