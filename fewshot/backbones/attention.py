"""Attention by a kernel that has a second derivative."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch.nn.attention import SDPBackend, sdpa_kernel

_inside = ExitStack()
_depth = 0
_lock = threading.Lock()


@contextmanager
def differentiable_attention() -> Iterator[None]:
    """Compute attention by torch's plain kernel: the fast ones have no second derivative, which an inner loop needs.

    It keeps a value for each pair of places, which the fast ones do not.

    torch has one switch for all threads. The first thread that comes in sets it, the last that leaves restores it.
    """
    global _depth
    with _lock:
        if _depth == 0:
            _inside.enter_context(sdpa_kernel(SDPBackend.MATH))
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _inside.close()
