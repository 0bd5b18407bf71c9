"""The methods with an inner loop: meta-gradients against finite differences, and the laws they obey."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from fewshot.backbones.base import Backbone
from fewshot.data.batches import EpisodeBatch
from fewshot.errors import UsageError
from fewshot.methods.base import LossAndAccuracy, MethodContext
from fewshot.methods.descent import GradientOrder, descend, last
from fewshot.methods.inner_loop import InnerLoop
from fewshot.methods.learned_optimizer import LearnedOptimizer, UpdateNetwork, log_scaled
from fewshot.methods.mamlpp import MAMLPlusPlus
from fewshot.methods.metasgd import MetaSGD
from fewshot.methods.stacked_network import flat
from fewshot.settings.plugins import find
from fewshot.settings.schema import settings_from

SECOND_ORDER = ["maml", "anil", "protomaml", "metasgd", "maml++", "learned_optimizer"]
FAMILY = [*SECOND_ORDER, "reptile"]


class Tiny(Backbone):
    """A smooth network of 36 weights, with batch normalisation, for images of 4x4."""

    map_shape = (2, 2, 2)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.Tanh())

    def maps(self, images: Tensor) -> Tensor:
        maps: Tensor = self.layers(images)
        return maps


def tiny(name: str = "maml", way: int = 3, backbone: Backbone | None = None, **settings: object) -> InnerLoop:
    """A method over `Tiny` in float64, all its weights a little away from where they start."""
    torch.manual_seed(0)
    of_method = settings_from({"method": {"name": name, **settings}}).method
    method = find("method", name).build(MethodContext(backbone or Tiny(), of_method, way, 1, 1)).double()
    assert isinstance(method, InnerLoop)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return method


def tasks(number: int = 2, way: int = 3, shot: int = 2, query: int = 3) -> EpisodeBatch:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(number, way, shot + query, 1, 4, 4, generator=generator, dtype=torch.float64)
    images += torch.arange(way, dtype=torch.float64)[None, :, None, None, None, None]
    return EpisodeBatch(images[:, :, :shot], images[:, :, shot:])


def meta_gradient(method: InnerLoop, fraction_done: float = 1.0) -> dict[str, Tensor]:
    learned = {name: parameter for name, parameter in method.named_parameters() if parameter.requires_grad}
    loss = method.loss(tasks(), fraction_done).loss
    return dict(zip(learned, torch.autograd.grad(loss, list(learned.values()), materialize_grads=True), strict=True))


def finite_differences(method: InnerLoop, fraction_done: float = 1.0, step: float = 1e-6) -> dict[str, Tensor]:
    gradient = {}
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            continue
        slope, flat_parameter = torch.zeros(parameter.numel(), dtype=torch.float64), parameter.data.view(-1)
        for place in range(parameter.numel()):
            kept = float(flat_parameter[place])
            values = []
            for shifted in (kept + step, kept - step):
                flat_parameter[place] = shifted
                values.append(method.loss(tasks(), fraction_done).loss.item())
            flat_parameter[place] = kept
            slope[place] = (values[0] - values[1]) / (2 * step)
        gradient[name] = slope.view_as(parameter)
    return gradient


@pytest.mark.parametrize("name", SECOND_ORDER)
def test_meta_gradient_equals_finite_differences(name: str) -> None:
    steps = {"inner_steps": 3, "inner_steps_test": 3, "inner_learning_rate": 0.2, "order": "second"}
    method = tiny(name, **steps)
    fraction_done = 0.05 if name == "maml++" else 1.0  # while it has a loss after every step
    expected = finite_differences(method, fraction_done)
    for parameter, gradient in meta_gradient(method, fraction_done).items():
        torch.testing.assert_close(gradient, expected[parameter], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", SECOND_ORDER)
def test_first_order_differs_from_second_but_not_in_the_loss(name: str) -> None:
    settings = {"inner_learning_rate": 0.4, "inner_steps": 2, "inner_steps_test": 2}
    second, first = tiny(name, order="second", **settings), tiny(name, order="first", **settings)
    assert second.loss(tasks()).loss.item() == first.loss(tasks()).loss.item()
    weight = "backbone.layers.0.weight"
    assert not torch.allclose(meta_gradient(second)[weight], meta_gradient(first)[weight], rtol=1e-2)


def test_annealed_order_is_first_then_second() -> None:
    annealed, first, second = (tiny(order=order) for order in ("annealed", "first", "second"))
    weight = "backbone.layers.0.weight"
    for fraction_done, expected in ((0.0, first), (0.29, first), (0.3, second), (1.0, second)):
        torch.testing.assert_close(meta_gradient(annealed, fraction_done)[weight], meta_gradient(expected)[weight])


def test_first_order_gradient_is_that_of_the_query_loss_at_the_adapted_weights() -> None:
    maml = tiny(order="first", inner_steps=2)
    batch = tasks(number=1)
    *_, adapted = maml.adapt(*flat(batch.support), 2, order="none")
    adapted = {name: weight.detach().requires_grad_() for name, weight in adapted.items()}
    loss = cross_entropy(maml.classify(adapted, batch.query.flatten(1, 2), 2)[0], batch.labels[0])
    expected = dict(zip(adapted, torch.autograd.grad(loss, list(adapted.values())), strict=True))
    maml.loss(batch).loss.backward()
    for name, parameter in maml.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])


@pytest.mark.parametrize("name", ["maml", "anil", "metasgd", "learned_optimizer", "reptile"])
def test_zero_inner_steps_adapt_nothing(name: str) -> None:
    method = tiny(name, inner_steps_test=0)
    head = method.fit(list(tasks().support[0]))
    for parameter, weight in method.network_parameters().items():
        torch.testing.assert_close(head.tensors[f"0.{parameter}"], weight.detach(), rtol=0, atol=0)


def test_running_statistics_are_never_touched() -> None:
    maml = tiny()
    before = {name: buffer.clone() for name, buffer in maml.named_buffers()}
    maml.loss(tasks()).loss.backward()
    maml.logits(tasks(), "inductive")
    for name, buffer in maml.named_buffers():
        torch.testing.assert_close(buffer, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("way", [2, 7])
def test_way_may_differ_from_training(name: str, way: int) -> None:
    logits = tiny(name, way=3).logits(tasks(way=way), "inductive")
    assert logits.shape == (2, way * 3, way)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", FAMILY)
def test_transductive_answers_depend_on_other_queries(name: str) -> None:
    method, batch = tiny(name), tasks(number=1)
    together = method.logits(batch, "transductive")[0]
    alone = method.logits(EpisodeBatch(batch.support, batch.query[:, :, :1]), "transductive")[0]
    assert not torch.allclose(alone, together[:: batch.query.shape[2]])


def test_a_backbone_of_other_layers_learns_tasks_one_by_one_and_cannot_be_told_to_group_them() -> None:
    assert tiny().tasks_at_once(15) == 1
    with pytest.raises(UsageError, match=r"method\.backend=grouped.*use loop"):
        tiny(backend="grouped")


def test_served_head_answers_as_the_network_does() -> None:
    maml, batch = tiny(), tasks(number=1)
    head = maml.fit(list(batch.support[0]))
    expected = maml.logits(batch, "inductive")[0]
    network = nn.ModuleDict({"backbone": maml.backbone, "head": maml.head}).eval()
    network.forward = lambda images: network["head"](network["backbone"](images))
    adapted = {name.removeprefix("0."): tensor for name, tensor in head.tensors.items()}
    direct = functional_call(network, adapted, batch.query[0].flatten(0, 1))
    torch.testing.assert_close(direct, expected)


@pytest.mark.parametrize("name", ["maml", "anil", "metasgd", "maml++", "reptile"])
def test_an_ensemble_averages_over_the_rows_that_the_classes_take(name: str) -> None:
    one, both, batch = tiny(name), tiny(name, ensemble=2), tasks(number=2)
    both.load_state_dict(one.state_dict())
    rows = len(one.head.bias)
    # The second member starts half way down the head, as if the head (and whatever is learned of it) had been turned.
    turned = tiny(name)
    with torch.no_grad():
        for mine, its in zip(one.parameters(), turned.parameters(), strict=True):
            its.copy_(mine.roll(-(rows // 2), 0) if len(mine) == rows else mine)
    for mode in both.batch_norm_modes:
        expected = torch.stack([method.eval().logits(batch, mode).softmax(-1) for method in (one, turned)]).mean(0)
        torch.testing.assert_close(both.eval().logits(batch, mode).exp(), expected)
    head = both.fit(list(batch.support[0]))
    queries = batch.query[0].flatten(0, 1)
    torch.testing.assert_close(both.predict(head, queries), both.logits(batch, both.batch_norm_modes[0])[0])
    assert not torch.allclose(one.logits(batch, "inductive"), turned.logits(batch, "inductive"))


@pytest.mark.parametrize("name", ["maml", "anil", "reptile"])
def test_scaled_to_way_a_class_moves_its_row_as_far_as_in_training(name: str) -> None:
    batch = tasks(way=2)
    scaled = tiny(name, scale_to_way=True, inner_learning_rate=0.3)
    # Trained with three classes, which a mean counts by thirds where it counts two by halves.
    expected = tiny(name, inner_learning_rate=0.2).logits(batch, "inductive")
    torch.testing.assert_close(scaled.logits(batch, "inductive"), expected)
    in_training = tiny(name, inner_learning_rate=0.3).logits(tasks(), "inductive")
    torch.testing.assert_close(scaled.logits(tasks(), "inductive"), in_training, rtol=0, atol=0)


def test_an_ensemble_of_more_members_than_rows_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"method\.ensemble=9, but a head of . rows"):
        tiny(ensemble=9)


def descended(order: GradientOrder) -> tuple[Tensor, Tensor]:
    """Two steps of rate 0.25 on (w - 3)^2 from w = 1, each of which halves the distance to 3."""
    start = torch.tensor(1.0, requires_grad=True)
    path = list(
        descend(
            lambda w, step: (w["w"] - 3).square(),
            {"w": start},
            lambda w, g, step: {"w": w["w"] - 0.25 * g["w"]},
            2,
            order,
        )
    )
    assert [float(weights["w"].detach()) for weights in path] == [1.0, 2.0, 2.5]
    return start, path[-1]["w"]


@pytest.mark.parametrize(("order", "slope"), [("second", 0.25), ("first", 1.0)])
def test_gradient_through_gradient_descent(order: GradientOrder, slope: float) -> None:
    start, end = descended(order)  # in first order the gradients count as constants
    assert float(torch.autograd.grad(end, start)[0]) == slope


def test_descent_of_no_order_leads_nowhere_back() -> None:
    start, end = descended("none")
    assert torch.autograd.grad(end, start, allow_unused=True) == (None,)


def test_anil_leaves_the_encoder_as_it_was_and_still_teaches_it() -> None:
    anil = tiny("anil", inner_steps=3)
    *_, adapted = anil.adapt(*flat(tasks(number=1).support), 3, order="second")
    for name, weight in anil.network_parameters().items():
        same = torch.equal(adapted[name], weight)
        assert same if name.startswith("backbone.") else not same
    assert meta_gradient(anil)["backbone.layers.0.weight"].abs().sum() > 0


def test_proto_maml_without_steps_is_a_prototypical_network() -> None:
    method, batch = tiny("protomaml", inner_steps_test=0), tasks(number=1)
    support, query = batch.support.flatten(1, 2), batch.query.flatten(1, 2)
    start = method.start(*flat(batch.support)[:2], torch.arange(3))
    means = method.features(start, support, 0).unflatten(1, (3, 2)).mean(2)
    distances = torch.cdist(method.features(start, query, 0), means).square()
    torch.testing.assert_close(method.logits(batch, "transductive").log_softmax(-1), (-distances).log_softmax(-1))


def test_in_proto_maml_the_head_counts_by_itself_once_it_is_made() -> None:
    method, batch = tiny("protomaml", inner_learning_rate=0.3), tasks(number=1)
    images, labels, way = flat(batch.support)
    start, adapted = method.adapt(images, labels, way, 1, order="second")
    free = {name: weight.detach().requires_grad_() for name, weight in start.items()}
    loss = cross_entropy(method.classify(free, images, 0)[0], labels)
    for (name, weight), gradient in zip(free.items(), torch.autograd.grad(loss, list(free.values())), strict=True):
        torch.testing.assert_close(adapted[name].detach(), (weight - 0.3 * gradient).detach())


def test_meta_sgd_with_equal_rates_is_maml_and_its_rates_may_be_negative() -> None:
    maml, metasgd = tiny("maml"), tiny("metasgd")
    assert isinstance(metasgd, MetaSGD)
    metasgd.load_state_dict({**metasgd.state_dict(), **maml.state_dict()})
    with torch.no_grad():
        for rate in metasgd.rates:
            rate.fill_(0.4)
    torch.testing.assert_close(metasgd.loss(tasks()).loss, maml.loss(tasks()).loss)
    assert [rate.shape for rate in metasgd.rates] == [weight.shape for weight in metasgd.network_parameters().values()]
    with torch.no_grad():
        metasgd.rates[0].fill_(-0.4)
    assert metasgd.loss(tasks()).loss.isfinite()


def test_the_learned_optimizer_begins_as_gradient_descent() -> None:
    maml, learned = tiny("maml", inner_steps=2), tiny("learned_optimizer", inner_steps=2, inner_learning_rate=0.4)
    assert isinstance(learned, LearnedOptimizer)
    learned.load_state_dict({**learned.state_dict(), **maml.state_dict()})
    fresh = UpdateNetwork(tensors=2, steps=2, hidden=4)
    gradient, weight = torch.randn(3, 5), torch.randn(3, 5)
    torch.testing.assert_close(fresh(gradient, weight, 1, 1), gradient)
    learned.meta_learner.load_state_dict(
        UpdateNetwork(
            len(learned.meta_learner.tensors), steps=2, hidden=learned.meta_learner.hidden.out_features
        ).state_dict()
    )
    torch.testing.assert_close(learned.loss(tasks()).loss, maml.loss(tasks()).loss)
    # A factor of exp(log 2) is twice the rate, said for all coordinates or for each tensor and step.
    twice = tiny("maml", inner_steps=2, inner_learning_rate=0.8)
    twice.load_state_dict(maml.state_dict())
    for place in (learned.meta_learner.out.bias.data[:1], learned.meta_learner.factors.data):
        place.fill_(math.log(2))
        torch.testing.assert_close(learned.loss(tasks()).loss, twice.loss(tasks()).loss)
        place.zero_()


def test_the_learned_optimizer_tells_tensors_and_steps_apart() -> None:
    meta_learner = UpdateNetwork(tensors=2, steps=2, hidden=4)
    gradient, weight = torch.randn(3, 5), torch.randn(3, 5)
    with torch.no_grad():
        meta_learner.factors[1, 1] = math.log(3)
    torch.testing.assert_close(meta_learner(gradient, weight, 1, 1), 3 * gradient)
    torch.testing.assert_close(meta_learner(gradient, weight, 1, 7), 3 * gradient)  # as the last step that it knows
    for tensor, step in ((0, 0), (0, 1), (1, 0)):
        torch.testing.assert_close(meta_learner(gradient, weight, tensor, step), gradient)
    nn.init.ones_(meta_learner.out.weight)
    torch.testing.assert_close(meta_learner(gradient, weight, 0, 0), meta_learner(gradient, weight, 1, 0))
    torch.testing.assert_close(meta_learner(gradient, weight, 0, 7), meta_learner(gradient, weight, 0, 1))
    assert (meta_learner(gradient, weight, 0, 1) - meta_learner(gradient, weight, 0, 0)).abs().max() > 1e-3
    with torch.no_grad():
        meta_learner.tensors[0] = 1.0
    assert (meta_learner(gradient, weight, 0, 0) - meta_learner(gradient, weight, 1, 0)).abs().min() > 1e-3


def test_log_scale_keeps_the_sign_and_shrinks_orders_of_magnitude_to_steps() -> None:
    scaled = log_scaled(torch.tensor([-1.0, -1e-2, 0.0, 1e-2, 1.0, 100.0]))
    torch.testing.assert_close(scaled[4], torch.tensor(1.0))
    torch.testing.assert_close(scaled[:2], -scaled[[4, 3]])
    steps = scaled[3:].diff()
    torch.testing.assert_close(steps[0], steps[1], rtol=0.02, atol=0)


def test_maml_plus_plus_weighs_the_losses_of_the_steps() -> None:
    method = tiny("maml++", inner_steps=4, inner_steps_test=4, multi_step_share=0.5)
    assert isinstance(method, MAMLPlusPlus)
    assert method.importance(0.0) == [0.25] * 4
    assert method.importance(0.25) == [0.125] * 3 + [0.625]
    assert method.importance(0.5) == [0.0] * 3 + [1.0]


def test_maml_plus_plus_reads_the_statistics_of_the_last_entry_when_inductive() -> None:
    method, batch = tiny("maml++", inner_steps=2, inner_steps_test=2), tasks()
    method.train()
    for _ in range(3):
        method.loss(batch)
    method.eval()
    mean = method.get_buffer("mean_0")
    assert mean.shape == (3, 2)
    assert (mean != 0).all()  # each entry has learned
    before = {mode: method.logits(batch, mode) for mode in method.batch_norm_modes}
    mean[2] += 1
    assert not torch.allclose(method.logits(batch, "inductive"), before["inductive"])
    torch.testing.assert_close(method.logits(batch, "transductive"), before["transductive"])
    mean[2] -= 1
    mean[0] += 1
    torch.testing.assert_close(method.logits(batch, "inductive"), before["inductive"])


def test_maml_plus_plus_refuses_other_steps_at_test() -> None:
    with pytest.raises(UsageError, match=r"both must be equal"):
        tiny("maml++", inner_steps=2, inner_steps_test=3)


def test_reptile_moves_towards_the_mean_of_the_adapted_weights() -> None:
    method, batch = tiny("reptile", inner_learning_rate=0.01), tasks()
    ends = [
        last(method.adapt(*flat(torch.cat([task.support, task.query], 2)), 5, order="none")) for task in batch.split(1)
    ]
    outcome = method.loss(batch)
    assert isinstance(outcome, LossAndAccuracy)
    outcome.loss.backward()
    for name, weight in method.network_parameters().items():
        mean = (ends[0][name] + ends[1][name]) / 2
        torch.testing.assert_close(weight.grad, (weight - mean).detach())


def test_reptile_with_all_images_in_each_batch_descends_as_maml_does() -> None:
    images, labels, way = flat(tasks(number=1).support)
    expected = last(tiny("maml", inner_learning_rate=0.3).adapt(images, labels, way, 3, order="first"))
    found = last(
        tiny("reptile", inner_learning_rate=0.3, inner_batch=len(labels)).adapt(images, labels, way, 3, order="none")
    )
    torch.testing.assert_close(found, expected)


def test_reptile_takes_small_batches_with_classes_in_turn() -> None:
    from fewshot.methods.reptile import _in_turn

    assert _in_turn(torch.tensor([0, 0, 0, 1, 2, 2])).tolist() == [0, 3, 4, 1, 5, 2]
