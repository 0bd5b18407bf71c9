"""Model-Agnostic Meta-Learning (Finn, Abbeel & Levine 2017, "Model-agnostic meta-learning for fast adaptation").

Learns initial weights from which a few gradient steps on a task's support set make a good classifier for it.
"""

import torch
from jaxtyping import Int64
from torch import Tensor

from fewshot.methods.descent import Update
from fewshot.methods.inner_loop import InnerLoop
from fewshot.methods.stacked_network import Weights


class MAML(InnerLoop):
    """MAML (algorithm 2), and its first-order approximation (section 5.2, end).

    `order=annealed` begins in first order and goes on in second (Antoniou et al. 2019, section 4).
    """

    is_static = True

    def inner_optimizer(self, tasks: int, rows: Int64[Tensor, "way"]) -> Update:
        """Gradient descent (equation 1)."""
        rate = self.settings.inner_learning_rate

        def update(weights: Weights, gradients: Weights, step: int) -> Weights:
            return {name: torch.sub(weight, gradients[name], alpha=rate) for name, weight in weights.items()}

        return update
