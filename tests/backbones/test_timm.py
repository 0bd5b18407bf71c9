"""Networks of timm as frozen or trained encoders, and where their weights come from."""

import http.server
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from encoder_files import CONVOLUTIONAL, VIT, made_weights, served, write_weights
from safetensors.torch import load_file, save_file

from fewshot.backbones.build import build_backbone
from fewshot.backbones.encoder import Encoder
from fewshot.data.batches import EpisodeBatch
from fewshot.errors import DamagedFileError, DataError, UsageError
from fewshot.methods.build import build_method
from fewshot.settings.schema import settings_from
from fewshot.system.files import sha256_file


@pytest.fixture(autouse=True)
def _caches_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    for name in ("FEWSHOT_MIRROR", "HF_HUB_CACHE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def encoder(image_shape: tuple[int, int, int] = (3, 40, 40), **values: Any) -> Encoder:
    settings = settings_from({"backbone": {"name": "timm", "network": VIT, **values}}).backbone
    built = build_backbone(settings, image_shape)
    assert isinstance(built, Encoder)
    return built


def images(number: int = 3, side: int = 160, channels: int = 3) -> torch.Tensor:
    return torch.rand(number, channels, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("network", [VIT, CONVOLUTIONAL])
def test_a_frozen_network_embeds_as_timm_does(network: str, tmp_path: Path) -> None:
    weights = str(write_weights(tmp_path, network))
    made = timm.create_model(network, num_classes=0).eval()
    made.load_state_dict(load_file(weights), strict=False)
    config = timm.data.resolve_model_data_config(made)
    mean, std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
    backbone = encoder(network=network, weights=weights)
    with torch.no_grad():
        expected = made((images() - mean) / std)
    torch.testing.assert_close(backbone(images()), expected, rtol=1e-3, atol=1e-4)
    assert backbone.out_features == expected.shape[1]


def test_images_of_any_size_and_of_one_channel_are_made_what_it_expects() -> None:
    backbone = encoder(weights="")
    grey = images(side=64, channels=1)
    large = torch.nn.functional.interpolate(grey, (160, 160), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(backbone(grey), backbone(large.expand(-1, 3, -1, -1)))


def test_positions_of_a_vit_are_resized_as_timm_does_it(tmp_path: Path) -> None:
    file = write_weights(tmp_path)
    overlay = {"file": str(file)}
    expected = timm.create_model(VIT, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0, img_size=96)
    backbone = encoder(weights=str(file), size=96)
    assert backbone.preprocessing.side == 96
    assert torch.equal(backbone.network.state_dict()["pos_embed"], expected.state_dict()["pos_embed"])


def test_a_frozen_network_stays_in_evaluation_mode_and_learns_nothing() -> None:
    backbone = encoder(network=CONVOLUTIONAL, weights="").train()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    assert not backbone(images()).requires_grad
    assert not any(module.training for module in backbone.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_only_the_last_blocks_are_trained_and_the_others_keep_their_statistics() -> None:
    backbone = encoder(network=CONVOLUTIONAL, weights="", frozen=False, trained_blocks=2, size=64).train()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    backbone(images()).sum().backward()
    trained = {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[1] for name in trained} == {"blocks", "conv_head", "bn2"}
    changed = {name for name, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert {name.rpartition(".")[0] for name in changed} <= {name.rpartition(".")[0] for name in trained}


@pytest.mark.parametrize("network", [VIT, CONVOLUTIONAL])
def test_computing_activations_twice_changes_no_gradient(network: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        backbone = encoder(network=network, weights="", frozen=False, checkpointing=checkpointing, size=64).train()
        backbone(images()).square().mean().backward()
        gradients.append([parameter.grad for parameter in backbone.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])


def test_activations_are_not_computed_twice_under_weights_that_change() -> None:
    values = {
        "backbone": {"name": "timm", "network": VIT, "weights": "", "frozen": False, "checkpointing": True, "size": 32},
        "method": {"name": "maml"},
        "train": {"episode": "2w1s1q"},
    }
    method = build_method(settings_from(values), (1, 28, 28)).train()
    with pytest.raises(UsageError, match="needs a method that leaves the network as it is"):
        method.loss(EpisodeBatch(torch.rand(1, 2, 1, 1, 28, 28), torch.rand(1, 2, 1, 1, 28, 28)))


def test_an_inner_loop_passes_second_derivatives_through_a_vit() -> None:
    values = {
        "backbone": {"name": "timm", "network": VIT, "weights": "", "frozen": False, "size": 32},
        "method": {"name": "maml", "inner_learning_rate": 0.01},
        "train": {"episode": "2w1s1q"},
    }
    method = build_method(settings_from(values), (1, 28, 28)).train()
    method.loss(EpisodeBatch(torch.rand(1, 2, 1, 1, 28, 28), torch.rand(1, 2, 1, 1, 28, 28))).loss.backward()
    grad = method.get_parameter("backbone.network.patch_embed.proj.weight").grad
    assert grad is not None
    assert grad.isfinite().all()
    assert grad.abs().sum() > 0


def test_features_pass_through_a_frozen_network_unchanged() -> None:
    backbone = encoder((3, 160, 160), weights="")
    features = backbone(images())
    as_images = features[:, :, None, None]
    assert torch.equal(backbone(as_images), features)
    built_for_features = encoder(as_images.shape[1:], weights="")  # type: ignore[arg-type]
    assert torch.equal(built_for_features.maps(as_images), as_images)
    with pytest.raises(UsageError, match="images of 1 or 3 channels, not"):
        encoder((64, 1, 1), weights="", frozen=False)


def test_the_digest_of_an_encoder_is_that_of_its_content(tmp_path: Path) -> None:
    first, second = write_weights(tmp_path / "a"), write_weights(tmp_path / "b", seed=1)
    copied = shutil.copyfile(first, tmp_path / "other-name.safetensors")
    digests = [encoder(weights=str(file)).encoder_digest for file in (first, copied, second)]
    assert digests[0] == digests[1] != digests[2]
    assert encoder(weights=str(first), size=96).encoder_digest not in digests
    assert encoder(weights=str(first), fit="whole").encoder_digest not in digests
    assert encoder(weights=str(first), frozen=False).encoder_digest == ""


def test_weights_come_from_a_mirror_are_kept_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_weights(tmp_path / "mirror")
    with served(tmp_path / "mirror") as address:
        monkeypatch.setenv("FEWSHOT_MIRROR", address)
        first = encoder()
    assert torch.equal(first.network.state_dict()["pos_embed"], made_weights()["pos_embed"])
    monkeypatch.delenv("FEWSHOT_MIRROR")
    assert encoder().encoder_digest == first.encoder_digest  # it is not fetched again
    kept = tmp_path / "torch" / "hub" / "checkpoints" / f"{VIT}.safetensors"
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(content)
    with pytest.raises(DamagedFileError, match="is damaged"):
        encoder()
    monkeypatch.setenv("FEWSHOT_MIRROR", str(tmp_path / "mirror"))
    assert encoder().encoder_digest == first.encoder_digest
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("FEWSHOT_MIRROR", str(tmp_path / "empty"))
    with pytest.raises(DataError, match=f"holds no {CONVOLUTIONAL}.safetensors"):
        encoder(network="test_efficientnet")


class Hub(http.server.SimpleHTTPRequestHandler):
    """The three headers by which Hugging Face's hub describes a file."""

    def end_headers(self) -> None:
        file = Path(self.translate_path(self.path))
        if file.is_file():
            self.send_header("X-Repo-Commit", "c" * 40)
            self.send_header("ETag", f'"{sha256_file(file)}"')
        else:
            gated = "dinov3" in self.path
            self.send_header("X-Error-Code", "GatedRepo" if gated else "EntryNotFound")
        super().end_headers()


def test_weights_come_from_the_hub_and_stay_in_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "hub" / "timm" / VIT / "resolve" / "main"
    write_weights(place).rename(place / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with served(tmp_path / "hub", Hub) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        first = encoder()
        with pytest.raises(DataError, match=r"timm/test_efficientnet\.r160_in1k has no model\.safetensors; set FEWSH"):
            encoder(network=CONVOLUTIONAL)
        with pytest.raises(DataError, match="gives them to those who accepted its licence: do so on its page"):
            encoder(network="vit_small_patch16_dinov3.lvd1689m")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert encoder().encoder_digest == first.encoder_digest
    [blob] = [file for file in (tmp_path / "huggingface").rglob("blobs/*") if file.stat().st_size > 10**6]
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    with pytest.raises(DamagedFileError, match="its SHA-256 differs from its name"):
        encoder()


def test_without_network_and_mirror_it_says_what_to_do() -> None:
    message = rf"can't fetch the weights of {VIT}: .*set FEWSHOT_MIRROR to .* holds {VIT}\.safetensors, or backbone\."
    with pytest.raises(DataError, match=message):
        encoder(network="test_vit")


def test_a_model_is_loaded_without_fetching_anything() -> None:
    settings = settings_from({"backbone": {"name": "timm", "network": VIT, "weights": "pretrained"}}).backbone
    with torch.device("meta"):
        sketch = build_backbone(settings.without_download(), (3, 32, 32))
    assert sketch.state_dict().keys() == encoder(weights="").state_dict().keys()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network": "test_vitt"}, "unknown network of timm 'test_vitt'; did you mean 'test_vit'?"),
        ({"network": "test_vit.r160_in2k"}, "did you mean 'test_vit.r160_in1k'?"),
        ({"size": 40}, f"{VIT} can't take images of 40x40 pixels (Input height (40) should be divisible by patch size"),
        ({"size": 8}, "backbone.size=8: encoders take images of 16x16 pixels or more"),
        ({"network": "inception_v3", "size": 20}, "inception_v3 can't take images of 20x20 pixels"),
        ({"trained_blocks": 1}, "set backbone.frozen=false"),
        ({"trained_blocks": 9, "frozen": False}, "backbone.trained_blocks=9, but this network has 6 blocks"),
        ({"weights": "nowhere.safetensors"}, "there is no file nowhere.safetensors"),
        (
            {"network": "efficientnet_b6", "weights": "pretrained"},
            "efficientnet_b6 has no published weights; set backbone.",
        ),
        ({"network": "test_vit", "weights": "pretrained", "fit": "half"}, "setting backbone.fit = 'half'"),
    ],
)
def test_what_timm_or_a_network_does_not_have_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        encoder(**{"weights": "", **values})
    assert message in str(caught.value)


def test_a_pickle_is_refused_whatever_its_name(tmp_path: Path) -> None:
    for name in ("weights.pth", "weights.safetensors"):
        torch.save(made_weights(), tmp_path / name)
        with pytest.raises(UsageError, match=r"is a pickle .* which runs code when it is read"):
            encoder(weights=str(tmp_path / name))


def test_weights_that_do_not_fit_or_are_damaged_are_said(tmp_path: Path) -> None:
    whole = made_weights()
    file = tmp_path / "weights.safetensors"

    def refused(tensors: dict[str, torch.Tensor], message: str) -> None:
        save_file(tensors, file)
        with pytest.raises(DamagedFileError, match=message):
            encoder(weights=str(file))

    refused(made_weights(CONVOLUTIONAL), f"holds no weights of {VIT} \\(")
    refused({name: t for name, t in whole.items() if name != "norm.weight"}, r"\(norm\.weight is missing\)")
    refused({**whole, "blocks.6.norm1.weight": torch.ones(64)}, r"\(blocks\.6\.norm1\.weight is not expected\)")
    refused({**whole, "norm.weight": torch.ones(65)}, r"\(norm\.weight is \[65\], not \[64\]\)")
    refused({**whole, "norm.weight": torch.full((64,), torch.nan)}, "norm.weight holds numbers that are not finite")
    save_file(whole, file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DamagedFileError, match="is no whole safetensors file"):
        encoder(weights=str(file))
    save_file({name: t for name, t in whole.items() if not name.startswith("head.")}, file)
    encoder(weights=str(file))  # a file of an encoder alone, without the classifier
