"""EfficientNet-Lite0 and its installed weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import batch_norm, conv2d, pad

from fewshot.backbones import lite0
from fewshot.backbones.build import build_backbone
from fewshot.backbones.encoder import Encoder
from fewshot.errors import DamagedFileError, DataError, UsageError
from fewshot.methods.build import build_method
from fewshot.model import TrainingData, load_model, save_model
from fewshot.settings.schema import settings_from


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        yield


def encoder(image_shape: tuple[int, int, int] = (3, 224, 224), **values: Any) -> Encoder:
    built = build_backbone(settings_from({"backbone": {"name": "lite0", **values}}).backbone, image_shape)
    assert isinstance(built, Encoder)
    return built


def formula(number: int = 2, side: int = 224) -> Tensor:
    """Images made by a formula: the same on every machine."""
    grid = np.arange(number * 3 * side * side, dtype=np.int64).reshape(number, 3, side, side)
    return torch.from_numpy((grid * 7919 % 65_521 / 65_521 * np.sin(grid / 5000) ** 2).astype(np.float32))


STRIDES = {1: 2, 3: 2, 5: 2, 11: 2}
"""Block of the source -> stride of its depthwise convolution; 1 for the others."""


def embedding_by_position(source: dict[str, Tensor], images: Tensor) -> Tensor:
    """The network written again from the paper and its authors' code, on the tensors of the source in their order."""
    tensors = iter(source.values())

    def layer(x: Tensor, stride: int = 1, act: bool = True) -> Tensor:
        weight = next(tensors)
        scale, shift, mean, variance, _ = (next(tensors) for _ in range(5))
        size, side = weight.shape[-1], x.shape[-1]
        extra = max((-(-side // stride) - 1) * stride + size - side, 0)  # TensorFlow's "same"
        x = pad(x, (extra // 2, extra - extra // 2) * 2)
        x = conv2d(x, weight, stride=stride, groups=len(weight) if weight.shape[1] == 1 else 1)
        x = batch_norm(x, mean, variance, scale, shift, eps=1e-3)
        return x.clamp(0, 6) if act else x

    x = layer((images - 0.5) / 0.5, 2)
    for block in range(16):
        inside = layer(x) if block else x
        inside = layer(inside, STRIDES.get(block, 1))
        inside = layer(inside, act=False)
        x = x + inside if inside.shape == x.shape and block else inside
    return layer(x).mean((2, 3))


def test_embeddings_are_those_of_the_source_read_by_position() -> None:
    source = lite0._read_source(lite0.source_file())
    found, expected = encoder()(formula()), embedding_by_position(source, formula())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_embeddings_are_the_same_as_ever() -> None:
    values = encoder()(formula())[0]
    expected = {113: 5.9928, 576: 4.2447, 332: 3.9328, 1097: 3.7824, 714: 3.3447}  # of `embedding_by_position`
    torch.testing.assert_close(values[list(expected)], torch.tensor(list(expected.values())), rtol=0, atol=1e-3)
    assert values.mean().item() == pytest.approx(0.126604, abs=1e-4)


def test_half_precision_keeps_the_direction_of_an_embedding() -> None:
    backbone = encoder()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = backbone(formula())
    assert torch.nn.functional.cosine_similarity(found.float(), backbone(formula())).min() > 0.99


def test_converted_weights_are_kept_and_made_again_when_damaged() -> None:
    digest = encoder().encoder_digest
    file = lite0.converted_file()
    whole = file.read_bytes()
    for damaged in (whole[:-9], whole[:-1] + bytes([whole[-1] ^ 1]), b"no weights"):
        file.write_bytes(damaged)
        assert encoder().encoder_digest == digest
        assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(lite0, "write_bytes", refuse)
    assert encoder().encoder_digest
    assert "the converted weights can't be kept: [Errno 13]" in caplog.text


def test_the_source_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder()
    monkeypatch.setattr(lite0, "_read_source", None)
    encoder()


def test_a_damaged_or_missing_source_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "weights.pth"
    damaged.write_bytes(lite0.source_file().read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match=r"weights\.pth is damaged: its SHA-256 is .*install efficientnet-lite0"):
        lite0._read_source(damaged)
    monkeypatch.setattr(lite0, "PACKAGE", "no-such-package")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"the weights of backbone\.name=lite0 are not installed"):
        encoder()


def test_a_model_holds_its_weights_and_is_loaded_without_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_from({"backbone": {"name": "lite0"}, "method": {"name": "simpleshot"}, "device": "cpu"})
    method = build_method(settings, (3, 64, 64), 4).eval()
    save_model(tmp_path / "model", method.state_dict(), settings, (3, 64, 64), TrainingData("d", "s", "", ("a",) * 4))
    monkeypatch.setattr(lite0, "installed_weights", None)
    loaded = load_model(tmp_path / "model", "cpu")
    images = (formula(4, 64) * 255).byte()
    with torch.no_grad(), loaded.compute.autocast():
        expected = method.get_submodule("backbone")(images.float() / 255)
    with loaded.computing() as own:
        found = own.get_submodule("backbone")
        assert torch.equal(found(images.float() / 255), expected)
        assert found.encoder_digest == method.get_submodule("backbone").encoder_digest
    head = loaded.fit([images[:1].numpy(), images[1:2].numpy()])
    assert loaded.predict_proba(head, images[:2].numpy()).argmax(-1).tolist() == [0, 1]


def test_it_takes_other_sizes_grey_images_and_trains_its_last_blocks() -> None:
    backbone = encoder((1, 28, 28), size=64, frozen=False, trained_blocks=1).train()
    backbone(torch.rand(2, 1, 28, 28)).sum().backward()
    trained = [name for name, parameter in backbone.named_parameters() if parameter.grad is not None]
    assert trained[0].startswith("network.blocks.6.0")
    with pytest.raises(UsageError, match=r"backbone\.size=8"):
        encoder(size=8, weights="")
    with pytest.raises(UsageError, match=r"setting backbone\.weights = 'IMAGENET'"):
        encoder(weights="IMAGENET")
