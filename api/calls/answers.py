"""The answers of the two call routes, member by member: what api.calls.responses writes.

They are dictionaries with declared members, which cost what dictionaries cost; the types check
who writes them, and the OpenAPI document is made from them.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NotRequired, TypeAlias, TypedDict

from msgspec import Meta

from zhenxian.analytics.model import Measure, State
from zhenxian.api.calls.errors import SPOKEN
from zhenxian.core.reasons import Reason, SipStatus, Verstat
from zhenxian.passport.ppt.shaken import Attestation
from zhenxian.verifier.verdict import Check, Label


def _one_of(title: str, *values: str | int) -> Meta:
    return Meta(title=title, extra_json_schema={"enum": list(values)})


StandingState: TypeAlias = Annotated[Literal["suspected", "pooled"], Meta(title="StandingState")]
VerdictReason: TypeAlias = Annotated[
    str, _one_of("VerdictReason", *(one.name for one in Reason if one.verstat is not None))
]
DecisionReason: TypeAlias = Annotated[
    str,
    _one_of(
        "DecisionReason",
        *(one.name for one in Reason if one.verstat is None and SPOKEN[one].message_id is None),
    ),
]
CheckName: TypeAlias = Annotated[str, _one_of("CheckName", *(check.name for check in Check))]
SipCode: TypeAlias = Annotated[
    int, _one_of("SipCode", *(one.code for one in SipStatus if one is not SipStatus.OK))
]

OTHER_POLICY: Final = "POL5000"  # message id of a refusal whose reason has none
MESSAGE_IDS: Final = sorted(
    {OTHER_POLICY, *(one.message_id for one in SPOKEN.values() if one.message_id is not None)}
)
FOUND_STATES: Final[dict[State, Literal["suspected", "pooled"]]] = {
    State.SUSPECTED: "suspected",
    State.POOLED: "pooled",
}


class FindingAnswer(TypedDict):
    """What the displays of a caller or signer show, and what it was held against."""

    key: Annotated[str, Meta(description="Whose, as kind:id.", examples=["access:bank-trunk"])]
    state: StandingState
    measure: Annotated[Measure, Meta(description="The strongest measure.")]
    beside: Annotated[list[Measure], Meta(description="Others that amount to a pool.")]
    figures: Annotated[dict[str, float], Meta(description="What was measured, by name.")]
    thresholds: Annotated[
        dict[str, float],
        Meta(description="What a pool reaches; `<=` before a name: what it stays below."),
    ]
    window: Annotated[int, Meta(description="Seconds that the figures reach back.")]
    since: Annotated[int, Meta(description="Seconds since the epoch.")]
    until: Annotated[int, Meta(description="When it ends if nothing confirms it again.")]
    sentence: Annotated[str, Meta(description="For people.")]
    plain: Annotated[str, Meta(description="For the caller: what was seen, in one sentence.")]
    plainChinese: Annotated[str, Meta(description="The same in Chinese.")]
    case: Annotated[str, Meta(description="The case number, to name to the carrier.")]
    whatToDo: Annotated[str, Meta(description="What the caller can do, and whom to turn to.")]
    whatToDoChinese: Annotated[str, Meta(description="The same in Chinese.")]
    contact: NotRequired[
        Annotated[str, Meta(description="Of the carrier: setting displays.contact.")]
    ]


class OwnSigning(TypedDict, total=False):
    """Members of both dialects' signing answers; all but requestId are this project's own."""

    requestId: str
    canonical: Annotated[str, Meta(description="The display as it was signed: digits, or a URI.")]
    attest: Annotated[Attestation | None, Meta(description="What was signed.")]
    ppt: Annotated[str, _one_of("DiversionPpt", "div", "div-o")]
    decision: Annotated[DecisionReason, Meta(description="Why: of the table of reasons.")]
    decisionText: Annotated[str, Meta(description="Why, as a sentence.")]
    labels: Annotated[list[Label], Meta(description="What a policy that only labels says.")]
    finding: FindingAnswer


class AtisSigning(OwnSigning):
    """What was signed, as ATIS-1000082 spells it."""

    identity: Annotated[str, Meta(description="Identity header value.")]


class ThreegppSigning(OwnSigning):
    """What was signed, as 3GPP TS 24.229 Annex V spells it."""

    identityHeader: Annotated[str, Meta(description="Identity header value.")]


class AtisSigningAnswer(TypedDict):
    """A signed call (ATIS-1000082)."""

    signingResponse: AtisSigning


class ThreegppSigningAnswer(TypedDict):
    """A signed call (3GPP)."""

    signingResponse: ThreegppSigning


class ExceptionMembers(TypedDict):
    """Why a request is refused; %1 and %2 of the text stand for the variables."""

    messageId: Annotated[str, _one_of("MessageId", *MESSAGE_IDS)]
    text: str
    variables: Annotated[
        list[str],
        Meta(description="Of POL4030: the reason, which is a member of the table, and a sentence."),
    ]


class RequestErrorMembers(TypedDict, total=False):
    """One of the two."""

    serviceException: ExceptionMembers
    policyException: ExceptionMembers


class SigningRejection(TypedDict):
    """How a proxy answers a call whose signing is refused by policy."""

    code: Annotated[int, _one_of("SigningRejectionCode", 403, 480, 607, 608)]
    phrase: Annotated[str, Meta(description="SIP reason phrase.")]
    reasonHeader: Annotated[str, Meta(description="Reason header value.")]
    callInfo: NotRequired[Annotated[str, Meta(description="Call-Info header value, RFC 8688.")]]
    retryAfter: NotRequired[Annotated[int, Meta(description="Retry-After header value, seconds.")]]


class AtisError(TypedDict):
    """A refusal (ATIS-1000082). All but `requestError` are this project's own."""

    requestError: RequestErrorMembers
    sentence: Annotated[str, Meta(description="The text with its variables, for people.")]
    sipResponse: NotRequired[SigningRejection]
    finding: NotRequired[FindingAnswer]


class ThreegppError(TypedDict):
    """A refusal (3GPP). All but `error` are this project's own."""

    error: str
    sipResponse: NotRequired[SigningRejection]
    finding: NotRequired[FindingAnswer]


class SipResponse(TypedDict):
    """How a proxy rejects a call that is genuine but not wanted."""

    code: Annotated[int, _one_of("RejectionCode", 603, 607, 608)]
    phrase: Annotated[str, Meta(description="SIP reason phrase.")]
    callInfo: NotRequired[Annotated[str, Meta(description="Call-Info header value, RFC 8688.")]]


class HeaderChecks(TypedDict):
    """What was checked of one Identity header."""

    ppt: str | None
    passed: list[CheckName]
    failed: CheckName | None
    reason: VerdictReason | None
    detail: str | None


class DivertingIdentity(TypedDict, total=False):
    """Who diverted the call: one of the two."""

    tn: str
    uri: str


class DivResult(TypedDict):
    """What was verified of a div token."""

    div: DivertingIdentity
    verstatValue: Verstat


class OwnVerification(TypedDict, total=False):
    """Members of both dialects' verification answers; all but divResult are this project's own."""

    divResult: Annotated[list[DivResult], Meta(description="Of a diverted call (RFC 8946).")]
    sipResponse: SipResponse
    labels: Annotated[list[Label], Meta(description="What a policy that only labels says.")]
    kind: Annotated[str, _one_of("DisplayKind", "messaging", "privacy")]
    reason: Annotated[VerdictReason, Meta(description="Of the table of reasons.")]
    canonical: Annotated[str, Meta(description="The display as it was read: digits, or a URI.")]
    paiHeader: Annotated[
        str, Meta(description="P-Asserted-Identity value with verstat; none of who is withheld.")
    ]
    reasonHeader: Annotated[str, Meta(description="SIP Reason header value, RFC 9410.")]
    failedCheck: CheckName
    attest: Annotated[Attestation | None, Meta(description="Of a token that passed.")]
    origid: str | None
    spc: Annotated[str | None, Meta(description="Service provider code of the signer.")]
    notes: Annotated[list[str], Meta(description="What was forgiven or not known.")]
    finding: FindingAnswer
    checks: Annotated[list[HeaderChecks], Meta(description="With the request's `explain`.")]


class AtisVerification(OwnVerification):
    """A verdict, as ATIS-1000082 spells it."""

    verstat: Verstat
    reasoncode: NotRequired[Annotated[SipCode, Meta(description="RFC 8224.")]]
    reasontext: NotRequired[Annotated[str, Meta(description="SIP reason phrase.")]]
    reasondesc: NotRequired[
        Annotated[str, Meta(description="The first check that failed, as a sentence.")]
    ]


class VerifyResult(TypedDict):
    """What became of one Identity header."""

    ppt: str
    status: Annotated[Literal["pass", "fail"], Meta(title="HeaderStatus")]
    validClaims: NotRequired[dict[str, Any]]
    reasonCode: NotRequired[SipCode]
    reasonText: NotRequired[str]
    reasonDescription: NotRequired[str]
    passport: NotRequired[str]


class VerifyResultItem(TypedDict):
    """An entry of verifyResults."""

    verifyResult: VerifyResult


class ThreegppVerification(OwnVerification):
    """A verdict, as 3GPP TS 24.229 Annex V spells it."""

    verstatValue: Verstat
    requestId: NotRequired[str]
    displayName: NotRequired[str]
    verifyResults: list[VerifyResultItem]


class AtisVerificationAnswer(TypedDict):
    """A judged call (ATIS-1000082)."""

    verificationResponse: AtisVerification


class ThreegppVerificationAnswer(TypedDict):
    """A judged call (3GPP)."""

    verificationResponse: ThreegppVerification
