"""What is written down: numbers hashed, keys never, and a bounded number of series."""

from __future__ import annotations

import io
import json
import logging
import re
import time

import pytest

from zhenxian import __version__
from zhenxian.api.calls.messages import SIGNING, VERIFICATION
from zhenxian.passport.es256 import Choice
from zhenxian.simulation.demo import BANK, CALLEE
from zhenxian.telemetry.logs import (
    CallLog,
    CallRecord,
    JsonFormatter,
    Pseudonym,
    instant,
)
from zhenxian.telemetry.metrics import MAX_SPCS, Metrics

RECORD = CallRecord(instant(1_795_500_000.5), "signing", "VERIFIED", "id")


def _series(metrics, name):
    return [
        sample
        for metric in metrics.collected().collect()
        for sample in metric.samples
        if sample.name == name
    ]


def test_a_number_reads_the_same_with_one_key_only():
    hashed = Pseudonym(b"k" * 32, clear=False)
    assert hashed(BANK) == Pseudonym(b"k" * 32, clear=False)(BANK)
    assert hashed(BANK) != hashed(CALLEE)
    assert hashed(BANK) != Pseudonym(b"l" * 32, clear=False)(BANK)
    assert re.fullmatch(r"[0-9a-f]{16}", hashed(BANK))
    assert Pseudonym(b"k" * 32, clear=True)(BANK) == BANK


def test_numbers_in_a_text_are_hashed_and_the_rest_is_not():
    hashed = Pseudonym(b"k" * 32, clear=False)
    digest = "0a" * 12 + "123456" + "ff"
    text = f"line 2: {BANK}-{CALLEE} of trunk 7, port 8080, {digest}.pem"
    told = hashed.text(text)
    assert BANK not in told
    assert CALLEE not in told
    assert told == text.replace(BANK, hashed(BANK)).replace(CALLEE, hashed(CALLEE))
    assert Pseudonym(b"k" * 32, clear=True).text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:38231/x and [::1]:18443, redis.example:26379",
        "since 2026-11-24T08:00:00.500000Z",
        "origid 00000000-0000-4000-8000-000000012345 is known",
        "line 1234567: 120000 rows, 65536 octets, 31536000 s, commit 123456",
    ],
)
def test_what_is_no_telephone_number_stays(text):
    assert Pseudonym(b"k" * 32, clear=False).text(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "sip:{}@a.example:5060", "tel:+{}", "agent:platform/{}", "{}-{}", "number:{}", "'{}'",
        "the number {} is held", "from {}, to {}.", "+{};x=1", "({})", "{}:", "{}@127.0.0.1:5060",
    ],
)  # fmt: skip
@pytest.mark.parametrize("number", [BANK, "95588", "123456789012345", "13800138000"])
def test_a_number_is_hashed_wherever_it_stands(text, number):
    hashed = Pseudonym(b"k" * 32, clear=False)
    if number == "95588" and text == "number:{}":
        number = "955880"
    assert number not in hashed.text(text.replace("{}", number))


@pytest.mark.parametrize("clear", [False, True])
def test_call_records_name_numbers_only_when_wanted(desk_with, clear):
    desk = desk_with(log={"clear_numbers": clear})
    for body in ({"orig": {"tn": BANK}}, {"orig": {"tn": BANK}, "iat": 1}, {BANK: 1}):
        members = {"dest": {"tn": [CALLEE]}, "attest": "A", "iat": 2, "origid": "x"} | body
        desk.call(SIGNING, {"signingRequest": members})
    verification = {"from": {"tn": BANK}, "to": {"tn": [CALLEE]}, "time": 1}
    desk.call(VERIFICATION, {"verificationRequest": verification})
    written = json.dumps(desk.logged())
    assert len(desk.logged()) == 4
    assert (BANK in written) is clear
    assert (CALLEE in written) is clear
    assert desk.logged()[-1]["reason"] == "NO_IDENTITY"


def test_records_are_written_together():
    written = []
    log = CallLog("info", written.append)
    for _ in range(255):
        log.add(RECORD)
    assert written == []
    log.add(RECORD)
    assert written[0].count(b"\n") == 256
    log.flush()
    assert len(written) == 1
    log.add(RECORD)
    log.flush()
    expected = {
        "time": "2026-11-24T06:00:00.500000Z", "level": "info", "event": "signing",
        "reason": "VERIFIED", "request_id": "id",
    }  # fmt: skip
    assert json.loads(written[1]) == expected
    assert not CallLog("warning").enabled


def test_a_log_that_cannot_be_written_stops_nothing():
    def full(_):
        raise OSError(28, "No space left on device")

    log = CallLog("info", full)
    log.add(RECORD)
    log.flush()


def test_everything_else_is_one_json_object_a_line():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("some.library")
    logger.addHandler(handler)
    try:
        logger.warning("two\nlines %s", "é")
        logger.error("failed", exc_info=ValueError("bad"))
    finally:
        logger.removeHandler(handler)
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["level"], first["event"]) == ("warning", "some.library")
    for line in (first, second):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"])
        assert list(line)[:3] == ["time", "level", "event"]
    assert first["message"] == "two\nlines é"
    assert "ValueError: bad" in second["exception"]


def test_the_node_tells_what_it_is_and_how_it_is(desk, desk_with):
    def told(name, of=desk):
        return [(sample.labels, sample.value) for sample in _series(of.service.metrics, name)]

    ((labels, value),) = told("zhenxian_build_info")
    assert (labels["version"], labels["engine"], value) == (__version__, "embedded", 1)
    ready = desk.http("GET", "/readyz").status_code == 200
    assert told("zhenxian_ready") == [({}, float(ready))]
    ((_, age),) = told("zhenxian_certificate_age_seconds")
    ((_, left),) = told("zhenxian_certificate_left_seconds")
    assert age >= 0
    assert left == pytest.approx(desk.service.keys.current.not_after - time.time(), abs=5)
    ((_, lists),) = told("zhenxian_revocation_lists")
    issued = desk.service.verifier.trust.revocation.issued
    assert lists == len(issued) > 0
    ((_, oldest),) = told("zhenxian_revocation_list_age_seconds")
    assert oldest == pytest.approx(time.time() - min(issued), abs=5)
    assert told("process_resident_memory_bytes")
    assert told("zhenxian_fleet_lag_seconds") == []
    without = {"key": None, "chain": None}
    verifying = desk_with(signer=without, redress={"organisation": None})
    assert told("zhenxian_certificate_left_seconds", verifying) == []
    assert told("zhenxian_ready", verifying) == [({}, 0.0)]


@pytest.mark.parametrize(
    ("choice", "told"), [("auto", "AWS-LC"), ("aws-lc", "AWS-LC"), ("openssl", "OpenSSL")]
)
def test_the_node_tells_what_makes_signatures(desk_with, monkeypatch, choice, told):
    monkeypatch.setattr("zhenxian.passport.es256._chosen", Choice.AUTO)  # and back to it
    desk = desk_with(server={"es256": choice})
    ((labels, _),) = [
        (sample.labels, sample.value)
        for sample in _series(desk.service.metrics, "zhenxian_build_info")
    ]
    assert labels["es256"].startswith(told)


def test_workers_tell_the_same_figures_of_their_node(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    metrics = Metrics(str(tmp_path))
    (tmp_path / "counter_7.db").touch()  # of a worker that only starts
    metrics.figure("zhenxian_ready", "Ready.", lambda: 1.0)
    metrics.figure("zhenxian_gone", "Gone.", lambda: min(()))
    metrics.info("zhenxian_build", "Build.", version="1")
    names = {sample.name for metric in metrics.collected().collect() for sample in metric.samples}
    assert {"zhenxian_ready", "zhenxian_build_info"} <= names
    assert "zhenxian_gone" not in names


def test_the_number_of_series_is_bounded():
    metrics = Metrics()
    for number in range(MAX_SPCS + 500):
        metrics.passed("A", f"{number:04}", unchecked=False)
    metrics.passed("A", None, unchecked=True)
    metrics.passed("A", "0000", unchecked=False)
    samples = {
        sample.labels["spc"]: sample.value for sample in _series(metrics, "zhenxian_passed_total")
    }
    assert len(samples) == MAX_SPCS + 1
    assert samples["other"] == 501
    assert samples["0000"] == 2
    (unchecked,) = _series(metrics, "zhenxian_revocation_unchecked_total")
    assert unchecked.value == 1


def test_no_label_is_taken_from_a_request(desk):
    for text in ("a", "b", "c"):
        desk.call(SIGNING, {"signingRequest": {text: 1}})
        desk.call(SIGNING, text.encode(), method=text.encode())
    samples = _series(desk.service.metrics, "zhenxian_request_errors_total")
    assert {sample.labels["reason"]: sample.value for sample in samples} == {
        "PARAMETER_INVALID": 3,
        "METHOD_NOT_ALLOWED": 3,
    }


def test_a_state_is_one_of_all_and_changes_with_the_node():
    metrics = Metrics()
    states = iter(("behind", "current"))
    metrics.state("zhenxian_fleet_state", "A state.", ("behind", "current"), lambda: next(states))
    for now in ("behind", "current"):
        told = {
            sample.labels["state"]: sample.value
            for sample in _series(metrics, "zhenxian_fleet_state")
        }
        assert told == {one: float(one == now) for one in ("behind", "current")}
