"""The guard before both servers: it lets in the programs of this machine and the server's own page.

A page of another site that is open in the user's browser can send requests to 127.0.0.1, and through a name that it
points there (DNS rebinding) read the answers too. Prefect's server takes any name and any origin, MLflow's any origin
on this machine, such as a page on another port.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""Names of this machine as its own programs and browsers say them, with any port: that of an SSH tunnel is another."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_FRAME = b"x-frame-options"
_OWN_HEADERS = ((_FRAME, b"SAMEORIGIN"), (b"content-security-policy", b"frame-ancestors 'self'"))
"""No page of another site may show ours in a frame, where a click is not what it seems."""

_OWN_SITES = frozenset({b"same-origin", b"none"})
"""Values of Sec-Fetch-Site for requests of our own page, and for an address that the user typed."""

ENTER = "/enter"
ENTER_PAGE = b"""<!doctype html><title>fewshot</title><p>Opening Prefect's page ...</p><script>
const key = decodeURIComponent(location.hash.slice(1));
if (key) localStorage.setItem("prefect-password", btoa(key));
location.replace("/");
</script>"""
"""The page that keeps the key, which stands behind the # and so is never sent, where Prefect's page looks for it."""


def refusal(method: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The reason why a request is not let in; empty for one that is.

    Sec-Fetch-Site is what a browser says of the page that asks: "same-site" is another port of this machine.
    """
    named: dict[bytes, list[str]] = {}
    for name, value in headers:
        named.setdefault(name.lower(), []).append(value.decode("latin-1").strip().lower())
    hosts, origins = named.get(b"host", []), named.get(b"origin", [])
    if len(hosts) != 1 or _without_port(hosts[0]) not in HOSTS:
        return "the Host of the request is no name of this machine"
    if origins and origins != [f"http://{hosts[0]}"]:
        return "the request comes from a page of another origin"
    navigates = method == "GET" and named.get(b"sec-fetch-mode") == ["navigate"]
    if not navigates and not {site.encode() for site in named.get(b"sec-fetch-site", [])} <= _OWN_SITES:
        return "the request comes from a page of another site"
    return ""


class Guard:
    """An ASGI application that refuses what `refusal` refuses, with status 403, and hands on the rest."""

    def __init__(self, app: App, pages: Mapping[str, bytes]) -> None:
        """`pages`: HTML by path, which is answered here, and to no link of another page."""
        self._app, self._pages = app, pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or connection."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        if reason := refusal(scope.get("method", "GET"), scope["headers"]):
            return await _refuse(scope["type"], reason, send)
        if scope["type"] == "http" and (page := self._pages.get(scope["path"])) is not None:
            if _is_a_strangers_link(scope["headers"]):
                return await _refuse("http", "the link is in another page; type or paste the address", send)
            return await _answer(200, b"text/html", page, send)

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                held = [(name, value) for name, value in message.get("headers", []) if name.lower() != _FRAME]
                message["headers"] = [*held, *_OWN_HEADERS]
            await send(message)

        return await self._app(scope, receive, send_with_headers)


def _is_a_strangers_link(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """True for a link of another site: its key would take the place of ours."""
    return any(name.lower() == b"sec-fetch-site" and value not in _OWN_SITES for name, value in headers)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


async def _refuse(kind: str, reason: str, send: Send) -> None:
    if kind == "websocket":
        return await send({"type": "websocket.close", "code": 1008, "reason": reason})
    return await _answer(403, b"text/plain", f"refused: {reason}\n".encode(), send)


async def _answer(status: int, kind: bytes, body: bytes, send: Send) -> None:
    headers = [(b"content-type", kind + b"; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *_OWN_HEADERS]})
    await send({"type": "http.response.body", "body": body})
