"""What answers of verification carry beside the dialect's own members."""

from __future__ import annotations

import json
import time

import pytest

from zhenxian.api.calls.messages import VERIFICATION
from zhenxian.api.calls.requests import Dialect, Echo
from zhenxian.api.calls.responses import judged
from zhenxian.core.reasons import Reason
from zhenxian.simulation.demo import BANK, CALLEE
from zhenxian.verifier.verdict import Label, Verdict

DIALECTS = [Dialect.ATIS, Dialect.THREEGPP]
BOTH = (Label.DISPLAY_SUSPECTED, Label.DISPLAY_POOLED)
CALL = {
    "verificationRequest": {
        "from": {"tn": BANK},
        "to": {"tn": [CALLEE]},
        "time": int(time.time()),
    }
}


def _verdict(reason, **more):
    return Verdict(reason.verstat, reason, reason.text, **more)


def _told(verdict, dialect, *, explain=True):
    answer = judged(verdict, Echo(dialect), explain)
    return json.loads(answer)["verificationResponse"]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("explain", [True, False])
@pytest.mark.parametrize("reason", [Reason.VERIFIED, Reason.NO_IDENTITY, Reason.DISPLAY_POOLED])
def test_labels_are_one_member_more_and_nothing_else(dialect, explain, reason):
    plain = _told(_verdict(reason), dialect, explain=explain)
    assert "labels" not in plain
    labelled = _told(_verdict(reason, labels=BOTH), dialect, explain=explain)
    assert labelled.pop("labels") == ["display-suspected", "display-pooled"]
    assert labelled == plain


def test_labels_are_counted_and_logged(desk, monkeypatch):
    verdict = _verdict(Reason.NO_IDENTITY, labels=BOTH)
    monkeypatch.setattr(desk.service.verifier, "open", lambda *_: verdict)
    for _ in range(2):
        _, answer = desk.call(VERIFICATION, CALL)
        assert answer["verificationResponse"]["labels"] == [label.value for label in BOTH]
    samples = {
        tuple(sample.labels.values()): sample.value
        for metric in desk.service.metrics.collected().collect()
        for sample in metric.samples
        if sample.name == "zhenxian_labels_total"
    }
    assert samples == {(label.value, "No-TN-Validation"): 2 for label in BOTH}
    assert [line["labels"] for line in desk.logged() if "us" in line] == [
        [label.value for label in BOTH]
    ] * 2
