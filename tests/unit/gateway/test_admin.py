"""Administration: who may write, what is refused, and how it is said (RFC 9457)."""

from __future__ import annotations

import json

import pytest

from gateway.auth import Role, add_key
from gateway.demo import BANK

ORIGID = "0f000000-0000-4000-8000-000000000001"
HOLDING = {"first": "8675599990000", "last": "8675599990099", "subject": "bakery"}
ACCESS = {"access": "bakery-trunk", "origid": ORIGID, "subject": "bakery"}


def _problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told.keys() == {"type", "title", "status", "detail"}
    assert told["status"] == status
    return told["detail"]


def test_a_holding_is_put_found_replaced_and_ended(desk):
    before = desk.http("GET", "/v1/holdings").json()["total"]
    assert desk.http("PUT", "/v1/holdings", json=HOLDING).status_code == 204
    expected = HOLDING | {"verification": "unverified", "use": "direct", "spcs": ""}
    found = desk.http("GET", "/v1/holdings", params={"number": "8675599990042"}).json()
    assert found == {"total": 1, "holdings": [expected]}
    assert desk.http("PUT", "/v1/holdings", json=HOLDING | {"spcs": "1 2"}).status_code == 204
    found = desk.http("GET", "/v1/holdings", params={"number": "8675599990042"}).json()
    assert found["holdings"][0]["spcs"] == "1 2"
    assert desk.http("GET", "/v1/holdings").json()["total"] == before + 1
    assert "begins with" in _problem(desk.http("DELETE", "/v1/holdings/8675599990001"), 404)
    assert desk.http("DELETE", "/v1/holdings/8675599990000").status_code == 204
    assert desk.http("GET", "/v1/holdings").json()["total"] == before
    _problem(desk.http("DELETE", "/v1/holdings/8675599990000"), 404)


def test_an_access_is_put_listed_and_ended(desk):
    assert desk.http("PUT", "/v1/accesses", json=ACCESS).status_code == 204
    rows = desk.http("GET", "/v1/accesses").json()["accesses"]
    assert ACCESS | {"standing": "good"} in rows
    assert desk.http("DELETE", "/v1/accesses/bakery-trunk").status_code == 204
    _problem(desk.http("DELETE", "/v1/accesses/bakery-trunk"), 404)


def test_a_conflict_names_both(desk):
    overlapping = HOLDING | {"first": BANK, "last": ""}
    detail = _problem(desk.http("PUT", "/v1/holdings", json=overlapping), 409)
    assert "of bank" in detail
    assert f"{BANK} of bakery" in detail
    assert desk.http("PUT", "/v1/accesses", json=ACCESS).status_code == 204
    detail = _problem(desk.http("PUT", "/v1/accesses", json=ACCESS | {"access": "other"}), 409)
    assert "bakery-trunk" in detail
    assert "other" in detail


def test_rows_of_a_file_are_changed_there(desk):
    assert "CSV" in _problem(desk.http("DELETE", "/v1/holdings/8675588880000"), 409)
    assert "CSV" in _problem(desk.http("DELETE", "/v1/accesses/bank-trunk"), 409)


@pytest.mark.parametrize(
    ("path", "body", "names"),
    [
        ("/v1/holdings", HOLDING | {"first": "12a"}, "first"),
        ("/v1/holdings", HOLDING | {"last": "1"}, ""),
        ("/v1/holdings", HOLDING | {"use": "rented"}, "direct"),
        ("/v1/holdings", HOLDING | {"verification": "yes"}, "withdrawn"),
        ("/v1/holdings", HOLDING | {"subject": ""}, "subject"),
        ("/v1/holdings", HOLDING | {"colour": "red"}, "colour"),
        ("/v1/holdings", {}, "subject"),
        ("/v1/holdings", [], "body"),
        ("/v1/accesses", ACCESS | {"origid": "a b\n"}, "origid"),
        ("/v1/accesses", ACCESS | {"standing": "bad"}, "suspended"),
        ("/v1/accesses", ACCESS | {"access": "x" * 129}, "access"),
    ],
)
def test_unusable_values_are_named(desk, path, body, names):
    assert names in _problem(desk.http("PUT", path, json=body), 422)


def test_a_large_body_is_refused_before_it_is_read(desk):
    """Credentials are asked for after the body was read, so strangers could fill memory."""
    sent = 0

    async def endless():
        nonlocal sent
        while sent < 1000:
            sent += 1
            yield b" " * 10_000

    for path in ("/v1/holdings", "/v1/accesses"):
        sent = 0
        headers = {"content-type": "application/json"}
        _problem(desk.http("PUT", path, content=endless(), headers=headers), 413)
        assert sent < 10
    padded = json.dumps(HOLDING).ljust(65_536).encode()
    answer = desk.http("PUT", "/v1/holdings", content=padded, headers=headers)
    assert answer.status_code == 204


def test_lists_come_in_pages(desk):
    total = desk.http("GET", "/v1/holdings").json()["total"]
    rows = []
    for offset in range(total + 1):
        page = desk.http("GET", "/v1/holdings", params={"limit": 1, "offset": offset}).json()
        assert page["total"] == total
        rows += page["holdings"]
    assert rows == desk.http("GET", "/v1/holdings").json()["holdings"]
    assert len(rows) == total
    for bad in ({"limit": 0}, {"limit": 1001}, {"offset": -1}, {"limit": "x"}):
        for path in ("/v1/holdings", "/v1/accesses"):
            assert next(iter(bad)) in _problem(desk.http("GET", path, params=bad), 422)
    _problem(desk.http("GET", "/v1/holdings", params={"number": "x"}), 422)


WRITES = [
    ("PUT", "/v1/holdings", HOLDING),
    ("DELETE", "/v1/holdings/8675599990000", None),
    ("PUT", "/v1/accesses", ACCESS),
    ("DELETE", "/v1/accesses/bakery-trunk", None),
]
READS = [("GET", "/v1/holdings", None), ("GET", "/v1/accesses", None)]


def test_every_route_asks_for_its_role(desk_with, tmp_path):
    file = tmp_path / "keys.toml"
    keys = {role: add_key(file, role.value, [role]) for role in Role}
    desk = desk_with(auth={"keys": file})
    opens = {
        Role.PROXY: [],
        Role.OPERATOR: [*READS, ("GET", "/metrics", None)],
        Role.REGISTRAR: [*READS, *WRITES],
    }
    for method, path, body in [*WRITES, *READS, ("GET", "/metrics", None)]:
        refused = desk.http(method, path, json=body)
        _problem(refused, 401)
        assert refused.headers["www-authenticate"] == "Bearer"
        for role, key in keys.items():
            answer = desk.http(method, path, json=body, headers={"x-api-key": key})
            if (method, path, body) in opens[role]:
                assert answer.status_code in (200, 204), (role, method, path, answer.text)
            else:
                assert "role" in _problem(answer, 403)
    for path in ("/healthz", "/readyz"):
        assert desk.http("GET", path).status_code == 200


def test_what_is_not_there_and_what_is_not_allowed(desk):
    _problem(desk.http("GET", "/v1/nothing"), 404)
    refused = desk.http("POST", "/v1/holdings", json=HOLDING)
    _problem(refused, 405)
    assert refused.headers["allow"]


def test_a_disk_that_takes_nothing_is_told_and_nothing_changes(desk, monkeypatch):
    before = desk.http("GET", "/v1/holdings").json()
    desk.service.registry._file._connection.execute("PRAGMA query_only = 1")
    assert "readonly" in _problem(desk.http("PUT", "/v1/holdings", json=HOLDING), 503)
    assert desk.http("GET", "/v1/holdings").json() == before
