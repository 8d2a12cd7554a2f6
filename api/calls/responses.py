"""Answers of both dialects: results to bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from zhenxian.analytics.advice import what_to_do
from zhenxian.analytics.model import Finding, State
from zhenxian.analytics.sentences import chinese, english
from zhenxian.api.calls.answers import (
    FOUND_STATES,
    OTHER_POLICY,
    AtisError,
    AtisSigning,
    AtisVerification,
    DivertingIdentity,
    DivResult,
    ExceptionMembers,
    FindingAnswer,
    OwnVerification,
    RequestErrorMembers,
    SipResponse,
    ThreegppError,
    ThreegppSigning,
    ThreegppVerification,
    VerifyResult,
)
from zhenxian.api.calls.errors import SPOKEN
from zhenxian.api.calls.requests import Dialect, Echo, filled
from zhenxian.calls.asserted import asserted
from zhenxian.calls.help import perhaps
from zhenxian.calls.refusal import Refusal
from zhenxian.core.reading import Reading
from zhenxian.core.reasons import Reason, SipStatus, Verstat
from zhenxian.core.tn import TN, URI
from zhenxian.signer.decide import Decision
from zhenxian.signer.sign import SignedHeader
from zhenxian.verifier.redress import Rejection
from zhenxian.verifier.verdict import Label, Result, Verdict

DECLINED: Final = Rejection()
_AS_IT_IS: Final = Reading()
_ERROR: Final = "Error: "
_DENIED: Final = "Error: Signing refused by policy: %1: %2."
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


def signed(
    header: SignedHeader, decision: Decision, echo: Echo, explain: bool, contact: str = ""
) -> bytes:
    """A signing answer: `identity` (ATIS-1000082) or `identityHeader` (3GPP).

    With `explain`: attest, or ppt where that is no shaken, the decision's reason, a sentence, and
    what the caller's conduct shows, as members of our own. `labels` as in `judged`.
    """
    members: AtisSigning | ThreegppSigning = (
        {"identity": header.identity}
        if echo.dialect is Dialect.ATIS
        else {"identityHeader": header.identity}
    )
    if echo.request_id is not None:
        members["requestId"] = echo.request_id
    if decision.finding is not None:
        members["labels"] = [Label.of(decision.finding)]
    if decision.unwanted is not None:
        members.setdefault("labels", []).append(Label.CALLEE_REFUSES_MARKETING)
    if explain:
        members["canonical"] = str(header.passport.orig)
        if decision.attest is not None:
            members["attest"] = decision.attest
        else:
            members["ppt"] = header.passport.header.ppt or ""
        members["decision"] = decision.reason.code
        members["decisionText"] = decision.detail
        if decision.finding is not None:
            members["finding"] = finding_told(decision.finding, contact)
    return _encode({"signingResponse": members})


def refused(reason: Reason, variables: tuple[str, ...], dialect: Dialect) -> bytes:
    """An error answer: requestError of ATIS-1000082, or the plain error of 3GPP."""
    if dialect is Dialect.THREEGPP:
        return _encode({"error": filled(reason, variables).removeprefix("Error: ")})
    message_id = SPOKEN[reason].message_id or OTHER_POLICY
    text = reason.text if reason.text.startswith(_ERROR) else f"{_ERROR}{reason.text}."
    told: ExceptionMembers = {
        "messageId": message_id,
        "text": text,
        "variables": list(variables),
    }
    error: RequestErrorMembers = (
        {"policyException": told} if message_id.startswith("POL") else {"serviceException": told}
    )
    return _encode({"requestError": error, "sentence": _sentence(text, variables)})


def denied(
    decision: Decision, found: Refusal, dialect: Dialect, explain: bool, contact: str = ""
) -> bytes:
    """The policy error of a refused signing; its variables are the reason and sentences.

    `sipResponse`, of our own, is what the proxy answers the caller.
    With `explain`: what the caller's conduct shows, as a member of our own.
    """
    members: AtisError | ThreegppError
    detail = _detail(decision.detail, decision.finding, contact)
    if dialect is Dialect.THREEGPP:
        members = {"error": f"{decision.reason.code}: {detail}"}
    else:
        variables = (decision.reason.code, detail)
        members = {
            "requestError": {
                "policyException": {
                    "messageId": SPOKEN[decision.reason].message_id or OTHER_POLICY,
                    "text": _DENIED,
                    "variables": list(variables),
                }
            },
            "sentence": _sentence(_DENIED, variables),
        }
    members["sipResponse"] = {
        "code": found.code,
        "phrase": found.phrase,
        "reasonHeader": found.reason,
    }
    if found.call_info is not None:
        members["sipResponse"]["callInfo"] = found.call_info
    if found.retry_after is not None:
        members["sipResponse"]["retryAfter"] = found.retry_after
    if explain and decision.finding is not None:
        members["finding"] = finding_told(decision.finding, contact)
    return _encode(members)


def _sentence(text: str, variables: tuple[str, ...]) -> str:
    """A text with its variables filled in, as one line of a log has it."""
    for index, variable in enumerate(variables, 1):
        text = text.replace(f"%{index}", variable)
    return text.removeprefix(_ERROR)


def finding_told(found: Finding, contact: str = "") -> FindingAnswer:
    """A finding without its samples, as answers and the administration tell it.

    Args:
        contact: whom its caller may turn to; empty for none.
    """
    to_do, to_do_chinese = what_to_do(found, contact)
    members: FindingAnswer = {
        "key": str(found.key),
        "state": FOUND_STATES[found.state],
        "measure": found.measure,
        "beside": list(found.beside),
        "figures": {name: round(value, 4) for name, value in found.figures.items()},
        "thresholds": found.thresholds,
        "window": found.window,
        "since": found.since,
        "until": found.until,
        "sentence": found.sentence,
        "plain": english(found),
        "plainChinese": chinese(found),
        "case": found.case,
        "whatToDo": to_do,
        "whatToDoChinese": to_do_chinese,
    }
    if contact:
        members["contact"] = contact
    return members


def _detail(detail: str, found: Finding | None, contact: str) -> str:
    """Why a call is refused; for its conduct, with what its caller can do."""
    if found is None or found.state is not State.POOLED or found.sentence not in detail:
        return detail
    plain = english(found)
    return f"{detail}. {plain[:1].upper()}{plain[1:]} {what_to_do(found, contact)[0]}"


def judged(
    verdict: Verdict,
    echo: Echo,
    explain: bool,
    rejection: Rejection = DECLINED,
    reading: Reading = _AS_IT_IS,
    contact: str = "",
    goes: Sequence[TN | URI] = (),
) -> bytes:
    """A verification answer.

    ATIS-1000082: verstat, and reasoncode, reasontext, reasondesc on failure (running servers and
    clients spell them so; camel case is of 3GPP). 3GPP: verstatValue and one verifyResult a header.
    Both: divResult of a diverted call. With `explain`: the canonical display, P-Asserted-Identity
    with verstat, attest, origid, spc, the Reason header of RFC 9410, and with the request's
    `explain` every check.

    Three members of our own are there whatever `explain` says: `labels`, a list of strings; `kind`,
    of the display, where a screen is to show it; and `sipResponse` for a call that is to be
    rejected with a SIP status beyond those of RFC 8224: code, phrase, and the value of Call-Info
    (RFC 8688). A call that may be one for help is never to be rejected.

    Args:
        goes: whom the call goes to.
    """
    members: AtisVerification | ThreegppVerification = (
        _atis(verdict, rejection, contact)
        if echo.dialect is Dialect.ATIS
        else _threegpp(verdict, echo, rejection)
    )
    if (
        verdict.sip is not SipStatus.OK
        and not verdict.sip.stir
        and Label.EMERGENCY_CALL not in verdict.labels
        and not perhaps(goes, None, reading.emergency)
    ):
        members["sipResponse"] = _response(
            rejection.status_for(verdict), rejection.contact_for(verdict)
        )
    if len(verdict.results) > 1 or verdict.verstat is not Verstat.PASSED:
        diverted = _div_result(verdict)
        if diverted:
            members["divResult"] = diverted
    if verdict.labels:
        members["labels"] = list(verdict.labels)
    if verdict.kind is not None:
        members["kind"] = verdict.kind
    if explain:
        if echo.orig is not None:
            members["canonical"] = str(echo.orig)
            asserting = asserted(echo.orig, verdict.verstat, reading)
            if asserting is not None:
                members["paiHeader"] = asserting
        _own(verdict, echo, members, contact)
    return _encode({"verificationResponse": members})


def repeated(answer: bytes, explain: bool) -> bytes:
    """The answer of `judged` to a request that is sent again; with `explain` a note says so."""
    if not explain:
        return answer
    told = msgspec.json.decode(answer)
    told["verificationResponse"].setdefault("notes", []).append(_AGAIN)
    return _encode(told)


_AGAIN: Final = "the same request was sent again a moment after: the answer is that of the first"


def _response(sip: SipStatus, call_info: str | None) -> SipResponse:
    response: SipResponse = {"code": sip.code, "phrase": sip.phrase}
    if call_info is not None:
        response["callInfo"] = call_info
    return response


def _atis(verdict: Verdict, rejection: Rejection, contact: str) -> AtisVerification:
    if verdict.verstat is Verstat.PASSED:
        return {"verstat": verdict.verstat}
    sip = rejection.status_for(verdict)
    return {
        "reasoncode": sip.code,
        "reasontext": sip.phrase,
        "reasondesc": _detail(verdict.detail, _finding(verdict), contact),
        "verstat": verdict.verstat,
    }


def _threegpp(verdict: Verdict, echo: Echo, rejection: Rejection) -> ThreegppVerification:
    members: ThreegppVerification = {
        "verstatValue": verdict.verstat,
        "verifyResults": [
            {"verifyResult": _result(result, rejection)} for result in verdict.results
        ],
    }
    if echo.request_id is not None:
        members["requestId"] = echo.request_id
    if echo.display_name is not None:
        members["displayName"] = echo.display_name
    return members


def _div_result(verdict: Verdict) -> list[DivResult]:
    """Who diverted the call, with what was verified of each (TS 24.229 Annex V)."""
    told: list[DivResult] = []
    for result in verdict.results:
        number = result.diverting
        if number is not None:
            div: DivertingIdentity = (
                {"tn": str(number)} if isinstance(number, TN) else {"uri": str(number)}
            )
            verstat = result.refusal.reason.verstat if result.refusal is not None else None
            told.append({"div": div, "verstatValue": verstat or Verstat.PASSED})
    return told


def _result(result: Result, rejection: Rejection) -> VerifyResult:
    members: VerifyResult = {"ppt": result.ppt or "unknown", "status": "pass"}
    refusal = result.refusal
    if refusal is None:
        if result.passport is not None:
            members["validClaims"] = result.passport.claims()
        return members
    sip = refusal.reason.sip
    passed = refusal.reason.verstat is Verstat.PASSED
    if not passed:
        members["status"] = "fail"
    elif result.passport is not None:
        members["validClaims"] = result.passport.claims()
    if sip is not None:
        sip = rejection.of(sip)
        members["reasonCode"] = sip.code
        members["reasonText"] = sip.phrase
    members["reasonDescription"] = refusal.detail
    members["passport"] = result.identity.partition(";")[0][:8192]
    return members


def _finding(verdict: Verdict) -> Finding | None:
    return verdict.decisive.finding if verdict.decisive is not None else None


def _own(verdict: Verdict, echo: Echo, members: OwnVerification, contact: str) -> None:
    decisive = verdict.decisive
    members["reason"] = verdict.reason.code
    if verdict.verstat is Verstat.PASSED:
        members["attest"] = verdict.attest
        if decisive is not None and decisive.passport is not None:
            extension = decisive.passport.extension
            if extension is not None:
                members["origid"] = extension.claims().get("origid")
            members["spc"] = decisive.spc
    else:
        reason_header = verdict.reason_header
        if reason_header is not None:
            members["reasonHeader"] = reason_header
    if verdict.failed is not None:
        members["failedCheck"] = verdict.failed.name
    notes = (*(decisive.notes if decisive is not None else ()), *verdict.notes)
    if notes:
        members["notes"] = list(notes)
    if decisive is not None and decisive.finding is not None:
        members["finding"] = finding_told(decisive.finding, contact)
    if echo.explain:
        members["checks"] = [
            {
                "ppt": result.ppt,
                "passed": [check.name for check in result.passed],
                "failed": result.refusal.check.name if result.refusal else None,
                "reason": result.refusal.reason.code if result.refusal else None,
                "detail": result.refusal.detail if result.refusal else None,
            }
            for result in verdict.results
        ]
