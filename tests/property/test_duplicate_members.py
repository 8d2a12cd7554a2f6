"""No spelling of a body hides that a member stands twice, and none that does not is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zhenxian.api.calls.requests import RequestError, read_signing, read_verification
from zhenxian.core.errors import ParseError
from zhenxian.core.reading import Reading
from zhenxian.core.reasons import Reason
from zhenxian.passport.json import loads_plain

NOW = 1_795_500_000
CALLER, CALLED = {"tn": "12155550100"}, {"tn": ["12155550113"]}
TOKEN = "a.b.c;info=<https://cert.example.org/x.pem>;alg=ES256"
SIGN = {
    "attest": "A",
    "orig": CALLER,
    "dest": CALLED,
    "iat": NOW,
    "origid": "123e4567-e89b-12d3-a456-426655440000",
}
VERIFY = {"from": CALLER, "to": CALLED, "time": NOW, "identity": TOKEN}
MORE_SIGN = {
    "access": "trunk: 7",
    "ppt": "shaken",
    "caller": CALLER,
    "purpose": 'of "a":1',
    "div": None,
    "rph": [],
    "extension": "12",
}
MORE_VERIFY = {
    "callId": '\\":x',
    "explain": False,
    "requestId": ":::",
    "displayName": 'a" :b":',
    "dest": {"uri": "sip:a@b"},
    "identityHeaders": ["::"],
    "purpose": "真显: \t",
    "profileId": None,
}


def sign(body: bytes):
    return read_signing(body, configured=None, reading=Reading(country=None))


def verify(body: bytes):
    return read_verification(body, configured=None, reading=Reading(country=None))


class TwinError(Exception):
    """Raised by the reference."""


def reference(body: bytes) -> None:
    def pairs(found):
        if len({name for name, _ in found}) != len(found):
            raise TwinError
        return dict(found)

    json.loads(body, object_pairs_hook=pairs)


blank = st.sampled_from(["", "", "", " ", "\t", "\n", "\r\n", "  "])


@st.composite
def spelled(draw, text, ways):
    """One of the ways to write a text in JSON."""
    written = json.dumps(text, ensure_ascii=False)[1:-1]
    if "slash" in ways:
        written = written.replace("/", "\\/")
    if "unicode" in ways and text:
        place = draw(st.integers(0, len(text) - 1))
        before, after = (json.dumps(part, ensure_ascii=False)[1:-1] for part in
                         (text[:place], text[place + 1 :]))  # fmt: skip
        written = f"{before}\\u{ord(text[place]):04x}{after}"
    return f'"{written}"'


@st.composite
def texts(draw, value, ways, duplicates):
    """One of the ways to write a value in JSON; `duplicates` objects get a member twice."""
    gap = blank if "blank" in ways else st.just(" " if "spaced" in ways else "")
    before = blank if "blank" in ways else st.just("")
    if isinstance(value, dict):
        members = list(value.items())
        if duplicates and members and draw(st.booleans()):
            name, content = draw(st.sampled_from(members))
            content = draw(st.sampled_from([content, None, 1, "x", {}, ":"]))
            members.insert(draw(st.integers(0, len(members))), (name, content))
        parts = [
            f"{draw(before)}{draw(spelled(name, ways))}{draw(before)}:{draw(gap)}"
            f"{draw(texts(content, ways, duplicates))}{draw(before)}"
            for name, content in members
        ]
        return "{" + f",{draw(gap)}".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ",".join(draw(texts(item, ways, duplicates)) for item in value) + "]"
    return draw(spelled(value, ways)) if isinstance(value, str) else json.dumps(value)


@st.composite
def bodies(draw, outer, usual, more):
    ways = draw(st.sets(st.sampled_from(["blank", "spaced", "slash", "unicode"]), max_size=2))
    added = draw(st.sets(st.sampled_from(list(more)), max_size=2))
    members = usual | {name: more[name] for name in added}
    if draw(st.booleans()):
        members = dict(draw(st.permutations(list(members.items()))))
    text = draw(texts({outer: members}, ways, draw(st.booleans())))
    return text.encode(), members


def outcome(read, body):
    try:
        return read(body)
    except RequestError as error:
        return error


def check(read, outer, body, members):
    try:
        reference(body)
    except TwinError:
        refused = outcome(read, body)
        assert isinstance(refused, RequestError), body
        assert refused.reason is Reason.PARAMETER_INVALID
        assert refused.variables[1] == "it stands twice", refused
        with pytest.raises(ParseError) as doubled:
            loads_plain(body)
        assert doubled.value.where == refused.variables[0]
        return
    plain = outcome(read, json.dumps({outer: members}).encode())
    told = outcome(read, body)
    assert type(plain) is type(told), (plain, told)
    if isinstance(told, RequestError):
        assert told.variables == plain.variables
    else:
        assert told == plain


@settings(max_examples=400)
@given(bodies("signingRequest", SIGN, MORE_SIGN))
@example((b'{"signingRequest":{"orig":{"tn":"1"},"dest":{"tn":"1"},"iat" :1,"attest":"A",'
          b'"attest" :"B","origid":"x","iat" :1795500000}}', SIGN))  # fmt: skip
def test_signing(found):
    check(sign, "signingRequest", *found)


@settings(max_examples=400)
@given(bodies("verificationRequest", VERIFY, MORE_VERIFY))
@example((b'{"verificationRequest":{"from":{"tn":"1"},"from":{"tn":"12155550100"},"to":'
          b'{"tn":["12155550113"]},"time":1795500000,"identity":"' + TOKEN.encode() + b'"}}',
          VERIFY))  # fmt: skip
@example((b'{"verificationRequest":{"from":{"tn":"12155550100"},"to":{"tn":"1","tn":'
          b'["12155550113"]},"time":1795500000,"identity":"' + TOKEN.encode() + b'"}}',
          VERIFY))  # fmt: skip
@example((b'{"verificationRequest":{"from":{"tn":"12155550100"},"to":{"tn":["1"]},"time":0,'
          b'"tim\\u0065":1795500000,"identity":""}}', VERIFY))  # fmt: skip
@example((b'{"verificationRequest":{"from":{"tn":"9","tn":"1"},"to":{"tn":["1"]},"time":0,'
          b'"identity":""}}', VERIFY))  # fmt: skip
def test_verification(found):
    check(verify, "verificationRequest", *found)


@pytest.mark.parametrize(
    "more",
    [b'"iat":1795500000,', b'"iat" :1,', b'"i\\u0061t":1,', b'"attest":5,', b'"origid":null,',
     b'"orig":{"tn":"1"},', b'"access":"a","access":"b",', b'"div":{"a":1,"a":2},',
     b'"div":[{"tn":":","tn" :":"}],', b'"colour":1,"colour":2,'],
)  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
def test_a_signing_request_with_duplicates(more, first):
    usual = json.dumps({"signingRequest": SIGN}, separators=(",", ":")).encode()
    body = (
        usual.replace(b'{"attest"', b"{" + more + b'"attest"')
        if first
        else usual[:-2] + b"," + more[:-1] + b"}}"
    )
    with pytest.raises(RequestError) as refused:
        sign(body)
    assert refused.value.reason is Reason.PARAMETER_INVALID
    assert refused.value.variables[1] == "it stands twice"


def test_the_shortest_duplicates_have_no_room_beside_usual_members():
    usual = json.dumps({"verificationRequest": VERIFY}, separators=(",", ":"))
    assert verify(usual.encode())
    for more in ('"to":1,', '"tn":1,', '"tn":"",', '"time":1,'):
        for before in ('"from"', '"tn":"1', '"tn":[', '"time"', '"identity"'):
            with pytest.raises(RequestError):
                verify(usual.replace(before, more + before, 1).encode())
