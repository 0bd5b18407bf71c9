"""What is raced: the cases, who takes part in each, and what we aim at."""

from dataclasses import dataclass, replace
from typing import Literal

from fewshot.settings.episode_shape import EpisodeShape

IMAGE_SHAPE = (1, 28, 28)
CHANNELS = 64
CHECKED_TASKS = 2
"""Tasks of a step on which the contestants must agree; see `Case.checked`."""

OURS = "ours"
"""What a user gets: precision "auto"."""
OURS_FLOAT32 = "ours-float32"
"""The same with `train.precision=float32`: its numbers are the ones that must agree with the peers'."""
FROM_ARCHIVE = "ours-from-archive"
"""As "ours", and the preparation of the pack from the published archives is timed as well."""

PLAIN = "plain"
"""Our own plain reference, `benchmarks.speed.reference`; the guard's opponent."""

MODULES = {"torchopt": "torchopt", "higher": "higher", "parallel-metalearn": "metalearn", "easyfsl": "easyfsl",
           PLAIN: "torch"}  # fmt: skip
"""Peer (named as its package) -> the module it is imported as."""

Kind = Literal["maml-step", "protonet-step", "disk", "maml-evaluation", "protonet-evaluation", "maml-latency",
               "protonet-latency"]  # fmt: skip

VARIANTS: dict[tuple[Kind, str], tuple[str, ...]] = {
    ("maml-step", "torchopt"): ("one-backward", "backward-per-task"),
    ("maml-step", "parallel-metalearn"): ("sequential", "vmap-1", "vmap-4", "vmap-32"),
    ("protonet-step", "parallel-metalearn"): ("sequential", "vmap-1"),
    ("disk", "easyfsl"): ("workers-0", "workers-1", "workers-2"),
}
"""Ways to use a peer between which nobody could choose without measuring; the fastest one races."""


@dataclass(frozen=True)
class Target:
    """What we aim at: at least `bound` times the best peer, or a median of at most `bound` milliseconds."""

    measure: Literal["ratio", "p50_ms"]
    bound: float

    def __str__(self) -> str:
        return f">= {self.bound:g}x the best peer" if self.measure == "ratio" else f"p50 <= {self.bound:g} ms"


@dataclass(frozen=True)
class Case:
    """One piece of work that every contestant does."""

    name: str
    what: str
    """One sentence for the table and the JSON file."""
    kind: Kind
    shape: EpisodeShape
    contestants: tuple[str, ...]
    """Ours first."""
    targets: tuple[Target, ...]
    tasks: int = 1
    """Tasks of a step, episodes of an evaluation, or episodes of a training from disk."""
    form: Literal["pool", "strided"] = "pool"
    """Form of Conv-4, as `backbone.form`."""
    inner_steps: int = 1
    inner_learning_rate: float = 0.4
    rounds: int = 9
    calls: int = 1
    """Timed calls of a contestant in each round; their median is its time of the round."""
    tuning_tasks: int = 0
    """As `tasks`, while threads and variants are tried; 0: as many."""

    @property
    def reference(self) -> str:
        """The contestant with which the others' numbers must agree."""
        return OURS_FLOAT32 if OURS_FLOAT32 in self.contestants else OURS

    @property
    def peers(self) -> tuple[str, ...]:
        """Those of other libraries."""
        return tuple(name for name in self.contestants if name in MODULES)

    def variants(self, contestant: str) -> tuple[str, ...]:
        """The ways to use a contestant that are tried; one empty name if there is but one."""
        return VARIANTS.get((self.kind, contestant), ("",))

    def checked(self) -> "Case":
        """The case with the tasks on which the contestants' numbers are compared.

        For steps these are few: a task may have a value so near the kink of a ReLU that rounding decides on which
        side it is, and then two right implementations differ in its loss by a thousandth (1 of the first 8 does). In
        float64 they agree on all 8, which tests/benchmarks checks.
        """
        return replace(self, tasks=min(self.tasks, CHECKED_TASKS)) if self.kind.endswith("-step") else self

    def quick(self) -> "Case":
        """The same in small: to see that everything works, not to be believed."""
        return replace(
            self,
            what=f"in small: {self.what}",
            tasks=max(1, self.tasks // 16),
            tuning_tasks=min(self.tuning_tasks, 2),
            rounds=min(self.rounds, 3),
            calls=min(self.calls, 5),
        )


_MAML = (OURS, OURS_FLOAT32, "torchopt", "higher", "parallel-metalearn")
_PROTONET = (OURS, OURS_FLOAT32, "easyfsl", "parallel-metalearn")
_STEP = "inner and outer loop of all tasks, backward and Adam"

_ALL = (
    Case("maml-15q", f"MAML, second order, 1 inner step, 32 tasks, max-pool Conv-4: {_STEP}", "maml-step",
         EpisodeShape(5, 1, 15), _MAML, (Target("ratio", 2.5),), tasks=32),
    Case("maml-1q-5steps", f"MAML, second order, 5 inner steps, 32 tasks, max-pool Conv-4: {_STEP}", "maml-step",
         EpisodeShape(5, 1, 1), _MAML, (Target("ratio", 2.5),), tasks=32, inner_steps=5, inner_learning_rate=0.01),
    Case("maml-strided", f"MAML, second order, 1 inner step, 32 tasks, strided Conv-4: {_STEP}", "maml-step",
         EpisodeShape(5, 1, 15), _MAML, (Target("ratio", 2.5),), tasks=32, form="strided"),
    Case("protonet-60w1s5q", "ProtoNet, one training step", "protonet-step",
         EpisodeShape(60, 1, 5), _PROTONET, (Target("ratio", 4),)),
    Case("protonet-20w5s5q", "ProtoNet, one training step", "protonet-step",
         EpisodeShape(20, 5, 5), _PROTONET, (Target("ratio", 4),)),
    Case("from-disk", "ProtoNet on Omniglot's background set, from files on disk to weights after 200 episodes", "disk",
         EpisodeShape(20, 5, 5), (OURS, FROM_ARCHIVE, "easyfsl"), (Target("ratio", 8),), tasks=200,
         rounds=6, tuning_tasks=20),
    Case("evaluate-protonet", "ProtoNet, evaluation on 600 episodes from memory", "protonet-evaluation",
         EpisodeShape(5, 1, 15), (OURS, OURS_FLOAT32, "easyfsl"), (Target("ratio", 5),), tasks=600, rounds=6,
         tuning_tasks=60),
    Case("evaluate-maml", "MAML, 3 inner steps, evaluation on 100 episodes from memory (600 take six times as long)",
         "maml-evaluation", EpisodeShape(5, 1, 15), (OURS, OURS_FLOAT32, "higher", "torchopt"), (Target("ratio", 5),),
         tasks=100, inner_steps=3, inner_learning_rate=0.01, rounds=6,
         tuning_tasks=20),
    Case("latency-protonet", "ProtoNet, learn 5-way 5-shot and answer one image, from uint8 images", "protonet-latency",
         EpisodeShape(5, 5, 1), (OURS, OURS_FLOAT32, "easyfsl"), (Target("p50_ms", 10),), calls=25),
    Case("latency-maml", "MAML, 3 inner steps, learn 5-way 5-shot and answer one image, from uint8 images",
         "maml-latency", EpisodeShape(5, 5, 1), (OURS, OURS_FLOAT32, "higher"), (Target("p50_ms", 40),), inner_steps=3,
         inner_learning_rate=0.01, calls=25),
)  # fmt: skip

CASES = {case.name: case for case in _ALL}
