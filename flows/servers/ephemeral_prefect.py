"""A Prefect API for the length of one command, started beside it instead of inside it.

Prefect would start the same server by itself, but later (it first imports the server into the client, 3 s), in the
terminal's process group (Ctrl-C would end it before the flow could say how it ended), and it would outlive a killed
parent for ever. `python -m flows.servers.ephemeral_prefect PORT PARENT` is that server; it ends when its
parent is gone.
"""

import atexit
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from filelock import FileLock

from fewshot.errors import PipelineError
from fewshot.project.fingerprints import SOURCES
from fewshot.project.paths import Home

START_LIMIT_S = 180
"""A new database takes 16 s on a quiet machine, over a minute on a loaded one."""
PARENT_CHECK_S = 1.0


@contextmanager
def prefect_api(home: Home) -> Iterator[Callable[[], None]]:
    """Set PREFECT_API_URL, and yield a function that waits until the API answers: call it after the heavy imports.

    An API that the user named, or that of a running `fewshot ui`, is used as it is. Raises PipelineError if it does
    not answer, or if ours does not start.
    """
    if given := os.environ.get("PREFECT_API_URL"):
        yield lambda: _check(given)
        return
    if shared := running_api(home):
        os.environ["PREFECT_API_URL"] = shared
        yield lambda: None
        return
    port, log = free_port(), home.prefect / "embedded.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # One at a time until it answers: two servers that migrate one new database fail.
    lock = FileLock(home.file_lock("prefect"))
    lock.acquire()
    server = _start(port, log)
    # At exit and not here: Prefect sends the last log lines and events when the interpreter ends.
    atexit.register(stop, server)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    try:
        yield lambda: _wait(server, port, log, lock)
    finally:
        lock.release(force=True)


def _check(url: str) -> None:
    try:
        httpx.get(f"{url}/health", timeout=20)
    except httpx.HTTPError as error:
        raise PipelineError(
            f"Prefect at PREFECT_API_URL={url} does not answer ({error}); start it, or unset PREFECT_API_URL"
        ) from None


def running_api(home: Home) -> str | None:
    """The address of the API that a running `fewshot ui` left in the state folder, if it answers."""
    note = home.prefect / "api-url"
    if not note.is_file():
        return None
    url = note.read_text(encoding="utf-8").strip()
    return url if url and answers(f"{url}/health") else None


def answers(url: str) -> bool:
    """Whether an HTTP GET returns a status below 400 within 2 s."""
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code < 400
    except httpx.HTTPError:
        return False


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


def _start(port: int, log: Path) -> "subprocess.Popen[bytes]":
    # The three PREFECT__ variables are what Prefect sets for its own embedded server: no page, no scheduler.
    ephemeral = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.servers.ephemeral_prefect", str(port), str(os.getpid())],
            env={**os.environ, **ephemeral, "PYTHONPATH": str(SOURCES)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def _wait(server: "subprocess.Popen[bytes]", port: int, log: Path, lock: FileLock) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not answers(f"http://127.0.0.1:{port}/api/health"):
        if server.poll() is not None or time.monotonic() > deadline:
            raise PipelineError(f"Prefect's server did not start on port {port}; {log} says why")
        time.sleep(0.1)
    lock.release()


def _serve(port: int, parent: int) -> None:
    import uvicorn

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_S)
        server.should_exit = True

    config = uvicorn.Config(
        "prefect.server.api.server:create_app", factory=True, host="127.0.0.1", port=port, log_level="error"
    )
    server = uvicorn.Server(config)
    threading.Thread(target=watch, daemon=True).start()
    server.run()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
