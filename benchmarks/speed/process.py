"""Starting a worker and talking to it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from benchmarks.speed.contest import ContestantFailedError


class WorkerProcess:
    """A running `benchmarks.speed.worker`; between questions it waits on a pipe and uses no processor."""

    def __init__(self, arguments: Sequence[str], threads: int) -> None:
        """Returns when the worker is ready; ContestantFailedError with its last words if it never is."""
        self._name = " ".join(arguments)
        self._words = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the worker
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.speed.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
        )
        self._answer()

    def check(self) -> dict[str, float]:
        """The numbers that must agree."""
        return dict(self._ask("check")["numbers"])

    def step(self, times: int) -> list[float]:
        """Seconds of each of some steps."""
        return list(self._ask({"step": times})["seconds"])

    def close(self) -> None:
        """End the worker."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._words.close()

    def _ask(self, question: object) -> dict[str, Any]:
        with suppress(BrokenPipeError):  # then the missing answer says that it is gone, with its last words
            print(json.dumps(question), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self._process.wait()
            self._words.seek(0)
            last = self._words.read().strip().splitlines()[-1:] or ["nothing"]
            code = self._process.returncode
            self.close()
            raise ContestantFailedError(f"{self._name} ended with exit code {code}; its last words: {last[0]}")
        return dict(json.loads(line))
