"""Pretrained networks for photos: what timm's networks and EfficientNet-Lite0 have in common."""

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate

from fewshot.backbones.attention import differentiable_attention
from fewshot.backbones.base import Backbone
from fewshot.backbones.folding import FoldedCopy
from fewshot.backbones.preprocessing import Preprocessing
from fewshot.backbones.trained_blocks import is_random, keep_frozen_parts_in_evaluation, train_last_blocks
from fewshot.backbones.weight_files import tensors_digest
from fewshot.errors import UsageError
from fewshot.settings.base import BackboneSettings
from fewshot.system.files import sha256_file, sha256_json

IMAGES_AT_ONCE = 16
"""Images in one pass on a CPU: as fast as 64 (226 and 237 images/s of EfficientNet-Lite0), in a quarter of the memory.
Where freed memory is not kept (`fewshot.system.device`), 64 take up to twice as long."""

SMALLEST = 16
"""Pixels of a side, at least."""


class EncoderSettings(BackboneSettings):
    """A pretrained network without its classifier."""

    weights: str = Field("pretrained", description='"pretrained"; or empty: random ones')
    frozen: bool = Field(True, description="whether its weights stay as they are")
    trained_blocks: int = Field(0, ge=0, description="if it is not frozen: train the last blocks only; 0: all of them")
    checkpointing: bool = Field(False, description="in training, compute activations twice instead of keeping them")
    carried: bool = Field(True, description="whether a model holds a frozen network's weights; else it refers to them")
    size: int = Field(0, ge=0, le=4096, description="pixels of a side; 0: as the weights were trained")
    fit: Literal["", "crop", "whole", "stretch"] = Field(
        "", description="how a photo becomes a square: its centre, all of it in a frame, stretched; empty: as trained"
    )

    @property
    def is_encoder(self) -> bool:
        return self.frozen

    @property
    def weights_sha256(self) -> str:
        file = Path(self.weights).expanduser()
        return sha256_file(file) if self.weights not in ("", "pretrained") and file.is_file() else ""

    def without_download(self) -> "EncoderSettings":
        return self.model_copy(update={"weights": ""})


@dataclass(frozen=True)
class Definition:
    """All that the embedding of an image depends on besides the weights."""

    network: str
    """Architecture and version of the library that defines it."""
    preprocessing: Preprocessing
    mean: tuple[float, float, float]
    """Of the channels, by which images are normalised."""
    std: tuple[float, float, float]


class Encoder(Backbone):
    """A pretrained network whose last layer is gone: an embedding is a map of one place.

    It takes images of any size with one or three channels, values in [0, 1]: they become squares of
    `preprocessing.side` pixels with three channels, and are normalised as in pretraining. A frozen one takes features
    instead, too, computed earlier by the same encoder: images of one pixel with a channel for each value, which it
    returns as they are.
    """

    Settings: ClassVar = EncoderSettings
    averages = True
    preprocessing: Preprocessing

    def __init__(
        self, image_shape: tuple[int, int, int], network: nn.Module, definition: Definition, settings: EncoderSettings
    ) -> None:
        """`network` gives embeddings. Raises UsageError for images, a size or options that it can't take."""
        super().__init__()
        if settings.frozen and settings.trained_blocks:
            raise UsageError(
                f"backbone.trained_blocks={settings.trained_blocks} trains blocks of a network that "
                "backbone.frozen=true keeps as it is; set backbone.frozen=false"
            )
        self.network, self.definition, self.preprocessing = network, definition, definition.preprocessing
        config: dict[str, Any] = getattr(network, "pretrained_cfg", None) or {}
        self.name = ".".join(filter(None, (config.get("architecture") or settings.name, config.get("tag"))))
        self.licence = str(config.get("license") or "not stated")
        self.is_carried = settings.carried
        self.frozen, self.checkpointing = settings.frozen, settings.checkpointing and not settings.frozen
        self.map_shape = (_embedding_length(network, self.preprocessing.side, settings), 1, 1)
        if image_shape[0] not in (1, 3) and not (self.frozen and image_shape == self.map_shape):
            features = f", or features of {self.map_shape}" if self.frozen else ""
            raise UsageError(
                f"backbone.name={settings.name} takes images of 1 or 3 channels{features}, not {image_shape}"
            )
        # Saved with the weights: a later release of timm may know others for the same name.
        self.register_buffer("mean", torch.tensor(definition.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(definition.std).view(3, 1, 1))
        self.requires_grad_(not self.frozen)
        if settings.trained_blocks:
            train_last_blocks(network, settings.trained_blocks)
        self.is_random = not self.frozen and is_random(network)
        if self.checkpointing:
            _checkpoint(network)
        self.network.to(memory_format=torch.channels_last)
        self._folded = FoldedCopy()
        self.train()

    @property
    def encoder_digest(self) -> str:
        if not self.frozen:
            return ""
        return sha256_json({**asdict(self.definition), "weights": tensors_digest(self.network.state_dict())})

    def train(self, mode: bool = True) -> "Encoder":
        """Frozen parts stay in evaluation mode: batch normalisation does not learn there and nothing is dropped."""
        super().train(mode and not self.frozen)
        keep_frozen_parts_in_evaluation(self.network)
        return self

    def maps(self, images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image feature h w"]:
        if self.frozen and images.shape[1:] == self.map_shape:
            return images
        learns = torch.is_grad_enabled() and not self.frozen
        # Inside an inner loop, the task's own weights stand in the places of the parameters.
        is_adapted = learns and not all(isinstance(weight, nn.Parameter) for weight in self.network.parameters())
        if is_adapted and self.checkpointing:
            raise UsageError("backbone.checkpointing=true needs a method that leaves the network as it is while it "
                             "learns a task; set it to false")  # fmt: skip
        network = self.network if learns or self.training else self._folded.of(self.network, self.preprocessing.side)
        at_once = IMAGES_AT_ONCE if images.device.type == "cpu" and not learns else max(1, len(images))
        with differentiable_attention() if is_adapted else nullcontext():
            features = torch.cat([network(self._prepared(part)) for part in images.split(at_once)])
        return features[..., None, None]

    def _prepared(self, images: Float[Tensor, "image channel height width"]) -> Float[Tensor, "image 3 side side"]:
        side = self.preprocessing.side
        if images.shape[-2:] != (side, side):
            mode = "bilinear" if self.preprocessing.interpolation == "bilinear" else "bicubic"
            images = interpolate(images, (side, side), mode=mode, antialias=True).clamp(0, 1)
        normalised = (images.expand(-1, 3, -1, -1) - self.get_buffer("mean")) / self.get_buffer("std")
        return normalised.contiguous(memory_format=torch.channels_last)


def _embedding_length(network: nn.Module, side: int, settings: EncoderSettings) -> int:
    """The length of the embedding of an image of this side, found without computing it; UsageError if it has none."""
    state = [*network.named_parameters(), *network.named_buffers()]
    weights = {name: tensor.detach().to("meta") for name, tensor in state}
    mode, name = network.training, getattr(settings, "network", settings.name)
    if side < SMALLEST:
        raise UsageError(
            f"backbone.size={side}: encoders take images of {SMALLEST}x{SMALLEST} pixels or more; raise it"
        )
    try:
        with torch.no_grad(), torch.device("meta"):
            image = torch.empty(1, 3, side, side)
            embedding = torch.func.functional_call(network.eval(), weights, (image,))
    except (RuntimeError, AssertionError, ValueError, ZeroDivisionError) as error:
        raise UsageError(f"{name} can't take images of {side}x{side} pixels "
                         f"({str(error).partition(chr(10))[0]}); set backbone.size to another") from None  # fmt: skip
    finally:
        network.train(mode)
    if embedding.dim() != 2 or not embedding.shape[1]:
        raise UsageError(f"{name} gives no vector for an image of {side}x{side} pixels; choose another network or size")
    return int(embedding.shape[1])


def _checkpoint(network: Any) -> None:
    try:
        network.set_grad_checkpointing(True)
    except (AttributeError, AssertionError, NotImplementedError):
        raise UsageError("backbone.checkpointing=true: this network can't compute its activations twice; set it to "
                         "false, or train fewer blocks (backbone.trained_blocks)") from None  # fmt: skip
