"""The size of an episode, as papers write it: 5w1s15q."""

import re
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, PlainSerializer


class EpisodeShape(NamedTuple):
    """The size of an episode: `way` classes, `shot` support and `query` query images of each. Written "5w1s15q"."""

    way: int
    shot: int
    query: int

    def __str__(self) -> str:
        return f"{self.way}w{self.shot}s{self.query}q"

    @property
    def images(self) -> int:
        """The number of its images."""
        return self.way * (self.shot + self.query)

    @property
    def task(self) -> str:
        """The task without the number of queries, as papers write it: "5w1s"."""
        return f"{self.way}w{self.shot}s"

    @classmethod
    def parse(cls, text: Any) -> "EpisodeShape":
        """Read "5w1s15q", or "5w1s" for 15 queries. Raises ValueError with the expected form."""
        if isinstance(text, EpisodeShape):
            return text
        found = re.fullmatch(r"(\d+)w(\d+)s(?:(\d+)q)?", str(text))
        shape = cls(int(found[1]), int(found[2]), int(found[3] or 15)) if found else cls(0, 0, 0)
        if shape.way < 2 or shape.shot < 1 or shape.query < 1:
            raise ValueError(f"'{text}' is no episode shape; write way (>= 2), shot and query, for example 5w1s15q")
        return shape


Shape = Annotated[EpisodeShape, BeforeValidator(EpisodeShape.parse), PlainSerializer(str)]
"""An episode shape as a setting: written and stored as "5w1s15q"."""
