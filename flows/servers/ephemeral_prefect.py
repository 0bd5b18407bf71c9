"""A Prefect API for the length of one command, started beside it instead of inside it.

Prefect would start the same server by itself, but later (it first imports the server into the client, 3 s), in the
terminal's process group (Ctrl-C would end it before the flow could say how it ended), and it would outlive a killed
parent for ever. This one ends when its parent is gone.
"""

import atexit
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from filelock import FileLock

from fewshot.errors import PipelineError
from fewshot.project.paths import Home
from fewshot.project.server_key import server_key
from flows import steps
from flows.servers.damaged_database import set_aside
from flows.servers.prefect_http import answers
from flows.servers.prefect_server import api_address, server_command, server_variables

START_LIMIT_S = 180
"""A new database takes 16 s on a quiet machine, over a minute on a loaded one."""


@contextmanager
def prefect_api(home: Home) -> Iterator[Callable[[], None]]:
    """Set PREFECT_API_URL and the key, and yield a function that waits for an answer: call it after the heavy imports.

    An API that the user named, or that of a running `fewshot ui`, is used as it is. Raises PipelineError if it does
    not answer, or if ours does not start.
    """
    if given := os.environ.get("PREFECT_API_URL"):
        yield lambda: _check(given)
        return
    os.environ["PREFECT_API_AUTH_STRING"] = server_key(home)
    if shared := running_api(home):
        os.environ["PREFECT_API_URL"] = shared
        yield lambda: None
        return
    port, log = free_port(), home.prefect / "embedded.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # One at a time until it answers: two servers that migrate one new database fail.
    lock = FileLock(home.file_lock("prefect"))
    lock.acquire()
    server = _Server(home, port, log)
    # At exit and not here: Prefect sends the last log lines and events when the interpreter ends.
    atexit.register(lambda: stop(server.process))
    os.environ["PREFECT_API_URL"] = api_address(port)
    try:
        yield lambda: server.wait(lock)
    finally:
        lock.release(force=True)


def _check(url: str) -> None:
    try:
        httpx.get(f"{url}/health", timeout=20).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        said = str(error).partition("\n")[0]
        raise PipelineError(
            f"Prefect at PREFECT_API_URL={url} does not answer ({said}); start it, or unset PREFECT_API_URL"
        ) from None


def running_api(home: Home) -> str | None:
    """The address of the API that a running `fewshot ui` left in the state folder, if it answers to our key."""
    try:
        url = (home.prefect / "api-url").read_text(encoding="utf-8").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    is_ours = re.fullmatch(re.escape(api_address(0)).replace("0/api", r"\d{1,5}/api"), url)
    return url if is_ours and answers(f"{url}/admin/version", server_key(home)) else None


def free_port() -> int:
    """A free TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop(process: "subprocess.Popen[bytes]", limit_s: float = 10) -> None:
    """Ask a process to end, and end it if it does not within `limit_s`."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class _Server:
    """A server's process; one whose database is damaged is started a second time, with a new one."""

    def __init__(self, home: Home, port: int, log: Path) -> None:
        self._home, self._port, self._log = home, port, log
        self.process = self._start()

    def wait(self, lock: FileLock) -> None:
        """Until it answers; PipelineError if it does not."""
        deadline, tried_again = time.monotonic() + START_LIMIT_S, False
        while not answers(f"{api_address(self._port)}/health"):
            if self.process.poll() is not None and not tried_again:
                tried_again = True
                if said := set_aside(self._home, self._log, self._since):
                    steps.remark(said)
                    self.process = self._start()
                    continue
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise PipelineError(f"Prefect's server did not start on port {self._port}; {self._log} says why")
            time.sleep(0.1)
        lock.release()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as file:
            self._since = file.tell()
            return subprocess.Popen(
                server_command(self._port, os.getpid()),
                env={**os.environ, **server_variables(self._home, self._port, has_page=False)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
