"""What all points of a run share, and how a process looks at its own memory."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Conditions:
    """What all points of a run have in common."""

    quick: bool
    device: str
    threads: int
    """CPU threads; 0: one for each core that the process may use."""


Values = dict[str, float]
"""Cost ("episode_ms", ...) -> what it was at one size."""


def memory_mb(name: str) -> float:
    """Memory of this process, MB: "RssAnon" is its own, "VmRSS" counts mapped files too, "VmHWM" is the peak of that.

    Linux only; proc(5) says what the names mean.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e6
