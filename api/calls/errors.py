"""What REST says of each reason: HTTP status and message id (ATIS-1000082), in one table.

Text, source, SIP response code and verstat are the same for every front end: core/reasons.py has
them. The test of this table fails for a reason that it does not name.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from zhenxian.core.reasons import Reason


class Spoken(NamedTuple):
    """How REST speaks a reason.

    Attributes:
        status: HTTP status of the answer that carries it.
        message_id: `messageId` of requestError: SVC for the request, POL for a policy. None for
            what no error says: a verdict, a decision to sign, or a cause told with another reason.
    """

    status: int
    message_id: str | None = None


_TOLD: Final = Spoken(200)
_BAD_VALUE: Final = Spoken(400, "SVC4005")
_REFUSED: Final = Spoken(403, "POL4030")

SPOKEN: Final[dict[Reason, Spoken]] = {
    Reason.VERIFIED: _TOLD,
    Reason.NO_IDENTITY: _TOLD,
    Reason.SIGNATURE_MISSING: _TOLD,
    Reason.DISPLAY_ORDERED: _TOLD,
    Reason.IDENTITY_SYNTAX: _TOLD,
    Reason.IDENTITY_TOO_LARGE: _TOLD,
    Reason.TOO_MANY_IDENTITIES: _TOLD,
    Reason.INFO_MISSING: _TOLD,
    Reason.INFO_INVALID: _TOLD,
    Reason.ALG_UNSUPPORTED: _TOLD,
    Reason.PPT_UNSUPPORTED: _TOLD,
    Reason.COMPACT_NOT_ALLOWED: _TOLD,
    Reason.TOKEN_SYNTAX: _TOLD,
    Reason.TOKEN_BASE64: _TOLD,
    Reason.TOKEN_SIGNATURE_LENGTH: _TOLD,
    Reason.JSON_SYNTAX: _TOLD,
    Reason.JSON_DUPLICATE_KEY: _TOLD,
    Reason.JSON_TOO_DEEP: _TOLD,
    Reason.TYP_UNSUPPORTED: _TOLD,
    Reason.CRIT_UNSUPPORTED: _TOLD,
    Reason.HEADER_MEMBER_MISSING: _TOLD,
    Reason.HEADER_MEMBER_INVALID: _TOLD,
    Reason.PPT_MISMATCH: _TOLD,
    Reason.X5U_MISMATCH: _TOLD,
    Reason.CLAIM_MISSING: _TOLD,
    Reason.CLAIM_INVALID: _TOLD,
    Reason.ATTEST_INVALID: _TOLD,
    Reason.TN_INVALID: _TOLD,
    Reason.TN_NATIONAL: _BAD_VALUE,
    Reason.TN_CONTEXT: _BAD_VALUE,
    Reason.URI_INVALID: _TOLD,
    Reason.DATE_STALE: _TOLD,
    Reason.DATE_MISSING: _TOLD,
    Reason.IAT_STALE: _TOLD,
    Reason.ORIG_MISMATCH: _TOLD,
    Reason.DEST_MISMATCH: _TOLD,
    Reason.DIV_CHAIN_BROKEN: _TOLD,
    Reason.DIV_CHAIN_INCOMPLETE: _TOLD,
    Reason.X5U_POLICY: _TOLD,
    Reason.CERT_UNREACHABLE: _TOLD,
    Reason.CERT_MALFORMED: _TOLD,
    Reason.CERT_UNTRUSTED: _TOLD,
    Reason.CERT_EXPIRED: _TOLD,
    Reason.CERT_NOT_YET_VALID: _TOLD,
    Reason.CERT_PROFILE: _TOLD,
    Reason.CERT_REVOKED: _TOLD,
    Reason.CRL_UNAVAILABLE: _TOLD,
    Reason.TNAUTHLIST_MISSING: _TOLD,
    Reason.TNAUTHLIST_INVALID: _TOLD,
    Reason.TNAUTHLIST_NOT_COVERED: _TOLD,
    Reason.SPC_NOT_HOLDER: _TOLD,
    Reason.CLAIM_CONSTRAINED: _TOLD,
    Reason.SIGNATURE_INVALID: _TOLD,
    Reason.REPLAYED: _TOLD,
    Reason.REPLAY_UNKNOWN: _TOLD,
    Reason.ORDERED: _REFUSED,
    Reason.DISPLAY_POOLED: _TOLD,
    Reason.EMERGENCY_SHOWN: _TOLD,
    Reason.MIDDLE_NUMBER: _REFUSED,
    Reason.CALLEE_REFUSES: _REFUSED,
    Reason.HELD_AND_VERIFIED: _TOLD,
    Reason.DISPLAY_UNKNOWN: _TOLD,
    Reason.ACCESS_UNKNOWN: _TOLD,
    Reason.REGISTRY_UNAVAILABLE: _TOLD,
    Reason.REGISTRY_STALE: _TOLD,
    Reason.BOUND: _TOLD,
    Reason.ASKED_FOR_LESS: _TOLD,
    Reason.DIVERTED: _TOLD,
    Reason.DIVERSION_CLAIMED: _TOLD,
    Reason.DIVERSION_UNPROVEN: _REFUSED,
    Reason.DIVERSION_LOOP: _REFUSED,
    Reason.DISPLAY_OF_ANOTHER: _REFUSED,
    Reason.HOLDING_UNVERIFIED: _REFUSED,
    Reason.DO_NOT_ORIGINATE: _REFUSED,
    Reason.SUBJECT_SUSPENDED: _REFUSED,
    Reason.RESELLER_SUSPENDED: _REFUSED,
    Reason.ACCESS_SUSPENDED: _REFUSED,
    Reason.NOT_BOUND: _REFUSED,
    Reason.POOLED_DISPLAY: _REFUSED,
    Reason.POOLED_LOWERED: _TOLD,
    Reason.POOLED_SUSPECTED: _TOLD,
    Reason.CALLS_CAPPED: Spoken(429, "POL4290"),
    Reason.ORIG_NOT_A_NUMBER: _TOLD,
    Reason.PRIVATE_NUMBER: _TOLD,
    Reason.ANONYMOUS: _TOLD,
    Reason.EMERGENCY_CALL: _TOLD,
    Reason.HELP_UNSIGNED: Spoken(409, "POL4090"),
    Reason.NOT_READY: Spoken(503, "POL5030"),
    Reason.BODY_MISSING: Spoken(400, "SVC4000"),
    Reason.PARAMETER_MISSING: Spoken(400, "SVC4001"),
    Reason.RESPONSE_TYPE_UNSUPPORTED: Spoken(406, "SVC4002"),
    Reason.RESOURCE_NOT_FOUND: Spoken(404, "SVC4003"),
    Reason.BODY_TYPE_UNSUPPORTED: Spoken(415, "SVC4004"),
    Reason.PARAMETER_INVALID: _BAD_VALUE,
    Reason.BODY_UNPARSABLE: Spoken(400, "SVC4006"),
    Reason.TWO_DISPLAYS: _TOLD,
    Reason.IN_DIALOG: _TOLD,
    Reason.SIP_SYNTAX: Spoken(400, "SVC4008"),
    Reason.LENGTH_MISSING: Spoken(411, "SVC4007"),
    Reason.BODY_TOO_LARGE: Spoken(413, "SVC4130"),
    Reason.METHOD_NOT_ALLOWED: Spoken(405, "POL4050"),
    Reason.UNAUTHENTICATED: Spoken(401, "POL4010"),
    Reason.FORBIDDEN: Spoken(403, "POL4031"),
    Reason.MALFORMED_HTTP: Spoken(400, "SVC4009"),
    Reason.HTTP_VERSION: Spoken(505, "SVC5050"),
    Reason.TOO_SLOW: Spoken(408, "SVC4080"),
    Reason.TARGET_TOO_LONG: Spoken(414, "SVC4140"),
    Reason.HEAD_TOO_LARGE: Spoken(431, "SVC4310"),
    Reason.HOST_FOREIGN: Spoken(421, "POL4210"),
    Reason.ORIGIN_FOREIGN: Spoken(403, "POL4032"),
    Reason.TOO_MANY_CONNECTIONS: Spoken(503, "POL5031"),
    Reason.OVERLOADED: Spoken(503, "POL5032"),
    Reason.STOPPING: Spoken(503, "POL5033"),
    Reason.INTERNAL: Spoken(500, "POL5000"),
}
