"""Images or features, whichever a method makes its episodes of: the features of a frozen encoder are computed once."""

import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float16, UInt8
from PIL import Image

from fewshot.backbones.base import Backbone
from fewshot.backbones.preprocessing import Preprocessing, pixels
from fewshot.data.batches import ImageBank
from fewshot.data.dataset import Dataset
from fewshot.data.feature_bank import FeatureBank
from fewshot.data.features import Features, compute_features
from fewshot.errors import UsageError
from fewshot.methods.base import Method, backbone_of
from fewshot.project.paths import find_home
from fewshot.settings.declarations import SPLITS
from fewshot.settings.schema import Settings
from fewshot.system.device import Compute


class Banks:
    """The banks of one method and dataset: one of all images, or one of the features of each split's classes.

    Features that are not there yet are computed and kept in `features_folder()`.
    """

    def __init__(self, method: Method, dataset: Dataset, compute: Compute) -> None:
        self._dataset, self._compute = dataset, compute
        self._encoder = frozen_encoder(method, compute)
        self._images: ImageBank | None = None
        self._features: dict[str, FeatureBank] = {}

    @property
    def are_features(self) -> bool:
        """True if they hold features of a frozen encoder, which takes images of any size."""
        return self._encoder is not None

    def of(self, split: str) -> ImageBank:
        """The bank for episodes of a split. Raises what `compute_features` raises."""
        if self._encoder is None:
            self._images = self._images or ImageBank(self._dataset.pack.images, self._compute.device)
            return self._images
        if split not in self._features:
            self._features[split] = FeatureBank(self.features(split), self._compute.device)
        return self._features[split]

    def features(self, split: str) -> Features:
        """The features of a split, computed where they are not there yet. UsageError where the network learns.

        Raises what `compute_features` raises.
        """
        if self._encoder is None:
            raise UsageError("only a pretrained network that stays as it is has features; set backbone.frozen=true")
        return compute_features(self._dataset, split, self._encoder, features_folder())


def splits_to_embed(method: Method, settings: Settings, dataset: Dataset) -> tuple[str, ...]:
    """The splits of the training data whose features are used: train only if something is learned from them."""
    learns = settings.train.steps > 0 or method.has_statistics
    return tuple(split for split in SPLITS if dataset.scheme.splits.get(split) and (split != "train" or learns))


def frozen_encoder(method: Method, compute: Compute) -> "FrozenEncoder | None":
    """The encoder whose features the method works on; None for a method whose network learns, or takes the pack."""
    backbone = backbone_of(method)
    if backbone is None or backbone.preprocessing is None or not (digest := backbone.encoder_digest):
        return None
    return FrozenEncoder(backbone, digest, backbone.preprocessing, compute)


def image_shape_of(method: Method, dataset: Dataset) -> tuple[int, int, int]:
    """(channel, height, width) of the images that a model of this method takes in use."""
    backbone = backbone_of(method)
    if backbone is not None and backbone.preprocessing is not None and backbone.frozen:
        return backbone.preprocessing.channels, backbone.preprocessing.side, backbone.preprocessing.side
    channel, height, width = dataset.pack.images.shape[1:]
    return channel, height, width


def features_folder() -> Path:
    """The folder of all features: in the state folder of the project, else in .fewshot of the working folder."""
    try:
        return find_home().features
    except UsageError:
        return Path(os.environ.get("FEWSHOT_HOME") or ".fewshot", "features")


class FrozenEncoder:
    """A frozen backbone as `fewshot.data.features` wants it."""

    def __init__(self, backbone: Backbone, digest: str, preprocessing: Preprocessing, compute: Compute) -> None:
        self._backbone, self._preprocessing, self._compute = backbone, preprocessing, compute
        self.out_features = backbone.out_features
        self.parts_ahead = 0 if compute.device.type == "cpu" else 4
        self.digest = f"{digest}-{str(compute.precision).removeprefix('torch.')}"
        """Of the encoder and the number format: features of another format differ in their last bits."""

    def pixels(self, image: Image.Image) -> UInt8[np.ndarray, "channel side side"]:
        """An image as the network was pretrained on it."""
        return pixels(image, self._preprocessing)

    def embed(self, images: UInt8[np.ndarray, "image channel side side"]) -> Float16[np.ndarray, "image feature"]:
        """Embeddings of images, in half precision."""
        self._backbone.eval()
        with torch.inference_mode(), self._compute.autocast():
            tensor = torch.from_numpy(images).to(self._compute.device).float() / 255
            return np.asarray(self._backbone(tensor).to(torch.float16).cpu().numpy())
