"""Parts of a batch of tasks, spread over the CPU's threads."""

import copy
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from fewshot.methods.base import Method
from fewshot.system.device import prepare_thread

Part = TypeVar("Part")
Result = TypeVar("Result")


class Workers:
    """Calls of one method on many parts, at once where that is possible and faster.

    The kernels of a method that learns task by task are too small to be shared by threads. So on a CPU, if its parts
    are independent, each thread takes parts of its own and computes alone, on a copy of the method (`functional_call`
    on a shared one is not thread-safe). Other methods take one part after another and share each kernel.
    """

    def __init__(self, method: Method) -> None:
        self.method = method
        self._copies: list[Method] = []
        self._pool: ThreadPoolExecutor | None = None

    def number(self) -> int:
        """How many parts are worked on at once."""
        on_cpu = next(self.method.parameters()).device.type == "cpu"
        return torch.get_num_threads() if on_cpu and self.method.parts_are_independent else 1

    def map(self, work: Callable[[Method, Part], Result], parts: Sequence[Part]) -> Iterator[Result]:
        """`work(method, part)` for each part, in order. Threads have a gradient mode and autocast of their own."""
        number = min(self.number(), len(parts))
        if number == 1:
            return (work(self.method, part) for part in parts)
        threads = torch.get_num_threads()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(threads, "tasks", initializer=prepare_thread)
            self._copies = [copy.deepcopy(self.method) for _ in range(threads)]
        for mine in self._copies:
            mine.load_state_dict(self.method.state_dict())
            mine.train(self.method.training)

        def share(worker: int) -> list[Result]:
            return [work(self._copies[worker], part) for part in parts[worker::number]]

        torch.set_num_threads(1)  # of each worker: some libraries have one number for all threads
        try:
            done = list(self._pool.map(share, range(number)))
        finally:
            torch.set_num_threads(threads)
        return (done[place % number][place // number] for place in range(len(parts)))
