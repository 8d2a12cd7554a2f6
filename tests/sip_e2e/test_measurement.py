"""What `make bench-sip` makes of its runs and of a capture."""

from __future__ import annotations

import struct

import pytest

from bench.sip.__main__ import MOST, Run, figures, highest
from bench.sip.capture import Capture
from bench.sip.legs import Places, legs, table
from bench.sip.report import rows

ALONE, WAY = "Kamailio alone", "SIP redirect"
CALLER, CALLEE = "127.1.1.1", "127.1.1.2"


def run(way, number, p50, **more):
    given = {"calls": 100, "failed": 0, "unjudged": 0, "proxies_cpu": 1.0, "services_cpu": 0.5}
    return Run(way=way, rate=50, round=number, p50=p50, p95=2 * p50, p99=3 * p50, **given | more)


def test_what_is_added_is_the_median_of_differences_within_a_round():
    runs = [
        run(ALONE, 0, 1.0), run(WAY, 0, 3.0, failed=1, unjudged=2),
        run(ALONE, 1, 5.0), run(WAY, 1, 6.0),
        run(ALONE, 2, 2.0), run(WAY, 2, 5.0),
    ]  # fmt: skip
    alone, way = figures(runs)
    assert (alone["p50"], alone["added_p50"]) == (2.0, 0)
    assert (way["p50"], way["added_p50"], way["added_p99"]) == (5.0, 2.0, 6.0)
    assert (way["calls"], way["failed"], way["unjudged"]) == (300, 1, 2)
    assert rows({"figures": [alone, way]})[1][-3:] == ("1/300", "2", "1.00 + 0.50")


def packet(at, source, target, text, ports=(5060, 5060)):
    address = b"".join(bytes(map(int, a.split("."))) for a in (source, target))
    data = bytes(14) + bytes(12) + address
    data += struct.pack(">HH", *ports) + bytes(4) + text.replace("\n", "\r\n").encode()
    return struct.pack("=IIII", int(at), round(at % 1 * 1e6), len(data), len(data)) + data


def invite(call, more=""):
    return f"INVITE sip:x SIP/2.0\nCall-ID: {call}\nCSeq: 1 INVITE\n{more}\n"


def answer(status, call, method="INVITE"):
    return f"SIP/2.0 {status}\nCall-ID: {call}\nCSeq: 1 {method}\n\n"


def test_a_capture(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.sip.capture.shutil.which", lambda _: "tcpdump")
    proxy, passed = "127.1.1.3", "P-Asserted-Identity: <tel:+1;verstat=TN-Validation-Passed>\n"
    file = tmp_path / "a.pcap"
    file.write_bytes(b"\xd4\xc3\xb2\xa1" + bytes(20) + b"".join((
        packet(1.0, CALLER, proxy, invite("a")),
        packet(1.1, proxy, CALLEE, invite("a", passed)),
        packet(1.2, proxy, CALLER, answer("100 Trying", "a")),
        packet(1.25, proxy, CALLER, answer("200 OK", "a")),
        packet(1.9, proxy, CALLER, answer("200 OK", "a", "BYE")),
        packet(2.0, CALLER, proxy, invite("b")),
        packet(2.1, proxy, CALLEE, invite("b")),
        packet(2.5, proxy, CALLER, answer("200 OK", "b")),
        packet(3.0, CALLER, proxy, invite("c")),
        packet(3.1, proxy, CALLER, answer("403 Forbidden", "c")),
        packet(4.0, CALLER, proxy, invite("d")),
    )))  # fmt: skip
    seen = Capture(file, CALLER, CALLEE).seen()
    assert seen.milliseconds == pytest.approx([250, 500])
    assert (seen.failed, seen.unjudged) == (2, 1)


def test_the_legs_of_a_call(tmp_path):
    first, last, local = "127.1.1.3", "127.1.1.4", "127.0.0.1"
    to_sign, signed = (5060, 7000), (7000, 5060)
    to_verify, verified = (5060, 7001), (7001, 5060)
    moved = "302 Moved Temporarily"
    whole = (
        packet(1.000, CALLER, first, invite("a")),
        packet(1.001, first, local, invite("a"), to_sign),
        packet(1.002, first, local, invite("a"), to_sign),  # sent again
        packet(1.003, local, first, answer(moved, "a"), signed),
        packet(1.006, first, last, invite("a")),
        packet(1.010, last, local, invite("a"), to_verify),
        packet(1.015, local, last, answer(moved, "a"), verified),
        packet(1.021, last, CALLEE, invite("a")),
        packet(1.022, last, first, answer("100 Trying", "a")),
        packet(1.028, CALLEE, last, answer("200 OK", "a")),
        packet(1.030, last, first, answer("200 OK", "a")),
        packet(1.036, first, CALLER, answer("200 OK", "a")),
        packet(2.000, CALLER, first, invite("b")),  # nobody answers
    )
    head = b"\xd4\xc3\xb2\xa1" + bytes(20)
    file = tmp_path / "a.pcap"
    file.write_bytes(head + b"".join(whole))
    places = Places(CALLER, first, last, CALLEE, 7000, 7001)
    found = legs(file, places)
    assert [each for times in found.values() for each in times] == pytest.approx(
        [1, 2, 3, 4, 5, 6, 7, 8, 36], abs=1e-3
    )
    assert list(table("x", [found, found]).columns[0].cells) == list(found)
    file.write_bytes(head + b"".join(whole[at] for at in (0, 4, 7, 9, 11)))  # nobody is asked
    alone = legs(file, places)
    assert list(alone)[:2] == ["originating proxy", "terminating proxy"]
    assert [each for times in alone.values() for each in times] == pytest.approx(
        [6, 15, 7, 8, 36], abs=1e-3
    )


@pytest.mark.parametrize(
    ("limit", "held", "found"),
    [(1000, 400, 976), (400, 400, 400), (60, 0, 40), (9, 0, 0), (10**6, 3300, 3300)],
)
def test_the_highest_rate_that_holds(limit, held, found):
    tried = []

    def holds(rate):
        tried.append(rate)
        return rate <= limit

    assert highest(holds, held, 50) == found
    assert max(tried, default=0) <= MOST


def test_a_rate_that_fails_once_is_tried_once_more():
    answers = iter([False, True, False, False])
    assert highest(lambda _: next(answers), 400, 50) == 500
