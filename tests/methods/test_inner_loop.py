"""MAML: its meta-gradient against finite differences, and the laws it obeys."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from fewshot.config import MAMLSettings
from fewshot.data.images import EpisodeBatch
from fewshot.errors import UsageError
from fewshot.methods.inner_loop import gradient_descent
from fewshot.methods.maml import MAML


def tiny_maml(way: int = 3, **settings: object) -> MAML:
    """A MAML over a smooth net of about 60 weights in float64, with batch normalisation."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(1))
    return MAML(backbone, 8, way, MAMLSettings(**settings)).double()  # type: ignore[arg-type]


def tasks(number: int = 2, way: int = 3, shot: int = 2, query: int = 3) -> EpisodeBatch:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(number, way, shot + query, 1, 4, 4, generator=generator, dtype=torch.float64)
    images += torch.arange(way, dtype=torch.float64)[None, :, None, None, None, None]
    return EpisodeBatch(images[:, :, :shot], images[:, :, shot:])


def meta_gradient(maml: MAML) -> dict[str, Tensor]:
    maml.zero_grad()
    maml.loss(tasks()).loss.backward()
    return {name: parameter.grad.clone() for name, parameter in maml.named_parameters() if parameter.grad is not None}


def finite_differences(maml: MAML, step: float = 1e-6) -> dict[str, Tensor]:
    gradient = {}
    for name, parameter in maml.named_parameters():
        slope = torch.zeros_like(parameter)
        for place in range(parameter.numel()):
            flat = parameter.data.view(-1)
            kept = float(flat[place])
            values = []
            for shifted in (kept + step, kept - step):
                flat[place] = shifted
                values.append(maml.loss(tasks()).loss.item())
            flat[place] = kept
            slope.view(-1)[place] = (values[0] - values[1]) / (2 * step)
        gradient[name] = slope
    return gradient


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_meta_gradient_equals_finite_differences(inner_steps: int) -> None:
    maml = tiny_maml(inner_steps=inner_steps)
    expected = finite_differences(maml)
    for name, gradient in meta_gradient(maml).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-8)


def test_first_order_differs_from_second_but_not_in_the_loss() -> None:
    second, first = tiny_maml(order="second"), tiny_maml(order="first")
    assert second.loss(tasks()).loss.item() == first.loss(tasks()).loss.item()
    name = "backbone.0.weight"
    assert not torch.allclose(meta_gradient(second)[name], meta_gradient(first)[name], rtol=1e-2)


def test_first_order_gradient_is_that_of_the_query_loss_at_the_adapted_weights() -> None:
    maml = tiny_maml(order="first", inner_steps=2)
    batch = tasks(number=1)
    adapted = maml._adapt(batch.support.flatten(1, 2), torch.tensor([0, 0, 1, 1, 2, 2]), 2, meta=False)
    adapted = {name: weight.detach().requires_grad_() for name, weight in adapted.items()}
    loss = cross_entropy(maml._forward(adapted, batch.query.flatten(1, 2))[0], batch.labels[0])
    expected = dict(zip(adapted, torch.autograd.grad(loss, list(adapted.values())), strict=True))
    maml.loss(batch).loss.backward()
    for name, parameter in maml.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])


def test_zero_inner_steps_adapt_nothing() -> None:
    maml = tiny_maml(inner_steps_test=0)
    head = maml.fit(list(tasks().support[0]))
    for name, parameter in maml.named_parameters():
        torch.testing.assert_close(head.tensors[name], parameter.detach(), rtol=0, atol=0)


def test_inductive_answers_do_not_depend_on_other_queries() -> None:
    maml, batch = tiny_maml(), tasks(number=1)
    together = maml.logits(batch, "inductive")[0]
    alone = maml.logits(EpisodeBatch(batch.support, batch.query[:, :, :1]), "inductive")[0]
    torch.testing.assert_close(alone, together[:: batch.query.shape[2]])
    mixed = maml.logits(batch, "transductive")[0]
    alone = maml.logits(EpisodeBatch(batch.support, batch.query[:, :, :1]), "transductive")[0]
    assert not torch.allclose(alone, mixed[:: batch.query.shape[2]])


def test_running_statistics_are_never_touched() -> None:
    maml = tiny_maml()
    before = {name: buffer.clone() for name, buffer in maml.named_buffers()}
    maml.loss(tasks()).loss.backward()
    maml.logits(tasks(), "inductive")
    for name, buffer in maml.named_buffers():
        torch.testing.assert_close(buffer, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("way", [2, 3, 7])
def test_way_may_differ_from_training(way: int) -> None:
    logits = tiny_maml(way=3).logits(tasks(way=way), "inductive")
    assert logits.shape == (2, way * 3, way)
    assert logits.isfinite().all()


def test_a_backbone_of_other_layers_learns_tasks_one_by_one_and_cannot_be_told_to_group_them() -> None:
    assert tiny_maml().tasks_at_once(15) == 1
    with pytest.raises(UsageError, match=r"method\.backend=grouped.*use loop"):
        tiny_maml(backend="grouped")


def test_gradient_descent_by_hand() -> None:
    # d/dw (w - 3)^2 = 2 (w - 3); from w = 1 at rate 0.25: 1 + 1 = 2, then 2 + 0.5 = 2.5.
    start = {"w": torch.tensor(1.0, requires_grad=True)}
    assert gradient_descent(lambda w: (w["w"] - 3).square(), start, 0.25, 2, True)["w"].item() == 2.5


@pytest.mark.parametrize(("second_order", "slope"), [(True, 0.25), (False, 1.0)])
def test_gradient_through_gradient_descent(second_order: bool, slope: float) -> None:
    # Each step halves the distance to 3, so d w2 / d w0 = 1/4; in first order the steps count as constants.
    start = torch.tensor(1.0, requires_grad=True)
    end = gradient_descent(lambda w: (w["w"] - 3).square(), {"w": start}, 0.25, 2, second_order)["w"]
    assert float(torch.autograd.grad(end, start)[0]) == slope


def test_served_head_answers_as_evaluation_does() -> None:
    maml, batch = tiny_maml(), tasks(number=1)
    head = maml.fit(list(batch.support[0]))
    expected = maml.logits(batch, "inductive")[0]
    torch.testing.assert_close(maml.predict(head, batch.query[0].flatten(0, 1)), expected)
    network = nn.ModuleDict({"backbone": maml.backbone, "head": maml.head}).eval()
    network.forward = lambda images: network["head"](network["backbone"](images))
    direct = functional_call(network, head.tensors, batch.query[0].flatten(0, 1))
    torch.testing.assert_close(direct, expected)
