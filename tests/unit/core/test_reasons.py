"""The table of reasons: complete, no two members alike."""

import pytest

from zhenxian.core.reasons import Reason, SipStatus, Verstat, reason_header

NAMES = list(Reason.__members__)
FAILURES = [reason for reason in Reason if reason.sip is not None and reason.sip.stir]


def test_no_member_is_an_alias_of_another():
    # Enum makes a second name of an equal value an alias, silently.
    assert [reason.name for reason in Reason] == NAMES
    assert [status.name for status in SipStatus] == list(SipStatus.__members__)
    assert [verstat.name for verstat in Verstat] == list(Verstat.__members__)
    assert len({reason.text for reason in Reason}) == len(NAMES)


@pytest.mark.parametrize("reason", Reason)
def test_every_member_explains_itself(reason):
    assert reason.text
    assert reason.text == reason.text.strip()
    assert reason.source
    assert reason.name == reason.name.upper()


@pytest.mark.parametrize("reason", Reason)
def test_sip_and_verstat_come_together(reason):
    assert (reason.sip is None) == (reason.verstat is None)
    if reason is Reason.CALLEE_REFUSES:  # the number is the caller's; the call is not wanted
        assert (reason.sip, reason.verstat) == (SipStatus.UNWANTED, Verstat.PASSED)
        return
    assert (reason.sip is SipStatus.OK) == (reason.verstat is Verstat.PASSED)
    assert (reason is Reason.VERIFIED) == (reason.sip is SipStatus.OK)


def test_the_phrases_of_rfc_8224_3261_8197_and_8688():
    assert {status.code: status.phrase for status in SipStatus} == {
        200: "OK",
        403: "Stale Date",
        428: "Use Identity Header",
        436: "Bad Identity Info",
        437: "Unsupported Credential",
        438: "Invalid Identity Header",
        603: "Decline",
        607: "Unwanted",
        608: "Rejected",
    }


def test_the_causes_of_protocol_stir():
    assert [status.code for status in SipStatus if status.stir] == [403, 428, 436, 437, 438]


@pytest.mark.parametrize("reason", FAILURES)
def test_reason_header_of_a_failure(reason):
    value = reason_header(reason)
    assert value == f'STIR;cause={reason.sip.code};text="{reason.sip.phrase}"'
    assert reason_header(reason, "..sig-_") == value + ';ppi="..sig-_"'


@pytest.mark.parametrize(
    "ppi", ["", 'a"b', "a\r\nVia: x", "a.b.c\n", "a b", "a;b", "a\\", "é", "a" * 4097]
)
def test_reason_header_repeats_no_foreign_text(ppi):
    assert reason_header(Reason.SIGNATURE_INVALID, ppi) == (
        'STIR;cause=438;text="Invalid Identity Header"'
    )


@pytest.mark.parametrize(
    "reason",
    [reason for reason in Reason if reason not in FAILURES],
    ids=lambda reason: reason.name,
)
def test_reason_header_is_for_failures(reason):
    with pytest.raises(ValueError, match="not a verification failure"):
        reason_header(reason)
