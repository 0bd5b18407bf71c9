"""Proto-MAML (Triantafillou et al. 2020, "Meta-Dataset", section 3): MAML whose head starts as a Prototypical Network.

The head's start needs no training and fits any number of classes.
"""

import torch
from jaxtyping import Int64
from torch import Tensor

from fewshot.methods.base import full_precision
from fewshot.methods.maml import MAML
from fewshot.methods.stacked_network import Images, Weights


class ProtoMAML(MAML):
    """A head that starts at weights 2 c_k and biases -|c_k|^2, with class means c_k (equation 3).

    Its logits then are, but for a term that all classes share, a Prototypical Network's. Meta-gradients pass through
    the means.

    The head that the other methods of this family meta-learn is not used; members of an ensemble are therefore alike.
    """

    is_static = False  # The shots of a task are read on the host.

    def start(self, images: Images, labels: Int64[Tensor, "image"], rows: Int64[Tensor, "way"]) -> Weights:
        start = super().start(images, labels, rows)
        features = full_precision(self.features(start, images, step=0))
        shots = torch.bincount(labels, minlength=len(rows)).tolist()
        means = torch.stack([of_class.mean(1) for of_class in features.split(shots, dim=1)], 1).flatten(0, 1)
        return start | {"head.weight": 2 * means, "head.bias": -means.square().sum(1)}
