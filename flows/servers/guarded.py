"""A server for the programs and the browser of this machine: an application on 127.0.0.1, behind the guard."""

import os
import threading
import time
from collections.abc import Mapping

from flows.servers.guard import App, Guard

HOST = "127.0.0.1"
PARENT_CHECK_S = 1.0


def serve(app: App, port: int, pages: Mapping[str, bytes] | None = None, parent: int | None = None) -> None:
    """Answer until SIGTERM or, with a `parent`, until that process is gone. `pages`: see Guard."""
    import uvicorn

    guarded = Guard(app, pages or {})
    # No line for each request: the log would grow with each look at the page.
    server = uvicorn.Server(uvicorn.Config(guarded, host=HOST, port=port, log_level="error"))  # type: ignore[arg-type]

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_S)
        server.should_exit = True

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()
    server.run()
