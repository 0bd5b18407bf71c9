"""ResNet-12 and torchvision's networks as backbones."""

import http.server
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision

from fewshot.backbones.build import build_backbone
from fewshot.backbones.resnet12 import DropBlock, ResNet12Settings
from fewshot.backbones.torchvision import TorchvisionSettings
from fewshot.data.batches import EpisodeBatch
from fewshot.errors import DataError, UsageError
from fewshot.methods.build import build_method
from fewshot.settings.schema import settings_from
from fewshot.system.device import Compute
from fewshot.system.files import sha256_file
from fewshot.training.outer_step import OuterStep


@pytest.mark.parametrize("image_shape", [(1, 28, 28), (3, 84, 84), (3, 16, 40)])
def test_resnet12_takes_any_size_and_averages_its_maps(image_shape: tuple[int, int, int]) -> None:
    backbone = build_backbone(ResNet12Settings(name="resnet12", channels=(4, 6, 8, 10)), image_shape).eval()
    images = torch.rand(2, *image_shape)
    assert backbone.out_features == 10
    assert backbone.maps(images).shape[1:] == backbone.map_shape
    torch.testing.assert_close(backbone(images), backbone.maps(images).mean((2, 3)))


def test_resnet12_has_the_published_number_of_weights() -> None:
    # 8.0 million without the classifier, as the code of MetaOptNet counts for 3 channels, less its biases.
    backbone = build_backbone(ResNet12Settings(name="resnet12", channels=(64, 128, 256, 512)), (3, 84, 84))
    assert 7.9e6 < sum(parameter.numel() for parameter in backbone.parameters()) < 8.1e6


def test_resnet12_refuses_images_too_small_to_halve_four_times() -> None:
    with pytest.raises(UsageError, match="needs 16x16 pixels or more, not 8x28"):
        build_backbone(ResNet12Settings(name="resnet12"), (1, 8, 28))


def test_drop_block_drops_the_share_in_squares_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop, maps = DropBlock(0.1, 5), torch.ones(200, 8, 21, 21)
    dropped = drop(maps)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.1, abs=0.02)
    assert dropped.mean().item() == pytest.approx(1, abs=1e-3)
    zeros = (dropped == 0).float()
    # Whatever is dropped belongs to a whole square of 5x5.
    squares = torch.nn.functional.avg_pool2d(zeros, 5, stride=1) > 0.99
    covered = torch.nn.functional.max_pool2d(torch.nn.functional.pad(squares.float(), [4] * 4), 5, stride=1)
    assert torch.equal(covered, zeros)
    assert torch.equal(drop.eval()(maps), maps)


@pytest.mark.parametrize(
    ("network", "features", "size"),
    [("resnet18", 512, 32), ("efficientnet_b0", 1280, 32), ("vit_b_16", 768, 32), ("convnext_tiny", 768, 32)],
)
def test_networks_of_torchvision_embed_grey_images_and_learn(network: str, features: int, size: int) -> None:
    values = {"backbone": {"name": "torchvision", "network": network, "size": size}}
    method = build_method(settings_from(values), (1, 28, 28))
    batch = EpisodeBatch(torch.rand(1, 2, 1, 1, 28, 28), torch.rand(1, 2, 2, 1, 28, 28))
    assert method.backbone.out_features == features
    outcome = method.train().loss(batch)
    outcome.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
    assert method.eval().logits(batch, "inductive").shape == (1, 4, 2)


def test_an_inner_loop_passes_second_derivatives_through_attention() -> None:
    values = {
        "backbone": {"name": "torchvision", "network": "vit_b_16", "size": 32},
        "method": {"name": "maml", "inner_learning_rate": 0.01},
        "train": {"episode": "2w1s1q"},
    }
    method = build_method(settings_from(values), (1, 28, 28)).train()
    batch = EpisodeBatch(torch.rand(1, 2, 1, 1, 28, 28), torch.rand(1, 2, 1, 1, 28, 28))
    method.loss(batch).loss.backward()
    grad = method.get_parameter("backbone.network.conv_proj.weight").grad
    assert grad is not None
    assert grad.isfinite().all()
    assert grad.abs().sum() > 0


def test_a_frozen_network_stays_as_it_is() -> None:
    values = {
        "backbone": {"name": "torchvision", "network": "resnet18", "size": 32, "frozen": True},
        "method": {"name": "maml"},
        "train": {"episode": "2w1s1q"},
    }
    method = build_method(settings_from(values), (1, 28, 28)).train()
    before = {name: tensor.clone() for name, tensor in method.backbone.state_dict().items()}
    batch = EpisodeBatch(torch.rand(1, 2, 1, 1, 28, 28), torch.rand(1, 2, 1, 1, 28, 28))
    method.loss(batch).loss.backward()
    assert method.head.weight.grad is not None
    assert all(parameter.grad is None for parameter in method.backbone.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.backbone.state_dict().items())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"network": "resnet19"}, "unknown network of torchvision 'resnet19'; did you mean 'resnet18'"),
        ({"network": "resnet18", "weights": "DEFAULTS"}, "unknown weights of resnet18 'DEFAULTS'; did you mean"),
        ({"network": "squeezenet1_0"}, "squeezenet1_0 does not end with a linear layer"),
        ({"network": "vit_b_16", "size": 40}, "backbone.size=40"),
    ],
)
def test_what_torchvision_does_not_have_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_backbone(TorchvisionSettings(name="torchvision", **values), (3, 32, 32))  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_two_channels_are_refused() -> None:
    with pytest.raises(UsageError, match="images of 1 or 3 channels, not 2"):
        build_backbone(TorchvisionSettings(name="torchvision"), (2, 32, 32))


def test_published_weights_come_from_the_mirror_and_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = "shufflenet_v2_x0_5"
    kind = torchvision.models.get_model_weights(network)
    served = tmp_path / "served"
    served.mkdir()
    made = torchvision.models.get_model(network, weights=None)
    torch.save(made.state_dict(), served / "weights.pth")
    digest = sha256_file(served / "weights.pth")[:8]
    name = f"{network}-{digest}.pth"
    (served / "weights.pth").rename(served / name)
    weights = kind["DEFAULT"]
    monkeypatch.setattr(type(weights), "url", property(lambda self: f"https://nowhere.invalid/{name}"), raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    settings = TorchvisionSettings(name="torchvision", network=network, weights="DEFAULT", size=32)

    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setenv("FEWSHOT_MIRROR", f"http://127.0.0.1:{server.server_port}")
        backbone = build_backbone(settings, (1, 28, 28))
    finally:
        server.shutdown()
        server.server_close()
    found = backbone.state_dict()
    for key, tensor in made.state_dict().items():
        if f"network.{key}" in found:
            assert torch.equal(found[f"network.{key}"], tensor)
    # What is there is not fetched again; a mirror without the file is named.
    build_backbone(settings, (1, 28, 28))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("FEWSHOT_MIRROR", str(tmp_path))
    with pytest.raises(DataError, match=f"holds no {name}"):
        build_backbone(settings, (1, 28, 28))


def test_a_method_with_nothing_to_learn_is_said() -> None:
    backbone = {"name": "torchvision", "network": "resnet18", "frozen": True}
    settings = settings_from({"backbone": backbone, "method": {"name": "protonet"}, "device": "cpu"})
    with pytest.raises(UsageError, match=r"ProtoNet has nothing to learn on a frozen backbone; set backbone\.frozen"):
        OuterStep(build_method(settings, (3, 32, 32)), settings.train, Compute.pick("cpu"))
