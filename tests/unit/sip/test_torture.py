"""RFC 4475: every torture message is survived, and answered where an answer is possible."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sips import Reply, invite

from zhenxian.core.errors import ParseError
from zhenxian.core.header_fields import parse_address, parse_addresses, parse_date
from zhenxian.sip.fields import parse_cseq, parse_via
from zhenxian.sip.message import acknowledged, parse, read_head, request_of

FOLDER = Path(__file__).parents[2] / "vectors" / "rfc4475"
MESSAGES = {path.stem: path.read_bytes() for path in sorted(FOLDER.glob("*.dat"))}

# What each is answered: None for a response, to which there is no answer. In the comment: what the
# RFC says of the message.
ANSWERS = {
    "wsinv": 302,  # 3.1.1.1 valid
    "intmeth": 501,  # 3.1.1.2 valid, an unknown method
    "esc01": 302,  # 3.1.1.3 valid
    "escnull": 405,  # 3.1.1.4 valid
    "esc02": 501,  # 3.1.1.5 valid, escapes in a method are not decoded
    "lwsdisp": 200,  # 3.1.1.6 valid
    "longreq": 302,  # 3.1.1.7 valid
    "dblreq": 405,  # 3.1.1.8 what follows the first request in a datagram is ignored
    "semiuri": 200,  # 3.1.1.9 valid
    "transports": 200,  # 3.1.1.10 valid
    "mpart01": 405,  # 3.1.1.11 valid
    "unreason": None,  # 3.1.1.12 a response
    "noreason": None,  # 3.1.1.13 a response
    "badinv01": 400,  # 3.1.2.1
    "clerr": 400,  # 3.1.2.2
    "ncl": 400,  # 3.1.2.3
    "scalar02": 400,  # 3.1.2.4
    "scalarlg": None,  # 3.1.2.5 a response
    "quotbal": 400,  # 3.1.2.6
    "ltgtruri": 400,  # 3.1.2.7
    "lwsruri": 400,  # 3.1.2.8
    "lwsstart": 400,  # 3.1.2.9
    "trws": 400,  # 3.1.2.10
    "escruri": 400,  # 3.1.2.11
    "baddate": 302,  # 3.1.2.12 may be taken: Date is replaced
    "regbadct": 405,  # 3.1.2.13
    "badaspec": 200,  # 3.1.2.14 may be taken
    "baddn": 400,  # 3.1.2.15
    "badvers": 505,  # 3.1.2.16
    "mismatch01": 400,  # 3.1.2.17
    "mismatch02": 400,  # 3.1.2.18
    "bigcode": None,  # 3.1.2.19 a response
    "badbranch": 200,  # 3.2.1
    "insuf": 400,  # 3.3.1
    "unkscm": 416,  # 3.3.2
    "novelsc": 416,  # 3.3.3
    "unksm2": 405,  # 3.3.4
    "bext01": 420,  # 3.3.5
    "invut": 302,  # 3.3.6 the body is none of our business
    "regaut01": 405,  # 3.3.7
    "multi01": 400,  # 3.3.8
    "mcl01": 400,  # 3.3.9
    "bcast": None,  # 3.3.10 a response
    "zeromf": 200,  # 3.3.11
    "cparam01": 405,  # 3.3.12
    "cparam02": 405,  # 3.3.13
    "regescrt": 405,  # 3.3.14
    "sdp01": 302,  # 3.3.15
    "inv2543": 302,  # 3.4.1
    "test": None,  # of no section; without Via nobody is told where an answer goes
}


def test_all_of_them_are_there():
    assert MESSAGES.keys() == ANSWERS.keys()


@pytest.mark.parametrize("name", sorted(ANSWERS))
@pytest.mark.parametrize("signing", [True, False])
def test_each_is_survived_and_answered(line_of, name, signing):
    line = line_of(trunk=None)
    replies = line.send(MESSAGES[name], signing=signing)
    expected = ANSWERS[name]
    assert [reply.code for reply in replies] == ([] if expected is None else [expected])
    for reply in replies:
        assert reply.data.endswith(b"\r\nContent-Length: 0\r\n\r\n")
        assert reply.all("Via")
    assert line.ask(signing=signing).code == 302


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_each_gives_a_request_or_our_error(name):
    try:
        found = parse(MESSAGES[name])
    except ParseError as error:
        assert error.where
    else:
        assert found.call_id


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=600))
def test_any_octets_give_a_request_or_our_error(data):
    try:
        parse(data)
    except ParseError as error:
        assert len(str(error)) < 400


_BYTES = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([b"\r\n", b"\r\n\r\n", b"\r\n ", b'"', b"<", b">", b";", b",", b"\0", b"\xff"]),
)


@st.composite
def _mutated(draw):
    source = draw(
        st.sampled_from([*MESSAGES.values(), invite("P-Asserted-Identity: <tel:+8675588880001>")])
    )
    data = bytearray(source)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        data[at:end] = draw(_BYTES)
    return bytes(data)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(_mutated(), st.booleans())
def test_whatever_becomes_of_a_message_it_is_survived(line, caplog, data, signing):
    for reply in line.send(data, signing=signing):
        assert isinstance(reply, Reply)
        assert 200 <= reply.code < 700
        lines = reply.data.removesuffix(b"\r\n\r\n").split(b"\r\n")
        assert all(line and b"\r" not in line and b"\n" not in line for line in lines)
    assert "could not be answered" not in caplog.text
    assert "an INVITE failed" not in caplog.text


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(max_codepoint=255), max_size=200))
def test_any_field_gives_a_value_or_our_error(text):
    for reader in (
        lambda: parse_address(text, "From"),
        lambda: list(parse_addresses((text,), "P-Asserted-Identity")),
        lambda: parse_via(text),
        lambda: parse_cseq(text),
        lambda: parse_date(text),
    ):
        with contextlib.suppress(ParseError):
            reader()


@pytest.mark.parametrize(
    "value",
    [
        '"' + "\\" * 60_000,
        "<" * 60_000,
        " " * 60_000,
        "a " * 30_000,
        '"a" ' + " " * 60_000,
        "<sip:a@b>" + ";a=b" * 10_000 + '"',
        "<sip:a@b>" + ";" + " " * 60_000,
        "\t" * 30_000 + "<sip:a@b",
    ],
)
@pytest.mark.parametrize("field", ["From", "Via", "To", "P-Asserted-Identity", "CSeq"])
def test_no_field_takes_long_to_be_refused(field, value, benchmark_seconds):
    head = invite().decode()
    known = next((line for line in head.split("\r\n") if line.startswith(f"{field}:")), None)
    data = (
        head.replace(known, f"{field}: {value}")
        if known is not None
        else head.replace("\r\nMax-", f"\r\n{field}: {value}\r\nMax-")
    ).encode()
    with benchmark_seconds(1.0), contextlib.suppress(ParseError):
        request = request_of(read_head(data))
        list(parse_addresses(request.all(field.lower()), field))


VIAS = (
    "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa",
    "v : SIP/2.0/TCP a.example;rport;branch=z9hG4bKb, SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKc",
    "VIA:SIP / 2.0 / UDP [2001:db8::1]:5061 ;branch=z9hG4bKd",
    "Via: SIP/2.0/UDP 192.0.2.1\r\n ;branch=z9hG4bKe",
    "Via:\r\n\tSIP/2.0/UDP 192.0.2.1;branch=z9hG4bKf",
    "Via: nonsense",
    "Via: SIP/2.0/UDP 192.0.2.1;branch=7",
)


def test_the_quick_reading_of_an_ack_sees_what_the_whole_one_does():
    """RFC 3261 section 17.1.1.3: the branch of an ACK is that of its INVITE."""
    dice, quick = random.Random(3261), 0
    for _ in range(3000):
        lines = [
            *dice.sample(VIAS, dice.choice((1, 2))),
            "From: <sip:a@a.example>;tag=1", "To: <sip:b@b.example>;tag=2", "Call-ID: a",
            "CSeq: 1 ACK", "Max-Forwards: 70", "X: Via: b",
        ]  # fmt: skip
        dice.shuffle(lines)
        data = "\r\n".join(["ACK sip:b@b.example SIP/2.0", *lines, "", ""]).encode()
        if dice.random() < 0.5:
            at = dice.randrange(len(data))
            other = dice.choice((b"", b"\r\n", b" ", b"v:", b"\n", b"\0"))
            data = data[:at] + other + data[at + 1 :]
        found = acknowledged(data)
        try:
            whole = parse(data)
        except ParseError:
            continue
        assert found in (None, whole.via), data
        quick += found is not None
    assert quick > 500
