"""Prototypical Networks against a case by hand and the laws they obey."""

import pytest
import torch
from torch import nn

from fewshot.data.images import EpisodeBatch
from fewshot.methods.protonet import ProtoNet, squared_distance


@pytest.fixture
def identity() -> ProtoNet:
    """Embeds an image as its pixels."""
    return ProtoNet(nn.Flatten(1)).eval()


def pixels(*rows: list[float]) -> torch.Tensor:
    """Images of one row: [image, 1, 1, width]."""
    return torch.tensor(rows)[:, None, None, :]


def test_hand_computed_case(identity: ProtoNet) -> None:
    # Class 0 has the mean (1, 0), class 1 the mean (0, 3); the query (1, 1) is 1 from the first and 5 from the second.
    support = torch.stack([pixels([0.0, 0.0], [2.0, 0.0]), pixels([0.0, 2.0], [0.0, 4.0])])[None]
    query = torch.stack([pixels([1.0, 1.0]), pixels([0.0, 3.0])])[None]
    logits = identity.logits(EpisodeBatch(support, query))
    torch.testing.assert_close(logits, torch.tensor([[[-1.0, -5.0], [-10.0, 0.0]]]))


def test_classes_may_have_different_numbers_of_images(identity: ProtoNet) -> None:
    head = identity.fit([pixels([0.0, 0.0], [2.0, 0.0], [4.0, 0.0]), pixels([0.0, 3.0])])
    torch.testing.assert_close(head.tensors["prototypes"], torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
    torch.testing.assert_close(identity.predict(head, pixels([2.0, 1.0])), torch.tensor([[-1.0, -8.0]]))


def test_distance_is_squared_and_never_negative() -> None:
    a = torch.randn(40, 8) * 1000
    expected = (a[:, None] - a[None]).double().square().sum(-1)
    found = squared_distance(a, a)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=50.0)
    assert (found >= 0).all()


def test_distance_stays_in_float32_under_autocast() -> None:
    a = torch.randn(4, 8) + 100
    with torch.autocast("cpu", torch.bfloat16):
        inside = squared_distance(a.bfloat16().float(), a)
    torch.testing.assert_close(inside, squared_distance(a.bfloat16().float(), a), rtol=0, atol=0)
