"""Heads for fixed embeddings, against scikit-learn, cases by hand, and laws; degenerate support sets included."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC
from test_on_embeddings import build, pixels, random
from torch import Tensor
from torch.nn.functional import normalize

from fewshot.methods.embedding import EmbeddingMethod

HEADS = ("nearest_mean", "logistic", "ridge", "svm", "knn", "tip_adapter", "projection")
FEATURES, SHOTS = 12, (3, 1, 5)


def task(seed: int = 0) -> tuple[Tensor, Tensor, np.ndarray]:
    """Embeddings of unequal classes, queries, and the class of each support embedding."""
    generator = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(3, FEATURES, dtype=torch.float64, generator=generator)
    labels = np.repeat(np.arange(3), SHOTS)
    noise = torch.randn(sum(SHOTS) + 40, FEATURES, dtype=torch.float64, generator=generator)
    support = centres[labels] + noise[: sum(SHOTS)]
    return support, centres[torch.arange(40) % 3] + noise[sum(SHOTS) :], labels


def answers(method: EmbeddingMethod, support: Tensor, query: Tensor, shots: tuple[int, ...] = SHOTS) -> Tensor:
    return method.classify(method.adapt(support[None], shots), query[None])[0].detach()


def head(name: str, **settings: object) -> EmbeddingMethod:
    return build(name, FEATURES, 1, 1, **settings)


def test_nearest_mean_by_hand() -> None:
    support, query = pixels([3.0, 0.0], [0.0, 2.0], [0.0, 4.0]).flatten(1), pixels([1.0, 1.0], [0.0, 5.0]).flatten(1)
    cosine = build("nearest_mean", 2, 1, 1, scale=10.0)
    half = 0.5**0.5
    expected = torch.tensor([[10 * half, 10 * half], [0.0, 10.0]], dtype=torch.float64)
    torch.testing.assert_close(answers(cosine, support, query, (1, 2)), expected)
    euclid = build("nearest_mean", 2, 1, 1, distance="euclid", scale=1.0)
    expected = torch.tensor([[-5.0, -5.0], [-34.0, -4.0]], dtype=torch.float64)
    torch.testing.assert_close(answers(euclid, support, query, (1, 2)), expected)


def test_euclidean_nearest_mean_is_an_untrained_protonet() -> None:
    support, query, _ = task()
    expected = answers(head("protonet"), support, query)
    torch.testing.assert_close(answers(head("nearest_mean", distance="euclid", scale=1.0), support, query), expected)


def test_a_centre_is_subtracted_from_support_and_queries() -> None:
    support, query, _ = task()
    far = 100 * random(1, FEATURES)
    plain = answers(head("nearest_mean"), support, query)
    centred = head("nearest_mean", centre="train")
    torch.testing.assert_close(answers(centred, support, query), plain)  # no training images yet
    centred.update_statistics(far[..., None, None])
    torch.testing.assert_close(answers(centred, support + far, query + far), plain)
    of_task = head("nearest_mean", centre="support")
    torch.testing.assert_close(answers(of_task, support + far, query + far), answers(of_task, support, query))


@pytest.mark.parametrize("inverse_penalty", [1.0, 100.0])
def test_logistic_regression_is_scikit_learns(inverse_penalty: float) -> None:
    support, query, labels = task()
    method = head("logistic", inverse_penalty=inverse_penalty, iterations=400)
    found = answers(method, support, query).softmax(-1)
    theirs = LogisticRegression(C=inverse_penalty, fit_intercept=False, tol=1e-10, max_iter=10_000)
    expected = theirs.fit(normalize(support, dim=-1).numpy(), labels).predict_proba(normalize(query, dim=-1).numpy())
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)
    quick = answers(head("logistic", inverse_penalty=inverse_penalty), support, query).softmax(-1)
    np.testing.assert_allclose(quick.numpy(), expected, atol=5e-3)


def test_ridge_is_scikit_learns() -> None:
    support, query, labels = task()
    found = answers(head("ridge", penalty=0.7, scale=1.0, normalize=False), support, query)
    theirs = Ridge(alpha=0.7, fit_intercept=False).fit(support.numpy(), np.eye(3)[labels])
    np.testing.assert_allclose(found.numpy(), theirs.predict(query.numpy()), atol=1e-9)


@pytest.mark.parametrize("penalty", [0.1, 1.0])
def test_svm_is_scikit_learns(penalty: float) -> None:
    support, query, labels = task()
    found = answers(head("svm", penalty=penalty, scale=1.0, iterations=5000), support, query)
    theirs = LinearSVC(C=penalty, multi_class="crammer_singer", fit_intercept=False, tol=1e-9, max_iter=1_000_000)
    expected = theirs.fit(normalize(support, dim=-1).numpy(), labels)
    np.testing.assert_allclose(found.numpy(), expected.decision_function(normalize(query, dim=-1).numpy()), atol=2e-3)


def test_one_neighbour_is_scikit_learns() -> None:
    support, query, labels = task()
    found = answers(head("knn", neighbours=1), support, query).argmax(-1)
    theirs = KNeighborsClassifier(1, metric="cosine").fit(support.numpy(), labels)
    assert np.array_equal(found.numpy(), theirs.predict(query.numpy()))


def test_the_cache_votes_by_the_exponential_of_cosines() -> None:
    support, query, labels = task()
    cosines = normalize(query, dim=-1) @ normalize(support, dim=-1).T
    votes = (-2.0 * (1 - cosines)).exp()
    expected = torch.stack([votes[:, labels == name].mean(1) for name in range(3)], dim=1)
    torch.testing.assert_close(answers(head("tip_adapter", sharpness=2.0, scale=1.0), support, query), expected)


def test_an_untrained_projection_that_loses_nothing_is_a_nearest_mean() -> None:
    support, query, _ = task()
    projection = head("projection", dimensions=FEATURES)
    expected = answers(head("nearest_mean", scale=10.0), support, query)
    torch.testing.assert_close(answers(projection, support, query), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", HEADS)
@given(seed=st.integers(0, 10), kind=st.sampled_from(["zeros", "equal", "one image", "many classes", "large"]))
def test_odd_support_sets_give_finite_answers(name: str, seed: int, kind: str) -> None:
    support, query, _ = task(seed)
    shots: tuple[int, ...] = SHOTS
    if kind == "zeros":
        support = torch.zeros_like(support)
    elif kind == "equal":
        support = support[:1].expand_as(support).contiguous()
    elif kind == "one image":
        support, shots = support[:2], (1, 1)
    elif kind == "many classes":
        shots = (1,) * len(support)
    else:
        support = support * 1e6
    method = head(name, **({"dimensions": 5} if name == "projection" else {}))
    assert answers(method, support, query, shots).isfinite().all()


@pytest.mark.parametrize("name", HEADS)
def test_the_order_of_support_images_does_not_matter_and_twice_gives_the_same_bits(name: str) -> None:
    support, query, _ = task()
    method = head(name)
    first = answers(method, support, query)
    assert torch.equal(answers(method, support, query), first)
    swapped = support.clone()
    swapped[[0, 1]] = support[[1, 0]]
    torch.testing.assert_close(answers(method, swapped, query), first, rtol=1e-6, atol=1e-6)
