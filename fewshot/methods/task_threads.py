"""Parts of a batch of tasks, spread over the CPU's threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from fewshot.methods.base import Method
from fewshot.system.device import Compute, prepare_thread

Part = TypeVar("Part")
Result = TypeVar("Result")


class Workers:
    """Threads that work on parts of a batch at once, where that is possible and faster.

    The kernels of a method that learns task by task are too small to be shared by threads. Therefore, on a CPU and if
    its parts are independent, each thread takes parts of its own and computes them on one core. Other methods take one
    part after another and share each kernel.
    """

    def __init__(self, method: Method, compute: Compute) -> None:
        self.method, self.compute = method, compute
        self._pool: ThreadPoolExecutor | None = None

    def number(self) -> int:
        """Number of parts that are worked on at once."""
        threads = self.compute.threads or torch.get_num_threads()
        return threads if self.compute.device.type == "cpu" and self.method.parts_are_independent else 1

    def map(self, work: Callable[[Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
        """`work(part)` for each part, in order. Each thread has its own gradient mode and autocast."""
        number = min(self.number(), len(parts))
        if number == 1:
            return map(work, parts)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.number(), "tasks", initializer=prepare_thread)

        def share(worker: int) -> list[Result]:
            return [work(part) for part in parts[worker::number]]

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # of each worker: some libraries have one number for all threads
        try:
            done = list(self._pool.map(share, range(number)))
        finally:
            torch.set_num_threads(threads)
        return (done[place % number][place // number] for place in range(len(parts)))
