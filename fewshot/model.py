"""A meta-trained model: its method with the learned weights, and all that it was made from.

On disk it is a folder of two files, `weights.safetensors` and `model.json`, nothing that runs code when it is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from fewshot.backbones.encoder_record import EncoderRecord, check_encoder, without_encoder
from fewshot.backbones.preprocessing import pixels
from fewshot.data.image_files import fit
from fewshot.data.image_options import Ink
from fewshot.errors import DamagedFileError, UsageError
from fewshot.methods.base import Head, Method, backbone_of
from fewshot.methods.build import build_method
from fewshot.migrations import FORMAT
from fewshot.model_files import REMEDY, read_description, read_weights
from fewshot.settings.plugins import refuse_code, warn_of_changed_sources
from fewshot.settings.schema import Settings, settings_from
from fewshot.system.device import Compute, keep_freed_memory
from fewshot.system.files import sha256_file, write_bytes, write_json

IMAGES_AT_ONCE = 256
"""Images whose activations are in memory while many are classified, a few MB each."""

ImageArray = np.ndarray
"""uint8 [image, channel, height, width]; checked when it comes in, because it is a user's."""


@dataclass(frozen=True)
class TrainingData:
    """The data that a model was trained on."""

    dataset: str
    split_scheme: str
    digest: str
    """`Dataset.digest`."""
    classes: tuple[str, ...]
    """Names of the training classes."""


@dataclass(frozen=True)
class ModelDescription:
    """The content of `model.json`."""

    weights_sha256: str
    image_shape: tuple[int, int, int]
    """(channel, height, width) of the images."""
    settings_values: dict[str, Any]
    """All settings as plain values, with the names of this release."""
    data: TrainingData
    sources: dict[str, str]
    """Reference of a method or backbone from outside the package -> SHA-256 of its source file."""
    encoder: EncoderRecord | None = None
    """The frozen encoder that it works on, if it does."""

    @property
    def takes_any_size(self) -> bool:
        """True if it works on a frozen encoder, whose features are computed from images of any size."""
        return self.encoder is not None

    @property
    def settings(self) -> Settings:
        """The settings of the whole run. UsageError where a method or backbone from outside is not there."""
        return settings_from(self.settings_values)


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model, checked once. Several threads may use one at the same time."""

    method: Method
    """In evaluation mode, on the device of `compute`."""
    description: ModelDescription
    compute: Compute
    size_bytes: int = 0
    """Of the weights file."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channel, height, width) of the images that it takes."""
        return self.description.image_shape

    def prepare(self, image: Image.Image, ink: Ink = "auto") -> UInt8[np.ndarray, "channel height width"]:
        """An upright image, grey or RGB, as the model takes it: as its encoder was pretrained, else fitted whole."""
        backbone = backbone_of(self.method)
        if backbone is not None and backbone.frozen and backbone.preprocessing is not None:
            return pixels(image, backbone.preprocessing)
        return fit(image, self.image_shape, ink)

    @contextmanager
    def computing(self) -> Iterator[Method]:
        """The method, in the context that its functions are called in: no gradients, this model's number format."""
        with torch.no_grad(), self.compute.autocast():
            yield self.method

    def fit(self, support: Sequence[ImageArray], names: Sequence[str] = ()) -> Head:
        """Learn one task from one or more images of each class. Nothing of the model changes.

        Raises UsageError, which calls a class by its name in `names`, for images that do not fit.
        """
        if not support:
            raise UsageError("there is no class to learn; give one or more images of each")
        named = names or [str(place) for place in range(len(support))]
        tensors = [self._tensor(images, f"support images of class '{name}'") for images, name in
                   zip(support, named, strict=True)]  # fmt: skip
        with self.computing() as method:
            return method.fit(tensors)

    def predict_proba(self, head: Head, query: ImageArray) -> Float32[np.ndarray, "image way"]:
        """The probability of each class of a learned task for each image. Memory does not grow with their number."""
        self._check(query, "query images")
        parts = []
        with self.computing() as method:
            for first in range(0, len(query), IMAGES_AT_ONCE):
                logits = method.predict(head, self._tensor(query[first : first + IMAGES_AT_ONCE], "query images"))
                parts.append(np.asarray(logits.softmax(-1).cpu().numpy()))
        return np.concatenate(parts)

    def _tensor(self, images: ImageArray, what: str) -> Tensor:
        self._check(images, what)
        return torch.from_numpy(np.array(images)).to(self.compute.device).float() / 255

    def _check(self, images: ImageArray, what: str) -> None:
        if images.dtype != np.uint8 or images.shape[1:] != self.image_shape or not len(images):
            raise UsageError(
                f"{what}: {images.dtype} {images.shape}, but the model takes uint8 [image, channel, height, width] "
                f"with one or more images of {self.image_shape}"
            )


def save_model(
    folder: Path,
    weights: Mapping[str, Tensor],
    settings: Settings,
    image_shape: tuple[int, int, int],
    data: TrainingData,
    sources: Mapping[str, str] | None = None,
    encoder: EncoderRecord | None = None,
) -> str:
    """Write a model folder; returns the SHA-256 of the weights file."""
    write_bytes(folder / "weights.safetensors", save({name: plain(tensor) for name, tensor in weights.items()}))
    digest = sha256_file(folder / "weights.safetensors")
    description = {
        "format": FORMAT,
        "weights_sha256": digest,
        "image_shape": list(image_shape),
        "settings": settings.plain(),
        "data": {**vars(data), "classes": list(data.classes)},
        "encoder": asdict(encoder) if encoder else None,
        "sources": dict(sources or {}),
    }
    write_json(folder / "model.json", description)
    return digest


def describe_model(folder: Path) -> ModelDescription:
    """Read `model.json`, of this or an earlier format. A missing or damaged file raises DamagedFileError."""
    values = read_description(folder / "model.json")
    data = {**vars(values.data), "classes": tuple(values.data.classes)}
    encoder = EncoderRecord(**vars(values.encoder)) if values.encoder else None
    return ModelDescription(
        values.weights_sha256, values.image_shape, values.settings, TrainingData(**data), values.sources, encoder
    )


def load_model(folder: str | Path, device: str = "auto", trust_code: bool = False) -> Model:
    """Load a model folder and check it by its digest. A missing or damaged file raises DamagedFileError.

    A method or backbone from outside the package, which the model may name, is code. It is imported only with
    `trust_code`, or if this process imported it before; else UsageError.
    """
    description = describe_model(Path(folder))
    if not trust_code:
        refuse_code(description.settings_values, Path(folder, "model.json"))
    path = Path(folder, "weights.safetensors")
    if not path.exists() or sha256_file(path) != description.weights_sha256:
        raise DamagedFileError(f"{path} is missing or damaged (its digest differs from model.json); {REMEDY}")
    keep_freed_memory()
    settings = description.settings
    compute = Compute.pick(device, settings.train.precision, settings.threads)
    warn_of_changed_sources(description.sources, settings)
    without_download = settings.model_copy(update={"backbone": settings.backbone.without_download()})
    shape, classes = description.image_shape, len(description.data.classes)
    # First without memory: what the file does not hold is not made either, however large the description has it.
    with torch.device("meta"):
        sketch = build_method(without_download, shape, classes)
    weights = read_weights(path, without_encoder(sketch.state_dict(), sketch))
    encoder = description.encoder
    if encoder is not None and not encoder.is_carried:
        method = build_method(settings, shape, classes)
        check_encoder(method, encoder, path)
    else:
        method = build_method(without_download, shape, classes)
    method.load_state_dict(method.state_dict() | weights)
    return Model(method.to(compute.device).eval(), description, compute, path.stat().st_size)


def plain(tensor: Tensor) -> Tensor:
    """A tensor on the CPU in plain row-major layout, as safetensors wants it."""
    return tensor.detach().cpu().contiguous(memory_format=torch.contiguous_format)
