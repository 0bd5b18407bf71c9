"""The methods on embeddings, against cases by hand and the definitions of their papers."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.functional import conv2d, normalize, one_hot

from fewshot.backbones.base import Backbone
from fewshot.data.batches import EpisodeBatch
from fewshot.errors import UsageError
from fewshot.methods.base import MethodContext
from fewshot.methods.embedding import EmbeddingMethod, class_means
from fewshot.methods.metaoptnet import newton_step, solve
from fewshot.methods.protonet import squared_distance
from fewshot.settings.plugins import find
from fewshot.settings.schema import settings_from


class Identity(Backbone):
    """Embeds an image as its pixels."""

    def __init__(self, *map_shape: int) -> None:
        super().__init__()
        self.map_shape = (map_shape[0], map_shape[1], map_shape[2])

    def maps(self, images: Tensor) -> Tensor:
        return images


def build(name: str, *map_shape: int, classes: int = 6, **settings: object) -> EmbeddingMethod:
    torch.manual_seed(0)
    of_method = settings_from({"method": {"name": name, **settings}}).method
    method = find("method", name).build(MethodContext(Identity(*map_shape), of_method, 3, 1, classes)).double().eval()
    assert isinstance(method, EmbeddingMethod)
    return method


def pixels(*rows: list[float]) -> Tensor:
    """Images of one row: [image, 1, 1, width]."""
    return torch.tensor(rows, dtype=torch.float64)[:, None, None, :]


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_protonet_by_hand() -> None:
    # Class 0 has the mean (1, 0), class 1 the mean (0, 3); the query (1, 1) is 1 from the first and 5 from the second.
    support = torch.stack([pixels([0.0, 0.0], [2.0, 0.0]), pixels([0.0, 2.0], [0.0, 4.0])])[None]
    query = torch.stack([pixels([1.0, 1.0]), pixels([0.0, 3.0])])[None]
    logits = build("protonet", 1, 1, 2).logits(EpisodeBatch(support, query))
    torch.testing.assert_close(logits, torch.tensor([[[-1.0, -5.0], [-10.0, 0.0]]], dtype=torch.float64))


def test_classes_may_have_different_numbers_of_images() -> None:
    protonet = build("protonet", 1, 1, 2)
    head = protonet.fit([pixels([0.0, 0.0], [2.0, 0.0], [4.0, 0.0]), pixels([0.0, 3.0])])
    torch.testing.assert_close(head.tensors["prototypes"][0], pixels([2.0, 0.0], [0.0, 3.0]).flatten(1))
    expected = torch.tensor([[-1.0, -8.0]], dtype=torch.float64)
    torch.testing.assert_close(protonet.predict(head, pixels([2.0, 1.0])), expected)


def test_distance_is_squared_and_never_negative() -> None:
    a = torch.randn(40, 8) * 1000
    expected = (a[:, None] - a[None]).double().square().sum(-1)
    found = squared_distance(a, a)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=50.0)
    assert (found >= 0).all()


def test_embeddings_are_compared_in_float32_under_autocast() -> None:
    protonet, support, query = build("protonet", 1, 1, 8).float(), torch.randn(1, 2, 3, 8) + 100, torch.randn(1, 4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        inside = protonet.episode_logits(support, query)
    torch.testing.assert_close(inside, protonet.episode_logits(support, query), rtol=0, atol=0)


def test_matching_votes_with_the_softmax_of_scaled_cosines() -> None:
    matching = build("matching", 1, 1, 4)
    support, query = random(1, 5, 4), random(1, 2, 4)
    logits = matching.classify(matching.adapt(support, [2, 3]), query)[0]
    attention = (10 * normalize(query[0], dim=-1) @ normalize(support[0], dim=-1).T).softmax(-1)
    expected = torch.stack([attention[:, :2].sum(1), attention[:, 2:].sum(1)], 1).log()
    torch.testing.assert_close(logits, expected)


def test_full_context_changes_embeddings_by_the_rest_of_the_support_set() -> None:
    matching = build("matching", 1, 1, 4, full_context=True)
    support = random(1, 5, 4)
    other = support.clone()
    other[0, 4] += 1
    first, second = matching.adapt(support, [2, 3])["support"], matching.adapt(other, [2, 3])["support"]
    assert not torch.allclose(first[0, 0], second[0, 0])


def test_relation_scores_are_those_of_concatenated_summed_maps() -> None:
    relation = build("relation", 3, 4, 4)
    support, query = random(1, 5, 3, 4, 4), random(1, 2, 3, 4, 4)
    found = relation.classify(relation.adapt(support, [2, 3]), query)
    # Trained on one image of each class, it is given two and three: sums are scaled to one.
    sums = torch.stack([support[0, :2].sum(0) / 2, support[0, 2:].sum(0) / 3])
    weight = relation.get_parameter("compare_maps.weight")
    for place, way in ((0, 0), (1, 1)):
        maps = conv2d(torch.cat([sums[way], query[0, place]])[None], weight, padding=1)
        maps = relation.get_submodule("norms.0")(maps).relu()
        maps = relation.get_submodule("convolution")(torch.max_pool2d(maps, 2))
        maps = torch.max_pool2d(relation.get_submodule("norms.1")(maps).relu(), 2)
        score = relation.get_submodule("score")(relation.get_submodule("hidden")(maps.flatten(1)).relu())
        torch.testing.assert_close(found[0, place, way], score[0, 0])


def test_relation_learns_squared_errors_of_sigmoids() -> None:
    relation = build("relation", 1, 2, 2)
    batch = EpisodeBatch(random(1, 2, 1, 1, 2, 2), random(1, 2, 3, 1, 2, 2))
    wanted = one_hot(batch.labels, 2).double()
    expected = (relation.logits(batch).sigmoid() - wanted).square().mean()
    torch.testing.assert_close(relation.loss(batch).loss, expected)


def test_r2d2_equals_the_direct_ridge_solution() -> None:
    r2d2 = build("r2d2", 1, 1, 4)
    support, query = random(2, 6, 4), random(2, 3, 4)
    wanted = one_hot(torch.tensor([0, 0, 1, 1, 1, 2]), 3).double()
    penalty = r2d2.get_parameter("penalty.logarithm").exp()
    direct = torch.linalg.inv(support.mT @ support + penalty * torch.eye(4)) @ support.mT @ wanted
    learned = r2d2.adapt(support, [2, 3, 1])
    torch.testing.assert_close(learned["weights"], direct)
    torch.testing.assert_close(r2d2.classify(learned, query), 10 * query @ direct)


@pytest.mark.parametrize(("images", "features", "penalty"), [(6, 8, 0.1), (12, 4, 1.0)])
def test_the_dual_of_metaoptnet_satisfies_its_conditions(images: int, features: int, penalty: float) -> None:
    support = random(3, images, features)
    wanted = one_hot(torch.arange(3).repeat_interleave(images // 3), 3).double().expand(3, -1, -1)
    kernel = support @ support.mT
    dual = newton_step(kernel, wanted, penalty, solve(kernel, wanted, penalty, 20_000))
    slack = penalty * wanted - dual
    assert slack.min() > -1e-6
    assert dual.sum(2).abs().max() < 1e-6
    # Stationary: the slope is the same for all variables of an image that are free, and no less for those at a bound.
    slope = kernel @ dual - wanted
    free = slack > 1e-4 * penalty
    highest = slope.masked_fill(~free, -torch.inf).amax(2)
    lowest = slope.masked_fill(~free, torch.inf).amin(2)
    assert (highest - lowest).abs().max() < 1e-4
    assert (slope.masked_fill(free, -torch.inf).amax(2) <= lowest + 1e-4).all()


def test_gradient_of_metaoptnet_passes_through_the_optimum() -> None:
    wanted = one_hot(torch.tensor([0, 0, 1, 1]), 2).double()[None]

    def dual_of(support: Tensor) -> Tensor:
        kernel = support @ support.mT
        with torch.no_grad():
            start = solve(kernel, wanted, 0.5, 50_000)
        return newton_step(kernel, wanted, 0.5, start)

    assert gradcheck(dual_of, random(1, 4, 5).requires_grad_(), eps=1e-5, atol=1e-3, rtol=1e-3)


def test_simpleshot_centres_with_training_images_and_normalises() -> None:
    simple = build("simpleshot", 1, 1, 3)
    training = random(10, 1, 1, 3)
    simple.update_statistics(training)
    centre = training.flatten(1).mean(0)
    support, query = random(1, 4, 3), random(1, 2, 3)
    means = class_means(normalize(support - centre, dim=-1), [2, 2])
    expected = -torch.cdist(normalize(query - centre, dim=-1), means).square()
    torch.testing.assert_close(simple.classify(simple.adapt(support, [2, 2]), query), expected)


@pytest.mark.parametrize("name", ["simpleshot", "baseline", "baseline++", "metabaseline"])
def test_pre_training_tells_the_classes_of_the_training_part_apart(name: str) -> None:
    method = build(name, 1, 1, 3, classes=9)
    batch = EpisodeBatch(random(1, 2, 1, 1, 1, 3), random(1, 2, 2, 1, 1, 3), torch.tensor([[7, 4]]))
    images = torch.cat([batch.support, batch.query], 2).flatten(0, 2)
    logits = method.get_submodule("classifier")(method.embed(images))
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([7, 7, 7, 4, 4, 4]))
    torch.testing.assert_close(method.loss(batch, 0.0).loss, expected)
    with pytest.raises(UsageError, match="needs to know the class"):
        method.loss(EpisodeBatch(batch.support, batch.query), 0.0)


def test_meta_baseline_has_two_stages() -> None:
    method = build("metabaseline", 1, 1, 3, pretrain_share=0.5)
    batch = EpisodeBatch(random(1, 2, 1, 1, 1, 3), random(1, 2, 2, 1, 1, 3), torch.tensor([[3, 4]]))
    means = normalize(batch.support.flatten(2).flatten(0, 1), dim=-1)
    cosine = normalize(batch.query.flatten(3)[0].flatten(0, 1), dim=-1) @ means.T
    expected = torch.nn.functional.cross_entropy(10 * cosine, batch.labels[0])
    torch.testing.assert_close(method.loss(batch, 0.5).loss, expected)
    assert not torch.allclose(method.loss(batch, 0.49).loss, expected)


@pytest.mark.parametrize("name", ["baseline", "baseline++"])
def test_fine_tuning_lowers_the_loss_of_each_task_by_itself(name: str) -> None:
    method = build(name, 1, 1, 6, steps=0)
    support = random(2, 4, 6)
    labels = torch.tensor([0, 0, 1, 1]).repeat(2)

    def loss(steps: int) -> Tensor:
        method.settings = method.settings.model_copy(update={"steps": steps})  # type: ignore[operator, union-attr]
        logits = method.classify(method.adapt(support, [2, 2]), support)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels, reduction="none").view(2, -1).mean(1)

    assert (loss(200) < loss(0)).all()
    alone = method.adapt(support[:1], [2, 2])
    together = method.adapt(support, [2, 2])
    for tensor_name, tensor in alone.items():
        torch.testing.assert_close(tensor[0], together[tensor_name][0])
