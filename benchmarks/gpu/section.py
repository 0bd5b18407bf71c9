"""Arguments, result file and clock of a section."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch


class Section:
    """One section's device, size and result."""

    def __init__(self) -> None:
        target, device, size = sys.argv[1:4]
        self.target, self.device, self.small = Path(target), torch.device(device), size == "small"
        self.found: dict[str, Any] = {}
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def add(self, name: str, value: Any) -> None:
        """Keep a result, at once."""
        self.found[name] = value
        self.target.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {json.dumps(value)}", flush=True)

    def milliseconds(self, work: Callable[[], object], budget_s: float = 1.0) -> dict[str, float]:
        """Median, 10th and 90th percentile of one call, after a warm-up, over about `budget_s`."""
        for _ in range(0 if self.small else 3):
            work()
        self.wait()
        began = time.perf_counter()
        work()
        self.wait()
        number = max(5, min(200, int(budget_s / max(time.perf_counter() - began, 1e-5)))) if not self.small else 1
        times = sorted(self._timed(work, number))
        return {
            "median": round(median(times), 4),
            "low": round(times[len(times) // 10], 4),
            "high": round(times[-1 - len(times) // 10], 4),
        }

    def wait(self) -> None:
        """Until the device has done everything."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _timed(self, work: Callable[[], object], number: int) -> list[float]:
        if self.device.type != "cuda":
            times = []
            for _ in range(number):
                began = time.perf_counter()
                work()
                times.append(1e3 * (time.perf_counter() - began))
            return times
        events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(number)]
        for begin, end in events:
            begin.record()
            work()
            end.record()
        torch.cuda.synchronize()
        return [begin.elapsed_time(end) for begin, end in events]
