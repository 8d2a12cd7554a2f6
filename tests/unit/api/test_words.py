"""Whatever is wrong with a request, what is told names the member in words of JSON."""

from __future__ import annotations

import json
import logging
import re
import time
from typing import get_args, get_origin

import msgspec
import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel

from zhenxian.api.calls.members import SigningMembers, VerificationMembers
from zhenxian.api.calls.messages import SIGNING, VERIFICATION
from zhenxian.api.reading import PlainRoute
from zhenxian.core.errors import ConfigError
from zhenxian.passport.jws import b64url_encode
from zhenxian.registry.orders import OrderRefusedError, claimed
from zhenxian.service.build import applications
from zhenxian.service.settings import load_settings
from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE, REGULATOR

FOREIGN = re.compile(
    r"`|\b(?:str|int|bool|dict|tuple|bytes|None|True|False|NoneType|Traceback|codec|decode byte)\b"
    r"|\b[A-Z]\w+Error\b|msgspec|pydantic|Object (?:contains|missing)|JSON is malformed"
    r"|Input (?:should|data)|Field required|Extra inputs|[Vv]alid (?:string|integer|list|dict)"
    r"|Value error|Expecting|enum value|could not convert|invalid literal|regex|line 1 column"
    r"|start byte|unexpected end of|expected after"
)
ODD = [
    5, -1, 1.5, 10**30, True, None, "", "x", "\x00", "\u2028", "1" * 600, [], [5], [None], [[]],
    {}, {"tn": None}, {"tn": 5, "x": 1}, {"colour": "red"},
]  # fmt: skip
BROKEN = [
    b"5", b"null", b"[]", b'"x"', b"{}", b"[{}]", b"[5]", b'{"a":1}', b"{", b'{"a"', b'{"a":tru}',
    b"[" * 5000, b'{"a":1,}', b'{"a":"\xff"}', b"\xff\xfe", b'{"a":1}x', b'{"\\ud800":1}',
    b'{"a":NaN}', b'{"a":-Infinity}', b'{"a":' + b"9" * 5000 + b"}", b'{"a":1,"a":2}', b"\x00",
    b'[{"first":"1","first":"2"}]', b'{"a":"\x01"}', b"\xef\xbb\xbf{}", b"nul", b"'", b" ",
    b"{1:2}",
]  # fmt: skip
VALUES = ["", "x", "-1", "1.5", "9" * 30, "null", "[]", "\x01", "真", "a" * 600, "1,2"]


def _plain(text: str) -> None:
    assert FOREIGN.search(text) is None, text


@pytest.fixture
def told(desk, caplog):
    """Holds all that was logged against the same words."""
    with caplog.at_level(logging.DEBUG, "zhenxian"):
        yield desk
    for record in caplog.records:
        if record.name.startswith("zhenxian"):
            _plain(record.getMessage())
            assert record.exc_info is None, record.getMessage()
    for line in desk.logged():
        _plain(json.dumps(line, ensure_ascii=False).replace("true", "").replace("null", ""))


SIGN = {
    "attest": "A",
    "orig": {"tn": BANK},
    "dest": {"tn": [CALLEE]},
    "iat": int(time.time()),
    "origid": BANK_ORIGID,
}
VERIFY = {"from": {"tn": BANK}, "to": {"tn": [CALLEE]}, "time": int(time.time())}


def _members(kind: type[msgspec.Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind)]


@pytest.mark.parametrize("dialect", ["atis", "3gpp"])
@pytest.mark.parametrize(
    ("path", "outer", "good", "kind"),
    [
        (SIGNING, "signingRequest", SIGN, SigningMembers),
        (VERIFICATION, "verificationRequest", VERIFY, VerificationMembers),
    ],
)
def test_calls_are_refused_in_words_of_json(told, path, outer, good, kind, dialect):
    more = {"requestId": "1"} if dialect == "3gpp" else {}
    bodies = [*BROKEN, *(b'{"%b":%b}' % (outer.encode(), body) for body in BROKEN)]
    for name in [*_members(kind), "orig", "iat", "colour"]:
        bodies += [json.dumps({outer: good | more | {name: odd}}).encode() for odd in ODD]
        left = {key: value for key, value in good.items() if key != name}
        bodies.append(json.dumps({outer: left}).encode())
    seen = set()
    for body in bodies:
        status, answer = told.call(path, body)
        seen.add(status)
        if status in (200, 403):
            continue
        assert status == 400, answer
        _plain(json.dumps(answer, ensure_ascii=False))
    assert 400 in seen


@pytest.mark.parametrize(
    ("path", "body", "variables"),
    [
        (VERIFICATION, {"verificationRequest": VERIFY | {"time": "1"}},
         ["time", "a whole number expected, not text"]),
        (VERIFICATION, {"verificationRequest": VERIFY | {"identity": 7}},
         ["identity", "text or a list expected, not a number"]),
        (VERIFICATION, {"verificationRequest": VERIFY | {"callId": ""}},
         ["callId", "at least 1 character expected"]),
        (VERIFICATION, {"verificationRequest": VERIFY | {"explain": "yes"}},
         ["explain", "true or false expected, not text"]),
        (VERIFICATION, {"verificationRequest": VERIFY | {"iat": 1}},
         ["iat", "unknown parameter beside from, to and time; orig, dest and iat stand for these"
                 " three together"]),
        (VERIFICATION, {"verificationRequest": []},
         ["verificationRequest", "an object expected, not a list"]),
        (VERIFICATION, [], ["body", "an object expected, not a list"]),
        (SIGNING, {"signingRequest": SIGN | {"iat": 1.5}},
         ["iat", "a whole number expected, not a number with fraction or exponent"]),
        (SIGNING, {"signingRequest": SIGN | {"iat": -1}},
         ["iat", "a number of at least 0 expected"]),
        (SIGNING, {"signingRequest": SIGN | {"orig": {"tn": ["1", 2]}}},
         ["orig.tn[1]", "text expected, not a number"]),
        (SIGNING, {"signingRequest": SIGN | {"orig": None}},
         ["orig", "an object expected, not null"]),
        (SIGNING, {"signingRequest": SIGN | {"orig": {"tn": "1", "x": 1}}},
         ["orig.x", "unknown parameter"]),
        (SIGNING, {"signingRequest": SIGN | {"extension": "12a"}},
         ["extension", "1 to 16 digits, * or # expected"]),
        (SIGNING, {"signingRequest": SIGN | {"access": "x" * 129}},
         ["access", "at most 128 characters expected"]),
        (SIGNING, {"request": SIGN},
         ["request", "unknown parameter; only signingRequest stands here"]),
        (SIGNING, b'{"signingRequest":{"iat":1,"iat":2}}', ["iat", "it stands twice"]),
        (SIGNING, b'{"a":1,"\\u0061":2}', ["a", "it stands twice"]),
    ],
)  # fmt: skip
def test_the_member_and_what_is_expected_of_it(desk, path, body, variables):
    status, answer = desk.call(path, body)
    assert status == 400
    told = answer["requestError"]["serviceException"]
    assert (told["messageId"], told["variables"]) == ("SVC4005", variables)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "it ends before its end"),
        (b'{"a" 1}', "no JSON at octet 6"),
        (b"\xef\xbb\xbf{}", "no JSON at octet 1"),
        (b'{"signingRequest":{"orig":{"tn":"\xff"}}}', "not UTF-8"),
        (b'{"signingRequest":{"div":' + b"[" * 60_000, "nested too deep"),
    ],
)
def test_a_body_that_is_not_json(desk, body, why):
    status, answer = desk.call(SIGNING, body)
    told = answer["requestError"]["serviceException"]
    assert (status, told["messageId"], told["variables"]) == (400, "SVC4006", [why])


def _routes(desk):
    calls, admin = applications(desk.service)
    for app in (calls, admin):
        for route in app.routes if app is not None else ():
            if isinstance(route, APIRoute) and route.path.startswith("/v1/"):
                yield route


def test_every_body_is_read_by_the_same_reader(desk):
    routes = [route for route in _routes(desk) if route.body_field is not None]
    assert len(routes) > 10
    assert all(isinstance(route, PlainRoute) for route in routes)


def _bodies(route):
    yield from BROKEN
    model = route.body_field.field_info.annotation if route.body_field is not None else None
    many = get_origin(model) is list
    if not isinstance(model, type) and model is not None:
        model = get_args(model)[0]  # of a list, or of one or a list of them
    if model is None or not issubclass(model, BaseModel):
        return
    examples = {"since": 1, "until": 2, "verified_on": 1, "spcs": ["1"], "sims": [], "former": []}
    good = {name: examples.get(name, "x") for name in model.model_fields}
    for name in [*good, "colour"]:
        for odd in ODD:
            row = good | {name: odd}
            yield json.dumps([row] if many else row).encode()
        row = {key: value for key, value in good.items() if key != name}
        yield json.dumps([row] if many else row).encode()


SHEETS = [
    b"", b"x\n", b'"', b"first,subject\n\xff,x\n", b"first,subject\n1\n", b'first,subject\n"1\n',
    b"first,subject,verified_on\n1,x,y\n", b"\x00\n", b"first,subject,verification\n1,x,maybe\n",
    b'first,subject\n1,"x"y\n',
]  # fmt: skip


def _asks(route):
    """What to ask a route: parameters, headers and bodies, each of which may be unusable."""
    names = [field.alias for field in route.dependant.query_params]
    why = {"reason": "a test"} if "reason" in names else {}
    headers = {"content-type": "text/csv" if "/imports/" in route.path else "application/json"}
    yield {}
    for name in names:
        yield from ({"params": why | {name: value}} for value in VALUES)
    for name in ("if-match", "if-none-match", "idempotency-key"):
        for value in ("", "x", "-1", "~" * 200):
            yield {"params": why, "headers": headers | {name: value}}
    bodies = SHEETS if "/imports/" in route.path else _bodies(route) if route.body_field else ()
    yield from ({"params": why, "headers": headers, "content": body} for body in bodies)


def test_administration_refuses_in_words_of_json(told):
    asked = refused = 0
    for route in _routes(told):
        path = route.path.replace("{records}", "holdings")
        path = re.sub(r"\{[^}]*\}", "8675588880001", path)
        (method, *_) = sorted(route.methods)
        for ask in _asks(route):
            answer = told.http(method, path, **ask)
            asked += 1
            assert answer.status_code < 500, (method, path, ask, answer.text)
            if answer.status_code >= 400 or "/imports/" in path:
                refused += 1
                _plain(re.sub("null|true|false", "", answer.text))
    assert asked > 1000
    assert refused > 500


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"name":"a","name":"b"}', "name: it stands twice in one object"),
        (b'{"name":"a","n\\u0061me" :"b"}', "name: it stands twice in one object"),
        (b'{"name":5}', "body.name: text expected"),
        (b'{"colour":1}', "body.colour: unknown"),
        (b"[]", "body: an object expected"),
        (b"{", "body: it ends before its end"),
        (b'{"name":"a"', "body: it ends before its end"),
        (b'{"name":nul}', "body: no JSON from 'nul}' on"),
    ],
)
def test_a_record_is_refused_by_name(desk, body, detail):
    answer = desk.http(
        "PUT", "/v1/subjects/x", content=body, params={"reason": "a test"},
        headers={"content-type": "application/json"},
    )  # fmt: skip
    assert answer.json()["detail"] == detail
    assert answer.status_code == (422 if "expected" in detail or "body: " not in detail else 400)


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ({"limit": "x"}, "query.limit: a whole number expected"),
        ({"limit": "0"}, "query.limit: a number of at least 1 expected"),
        ({"limit": "1001"}, "query.limit: a number of at most 1000 expected"),
        ({"after": "x" * 201}, "query.after: at most 200 characters expected"),
    ],
)
def test_a_question_is_refused_by_name(desk, query, detail):
    answer = desk.http("GET", "/v1/subjects", params=query)
    assert (answer.status_code, answer.json()["detail"]) == (422, detail)


def test_the_reason_is_missing_and_the_mode_is_one_of_two(desk):
    answer = desk.http("POST", "/v1/holdings/batch", json=[], params={"mode": "some"})
    assert answer.json()["detail"] == (
        "query.reason: missing; query.mode: one of all-or-nothing, best-effort expected"
    )
    answer = desk.http("POST", "/v1/holdings/batch", json=[], params={"reason": "a test"})
    assert answer.json()["detail"] == "body: at least 1 member expected"


def test_an_order_of_another_shape_names_the_member(desk):
    def token(**claims):
        header = b64url_encode(b'{"alg":"ES256","kid":"1","typ":"zhenxian-order+jwt"}')
        payload = b64url_encode(json.dumps(claims).encode())
        return b".".join((header, payload, b64url_encode(bytes(64)))).decode()

    order = {"action": "stop", "order": "o", "issuer": REGULATOR, "number": 1, "reference": "r",
             "kind": "number", "target": BANK, "since": 1, "iat": 1}  # fmt: skip
    for change, why in (
        ({"number": "1"}, "number: a whole number expected, not text"),
        ({"action": "go"}, "action: 'go' is not one of those that may be"),
        ({"colour": 1}, "colour: unknown"),
    ):
        with pytest.raises(OrderRefusedError) as refused:
            claimed(token(**order | change))
        assert str(refused.value).endswith(why)
        _plain(str(refused.value))


@pytest.mark.parametrize("odd", ["5", "true", '"x"', "[]", "[5]", '""', "-1", "1.5", "{}"])
def test_settings_are_refused_in_words_of_json(tmp_path, odd):
    path = tmp_path / "z.toml"
    for section, names in (
        ("server", ("calls", "admin", "workers", "max_import", "proxies")),
        ("verifier", ("date_window", "country", "unsigned", "health_numbers", "dialect")),
        ("trust", ("roots", "revocation")),
        ("log", ("level", "clear_numbers")),
    ):
        for name in names:
            path.write_text(f"[{section}]\n{name} = {odd}\n")
            try:
                load_settings(path)
            except ConfigError as error:
                _plain(str(error))
