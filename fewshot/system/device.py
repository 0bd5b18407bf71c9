"""The means of computing: device, number format, threads, memory."""

import ctypes
import os
import platform
from dataclasses import dataclass

import torch

from fewshot.errors import UsageError

# From glibc's malloc.h: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


@dataclass(frozen=True)
class Compute:
    """Device, number format and threads with which a method computes: an argument, never an attribute of the method."""

    device: torch.device
    precision: torch.dtype = torch.float32
    """The format of convolutions and matrix products."""
    threads: int = 0
    """CPU threads; 0: one for each core that this process may use."""

    @classmethod
    def pick(cls, device: str = "auto", precision: str = "auto", threads: int = 0) -> "Compute":
        """From the settings `device`, `train.precision` and `threads`. UsageError when the device is not there."""
        chosen = pick_device(device)
        return cls(chosen, pick_precision(precision, chosen), threads)

    def prepare(self) -> None:
        """Set what belongs to the whole process: CPU threads; on CUDA, algorithms that give the same bits each time."""
        prepare_cpu(self.threads)
        if self.device.type == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            # Else float32 convolutions are computed with 10 bits of mantissa.
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False

    def autocast(self) -> torch.autocast:
        """The context in which a method's functions are called.

        Without the cache of converted weights: there is one for all threads, and a weight that a thread without
        gradients has put there gives no gradient in another.
        """
        lower = self.precision != torch.float32
        return torch.autocast(self.device.type, self.precision, enabled=lower, cache_enabled=False)


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto" takes CUDA, then MPS, then the CPU. UsageError when it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device {name!r}; use auto, cpu, cuda, mps, or cuda:1 for the second card") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device={name} is none that this computes on; use auto, cpu, cuda or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        there = f"{torch.cuda.device_count()} CUDA devices" if torch.cuda.is_available() else "no CUDA device"
        raise UsageError(f"device={name} was asked for, but this machine has {there}; use device=auto or device=cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device=mps was asked for, but this machine has no MPS device; use device=auto or device=cpu")
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """The format of convolutions and matrix products. "auto" is bfloat16 where the hardware multiplies it.

    It asks for a capability and never times anything, so that one machine always decides alike.
    """
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    if device.type == "cpu":
        capability = torch.cpu.get_capabilities()
        faster = capability.get("amx_bf16") or capability.get("avx512_bf16")
        return torch.bfloat16 if faster else torch.float32
    return torch.float32


def prepare_cpu(threads: int) -> None:
    """Use `threads` CPU threads (0: one for each core this process may use) and keep freed memory."""
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else threads or 1)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let large blocks that are freed stay with this process.

    glibc hands them back to the kernel; each activation of the next step then costs a page fault a page. Keeping them
    is worth a third of a training step.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def prepare_thread() -> None:
    """Let a thread that works beside others compute alone."""
    torch.set_num_threads(1)
