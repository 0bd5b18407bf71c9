"""The record that a model keeps of its pretrained encoder, and its weights inside the model or elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from fewshot.backbones.encoder import Encoder
from fewshot.backbones.weight_files import tensors_digest
from fewshot.errors import DamagedFileError


@dataclass(frozen=True)
class EncoderRecord:
    """The pretrained encoder of a model."""

    name: str
    """Of its network and weights, as timm has them."""
    digest: str
    """Of its weights: `tensors_digest`."""
    licence: str
    """Of its weights, as its publisher states it."""
    is_carried: bool
    """True if the model's file holds its weights; else they are looked for when it is loaded, by name and digest."""


def encoder_record(module: nn.Module) -> EncoderRecord | None:
    """The record of the frozen encoder in a method; None if there is none."""
    found = next((part for part in module.modules() if isinstance(part, Encoder) and part.frozen), None)
    if found is None:
        return None
    return EncoderRecord(found.name, tensors_digest(found.network.state_dict()), found.licence, found.is_carried)


def without_encoder(weights: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """The weights of a method but for those of its frozen encoder, if a model of it refers to them only."""
    left_out = tuple(
        f"{name}.network." if name else "network."
        for name, part in module.named_modules()
        if isinstance(part, Encoder) and part.frozen and not part.is_carried
    )
    return {name: tensor for name, tensor in weights.items() if not (left_out and name.startswith(left_out))}


def check_encoder(module: nn.Module, recorded: EncoderRecord, place: object) -> None:
    """DamagedFileError if the encoder in a method has other weights than a model was made with."""
    now = encoder_record(module)
    if now is None or now.digest != recorded.digest:
        there = now.digest[:16] if now else "none"
        raise DamagedFileError(
            f"{place} refers to the encoder {recorded.name} with weights of digest {recorded.digest[:16]}, but those "
            f"here have {there}; bring the former here (FEWSHOT_MIRROR, or backbone.weights)"
        )
