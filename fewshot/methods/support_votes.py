"""Heads that keep the support set and let each of its images vote: nearest neighbours and Tip-Adapter's cache."""

from abc import abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from fewshot.methods.embedding import EmbeddingMethod, one_hot


class SupportVotes(EmbeddingMethod):
    """The vote of a support image depends on its cosine with the query; the logit of a class is made of such votes."""

    @abstractmethod
    def votes(self, cosines: Float[Tensor, "task query image"]) -> Float[Tensor, "task query image"]:
        """The vote of each support image."""

    def adapt(self, support: Float[Tensor, "task image feature"], shots: Sequence[int]) -> dict[str, Tensor]:
        # Of each class its share, so that one with more images has no more to say.
        labels = one_hot(shots, support)
        shares = (labels / labels.sum(0)).expand(len(support), -1, -1)
        return {"keys": normalize(support, dim=-1), "labels": shares.contiguous()}

    def classify(
        self, adapted: dict[str, Tensor], query: Float[Tensor, "task query feature"]
    ) -> Float[Tensor, "task query way"]:
        cosines = normalize(query, dim=-1) @ adapted["keys"].transpose(1, 2)
        return self.votes(cosines) @ adapted["labels"]
