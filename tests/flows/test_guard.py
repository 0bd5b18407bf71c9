"""The guard before Prefect's server, and the key of a project."""

import asyncio
import base64
import multiprocessing
from pathlib import Path

import httpx
import pytest
from conftest import Place
from hypothesis import given
from hypothesis import strategies as st

from fewshot.project.paths import Home
from fewshot.project.server_key import server_key
from fewshot.project.tool_environment import environment
from flows.servers.guard import ENTER, ENTER_PAGE, HOSTS, Guard, refusal
from flows.servers.prefect_http import answers, ask

OWN = (b"host", b"127.0.0.1:4200")
NAMES = st.from_regex(r"[a-z0-9.\-]{1,20}", fullmatch=True)


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        [OWN],
        [(b"Host", b"LOCALHOST:80")],
        [(b"host", b"[::1]:4200"), (b"origin", b"http://[::1]:4200")],
        [OWN, (b"origin", b"http://127.0.0.1:4200"), (b"sec-fetch-site", b"same-origin")],
        [OWN, (b"sec-fetch-site", b"none")],
    ],
)
def test_programs_of_this_machine_and_the_own_page_are_let_in(method: str, headers: list[tuple[bytes, bytes]]) -> None:
    assert refusal(method, headers) == ""


def test_a_link_to_the_page_may_be_followed_from_anywhere() -> None:
    link = [OWN, (b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"navigate")]
    assert refusal("GET", link) == ""
    assert refusal("POST", link) == "the request comes from a page of another site"


@given(name=NAMES, port=st.sampled_from(["", ":4200", ":x"]))
def test_no_other_name_is_let_in(name: str, port: str) -> None:
    for host in (f"{name}.evil.example{port}", f"127.0.0.1.{name}{port}", f"10.{name}", f"127.0.0.1:4200@{name}", ""):
        assert refusal("GET", [(b"host", host.encode())]) == "the Host of the request is no name of this machine"
    assert name in HOSTS or refusal("GET", [(b"host", name.encode())])
    assert refusal("GET", [OWN, (b"host", name.encode())])
    assert refusal("GET", [])


@given(
    origin=st.one_of(
        NAMES, st.sampled_from(["null", "http://127.0.0.1", "http://127.0.0.1:8000", "http://localhost:4200"])
    )
)
def test_no_page_of_another_origin_is_let_in(origin: str) -> None:
    assert refusal("GET", [OWN, (b"origin", origin.encode())]) == "the request comes from a page of another origin"
    twice = [OWN, (b"origin", b"http://127.0.0.1:4200"), (b"origin", origin.encode())]
    assert refusal("POST", twice) == "the request comes from a page of another origin"


@pytest.mark.parametrize("site", [b"cross-site", b"same-site"])
def test_a_page_of_another_site_or_port_is_not_let_in_even_without_an_origin(site: bytes) -> None:
    assert refusal("GET", [OWN, (b"sec-fetch-site", site), (b"sec-fetch-mode", b"no-cors")])


def test_a_link_of_another_page_can_not_change_the_key_that_the_page_keeps() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        raise AssertionError("a page of the guard itself")

    async def asked(**headers: str) -> int:
        transport = httpx.ASGITransport(Guard(app, {ENTER: ENTER_PAGE}))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:4200") as client:
            own = {"Sec-Fetch-Mode": "navigate"} | {name.replace("_", "-"): value for name, value in headers.items()}
            return (await client.get(ENTER, headers=own)).status_code

    assert asyncio.run(asked()) == asyncio.run(asked(Sec_Fetch_Site="none")) == 200
    assert asyncio.run(asked(Sec_Fetch_Site="cross-site")) == asyncio.run(asked(Sec_Fetch_Site="same-site")) == 403


def test_the_server_of_a_single_command_refuses_strangers(servers: Place, home: Home) -> None:
    api = servers[0]
    key = (servers[1].parents[1] / "prefect" / "api-key").read_text().strip()
    own = {"Authorization": f"Basic {base64.b64encode(key.encode()).decode()}"}
    assert ask(api, key, "/flows/filter", {}) is not None
    assert answers(f"{api}/flows/count", key) is False  # a POST
    with httpx.Client(trust_env=False, timeout=20) as client:
        for hostile in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
            refused = client.post(f"{api}/flows/filter", json={}, headers=own | hostile)
            assert (refused.status_code, refused.text[:8]) == (403, "refused:")
            assert "access-control-allow-origin" not in refused.headers
        assert client.get(f"{api}/csrf-token?client=a").status_code == 401
        assert client.post(f"{api}/flows/filter", json={}, headers=own).status_code == 403


def _key(state: str, found: "multiprocessing.Queue[str]") -> None:
    found.put(server_key(Home(Path(state), Path(state))))


def test_processes_that_ask_at_once_get_one_key_and_a_cut_one_is_made_anew(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    processes = [context.Process(target=_key, args=(str(tmp_path), found)) for _ in range(8)]
    for process in processes:
        process.start()
    keys = {found.get(timeout=30) for _ in processes}
    for process in processes:
        process.join()
    assert len(keys) == 1
    file = tmp_path / "prefect" / "api-key"
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_bytes(b"\xff cut")
    assert server_key(Home(tmp_path, tmp_path)) not in keys


def test_the_key_goes_to_servers_of_this_machine_alone(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path)
    name = "PREFECT_API_AUTH_STRING"
    ours = environment(home, {})[name]
    assert ours == environment(home, {name: "another's"})[name] == server_key(home)
    assert environment(home, {"PREFECT_API_URL": "http://localhost:4200/api"})[name] == ours
    assert environment(home, {"PREFECT_API_URL": "http://127.0.0.1:4200/api", name: "a:b"})[name] == "a:b"
    for other in ("https://prefect.example/api", "http://127.0.0.1.evil.example/api", "http://[bad/api"):
        assert name not in environment(home, {"PREFECT_API_URL": other})


def test_a_proxy_is_not_asked_for_this_machine(tmp_path: Path) -> None:
    found = environment(Home(tmp_path, tmp_path), {"NO_PROXY": "example.org", "HTTP_PROXY": "http://127.0.0.1:9"})
    assert found["NO_PROXY"] == found["no_proxy"] == "example.org,127.0.0.1,localhost,::1"


def test_a_state_folder_that_can_not_be_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fewshot.errors import UsageError
    from fewshot.project.tool_environment import prepare_environment

    file = tmp_path / "file"
    file.write_text("")
    for state in (file, file / "deeper"):
        with pytest.raises(UsageError, match=r"can't be made, because .*file is a file; move it, or set FEWSHOT_HOME"):
            prepare_environment(Home(tmp_path, state))
    with pytest.raises(UsageError, match=r"a '\?' in the path begins the options of a database's address"):
        prepare_environment(Home(tmp_path, tmp_path / "a?b"))
    with pytest.raises(UsageError, match="DVC takes braces in a path for a name to fill in; move the project"):
        prepare_environment(Home(tmp_path / "a{b}", tmp_path))
