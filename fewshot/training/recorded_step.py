"""A step of the outer loop as one CUDA graph: hundreds of launches become one, and the host is free in between.

The inner loop of MAML is some thousand small kernels, and launching them takes several times as long as they take. A
step that does the same work on every batch of one shape is recorded once and replayed (NVIDIA's CUDA graphs). The first
steps run as usual, as torch asks for: libraries prepare what can't be prepared while a graph is recorded. The bits are
those of the step that is not recorded.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fewshot.data.batches import EpisodeBatch

WARM_UP = 3
"""Steps before one is recorded."""

Work = Callable[[EpisodeBatch], Sequence[Tensor]]
"""A step: it changes parameters and returns its numbers."""


class RecordedStep:
    """Runs a step on one batch after the other, recorded as soon as that is possible."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._steps = 0
        self._recorded: _Recorded | None = None

    def __call__(self, work: Work, batch: EpisodeBatch) -> Sequence[Tensor]:
        """The numbers of `work` on `batch`. A batch of another shape than the recorded one runs as usual."""
        self._steps += 1
        if self._steps == WARM_UP + 1:
            self._record(work, batch)
        recorded = self._recorded
        if recorded is None or not recorded.fits(batch):
            return self._beside(work, batch)
        return recorded.replay(batch)

    @property
    def is_recorded(self) -> bool:
        """True once there is a recorded step."""
        return self._recorded is not None

    def _beside(self, work: Work, batch: EpisodeBatch) -> Sequence[Tensor]:
        """One step on the stream that will be recorded."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            numbers = work(batch)
        torch.cuda.current_stream().wait_stream(self._stream)
        return numbers

    def _record(self, work: Work, batch: EpisodeBatch) -> None:
        classes = batch.classes.clone() if batch.classes is not None else None
        own = EpisodeBatch(batch.support.clone(), batch.query.clone(), classes)
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads, as one that logs the use of the card, go on with their own work meanwhile.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                numbers = work(own)
        except RuntimeError as error:  # Nothing of the step has run.
            reason = str(error).splitlines()[0]
            warnings.warn(f"the training step can't be recorded and runs unrecorded, slower: {reason}", stacklevel=4)
            return
        self._recorded = _Recorded(graph, own, numbers)


class _Recorded(NamedTuple):
    """A recorded step, the memory of its batch and that of its numbers."""

    graph: torch.cuda.CUDAGraph
    batch: EpisodeBatch
    numbers: Sequence[Tensor]

    def fits(self, batch: EpisodeBatch) -> bool:
        return [of.shape for of in _tensors(self.batch)] == [of.shape for of in _tensors(batch)]

    def replay(self, batch: EpisodeBatch) -> Sequence[Tensor]:
        for own, new in zip(_tensors(self.batch), _tensors(batch), strict=True):
            own.copy_(new)
        self.graph.replay()
        return [number.clone() for number in self.numbers]


def _tensors(batch: EpisodeBatch) -> list[Tensor]:
    return [tensor for tensor in (batch.support, batch.query, batch.classes) if tensor is not None]
