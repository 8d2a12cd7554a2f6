"""What is usual is read by a short way: whatever it takes, it reads as the long way does."""

import random
import re
from unittest.mock import patch

import pytest

from zhenxian.core import header_fields, tn
from zhenxian.core import reading as readings
from zhenxian.core.errors import ParseError
from zhenxian.core.header_fields import parse_address
from zhenxian.core.reading import Reading
from zhenxian.core.tn import TN
from zhenxian.sip import fields, message
from zhenxian.sip.fields import parse_via
from zhenxian.sip.message import acknowledged

NOTHING = re.compile(r"(?!)")
NO_OCTETS = re.compile(rb"(?!)")
TIMES = 4_000


def _any(usual, *others):
    return lambda dice: usual if dice.random() < 0.7 else dice.choice(others)


def _digits(dice):
    first = dice.choice(("1", "86", "8613", "755", "0", "00", "+86", "1 3", "44020", "٣", ""))
    return first + "".join(dice.choices("0123456789", k=dice.randrange(16)))


URIS = (
    _any("sip:", "sips:", "SIP:", "tel:", "sip", "", " sip:"),
    _any("", "+", "%2B", "++", "<"),
    _digits,
    _any("", ";npdi", ":x", "%20", "-", "*", "a"),
    _any("@", "", "@@"),
    _any("a.example", "A.Example", "192.0.2.1", "[::1]", "anonymous.invalid", "a b", ""),
    _any("", ":5060", ":", ":999999"),
    _any("", ";user=phone", ";x=%zz", ";x=%41", "?a=b", ";a;b=c", ";\u00e9", " ", "\t", "\n"),
)
ADDRESSES = (
    _any('"Bank" ', "", '"B\\"k" ', "Bank ", "Bank  ", "B, ", '"unbalanced ', "北 ", "Bank"),
    _any("<", "", " <", "<<"),
    _any("sip:1@a", "tel:+1", "SIP:1@a", "sip:1 2@a", "nothing", "sip:1@a;x=y", 'sip:"@a', "a:é"),
    _any(">", ">", "", "> "),
    _any(";tag=1", "", ";tag=1;tag=2", ";TAG=1", "; tag=1", ";tag", ';tag="q"', ";x=1", ",", " x"),
)
VIAS = (
    _any("SIP/2.0/", "SIP / 2.0 / ", "sip/2.0/", "SIP/3.0/"),
    _any("UDP ", "TCP ", "TLS ", "udp ", "WS ", "UDP"),
    _any("192.0.2.1", "a.example", "A.Example", "[::1]", "a_b", ""),
    _any(":5060", "", ":05060", ":0", ":65535", ":65536", ":99999", " : 5060"),
    _any(";branch=z9hG4bK1", ";branch=", "", ";BRANCH=z9", ";branch=a b", ';branch="z"'),
    _any("", ";rport", ";rport=5", ";i=1f", ";i=X", ";received=1.2.3.4", ", SIP/2.0/UDP b", " "),
)


def _written(parts, dice):
    return "".join(part(dice) for part in parts)


def _outcome(read, text):
    try:
        found = read(text)
    except ParseError as error:
        return error.reason, error.where, error.detail
    return type(found), found


def _cases(parts, seed):
    dice = random.Random(seed)
    return [_written(parts, dice) for _ in range(TIMES)]


@pytest.mark.parametrize("country", [None, "CN"])
def test_uris(country):
    reading = Reading(country=country, hosts=frozenset({"a.example"}))
    texts = _cases(URIS, 1)
    usual = [_outcome(lambda text: reading.identity(text, "To"), text) for text in texts]
    with patch.object(readings, "_USUAL", NOTHING):
        assert usual == [
            _outcome(lambda text: reading.identity(text, "To"), text) for text in texts
        ]
    assert sum(readings._USUAL.match(text) is not None for text in texts) > TIMES / 100


@pytest.mark.parametrize("country", [None, "CN"])
def test_numbers(country):
    dice = random.Random(2)
    texts = [dice.choice(("+", "", "+ ", "++")) + _digits(dice) for _ in range(TIMES)]
    texts += [f"{text}*" for text in texts[:200]]
    for text in texts:
        short = _outcome(lambda one: TN.parse(one, country, "To"), text)
        if text[:1] == "+":
            assert short == _outcome(lambda one: tn._canonical(one, country, "To"), text), text


def test_addresses():
    texts = _cases(ADDRESSES, 3)
    usual = [_outcome(lambda text: parse_address(text, "From"), text) for text in texts]
    with patch.object(header_fields, "_USUAL", NOTHING):
        assert usual == [_outcome(lambda text: parse_address(text, "From"), text) for text in texts]
    assert sum(header_fields._USUAL.match(text) is not None for text in texts) > TIMES / 100


def test_vias():
    texts = _cases(VIAS, 4)
    usual = [_outcome(parse_via, text) for text in texts]
    with patch.object(fields, "_USUAL_VIA", NOTHING):
        assert usual == [_outcome(parse_via, text) for text in texts]
    assert sum(fields._USUAL_VIA.match(text) is not None for text in texts) > TIMES / 100


def test_acks():
    dice = random.Random(5)
    names = _any("Via: ", "Via:", "v: ", "VIA : ", "Subject: ", "Via: x\r\n ")
    texts = [
        f"ACK sip:a@b SIP/2.0\r\n{names(dice)}{_written(VIAS, dice)}\r\n"
        f"{names(dice)}{_written(VIAS, dice)}\r\n\r\n".encode("latin-1", "replace")
        for _ in range(TIMES)
    ]
    usual = [acknowledged(text) for text in texts]
    with patch.object(message, "_USUAL_ACK", NO_OCTETS):
        assert usual == [acknowledged(text) for text in texts]
    assert sum(one is not None for one in usual) > TIMES / 100
