"""Any network of timm as a backbone (Wightman 2019, "PyTorch image models"), with its published weights or a file."""

import math
import re
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from fewshot.backbones.encoder import Definition, Encoder, EncoderSettings
from fewshot.backbones.preprocessing import Fit, Preprocessing
from fewshot.backbones.published import published_weights
from fewshot.backbones.weight_files import read_tensors
from fewshot.errors import DamagedFileError, UsageError, unknown

_FITS: dict[str, Fit] = {"center": "crop", "squash": "stretch", "border": "whole"}
"""timm's names of the ways from a photo to a square."""


class TimmSettings(EncoderSettings):
    """A network of timm, without its classifier."""

    network: str = Field("resnet18.a1_in1k", description="a network of timm; `fewshot encoders` lists a tested choice")
    weights: str = Field(
        "pretrained", description='"pretrained": published ones; path of a .safetensors file; empty: random ones'
    )


class Timm(Encoder):
    """A network of timm. Images are prepared as the configuration of its published weights says."""

    Settings: ClassVar = TimmSettings

    def __init__(self, image_shape: tuple[int, int, int], settings: TimmSettings) -> None:
        """Raises UsageError when timm has no such network, or it can't take the images or the size."""
        network = timm_network(settings.network, settings.weights, settings.size)
        definition = definition_of(network, settings)
        super().__init__(image_shape, network, definition, settings)


def timm_network(name: str, weights: str, size: int) -> nn.Module:
    """A network of timm that gives embeddings; `weights` and `size` as in the settings.

    UsageError for an unknown network or a size that it is not made for, DataError for weights that can't be had,
    DamagedFileError for those of another network.
    """
    import timm  # here, because it takes seconds

    if name not in _names():
        raise unknown("network of timm", name, _names())
    if not weights:
        return _create(name, size)
    if weights == "pretrained":
        if not timm.is_model_pretrained(name):
            raise UsageError(f"backbone.network={name} has no published weights; set backbone.weights to a file, or to "
                             f"nothing for random ones{_with_weights(name)}")  # fmt: skip
        file, remedy = published_weights(full_name(name)), "delete it: it is fetched again"
    else:
        file, remedy = Path(weights).expanduser(), "replace it, or set backbone.weights=pretrained"
    return network_with(name, size, read_tensors(file, remedy), str(file))


def network_with(name: str, size: int, tensors: dict[str, Tensor], file: str) -> nn.Module:
    """A network with these weights, as timm itself fits them to it (positions of a ViT are resized, for example).

    The classifier's are left out. DamagedFileError that names the first tensor of `file` that does not fit.
    """
    config = _config(name)
    classifiers = (config.classifier,) if isinstance(config.classifier, str) else tuple(config.classifier or ())
    kept = {key: t for key, t in tensors.items() if not key.startswith(tuple(f"{head}." for head in classifiers))}
    # Of the same number of classes as the network, whatever the file holds: else timm passes over what is missing.
    overlay = {"state_dict": kept, "num_classes": 0, "label_offset": 0, "custom_load": False}
    try:
        network = _create(name, size, pretrained=True, pretrained_cfg_overlay=overlay)
    except (RuntimeError, KeyError, ValueError, AssertionError) as error:
        raise DamagedFileError(f"{file} holds no weights of {name} ({_first_misfit(str(error))}); give those of this "
                               "network, or change backbone.network") from None  # fmt: skip
    network.pretrained_cfg.pop("state_dict", None)  # type: ignore[operator, union-attr]
    return network


def definition_of(network: Any, settings: EncoderSettings) -> Definition:
    """The preparation of images for a network of timm, as its configuration has it, and its definition."""
    import timm

    config = timm.data.resolve_model_data_config(network)
    own = int(config["input_size"][1])
    side, share = settings.size or own, float(config["crop_pct"])
    fit = settings.fit or _FITS[config["crop_mode"]]
    preprocessing = Preprocessing(side, math.floor(side / share), config["interpolation"], fit)
    architecture = f"timm {timm.__version__} {network.pretrained_cfg['architecture']}"
    return Definition(architecture, preprocessing, tuple(config["mean"]), tuple(config["std"]))


def full_name(name: str) -> str:
    """A network with the tag of its weights: resnet18 is resnet18.a1_in1k."""
    config = _config(name)
    return f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture)


def _create(name: str, size: int, **options: Any) -> nn.Module:
    import timm

    fixed = {"img_size": size} if size and _config(name).fixed_input_size else {}
    try:
        network: nn.Module = timm.create_model(name, num_classes=0, **fixed, **options)
    except (AssertionError, TypeError, ValueError, ZeroDivisionError) as error:
        if not fixed:
            raise
        raise UsageError(f"backbone.network={name} can't be made for backbone.size={size} ({error}); set it to 0: "
                         f"{_config(name).input_size[1]}") from None  # fmt: skip
    return network


def _config(name: str) -> Any:
    import timm

    return timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg(architecture=name)


@cache
def _names() -> frozenset[str]:
    """All networks, with and without the tag of weights."""
    import timm

    return frozenset([*timm.list_models(), *timm.list_models(include_tags=True)])


def _with_weights(name: str) -> str:
    import timm

    known = timm.list_pretrained(f"{name.partition('.')[0].rpartition('_')[0]}*")
    return f"; near it, {known[0]} has some" if known else ""


def _first_misfit(text: str) -> str:
    """The first tensor that torch names in its error, and what is wrong with it."""
    for pattern, said in (
        (r"size mismatch for (\S+): .*?torch\.Size\(\[(.*?)\]\).*?torch\.Size\(\[(.*?)\]\)", "{} is [{}], not [{}]"),
        (r'Missing key\(s\) in state_dict: "(.*?)"', "{} is missing"),
        (r'Unexpected key\(s\) in state_dict: "(.*?)"', "{} is not expected"),
    ):
        if found := re.search(pattern, text, re.DOTALL):
            return said.format(*found.groups())
    return text.partition("\n")[0]
