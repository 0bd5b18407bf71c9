"""ANIL (Raghu, Raghu, Bengio & Vinyals 2020, "Rapid learning or feature reuse?"): almost no inner loop.

As MAML, but a task changes the head alone: features are reused, not relearned.
"""

from collections.abc import Iterator

from jaxtyping import Int64
from torch import Tensor

from fewshot.methods.inner_loop import descend
from fewshot.methods.maml import MAML
from fewshot.methods.stacked_tasks import Images, Weights, linear


class ANIL(MAML):
    """The inner loop of section 4.1: the support set is embedded once, each step only moves the linear layer.

    The backbone still learns in the outer loop, through the embeddings of the support set and of the queries.
    """

    def is_adapted(self, name: str) -> bool:
        return name.startswith("head.")

    def adapt(self, images: Images, labels: Int64[Tensor, "image"], steps: int, order: int) -> Iterator[Weights]:
        start = self.start(images, labels, int(labels[-1]) + 1)
        features = self.features(start, images, step=0)
        if order == 0:
            features = features.detach()
        head = {name: weight for name, weight in start.items() if self.is_adapted(name)}

        def support_loss(weights: Weights, step: int) -> Tensor:
            return self.support_loss(linear(weights, features), labels)

        return (
            start | weights for weights in descend(support_loss, head, self.inner_optimizer(len(images)), steps, order)
        )
