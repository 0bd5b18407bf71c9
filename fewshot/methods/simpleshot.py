"""SimpleShot (Wang, Chao, Weinberger & van der Maaten 2019): no meta-learning, only well-treated nearest neighbours."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from fewshot.backbones.base import Backbone
from fewshot.methods.base import class_means
from fewshot.methods.supervised import Pretrained
from fewshot.settings.methods import SimpleShotSettings


class SimpleShot(Pretrained):
    """Nearest class mean of centred, normalised embeddings (section 3.2).

    The centre is the mean embedding of images of training classes, never of a task's.
    """

    def __init__(self, backbone: Backbone, classes: int, settings: SimpleShotSettings) -> None:
        super().__init__(backbone, nn.Linear(backbone.out_features, classes))
        self.transform = settings.transform
        self.centre: Tensor
        self.register_buffer("centre", torch.zeros(backbone.out_features))

    def update_statistics(self, images: Float[Tensor, "image channel height width"]) -> None:
        self.centre.copy_(self.embed(images).mean(0))

    def learn(self, support: Float[Tensor, "task image feature"], shots: Sequence[int]) -> dict[str, Tensor]:
        return {"centroids": class_means(self._transformed(support), shots)}

    def answer(
        self, learned: dict[str, Tensor], query: Float[Tensor, "task query feature"]
    ) -> Float[Tensor, "task query way"]:
        return -torch.cdist(self._transformed(query), learned["centroids"]).square()

    def _transformed(self, embedded: Tensor) -> Tensor:
        centred = embedded - self.centre if self.transform == "CL2N" else embedded
        return centred if self.transform == "UN" else normalize(centred, dim=-1)
