"""How often a meta-learner is right, episode by episode."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64

from fewshot.data.episodes import EpisodeRows
from fewshot.data.images import ImageBank
from fewshot.methods.contract import BatchNorm, Method

IMAGES_AT_ONCE = 4000
"""Images in one forward pass: large enough to be fast, small enough for any memory."""


class Answers(NamedTuple):
    """What was answered on a set of episodes."""

    accuracy: Float[np.ndarray, "episode"]
    """Share of an episode's queries that were answered rightly."""
    predicted: Int64[np.ndarray, "episode way query"]
    """The place (0 to way - 1) of the class that was answered for each query."""


def answer(method: Method, bank: ImageBank, drawn: EpisodeRows, batch_norm: BatchNorm) -> Answers:
    """Learn and answer each drawn episode. The method is left in evaluation mode."""
    method.eval()
    way, _, query = drawn.shape
    tasks = max(1, IMAGES_AT_ONCE // drawn.rows[0].size)
    predicted = []
    with torch.no_grad():
        for first in range(0, len(drawn), tasks):
            batch = bank.batch(drawn[first : first + tasks])
            predicted.append(method.logits(batch, batch_norm).argmax(-1).cpu().numpy())
    places = np.concatenate(predicted).reshape(-1, way, query)
    right = places == np.arange(way)[:, None]
    return Answers(right.mean((1, 2)), places)
