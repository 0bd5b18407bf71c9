"""Images on the device, and episodes cut from them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from fewshot.data.episodes import EpisodeRows


@dataclass(frozen=True)
class EpisodeBatch:
    """Episodes ready to learn from, images in [0, 1]. The class is an axis, so labels can't be wrong or unsorted."""

    support: Float[Tensor, "task way shot channel height width"]
    query: Float[Tensor, "task way query channel height width"]

    @property
    def labels(self) -> Int64[Tensor, "task queries"]:
        """The class of each query when way and query are flattened into one axis."""
        tasks, way, query = self.query.shape[:3]
        return torch.arange(way, device=self.query.device).repeat_interleave(query).expand(tasks, -1)

    def split(self, tasks: int) -> list["EpisodeBatch"]:
        """Batches of at most `tasks` tasks each."""
        parts = zip(self.support.split(tasks), self.query.split(tasks), strict=True)
        return [EpisodeBatch(support, query) for support, query in parts]


class ImageBank:
    """All images of a pack as one uint8 tensor on the device; a batch of episodes is one gather from it."""

    def __init__(self, images: UInt8[np.ndarray, "image channel height width"], device: torch.device) -> None:
        # A memory-mapped array is read-only, which torch warns of; the copy on the device is what we keep.
        self._images = torch.from_numpy(np.array(images)).to(device)

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self._images.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channel, height, width)"""
        channel, height, width = self._images.shape[1:]
        return channel, height, width

    def batch(self, drawn: EpisodeRows) -> EpisodeBatch:
        """The images of drawn episodes, turned as their classes ask."""
        images = self.take(drawn.rows, np.broadcast_to(drawn.turns[..., None], drawn.rows.shape))
        return EpisodeBatch(images[:, :, : drawn.shape.shot], images[:, :, drawn.shape.shot :])

    def take(
        self, rows: Int64[np.ndarray, "*place"], turns: np.ndarray
    ) -> Float[Tensor, "*place channel height width"]:
        """The images of `rows`, each turned by its number of quarter turns, in [0, 1]."""
        flat_turns = np.ascontiguousarray(turns).reshape(-1)
        images = self._images[torch.from_numpy(np.ascontiguousarray(rows).reshape(-1)).to(self.device)]
        for quarter in (1, 2, 3):
            of_class = np.flatnonzero(flat_turns == quarter)
            if len(of_class):
                index = torch.from_numpy(of_class).to(self.device)
                images[index] = images[index].rot90(quarter, dims=(-2, -1))
        return (images.float() / 255).reshape(*rows.shape, *self.image_shape)
