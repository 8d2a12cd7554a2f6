"""What others' signers, proxies and clients send, over REST: tokens, header values, bodies.

`tests/field` has the cases; @NOW and the like are put in, and each token is signed anew. `source`
names the text that decides, or who sends it.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from zhenxian.api.calls.messages import VERIFICATION, Headers, Incoming
from zhenxian.certs.chain import parse_chain
from zhenxian.passport.identity import parse_identity_header
from zhenxian.passport.jws import b64url_decode, b64url_encode

FIELD = Path(__file__).parents[2] / "field"
TOKENS = json.loads((FIELD / "tokens.json").read_text("utf-8"))
REST = json.loads((FIELD / "rest.json").read_text("utf-8"))
USUAL = TOKENS[0]


class Chains:
    """Serves the chain of the service itself for every address."""

    def __init__(self, chain):
        self._chain = chain

    async def get(self, x5u):
        return self._chain


@pytest.fixture
def own(desk):
    chains = Chains(parse_chain(desk.service.keys.current.chain_pem))
    desk.service.pipeline.verifying = replace(desk.service.pipeline.verifying, repository=chains)
    return desk


def put_in(text, desk, now, token=""):
    x5u = desk.service.keys.current.x5u
    for name, value in (
        ("@FOLDED", token.replace(".", ".\r\n ", 1)),
        ("@TOKEN", token),
        ("@SCIENTIFIC", f"{now / 1e9!r}e9"),
        ("@ESCAPED", x5u.replace("/", "\\/")),
        ("@X5U", x5u),
        ("@AHEAD", str(now + 60)),
        ("@NOW", str(now)),
    ):
        text = text.replace(name, value)
    return text


def made(case, desk, now):
    """A token of the case, signed by the service's own key."""
    header, payload = (
        b64url_encode(put_in(case[part], desk, now).encode()) for part in ("header", "payload")
    )
    signature = b64url_encode(desk.service.keys.current.key.sign(header + b"." + payload))
    return b".".join((header, payload, signature)).decode()


def asked(desk, path, body, headers):
    """The answer of a call route, certificates fetched."""
    names = {"content-type": "content_type", "accept": "accept", "x-requestid": "request_id"}
    given = {names[name]: value.encode() for name, value in headers.items()}
    incoming = Incoming(
        path.partition("?")[0], b"POST", Headers(content_length=b"1", **given), body
    )
    answer = asyncio.run(desk.service.calls.answer_waiting(incoming))
    return answer.status, json.loads(answer.body)


@pytest.mark.parametrize("case", TOKENS, ids=lambda case: case["name"])
def test_a_token_of_the_field(own, case):
    now = int(time.time())
    value = put_in(case["value"], own, now, made(case, own, now))
    call = {"from": {"tn": "12155550100"}, "to": {"tn": ["12155550113"]}, "time": now}
    body = json.dumps({"verificationRequest": call | {"identity": value}}).encode()
    status, answer = asked(own, VERIFICATION, body, {})
    assert status == 200
    told = answer["verificationResponse"]
    expect = case["expect"]
    assert told["reason"] == expect["reason"], told
    assert told["verstat"] == expect["verstat"]
    assert told.get("reasoncode") == expect.get("code")
    if expect["reason"] == "VERIFIED":  # and is a token as any other: seen once
        again = asked(own, VERIFICATION, body, {})[1]["verificationResponse"]
        assert again["reason"] == "REPLAYED"


@pytest.mark.parametrize("case", REST, ids=lambda case: case["name"])
def test_a_body_of_the_field(own, case):
    now = int(time.time())
    body = put_in(case["body"], own, now, made(USUAL, own, now)).encode()
    status, answer = asked(own, case["path"], body, case["headers"])
    expect = case["expect"]
    assert status == expect["status"], answer
    for path, wanted in expect["members"].items():
        found = answer
        for name in path.split("."):
            found = found[name]
        if isinstance(wanted, str) and wanted.startswith("~"):
            assert re.fullmatch(wanted[1:], found), found
        else:
            assert found == wanted
    if "claims" in expect:
        token = parse_identity_header(answer["signingResponse"]["identity"]).token
        claims = json.loads(b64url_decode(token.payload, "payload"))
        assert claims | expect["claims"] == claims
