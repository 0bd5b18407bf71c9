"""Any classification network of torchvision as a backbone, with or without its published weights."""

from pathlib import Path
from typing import ClassVar

import torch
import torchvision
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate

from fewshot.backbones.attention import differentiable_attention
from fewshot.backbones.base import Backbone
from fewshot.errors import DamagedFileError, UsageError, unknown
from fewshot.settings.base import BackboneSettings
from fewshot.system.download import fetch_file
from fewshot.system.files import sha256_file

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels, by which the published weights expect images to be normalised."""


class TorchvisionSettings(BackboneSettings):
    """A classification network of torchvision, without its last layer."""

    network: str = Field("resnet18", description="name of a classification network, as torchvision lists them")
    weights: str = Field("", description='published weights, for example "DEFAULT"; empty: none, random ones')
    frozen: bool = Field(False, description="whether its weights stay as they are")
    size: int = Field(64, ge=16, description="pixels; images are enlarged or reduced to a square of this size")

    def without_download(self) -> "TorchvisionSettings":
        return self.model_copy(update={"weights": ""})


class Torchvision(Backbone):
    """The network without its last linear layer; what that would have taken is the embedding, a map of one place.

    Images of any size and of one or three channels are made what the network expects: three channels, a square of
    `size` pixels, and the mean and standard deviation of ImageNet.
    """

    Settings: ClassVar = TorchvisionSettings
    averages = True

    def __init__(self, image_shape: tuple[int, int, int], settings: TorchvisionSettings) -> None:
        """Raises UsageError when the network or its weights are not known, or the images have two channels."""
        super().__init__()
        names = torchvision.models.list_models(module=torchvision.models)
        if settings.network not in names:
            raise unknown("network of torchvision", settings.network, names)
        if image_shape[0] not in (1, 3):
            raise UsageError(f"backbone.name=torchvision takes images of 1 or 3 channels, not {image_shape[0]}")
        self.network = _network(settings)
        last, features = _without_last_linear(self.network)
        if not last:
            raise UsageError(f"backbone.network={settings.network} does not end with a linear layer; choose another")
        self.size, self.map_shape = settings.size, (features, 1, 1)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.requires_grad_(not settings.frozen)
        self.frozen = settings.frozen
        drops = (nn.Dropout, torchvision.ops.StochasticDepth)
        self.is_random = not settings.frozen and any(isinstance(layer, drops) for layer in self.network.modules())

    def train(self, mode: bool = True) -> "Torchvision":
        """A frozen network stays in evaluation mode: its batch normalisation must not learn either."""
        return super().train(mode and not self.frozen)

    def maps(self, images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image feature h w"]:
        images = images.expand(-1, 3, -1, -1)
        if images.shape[-2:] != (self.size, self.size):
            images = interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        with differentiable_attention():
            features: Tensor = self.network((images - self.get_buffer("mean")) / self.get_buffer("std"))
        return features[..., None, None]


def _network(settings: TorchvisionSettings) -> nn.Module:
    kind = torchvision.models.get_model_weights(settings.network)
    if settings.weights and settings.weights != "DEFAULT" and settings.weights not in kind.__members__:
        raise unknown(f"weights of {settings.network}", settings.weights, ["DEFAULT", *kind.__members__])
    weights = kind[settings.weights] if settings.weights else None
    options: dict[str, object] = {}
    if settings.network.startswith("vit_"):
        options["image_size"] = settings.size  # all others take images of any size
    if settings.network in ("googlenet", "inception_v3") and not weights:
        options |= {"aux_logits": False, "init_weights": True}
    if weights:
        # To where torchvision looks for it, but from the mirror, resumed and retried as our own data is.
        fetch_file(weights.url, Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name, _check)
    try:
        network: nn.Module = torchvision.models.get_model(settings.network, weights=weights, **options)
    except (ValueError, AssertionError) as error:
        raise UsageError(f"backbone.network={settings.network} with backbone.size={settings.size}: {error}") from None
    return network


def _check(path: Path) -> None:
    """torchvision writes the first digits of a file's SHA-256 into its name."""
    expected = path.name.removesuffix(".part").rpartition("-")[2].partition(".")[0]
    if not sha256_file(path).startswith(expected):
        raise DamagedFileError(f"{path} is damaged: its SHA-256 does not begin with {expected}")


def _without_last_linear(network: nn.Module) -> tuple[str, int]:
    """Put an identity in the place of the last linear layer; returns its name and what it took, or ("", 0)."""
    linear = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        return "", 0
    name, layer = linear[-1]
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Identity())
    return name, layer.in_features
