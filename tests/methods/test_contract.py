"""Laws of every method and every backbone. A new method is tested as soon as it is in `fewshot.methods.METHODS`."""

from itertools import product

import pytest
import torch

from fewshot.data.batches import EpisodeBatch
from fewshot.methods import METHODS
from fewshot.methods.base import Method
from fewshot.methods.build import build_method
from fewshot.settings.schema import Settings, settings_from

CLASSES = 30
"""Training classes."""

VARIANTS: dict[str, dict[str, object]] = {
    **{name: {"name": name} for name in METHODS},
    "fomaml": {"name": "maml", "order": "first"},
    "maml-loop": {"name": "maml", "backend": "loop"},
    "matching-full-context": {"name": "matching", "full_context": True},
    "reptile": {"name": "reptile", "inner_steps_test": 10},
    "projection": {"name": "projection", "dimensions": 6},
    "auto": {"name": "auto"},
    "nearest_mean-centred": {"name": "nearest_mean", "distance": "euclid", "centre": "support", "scale": 1.0},
}
BACKBONES: dict[str, dict[str, object]] = {
    "strided": {"form": "strided", "channels": 8},
    "pool": {"form": "pool", "channels": 8},
    "relation": {"form": "relation", "channels": 8},
    "resnet12": {"name": "resnet12", "channels": [8, 8, 8, 8]},
    "torchvision": {"name": "torchvision", "network": "shufflenet_v2_x0_5", "size": 64},
    "timm": {"name": "timm", "network": "test_efficientnet", "weights": "", "frozen": False, "size": 32},
    "lite0": {"name": "lite0", "weights": "", "frozen": False, "size": 32},
}
ON_ONE_BACKBONE = [f"{method} on strided" for method in VARIANTS]
"""Each method on the cheapest backbone, whose layers compute several tasks at once."""
ON_EVERY_BACKBONE = [
    *ON_ONE_BACKBONE,
    # A backbone meets a method in its vectors (protonet), its maps (relation), and as a function of its weights (maml)
    # and of its statistics (maml++).
    *[
        f"{method} on {backbone}"
        for method, backbone in product(("protonet", "maml"), BACKBONES)
        # 16 blocks with random weights and images of 32 pixels: an inner loop leaves the finite numbers.
        if backbone != "strided" and (method, backbone) != ("maml", "lite0")
    ],
    *[f"relation on {backbone}" for backbone in ("pool", "relation", "resnet12")],
    *[f"maml++ on {backbone}" for backbone in ("pool", "resnet12", "torchvision", "timm")],
]


def settings_of(case: str) -> Settings:
    method, _, backbone = case.partition(" on ")
    return settings_from({"method": VARIANTS[method], "backbone": BACKBONES[backbone], "train": {"episode": "4w1s3q"}})


def build(case: str) -> Method:
    return build_method(settings_of(case), (1, 28, 28), CLASSES).eval()


def easy_tasks(number: int = 3, way: int = 4, shot: int = 1, query: int = 3, seed: int = 0) -> EpisodeBatch:
    """Classes that differ in where their bright square lies; a method that learns at all tells them apart."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.1 * torch.rand(number, way, shot + query, 1, 28, 28, generator=generator)
    classes = torch.stack([torch.randperm(16, generator=generator)[:way] for _ in range(number)])
    for task in range(number):
        for place, of_class in zip(classes[task].tolist(), images[task], strict=True):
            row, column = divmod(place, 4)
            of_class[..., 7 * row : 7 * row + 7, 7 * column : 7 * column + 7] += 0.8
    return EpisodeBatch(images[:, :, :shot], images[:, :, shot:], classes)


def test_every_method_has_settings_and_is_tested() -> None:
    assert set(METHODS) == {str(variant["name"]) for variant in VARIANTS.values()}


@pytest.mark.parametrize("case", ON_EVERY_BACKBONE)
def test_a_batch_of_tasks_equals_batches_of_one_and_the_answers_of_heads(case: str) -> None:
    method, batch = build(case), easy_tasks(number=3)
    for mode in method.batch_norm_modes:
        together = method.logits(batch, mode).detach()
        for task, alone in enumerate(batch.split(1)):
            torch.testing.assert_close(method.logits(alone, mode)[0], together[task], rtol=1e-3, atol=1e-3)
    expected = method.logits(batch, method.batch_norm_modes[0]).detach()
    for task in range(2):
        head = method.fit(list(batch.support[task]))
        logits = method.predict(head, batch.query[task].flatten(0, 1)).detach()
        torch.testing.assert_close(logits, expected[task], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("case", ON_EVERY_BACKBONE)
def test_gradient_reaches_every_parameter(case: str) -> None:
    method = build(case).train()
    torch.manual_seed(0)
    # Noise, of which no method knows the class: a loss of exactly zero would have no gradient.
    batch = EpisodeBatch(torch.rand(3, 4, 1, 1, 28, 28), torch.rand(3, 4, 3, 1, 28, 28), torch.arange(12).view(3, 4))
    for progress in (0.0, 1.0):  # some have stages
        method.loss(batch, progress).loss.backward()
    missing = [
        name
        for name, parameter in method.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
    ]
    # A parameter that a method leaves without a gradient is named here, with the reason.
    unused = {
        "protomaml": ["head.weight", "head.bias"],  # its head starts from class means
        # Behind a last layer that begins at zero.
        "learned_optimizer": ["meta_learner.tensors", "meta_learner.hidden.weight", "meta_learner.hidden.bias"],
    }
    assert missing == unused.get(case.partition(" on ")[0], [])


@pytest.mark.parametrize("case", ON_ONE_BACKBONE)
def test_inductive_answers_survive_other_and_shuffled_queries(case: str) -> None:
    method, batch = build(case), easy_tasks()
    order = torch.tensor([2, 0, 1])
    logits = method.logits(batch, "inductive").unflatten(1, (4, 3))
    shuffled = method.logits(EpisodeBatch(batch.support, batch.query[:, :, order]), "inductive").unflatten(1, (4, 3))
    torch.testing.assert_close(shuffled, logits[:, :, order], rtol=1e-3, atol=1e-3)
    fewer = method.logits(EpisodeBatch(batch.support, batch.query[:, :, :1]), "inductive")
    torch.testing.assert_close(fewer, logits[:, :, 0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("case", ON_ONE_BACKBONE)
def test_permuted_classes_permute_the_answers(case: str) -> None:
    if case.startswith("matching-full-context"):
        pytest.skip("an LSTM reads the support set in an order")
    method, batch = build(case), easy_tasks(shot=2)
    if hasattr(method, "head"):  # rows that differ before a task is learned know an order
        torch.nn.init.zeros_(method.head.weight)
        torch.nn.init.zeros_(method.head.bias)
    order = torch.tensor([2, 0, 3, 1])
    logits = method.logits(batch, "inductive").unflatten(1, (4, 3))
    permuted = method.logits(EpisodeBatch(batch.support[:, order], batch.query[:, order]), "inductive")
    torch.testing.assert_close(permuted.unflatten(1, (4, 3)), logits[:, order][..., order], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("case", ON_ONE_BACKBONE)
def test_way_and_shot_may_differ_from_training_and_from_class_to_class(case: str) -> None:
    method = build(case)
    support = easy_tasks(number=1, way=6, shot=3).support[0]
    head = method.fit([support[0], support[1, :1], support[2, :2], support[3], support[4, :1]])
    assert head.way == 5
    answers = method.predict(head, support[5])
    assert answers.shape == (3, 5)
    assert answers.isfinite().all()


@pytest.mark.parametrize("case", ON_ONE_BACKBONE)
def test_learns_an_easy_family_of_tasks_in_seconds(case: str) -> None:
    settings = settings_of(case)
    method = build_method(settings, (1, 28, 28), CLASSES)
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=3e-3)
    steps = 150 if settings.method.name in ("reptile", "metaoptnet", "learned_optimizer") else 60
    for step in range(steps):
        optimizer.zero_grad()
        method.train()
        method.loss(easy_tasks(seed=step), step / steps).loss.backward()
        optimizer.step()
    method.eval()
    method.update_statistics(easy_tasks(seed=0).support.flatten(0, 2))
    batch = easy_tasks(number=20, seed=1000)
    answers = method.logits(batch, method.batch_norm_modes[0]).argmax(-1)
    assert (answers == batch.labels).float().mean() > 0.9


@pytest.mark.parametrize("case", ON_ONE_BACKBONE)
def test_initial_weights_depend_on_the_seed_alone(case: str) -> None:
    settings = settings_of(case)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = build_method(settings, (1, 28, 28), CLASSES).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    second = build_method(settings, (1, 28, 28), CLASSES).state_dict()
    other = build_method(settings.model_copy(update={"seed": 1}), (1, 28, 28), CLASSES).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
