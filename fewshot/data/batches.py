"""Images on the device, and episodes cut from them."""

from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from fewshot.data.episode_sampler import EpisodeIndices

_SENT_AT_ONCE = 10_000
"""Images in one part of a copy to the device."""


@dataclass(frozen=True)
class EpisodeBatch:
    """Episodes ready to learn from, images in [0, 1]. The class is an axis, so labels can't be wrong or unsorted."""

    support: Float[Tensor, "task way shot channel height width"]
    query: Float[Tensor, "task way query channel height width"]
    classes: Int64[Tensor, "task way"] | None = None
    """The place of each class in the part that the episodes were drawn from, where it is known."""

    @property
    def together(self) -> Float[Tensor, "task way image channel height width"]:
        """The support images of each class, then its queries."""
        return torch.cat([self.support, self.query], dim=2)

    @property
    def labels(self) -> Int64[Tensor, "task queries"]:
        """The class of each query when way and query are flattened into one axis."""
        tasks, way, query = self.query.shape[:3]
        return torch.arange(way, device=self.query.device).repeat_interleave(query).expand(tasks, -1)

    @property
    def images_of_a_task(self) -> int:
        """Support and query images together."""
        _, way, shot = self.support.shape[:3]
        return way * (shot + self.query.shape[2])

    def split(self, tasks: int) -> list["EpisodeBatch"]:
        """Batches of at most `tasks` tasks each."""
        classes = self.classes.split(tasks) if self.classes is not None else repeat(None)
        parts = zip(self.support.split(tasks), self.query.split(tasks), classes, strict=False)
        return [EpisodeBatch(*part) for part in parts]


class ImageBank:
    """The images of a pack, wherever they are best kept; a batch of episodes is one gather of the rows drawn.

    On the CPU nothing is copied: rows are read from the array itself, which in a pack is a memory-mapped file, so that
    memory does not grow with the dataset. An accelerator gets a copy of all images if it has the room; else each batch
    is gathered on the host and sent. The batches are the same to the bit.
    """

    def __init__(self, images: UInt8[np.ndarray, "image channel height width"], device: torch.device) -> None:
        self._images = np.asarray(images)  # a plain view: indexing an np.memmap makes another one each time
        self._device = device
        self._on_device = _copy(self._images, device) if self._images.nbytes <= _room(device) else None

    @property
    def device(self) -> torch.device:
        """Where batches are made."""
        return self._device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channel, height, width)"""
        channel, height, width = self._images.shape[1:]
        return channel, height, width

    def batch(self, drawn: EpisodeIndices) -> EpisodeBatch:
        """The images of drawn episodes, turned as their classes ask."""
        images = self.take(drawn.rows, np.broadcast_to(drawn.rotation[..., None], drawn.rows.shape))
        classes = send(drawn.classes, self._device)
        return EpisodeBatch(images[:, :, : drawn.shape.shot], images[:, :, drawn.shape.shot :], classes)

    def take(
        self, rows: Int64[np.ndarray, "*place"], rotation: np.ndarray
    ) -> Float[Tensor, "*place channel height width"]:
        """The images of `rows`, each turned by its number of quarter turns, in [0, 1]."""
        flat_rows, flat_rotation = rows.reshape(-1), rotation.reshape(-1)
        if self._on_device is None:
            images = send(_gather(self._images, flat_rows, flat_rotation), self._device)
        else:
            images = _gather_on_device(self._on_device, flat_rows, flat_rotation)
        return images.float().div_(255).reshape(*rows.shape, *self.image_shape)


def _room(device: torch.device) -> int:
    """How many bytes of images a device may hold: half of its free memory; none on the CPU, where they are already."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    if device.type == "mps":
        return (torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()) // 2
    return 0


def _copy(images: UInt8[np.ndarray, "image *shape"], device: torch.device) -> UInt8[Tensor, "image *shape"]:
    """All images on the device, sent in parts, so that the host never holds a second copy."""
    copied = torch.empty(images.shape, dtype=torch.uint8, device=device)
    for first in range(0, len(images), _SENT_AT_ONCE):
        # torch warns of memory that is read-only, as a mapped file is; np.array makes a part of our own.
        part = torch.from_numpy(np.array(images[first : first + _SENT_AT_ONCE]))
        copied[first : first + len(part)] = part
    return copied


def send(values: np.ndarray, device: torch.device) -> Tensor:
    """An array on the device, without waiting for it."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":
        # From pinned memory the copy runs beside what the device is still doing.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _gather(
    images: UInt8[np.ndarray, "image channel height width"], rows: Int64[np.ndarray, "row"], rotation: np.ndarray
) -> UInt8[np.ndarray, "row channel height width"]:
    """The turned images on the host, in numpy: on one core its gather takes 4 us where torch's takes 100 us."""
    taken = images.take(rows, axis=0)
    for quarters in (1, 2, 3):
        places = np.flatnonzero(rotation == quarters)
        if len(places):
            # Made contiguous first, because storing a strided array by index costs more than both steps.
            taken[places] = np.ascontiguousarray(np.rot90(taken[places], quarters, axes=(-2, -1)))
    return taken


def _gather_on_device(
    images: UInt8[Tensor, "image channel height width"], rows: Int64[np.ndarray, "row"], rotation: np.ndarray
) -> UInt8[Tensor, "row channel height width"]:
    """What `_gather` does, without leaving the device."""
    taken = images.index_select(0, send(rows, images.device))
    for quarters in (1, 2, 3):
        if len(found := np.flatnonzero(rotation == quarters)):
            places = send(found, images.device)
            turned = taken.index_select(0, places).rot90(quarters, dims=(-2, -1))
            taken.index_copy_(0, places, turned)
    return taken
