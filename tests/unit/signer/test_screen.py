"""The freshness of a request to sign."""

from __future__ import annotations

import pytest

from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN
from zhenxian.passport.claims import Destination
from zhenxian.signer.request import SigningRequest
from zhenxian.signer.screen import Unfit, screen

NOW = 1_750_000_000


def at(iat):
    return SigningRequest(TN("8675500000001"), Destination((TN("8675500000002"),)), iat)


@pytest.mark.parametrize("window", [5, 60, 300])
@pytest.mark.parametrize("sign", [-1, 1])
def test_iat_lies_within_its_window_of_now(window, sign):
    assert screen(at(NOW + sign * window), NOW, window) is None
    late = NOW + sign * (window + 1)
    detail = f"{late} is not within {window} s of now"
    assert screen(at(late), NOW, window) == Unfit(Reason.IAT_STALE, "iat", detail)


def test_the_window_is_a_minute_unless_it_is_said_otherwise():
    assert screen(at(NOW - 60), NOW) is None
    assert screen(at(NOW - 61), NOW) is not None
