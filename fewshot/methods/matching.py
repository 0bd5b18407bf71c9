"""Matching Networks (Vinyals et al. 2016, "Matching networks for one shot learning").

A query's class is a vote of the support images, each weighted by how similar it is.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from fewshot.backbones.base import Backbone
from fewshot.methods.base import MethodContext
from fewshot.methods.embedding import EmbeddingMethod, one_hot
from fewshot.methods.learned_factor import LearnedFactor
from fewshot.settings.base import MethodSettings

START_SCALE = 10.0
"""The temperature's inverse before training. Without it cosines span 2 at most, too little to tell 20 classes apart."""


class MatchingSettings(MethodSettings):
    """Matching Networks (Vinyals et al. 2016)."""

    full_context: bool = Field(False, description="embed each image in the context of the whole support set")
    reading_steps: int = Field(5, ge=1, description="steps of the LSTM that reads the support set (full_context)")


class Matching(EmbeddingMethod):
    """Attention over the support set by softmax of cosines (equation 1), with a learned temperature.

    The logit of a class is the logarithm of its vote. The temperature is a deviation: the paper has none, and loses
    much accuracy at 20 ways without it.

    With `full_context` images are embedded in the context of the support set (section 2.1.2 and appendix A.1): support
    images by a bidirectional LSTM over the set, queries by an LSTM that reads it several times. The read vector enters
    with the LSTM's input, not its state. An LSTM sees the support images in an order, so that here, and in no other
    method, permuting the classes changes more than the order of the answers.
    """

    is_static = True

    Settings: ClassVar = MatchingSettings

    def __init__(self, backbone: Backbone, settings: MatchingSettings) -> None:
        super().__init__(backbone)
        self.scale = LearnedFactor(START_SCALE)
        self.reading_steps = settings.reading_steps
        self.full_context = settings.full_context
        if settings.full_context:
            features = backbone.out_features
            self.over_support = nn.LSTM(features, features, bidirectional=True, batch_first=True)
            self.reader = nn.LSTMCell(2 * features, features)

    @classmethod
    def build(cls, context: MethodContext) -> "Matching":
        return cls(context.backbone, context.settings)  # type: ignore[arg-type]

    def adapt(self, support: Float[Tensor, "task image feature"], shots: Sequence[int]) -> dict[str, Tensor]:
        if self.full_context:
            forward, backward = self.over_support(support)[0].chunk(2, dim=-1)
            support = support + forward + backward
        return {"support": support, "classes": one_hot(shots, support).expand(len(support), -1, -1)}

    def classify(
        self, adapted: dict[str, Tensor], query: Float[Tensor, "task query feature"]
    ) -> Float[Tensor, "task query way"]:
        support = adapted["support"]
        if self.full_context:
            query = self._read(support, query)
        cosine = normalize(query, dim=-1) @ normalize(support, dim=-1).transpose(1, 2)
        attention = self.scale(cosine).log_softmax(-1)  # task query image
        votes = torch.einsum("tqi,tiw->tqw", attention.exp(), adapted["classes"])
        return votes.clamp_min(torch.finfo(votes.dtype).tiny).log()

    def _read(
        self, support: Float[Tensor, "task image feature"], query: Float[Tensor, "task query feature"]
    ) -> Float[Tensor, "task query feature"]:
        shape, flat = query.shape, query.flatten(0, 1)
        hidden, state, read = flat, torch.zeros_like(flat), torch.zeros_like(flat)
        for _ in range(self.reading_steps):
            hidden, state = self.reader(torch.cat([flat, read], -1), (hidden, state))
            hidden = hidden + flat
            attention = (hidden.view(shape) @ support.transpose(1, 2)).softmax(-1)
            read = (attention @ support).flatten(0, 1)
        return hidden.view(shape)
