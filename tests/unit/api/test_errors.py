"""REST's table of reasons: each reason of core stands in it, as an error or as none."""

import json
from http import HTTPStatus

import pytest

from zhenxian.api.calls.errors import SPOKEN
from zhenxian.api.calls.requests import Dialect
from zhenxian.api.calls.responses import refused
from zhenxian.core.reasons import Reason

ERRORS = [reason for reason, spoken in SPOKEN.items() if spoken.status != HTTPStatus.OK]


def test_each_reason_has_its_line_in_both_tables():
    assert list(SPOKEN) == list(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_http_errors_carry_a_message_id_and_verdicts_do_not(reason):
    spoken = SPOKEN[reason]
    assert spoken.status in set(HTTPStatus)
    assert (spoken.status >= 400) == (spoken.message_id is not None)
    assert spoken.status == 200 or spoken.status >= 400
    # These end a call on either side.
    both = (Reason.ORDERED, Reason.CALLEE_REFUSES, Reason.MIDDLE_NUMBER)
    if reason.sip is not None and reason not in both:
        assert spoken.status == 200


@pytest.mark.parametrize("reason", ERRORS)
def test_an_error_is_told_with_its_message_id(reason):
    (kind, told), *more = json.loads(refused(reason, (), Dialect.ATIS))["requestError"].items()
    assert not more
    assert told["messageId"] == SPOKEN[reason].message_id
    assert kind == {"SVC": "serviceException", "POL": "policyException"}[told["messageId"][:3]]


def test_a_message_id_is_of_one_status():
    pairs = {(spoken.message_id, spoken.status) for spoken in SPOKEN.values() if spoken.message_id}
    assert len(pairs) == len({message_id for message_id, _ in pairs})
