"""PASSporT types: div and div-o as values, and that a type is one file and its registration."""

from __future__ import annotations

import importlib.util
import sys

import pytest
from simulator import NOW, Call, World
from unit.verifier.verification import Case

from zhenxian.core.errors import ParseError
from zhenxian.core.reasons import Reason, Verstat
from zhenxian.core.tn import TN, URI
from zhenxian.passport import json, ppt
from zhenxian.passport.claims import Destination, Header, PASSporT, parse_payload
from zhenxian.passport.identity import parse_identity_header
from zhenxian.passport.jws import SigningKey
from zhenxian.passport.ppt.div import MAX_BESIDE, MAX_HI, Div
from zhenxian.passport.ppt.div_o import DivO

X5U = "https://cert.example.org/passport.cer"
A, B, C = "12155551212", "12155551213", "12155551214"
BASE = {"dest": {"tn": [C]}, "iat": 1443208345, "orig": {"tn": A}}
FULL = "eyJh.eyJk.c2ln"


def claims(**more):
    return BASE | more


def read(name, members):
    return parse_payload(Header(X5U, name), json.dumps(members))


@pytest.mark.parametrize(
    ("div", "value"),
    [
        ({"tn": B}, Div(TN(B))),
        ({"uri": "sip:bob@example.com"}, Div(URI("sip:bob@example.com"))),
        ({"tn": B, "hi": "1.2.1"}, Div(TN(B), "1.2.1")),
        ({"tn": B, "why": "busy", "a": [1]}, Div(TN(B), None, (("a", [1]), ("why", "busy")))),
    ],
)
def test_div_is_read_and_written(div, value):
    passport = read("div", claims(div=div))
    assert passport.extension == value
    assert json.loads(passport.payload(), "x") == claims(div=div)
    nested = read("div-o", claims(div=div, opt=FULL))
    assert nested.extension == DivO(value.diverting, value.hi, value.beside, opt=FULL)
    assert json.loads(nested.payload(), "x") == claims(div=div, opt=FULL)


@pytest.mark.parametrize(
    ("div", "reason"),
    [
        (None, Reason.CLAIM_INVALID),
        (B, Reason.CLAIM_INVALID),
        ([B], Reason.CLAIM_INVALID),
        ({}, Reason.CLAIM_INVALID),
        ({"hi": "1"}, Reason.CLAIM_INVALID),
        ({"tn": [B]}, Reason.CLAIM_INVALID),
        ({"tn": B, "uri": "sip:bob@example.com"}, Reason.CLAIM_INVALID),
        ({"tn": "+" + B}, Reason.TN_INVALID),
        ({"tn": ""}, Reason.TN_INVALID),
        ({"uri": "bob"}, Reason.URI_INVALID),
        ({"tn": B, "hi": 1}, Reason.CLAIM_INVALID),
        ({"tn": B, "hi": ""}, Reason.CLAIM_INVALID),
        ({"tn": B, "hi": "1" * (MAX_HI + 1)}, Reason.CLAIM_INVALID),
        ({"tn": B, "hi": "1\n2"}, Reason.CLAIM_INVALID),
        ({"tn": B} | {f"x{n}": n for n in range(MAX_BESIDE + 1)}, Reason.CLAIM_INVALID),
        ('{"tn":"1"}', Reason.CLAIM_INVALID),
    ],
)
def test_div_names_exactly_one(div, reason):
    for name in ("div", "div-o"):
        with pytest.raises(ParseError) as refused:
            read(name, claims(div=div, **({"opt": FULL} if name == "div-o" else {})))
        assert refused.value.reason is reason
        assert refused.value.where.startswith("payload.div")


@pytest.mark.parametrize(
    "opt", ["", "a.b", "a.b.c.d", "..c2ln", "a..c", "a.b.", 1, None, {}, "ä.b.c"]
)
def test_opt_is_a_token_in_full_form(opt):
    with pytest.raises(ParseError) as refused:
        read("div-o", claims(div={"tn": B}, opt=opt))
    assert (refused.value.reason, refused.value.where) == (Reason.CLAIM_INVALID, "payload.opt")


def test_opt_belongs_to_div_o_alone():
    with pytest.raises(ParseError) as refused:
        read("div", claims(div={"tn": B}, opt=FULL))
    assert (refused.value.reason, refused.value.where) == (Reason.CLAIM_INVALID, "payload.opt")
    with pytest.raises(ParseError) as refused:
        read("div-o", claims(div={"tn": B}))
    assert (refused.value.reason, refused.value.where) == (Reason.CLAIM_MISSING, "payload.opt")


@pytest.mark.parametrize("name", ["div", "div-o"])
def test_neither_has_a_compact_form(name):
    """RFC 8946 section 3."""
    value = f"..{'A' * 86};info=<{X5U}>;ppt={name}"
    with pytest.raises(ParseError) as refused:
        parse_identity_header(value).passport()
    assert refused.value.reason is Reason.COMPACT_NOT_ALLOWED


# A type is one file and its registration ----------------------------------------------------------

TOY = '''
"""The toy PASSporT: says what the weather is."""

from msgspec import Struct

from zhenxian.passport.fields import missing, read_text


class Weather(Struct, frozen=True):
    sky: str

    def claims(self):
        return {"wx": self.sky}


class WeatherType:
    ppt = "wx"
    names = frozenset({"wx"})
    compact = False

    def parse(self, claims):
        if "wx" not in claims:
            raise missing("wx")
        return Weather(read_text(claims["wx"], "wx"))


TYPE = WeatherType()
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    file = tmp_path / "weather.py"
    file.write_text(TOY)
    spec = importlib.util.spec_from_file_location("weather", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "weather", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(ppt, "TYPES", dict(ppt.TYPES))
    ppt.register(module.TYPE)
    return module


def test_a_type_of_one_file_is_signed_carried_and_read(toy):
    carrier = World().carrier()
    passport = PASSporT(
        Header(carrier.x5u, "wx"), TN(A), Destination((TN(B),)), NOW, toy.Weather("clear")
    )
    header = parse_identity_header(Call(passport, carrier.key).signed())
    assert header.ppt == "wx"
    assert header.passport() == passport
    assert isinstance(carrier.key, SigningKey)
    assert carrier.key.verifying_key.verifies(
        header.token.signing_input, header.token.signature_octets
    )
    with pytest.raises(ParseError) as refused:
        parse_payload(Header(X5U, "wx"), json.dumps(BASE))
    assert refused.value.where == "payload.wx"
    assert read("wx", claims(wx="rain", more=1)).extra == (("more", 1),)


def test_a_type_of_one_file_decides_no_call_and_harms_none(toy):
    case = Case()
    good = case.call()
    passport = PASSporT(
        Header(case.carrier.x5u, "wx"), good.passport.orig, good.passport.dest, NOW,
        toy.Weather("clear"),
    )  # fmt: skip
    beside = Call(passport, case.carrier.key).signed()
    verdict = case.ask(case.request(beside, good.signed()))
    assert (verdict.verstat, verdict.decisive.ppt) == (Verstat.PASSED, "shaken")
    alone = case.ask(case.request(beside))
    assert (alone.verstat, alone.reason) == (Verstat.NONE, Reason.PPT_UNSUPPORTED)


def test_a_name_is_registered_once(toy):
    with pytest.raises(RuntimeError, match="twice"):
        ppt.register(toy.TYPE)
