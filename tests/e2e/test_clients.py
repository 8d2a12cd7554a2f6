"""What clients in the field add to a request: upgrades, odd paths, foreign names and pages."""

from __future__ import annotations

import json
import shutil
import subprocess

import httpx
import pytest
from running import Wire, dumps, raw, signing, verification

from zhenxian.api.auth import Role, add_key
from zhenxian.api.calls.messages import SIGNING, VERIFICATION
from zhenxian.simulation.demo import BANK

JSON = "content-type: application/json"
H2C = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQCAAAA")
WEBSOCKET = (
    "connection: keep-alive, Upgrade",
    "upgrade: websocket",
    "sec-websocket-version: 13",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
)


def _sign():
    return dumps(signing(BANK, access="bank-trunk"))


# Upgrade (RFC 9110 section 7.8) -------------------------------------------------------------------


@pytest.mark.parametrize("fields", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", SIGNING, _sign, 200),
        ("POST", SIGNING + "?asgi", _sign, 200),
        ("POST", VERIFICATION, lambda: dumps(verification(BANK)), 200),
        ("PUT", "/v1/subjects/upgraded?reason=x", lambda: b"{}", 200),
        ("GET", "/v1/subjects/upgraded", lambda: b"", 200),
        ("GET", "/healthz", lambda: b"", 200),
        ("GET", "/docs", lambda: b"", 200),
        ("GET", "/nothing", lambda: b"", 404),
    ],
)
def test_an_offered_upgrade_changes_nothing(service, fields, method, path, body, expected):
    sent = body()
    length = () if method == "GET" else (f"content-length: {len(sent)}",)
    request = raw(path, sent, JSON, *fields, *length, method=method)
    with Wire(service) as wire:
        wire.send(request)  # by itself, then pipelined, then cut in the middle of the body
        assert wire.answer()[0] == expected
        wire.send(request * 3)
        for _ in range(3):
            status, answered, _ = wire.answer()
            assert status == expected
            assert "upgrade" not in answered
        wire.send(request[:-1])
        wire.send(request[-1:])
        assert wire.answer()[0] == expected
        if method != "GET" and path.startswith("/v1"):
            chunked = b"1\r\n{\r\n1;e=f\r\n}\r\n0\r\nt: u\r\n\r\n"
            wire.send(
                raw(path, chunked, JSON, *fields, "transfer-encoding: chunked", method=method)
            )
            assert wire.answer()[0] == expected
        assert not wire.readable(0.05)


def test_an_offered_upgrade_with_a_body_that_waits(service):
    body = _sign()
    with Wire(service) as wire:
        request = raw(
            SIGNING, b"", JSON, *H2C, f"content-length: {len(body)}", "expect: 100-continue"
        )
        wire.send(request)
        assert wire.readable(5)
        wire.send(body)
        assert wire.answer()[0] == 200
        wire.send(raw("/healthz", b"", *H2C, "connection: close", method="GET"))
        assert wire.answer()[1]["connection"] == "close"
        assert wire.closed(4)


@pytest.mark.parametrize("path", [SIGNING, SIGNING + "?asgi"])
def test_curl_with_http2_offered(service, path):
    """The real client: two calls on one connection."""
    assert shutil.which("curl"), "run scripts/peers test"
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "--http2", "-w", "%{http_code} %{num_connects}\n",
         "-H", JSON, "--data-binary", _sign(), *([service.base + path] * 2)],
        capture_output=True, check=True, timeout=20,
    )  # fmt: skip
    first, second = done.stdout.decode().split("\n")[:2]
    assert (first[-5:], second[-5:]) == ("200 1", "200 0")
    assert "identity" in first


# Paths --------------------------------------------------------------------------------------------

ODD_PATHS = [
    VERIFICATION + "/",
    SIGNING + "/",
    SIGNING + "//",
    SIGNING + "/?x=1",
    SIGNING.upper(),
    "/Stir/v1/signing",
    "/stir/V1/signing",
    "/" + SIGNING,
    "/stir//v1/signing",
    "/stir",
    "/stir/",
    "/stir/v1",
    "/stir/v1/",
    "/stir/v2/signing",
    "/stir/v1/signing/x",
    "/stir/v1/../v1/signing",
    "/stir/v1/signing%2f",
    "/stir/v1/certificates",
    "/stir/v1/certificates/",
    "/stir/v1/signing;v=1",
]


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "OPTIONS"])
@pytest.mark.parametrize("path", ODD_PATHS)
def test_an_odd_path_gets_the_answer_of_the_dialect(service, path, method):
    body = dumps(verification(BANK))
    with Wire(service) as wire:
        wire.send(raw(path, body, JSON, f"content-length: {len(body)}", method=method))
        status, fields, answered = wire.answer()
    assert status == 404
    assert "location" not in fields
    assert json.loads(answered)["requestError"]["serviceException"]["messageId"] == "SVC4003"


def test_an_odd_path_gets_the_answer_of_the_dialect_that_is_configured(serve):
    service = serve(server__dialect="3gpp")
    with service.client() as client:
        for path in ("/stir/v1/signing/", "/STIR/V1/SIGNING", "/stir/v1/x"):
            assert set(client.post(path, json={}).json()) == {"error"}
    with Wire(service) as wire:
        wire.send(raw(SIGNING, b"", "x: " + "y" * 70_000))
        status, _, body = wire.answer()
        assert (status, set(json.loads(body))) == (431, {"error"})


@pytest.mark.parametrize(
    "path", ["/healthz/", "/v1/holdings/", "/docs/", "/metrics/", "/readyz/", "/v1/"]
)
@pytest.mark.parametrize("listener", ["port", "admin"])
def test_nothing_is_redirected(apart, path, listener):
    for fields in ({}, {"x-forwarded-host": "evil.example"}):
        answer = httpx.get(
            f"http://127.0.0.1:{getattr(apart, listener)}{path}", headers=fields, trust_env=False
        )
        assert (answer.status_code, answer.headers.get("location")) == (404, None)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (SIGNING, 200),
        (SIGNING + "?", 200),
        (SIGNING + "?id=1&key=2", 200),
        ("/stir/v1/signin%67", 200),
        ("http://127.0.0.1" + SIGNING, 200),
        ("HTTP://LOCALHOST:80" + SIGNING, 200),
        ("http://user@localhost" + SIGNING, 400),
        ("ftp://localhost" + SIGNING, 400),
        ("*", 404),
        ("signing", 400),
    ],
)
def test_forms_of_a_request_target(service, target, expected):
    body = _sign()
    with Wire(service) as wire:
        wire.send(raw(target, body, JSON, f"content-length: {len(body)}"))
        assert wire.answer()[0] == expected


@pytest.mark.parametrize("path", [SIGNING, SIGNING + "?asgi"])
@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (("accept:",), 200),
        (("accept:  ",), 200),
        (("accept: ,",), 200),
        (("accept: */*",), 200),
        (("accept: */*;q=0",), 406),
        (("accept: application/json;q=0",), 406),
        (("accept: application/json;q=0, */*",), 406),
        (("accept: */*;q=0, application/json",), 200),
        (("accept: application/json;q=0.001",), 200),
        (("accept: text/html", "accept: application/json"), 200),
        (("accept: application/json", "accept: text/html"), 200),
        (("accept: text/html",), 406),
        (("accept: APPLICATION/JSON",), 200),
    ],
)
def test_what_a_client_accepts(service, path, accept, expected):
    body = _sign()
    with Wire(service) as wire:
        wire.send(raw(path, body, JSON, *accept, f"content-length: {len(body)}"))
        assert wire.answer()[0] == expected


# Names and pages ----------------------------------------------------------------------------------

EVERYWHERE = [
    ("POST", SIGNING),
    ("POST", VERIFICATION),
    ("POST", SIGNING + "?asgi"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/docs"),
    ("GET", "/docs/swagger-ui.css"),
    ("GET", "/openapi.json"),
    ("GET", "/metrics"),
    ("GET", "/v1/subjects"),
    ("PUT", "/v1/subjects/rebound?reason=x"),
    ("DELETE", "/v1/subjects/bank?reason=x"),
    ("GET", "/stir/v1/certificates/x"),
    ("GET", "/nothing"),
    ("OPTIONS", SIGNING),
    ("HEAD", "/healthz"),
]
FOREIGN = [
    (("host: evil.example",), 421),
    (("host: evil.example:8080",), 421),
    (("host: 127.0.0.1.evil.example",), 421),
    (("host: localhost.evil.example",), 421),
    (("host: 192.0.2.1",), 421),
    (("host: 0.0.0.0",), 421),
    (("host: [2001:db8::1]:8080",), 421),
    (("host:",), 421),
    (("host: localhost", "origin: http://evil.example"), 403),
    (("host: localhost", "origin: https://evil.example:8080"), 403),
    (("host: localhost", "origin: null"), 403),
    (("host: localhost", "origin: http://127.0.0.1:8080", "sec-fetch-site: same-site"), 403),
    (("host: localhost:8080", "origin: http://localhost:3000", "sec-fetch-site: same-site"), 403),
    (("host: localhost", "origin: http://localhost.evil.example"), 403),
    (("host: localhost", "origin: localhost"), 403),
    (("host: localhost", "sec-fetch-site: cross-site"), 403),
    (("host: localhost", "origin: http://localhost", "origin: http://evil.example"), 403),
    (("host: localhost", "host: evil.example"), 400),
    (("host: evil.example", "host: localhost"), 400),
    (("host: evil.example/localhost",), 400),
    ((), 400),
]
OURS = [
    ("host: localhost",),
    ("host: LOCALHOST.:80",),
    ("host: sti.localhost:8080",),
    ("host: 127.0.0.1",),
    ("host: 127.9.9.9:1",),
    ("host: [::1]:8080",),
    ("host: [::ffff:127.0.0.1]",),
    ("host: localhost:8080", "origin: http://localhost:8080", "sec-fetch-site: same-origin"),
    ("host: 127.0.0.1", "origin: http://127.0.0.1:80", "sec-fetch-site: same-origin"),
    ("host: localhost", "sec-fetch-site: none"),
]


def _request(method, path, fields, body=b""):
    length = (f"content-length: {len(body)}",) if method not in ("GET", "HEAD") else ()
    lines = [f"{method} {path} HTTP/1.1", JSON, *fields, *length, "", ""]
    return "\r\n".join(lines).encode() + body


def _ask(service, port, request, *, head_only=False):
    with Wire(service, port) as wire:
        wire.send(request)
        return wire.answer(head_only=head_only)


@pytest.mark.parametrize("fields", FOREIGN, ids=lambda given: " ".join(given[0])[:60])
@pytest.mark.parametrize("listener", ["port", "admin"])
def test_a_foreign_name_or_page_neither_reads_nor_writes(apart, fields, listener):
    lines, expected = fields
    port = getattr(apart, listener)
    for method, path in EVERYWHERE:
        body = _sign() if path.startswith("/stir") else b"{}"
        status, answered, told = _ask(
            apart, port, _request(method, path, lines, body), head_only=method == "HEAD"
        )
        assert status == expected, (method, path)
        assert answered["connection"] == "close"
        assert b"bank" not in told
        if expected == 421 and method != "HEAD":
            assert b"server.hosts" in told
    with httpx.Client(base_url=f"http://127.0.0.1:{apart.admin}", trust_env=False) as client:
        assert client.get("/v1/subjects/rebound").status_code == 404
        assert client.get("/v1/subjects/bank").status_code == 200


@pytest.mark.parametrize("lines", OURS, ids=lambda given: " ".join(given)[:60])
def test_this_machines_names_and_pages_are_answered(apart, lines):
    for path in (SIGNING, SIGNING + "?asgi"):
        status, _, body = _ask(apart, apart.port, _request("POST", path, lines, _sign()))
        assert (status, b"identity" in body) == (200, True)
    assert _ask(apart, apart.admin, _request("GET", "/v1/subjects/bank", lines))[0] == 200
    assert _ask(apart, apart.port, b"GET /healthz HTTP/1.0\r\n\r\n")[0] == 200


def test_names_of_ones_own_are_configured(serve):
    service = serve(
        server__hosts='["sti.example.net", "192.0.2.7"]',
        signer__publish_base="https://cert.example.com",
    )
    for name, expected in {
        "sti.example.net": 200,
        "STI.example.net:8080": 200,
        "192.0.2.7": 200,
        "cert.example.com": 200,
        "example.net": 421,
    }.items():
        assert _ask(service, service.port, _request("GET", "/readyz", (f"host: {name}",)))[0] in (
            (200, 503) if expected == 200 else (expected,)
        )
    lines = ("host: localhost", "origin: http://sti.example.net")
    assert _ask(service, service.port, _request("POST", SIGNING, lines, _sign()))[0] == 200


def test_with_credentials_any_name_is_answered(serve, tmp_path):
    """A key is not known to a page, whatever name it came by."""
    keys = tmp_path / "keys.toml"
    key = add_key(keys, "sbc", [Role.PROXY])
    service = serve(auth__keys=keys)
    lines = ("host: sti.example.net", "origin: http://evil.example", f"x-api-key: {key}")
    assert _ask(service, service.port, _request("POST", SIGNING, lines, _sign()))[0] == 200
    assert _ask(service, service.port, _request("POST", SIGNING, lines[:2], _sign()))[0] == 401
    assert _ask(service, service.port, _request("GET", "/healthz", ()))[0] == 400
