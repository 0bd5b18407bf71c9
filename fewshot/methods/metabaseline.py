"""Meta-Baseline (Chen et al. 2021, "Meta-Baseline: exploring simple meta-learning for few-shot learning")."""

from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from fewshot.backbones.base import Backbone
from fewshot.data.batches import EpisodeBatch
from fewshot.methods.base import LossAndAccuracy, MethodContext
from fewshot.methods.embedding import EmbeddingMethod, class_means
from fewshot.methods.learned_factor import LearnedFactor
from fewshot.methods.supervised import Supervised
from fewshot.settings.base import MethodSettings

START_SCALE = 10.0
"""Factor from cosines to logits before training."""


class MetaBaselineSettings(MethodSettings):
    """Meta-Baseline (Chen et al. 2021): pre-trained on all classes, then meta-trained with a scaled cosine."""

    pretrain_share: float = Field(0.5, ge=0, le=1, description="share of the training steps for the first stage")


class MetaBaseline(Supervised):
    """Cosine to the class mean with a learned scale (equation 3).

    The first share of the training steps is pre-training, the rest meta-training on episodes.
    """

    Settings: ClassVar = MetaBaselineSettings

    def __init__(self, backbone: Backbone, classes: int, settings: MetaBaselineSettings) -> None:
        super().__init__(backbone, nn.Linear(backbone.out_features, classes))
        self.pretrain_share = settings.pretrain_share
        self.scale = LearnedFactor(START_SCALE)

    def loss(self, batch: EpisodeBatch, fraction_done: float = 1.0) -> LossAndAccuracy:
        if fraction_done < self.pretrain_share:
            return super().loss(batch, fraction_done)
        return EmbeddingMethod.loss(self, batch, fraction_done)

    @classmethod
    def build(cls, context: MethodContext) -> "MetaBaseline":
        return cls(context.backbone, context.classes, context.settings)  # type: ignore[arg-type]

    def adapt(self, support: Float[Tensor, "task image feature"], shots: Sequence[int]) -> dict[str, Tensor]:
        return {"means": class_means(support, shots)}

    def classify(
        self, adapted: dict[str, Tensor], query: Float[Tensor, "task query feature"]
    ) -> Float[Tensor, "task query way"]:
        cosine = normalize(query, dim=-1) @ normalize(adapted["means"], dim=-1).transpose(1, 2)
        logits: Tensor = self.scale(cosine)
        return logits
