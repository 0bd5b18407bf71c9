"""The tested choice of encoders says what timm says."""

from pathlib import Path

import pytest
import timm
import torch
from encoder_files import write_weights

import fewshot
from fewshot.backbones import encoder_list, lite0, published
from fewshot.backbones.build import build_backbone
from fewshot.backbones.encoder import Encoder
from fewshot.backbones.encoder_list import EncoderSummary

ENTRIES = {summary.name: summary for summary in encoder_list.list_encoders()}


@pytest.mark.parametrize("summary", ENTRIES.values(), ids=list(ENTRIES))
def test_every_encoder_is_what_its_row_says(summary: EncoderSummary) -> None:
    settings = fewshot.load_settings(overrides=list(summary.settings)).backbone
    with torch.device("meta"):
        encoder = build_backbone(settings.without_download(), (3, 64, 64))
    assert isinstance(encoder, Encoder)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == summary.parameters
    assert (encoder.out_features, encoder.preprocessing.side) == (summary.embedding, summary.side)
    network = lite0.NETWORK if summary.name == "lite0" else summary.name
    # OpenAI published CLIP under the MIT licence; timm has its default there.
    licence = "mit" if "openai" in network else timm.get_pretrained_cfg(network).license
    assert summary.licence.startswith(licence)
    assert timm.is_model_pretrained(network)
    assert summary.images_per_second > 0


def test_weights_are_here_once_they_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    network = "vit_tiny_patch16_224.augreg_in21k"
    here = {summary.name for summary in fewshot.list_encoders() if summary.is_here}
    assert here == {"lite0"}  # installed with the package
    write_weights(published.mirrored_file(network).parent)
    published.mirrored_file("test_vit.r160_in1k").rename(published.mirrored_file(network))
    assert {summary.name for summary in fewshot.list_encoders() if summary.is_here} == {"lite0", network}
