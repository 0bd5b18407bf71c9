"""Noticing that the process was asked to stop, in time to write a checkpoint."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that is set by SIGTERM or SIGINT while the block runs; a second signal acts as it did before.

    Python delivers signals to the main thread alone: in another thread nothing is changed and the event stays unset.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    signals = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in signals}

    def note(number: int, _: object) -> None:
        asked.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in signals:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        for number in signals:
            signal.signal(number, before[number])
