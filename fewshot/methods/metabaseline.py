"""Meta-Baseline (Chen et al. 2021, "Meta-Baseline: exploring simple meta-learning for few-shot learning")."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from fewshot.backbones.base import Backbone
from fewshot.data.batches import EpisodeBatch
from fewshot.methods.base import EmbeddingMethod, LossAndAccuracy, class_means
from fewshot.methods.learned_factor import LearnedFactor
from fewshot.methods.supervised import Pretrained
from fewshot.settings.methods import MetaBaselineSettings

START_SCALE = 10.0
"""What cosines are multiplied with to be logits, before training."""


class MetaBaseline(Pretrained):
    """Cosine to the class mean with a learned scale (equation 3).

    The first share of the training steps is pre-training, the rest meta-training on episodes.
    """

    def __init__(self, backbone: Backbone, classes: int, settings: MetaBaselineSettings) -> None:
        super().__init__(backbone, nn.Linear(backbone.out_features, classes))
        self.pretrain_share = settings.pretrain_share
        self.scale = LearnedFactor(START_SCALE)

    def loss(self, batch: EpisodeBatch, fraction_done: float = 1.0) -> LossAndAccuracy:
        if fraction_done < self.pretrain_share:
            return super().loss(batch, fraction_done)
        return EmbeddingMethod.loss(self, batch, fraction_done)

    def learn(self, support: Float[Tensor, "task image feature"], shots: Sequence[int]) -> dict[str, Tensor]:
        return {"means": class_means(support, shots)}

    def answer(
        self, learned: dict[str, Tensor], query: Float[Tensor, "task query feature"]
    ) -> Float[Tensor, "task query way"]:
        cosine = normalize(query, dim=-1) @ normalize(learned["means"], dim=-1).transpose(1, 2)
        logits: Tensor = self.scale(cosine)
        return logits
