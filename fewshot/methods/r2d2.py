"""R2-D2 (Bertinetto, Henriques, Torr & Vedaldi 2019, "Meta-learning with differentiable closed-form solvers").

A task's classifier is ridge regression on embeddings, which has a closed form that gradients pass through.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fewshot.backbones.base import Backbone
from fewshot.methods.embedding import EmbeddingMethod, one_hot
from fewshot.methods.learned_factor import LearnedFactor
from fewshot.methods.ridge import ridge_dual

START_PENALTY, START_SCALE = 10.0, 10.0
"""lambda and alpha before training."""


class R2D2(EmbeddingMethod):
    """Ridge regression to one-hot labels in the Woodbury form (equation 4), its output scaled (equation 6).

    The penalty lambda and the scale alpha are learned; a shift beta, the same for all classes, would leave their
    probabilities as they are and is left out. The paper's own embedding has 96, 192, 384 and 512 filters and joins its
    last two blocks; any backbone does here.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.penalty = LearnedFactor(START_PENALTY)
        self.scale = LearnedFactor(START_SCALE)

    def adapt(self, support: Float[Tensor, "task image feature"], shots: Sequence[int]) -> dict[str, Tensor]:
        """W = X' (X X' + lambda)^-1 Y: a system of as many unknowns as there are images, not features."""
        identity = torch.eye(support.shape[1], dtype=support.dtype, device=support.device)
        wanted = one_hot(shots, support).expand(len(support), -1, -1)
        dual = ridge_dual(support @ support.transpose(1, 2), wanted, self.penalty(identity))
        return {"weights": support.transpose(1, 2) @ dual}

    def classify(
        self, adapted: dict[str, Tensor], query: Float[Tensor, "task query feature"]
    ) -> Float[Tensor, "task query way"]:
        logits: Tensor = self.scale(query @ adapted["weights"])
        return logits
