"""The work that an accelerator may record: the same on every batch, and never waiting for a number of the device."""

from contextlib import nullcontext

import pytest
import torch

from fewshot.data.batches import EpisodeBatch
from fewshot.methods import METHODS
from fewshot.methods.base import LossAndAccuracy, Method
from fewshot.methods.build import build_method
from fewshot.methods.protonet import ProtoNet
from fewshot.settings.schema import settings_from


def build(name: str, **options: object) -> Method:
    values = {
        "method": {"name": name, **options},
        "backbone": {"channels": 8},
        "train": {"episode": "3w2s2q"},
        "device": "cpu",
    }
    return build_method(settings_from(values), (1, 28, 28), 6).train()


def batch(device: str) -> EpisodeBatch:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 4, 1, 28, 28).to(device)
    return EpisodeBatch(images[:, :, :2], images[:, :, 2:], torch.arange(6).view(2, 3).to(device))


STATIC = [name for name in METHODS if build(name).is_static]


def test_the_methods_that_are_compared_most_are_static() -> None:
    on_features = {"nearest_mean", "knn", "tip_adapter", "projection"}
    on_images = {"protonet", "matching", "relation", "maml", "anil", "metasgd", "learned_optimizer"}
    assert on_images | on_features == set(STATIC)


@pytest.mark.parametrize("name", STATIC)
def test_a_static_loss_reads_nothing_from_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Tensors on the meta device have no values: whatever asks for one fails. It has no autocast.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: False)
    method = build(name).to("meta")
    parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
    loss = method.loss(batch("meta"), 0.0).loss
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    assert all(gradient is None or gradient.is_meta for gradient in gradients)


@pytest.mark.parametrize("name", STATIC)
def test_a_static_loss_is_the_same_early_and_late_in_training(name: str) -> None:
    early, late = (build_alike(name).loss(batch("cpu"), done).loss.item() for done in (0.0, 1.0))
    assert early == late


def build_alike(name: str) -> Method:
    torch.manual_seed(1)
    return build(name)


def test_what_changes_during_training_is_not_static() -> None:
    assert not build("maml", order="annealed").is_static


def test_a_loss_of_ones_own_is_not_static_unless_it_says_so() -> None:
    class Late(ProtoNet):
        def loss(self, batch: EpisodeBatch, fraction_done: float = 1.0) -> LossAndAccuracy:
            return super().loss(batch, fraction_done)

    class Other(ProtoNet):
        """A loss as before."""

    class Sure(Late):
        is_static = True

        def loss(self, batch: EpisodeBatch, fraction_done: float = 1.0) -> LossAndAccuracy:
            return super().loss(batch, fraction_done)

    assert [method.is_static for method in (Late, Other, Sure)] == [False, True, True]
