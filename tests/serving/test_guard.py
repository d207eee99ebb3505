"""Who is let in: names, pages of other sites, the token; and what becomes of an application that fails."""

import asyncio
import json
from typing import Any

import pytest

from cnn_jax.serving.guard import LOOPBACK, Guard

TOKEN = "a token of some length"


async def _fine(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-content-type-options", b"mine")]})
    await send({"type": "http.response.body", "body": b"{}"})


async def _slow(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(60)


async def _broken(scope: Any, receive: Any, send: Any) -> None:
    raise KeyError("secret")


def ask(
    guard: Guard, path: str = "/predict", method: str = "POST", host: str | None = "localhost:8000", **headers: str
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of the answer; _ in the name of a header is -."""
    sent = {} if host is None else {"host": host}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
    }
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    asyncio.run(guard(scope, None, send))  # type: ignore[arg-type]
    start, body = messages
    return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, json.loads(body["body"])


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:8000", "[::1]"])
def test_this_machine_is_called_by_its_own_names(host: str) -> None:
    assert ask(Guard(_fine, None, LOOPBACK, 9), host=host)[0] == 200


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "localhost.evil.example:8000", "127.0.0.1.evil.example", "127.0.0.2", "::1:80"]
)
def test_another_name_is_refused_before_anything_is_read(host: str | None) -> None:
    assert ask(Guard(_broken, None, LOOPBACK, 9), host=host, path="/")[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "//localhost:8001"},
        {"origin": "garbage"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site", "origin": "http://localhost:8000"},
    ],
)
def test_pages_of_other_sites_may_not_ask(headers: dict[str, str]) -> None:
    guard = Guard(_fine, None, LOOPBACK, 9)
    assert ask(guard, **headers)[0] == 403
    assert ask(Guard(_fine, TOKEN, None, 9), authorization=f"Bearer {TOKEN}", **headers)[0] == 403
    assert ask(guard, "/", "GET", **headers)[0] == 200  # a link leads to the page


def test_the_page_of_the_server_may_ask() -> None:
    assert ask(Guard(_fine, None, LOOPBACK, 9), origin="http://localhost:8000", sec_fetch_site="same-origin")[0] == 200


@pytest.mark.parametrize(
    "given", ["", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", TOKEN, "é"]
)
def test_without_the_token_nothing_is_told(given: str) -> None:
    guard = Guard(_fine, TOKEN, None, 9)
    for path in ("/predict", "/models", "/openapi.json", "//", "/explain"):
        status, headers, said = ask(guard, path, "GET", authorization=given)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert TOKEN not in said["error"]
    assert [ask(guard, path, "GET")[0] for path in ("/", "/healthz")] == [200, 200]


@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", f"bearer   {TOKEN}"])
def test_with_the_token_any_name_will_do(given: str) -> None:
    assert ask(Guard(_fine, TOKEN, None, 9), host="photos.example", authorization=given)[0] == 200


def test_an_application_that_fails_is_one_answer_without_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    status, headers, said = ask(Guard(_broken, None, LOOPBACK, 9))
    assert (status, "secret" in said["error"]) == (500, False)
    assert headers["x-frame-options"] == "DENY"
    assert "KeyError: 'secret'" in capsys.readouterr().err
    assert ask(Guard(_slow, None, LOOPBACK, 0.01))[0] == 504


def test_a_header_of_the_application_stays() -> None:
    assert ask(Guard(_fine, None, LOOPBACK, 9))[1]["x-content-type-options"] == "mine"
