"""Features on the device, in the place of images: an episode of them is a gather of half-precision rows."""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from fewshot.data.batches import ImageBank
from fewshot.data.features import Features


class FeatureBank(ImageBank):
    """The features of one split. Each is an image of one pixel, with a channel for each value, which encoders return.

    They are stored in half precision and compared in float32.
    """

    def __init__(self, features: Features, device: torch.device) -> None:
        self._features, self._device = features, device
        self._values = torch.from_numpy(np.array(features.values)).to(device)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self._values.shape[1], 1, 1

    def take(
        self, rows: Int64[np.ndarray, "*place"], rotation: np.ndarray
    ) -> Float[Tensor, "*place channel height width"]:
        """The features of the images of `rows`, each turned by its number of quarter turns."""
        places = self._features.places[4 * rows + rotation]
        taken = self._values.index_select(0, torch.from_numpy(places.reshape(-1)).to(self._device))
        return taken.float().reshape(*rows.shape, *self.image_shape)
