"""Every reason a request, a token or a call can be refused for: one enumeration, one table.

The table maps a reason to the SIP response code and reason phrase (RFC 8224 section 6.2.2), the
verstat value (3GPP TS 24.229 section 7.2A.20), and its source. Documentation, metric labels and
wire answers are derived from it. Codes of one front end alone stand in a table of that front end:
api/calls/errors.py has REST's.
"""

from __future__ import annotations

import re
from enum import Enum, StrEnum
from typing import NamedTuple


class Verstat(StrEnum):
    """The verification status of a call (3GPP TS 24.229 section 7.2A.20, ATIS-1000082)."""

    PASSED = "TN-Validation-Passed"
    FAILED = "TN-Validation-Failed"
    NONE = "No-TN-Validation"


class SipStatus(Enum):
    """The SIP response codes and reason phrases that verification uses.

    RFC 8224 section 6.2.2, and for a call that is genuine but not wanted RFC 8197, RFC 8688 and,
    where neither may be said, RFC 3261 section 21.6.2.
    """

    OK = (200, "OK")
    STALE_DATE = (403, "Stale Date")
    USE_IDENTITY = (428, "Use Identity Header")
    BAD_INFO = (436, "Bad Identity Info")
    UNSUPPORTED_CREDENTIAL = (437, "Unsupported Credential")
    INVALID_IDENTITY = (438, "Invalid Identity Header")
    DECLINE = (603, "Decline")
    UNWANTED = (607, "Unwanted")
    REJECTED = (608, "Rejected")

    @property
    def code(self) -> int:
        """SIP response code."""
        return self.value[0]

    @property
    def phrase(self) -> str:
        """Reason phrase."""
        return self.value[1]

    @property
    def stir(self) -> bool:
        """True for the causes of protocol STIR in a Reason header field (RFC 9410 section 3)."""
        return 400 <= self.code < 500


class Row(NamedTuple):
    """One line of the table."""

    text: str
    source: str
    sip: SipStatus | None = None
    verstat: Verstat | None = None


_STALE = SipStatus.STALE_DATE
_INFO = SipStatus.BAD_INFO
_CRED = SipStatus.UNSUPPORTED_CREDENTIAL
_INVALID = SipStatus.INVALID_IDENTITY
_NONE = Verstat.NONE
_FAILED = Verstat.FAILED


class Reason(Enum):
    """Why a call was signed, refused, passed or failed.

    The member's name is the stable code that logs, metrics and clients see.
    """

    # Verdicts -----------------------------------------------------------------------------------
    VERIFIED = Row("every check passed", "RFC 8224 section 6.2", SipStatus.OK, Verstat.PASSED)
    NO_IDENTITY = Row(
        "the request carries no Identity header",
        "RFC 8224 section 6.2.2",
        SipStatus.USE_IDENTITY,
        _NONE,
    )
    SIGNATURE_MISSING = Row(
        "the call is not signed, and every call with such a display is to be signed",
        "RFC 8224 section 6.2.2; this project",
        SipStatus.USE_IDENTITY,
        _FAILED,
    )
    DISPLAY_ORDERED = Row(
        "an order stops the number shown or its holder, and no token vouches for the call",
        "RFC 8688; this project",
        SipStatus.REJECTED,
        _FAILED,
    )
    # Syntax of the header and the token ---------------------------------------------------------
    IDENTITY_SYNTAX = Row(
        "the Identity header does not follow the grammar", "RFC 8224 section 4", _INVALID, _NONE
    )
    IDENTITY_TOO_LARGE = Row(
        "the Identity header is larger than is accepted", "this project", _INVALID, _NONE
    )
    TOO_MANY_IDENTITIES = Row(
        "the call carries more Identity headers than are accepted", "this project", _INVALID, _NONE
    )
    INFO_MISSING = Row(
        "the Identity header has no info parameter", "RFC 8224 section 4", _INFO, _NONE
    )
    INFO_INVALID = Row(
        "the info parameter is not a usable URI", "RFC 8224 section 6.2.2", _INFO, _NONE
    )
    ALG_UNSUPPORTED = Row(
        "the algorithm is not ES256", "RFC 8225 section 4.2, RFC 8224 section 6.2.2", _CRED, _NONE
    )
    PPT_UNSUPPORTED = Row(
        "the PASSporT type is not supported", "RFC 8224 section 6.2.2", _INVALID, _NONE
    )
    COMPACT_NOT_ALLOWED = Row(
        "this PASSporT type must be sent in full form", "RFC 8588 section 3", _INVALID, _NONE
    )
    TOKEN_SYNTAX = Row(
        "the token is not three base64url segments", "RFC 7515 section 3.1", _INVALID, _NONE
    )
    TOKEN_BASE64 = Row(
        "a segment of the token is not canonical base64url", "RFC 7515 section 2", _INVALID, _NONE
    )
    TOKEN_SIGNATURE_LENGTH = Row(
        "the signature is not 64 octets", "RFC 7518 section 3.4", _INVALID, _NONE
    )
    JSON_SYNTAX = Row("not a JSON object", "RFC 8225 section 3", _INVALID, _NONE)
    JSON_DUPLICATE_KEY = Row("a JSON member is given twice", "RFC 7515 section 4", _INVALID, _NONE)
    JSON_TOO_DEEP = Row("JSON nested deeper than is accepted", "this project", _INVALID, _NONE)
    TYP_UNSUPPORTED = Row("the token type is not passport", "RFC 8225 section 4.1", _CRED, _NONE)
    CRIT_UNSUPPORTED = Row(
        "the token demands a critical extension that is not supported",
        "RFC 7515 section 4.1.11",
        _CRED,
        _NONE,
    )
    HEADER_MEMBER_MISSING = Row(
        "the token's header lacks a member", "RFC 8225 section 4", _INFO, _NONE
    )
    HEADER_MEMBER_INVALID = Row(
        "a member of the token's header has an unusable value",
        "RFC 8225 section 4",
        _INVALID,
        _NONE,
    )
    PPT_MISMATCH = Row(
        "the ppt of header and token differ", "RFC 8224 section 4.1", _INVALID, _NONE
    )
    X5U_MISMATCH = Row(
        "x5u of the token differs from info of the Identity header",
        "RFC 8224 section 4.1",
        _INFO,
        _NONE,
    )
    CLAIM_MISSING = Row("the token lacks a claim", "RFC 8225 section 5", _INVALID, _NONE)
    CLAIM_INVALID = Row(
        "a claim of the token has an unusable value", "RFC 8225 section 5", _INVALID, _NONE
    )
    ATTEST_INVALID = Row("attest is not A, B or C", "RFC 8588 section 4", _INVALID, _NONE)
    TN_INVALID = Row(
        "not a telephone number in canonical form", "RFC 8224 section 8.3", _INVALID, _NONE
    )
    TN_NATIONAL = Row(
        "no E.164 number begins with 0, and nothing says which country's number it is",
        "ITU-T E.164, RFC 8224 section 8.3",
    )
    TN_CONTEXT = Row(
        "the number is local to a context that is not exactly a country code",
        "RFC 3966 section 5.1.5",
    )
    URI_INVALID = Row("not a usable SIP or tel URI", "RFC 8224 section 8.5", _INVALID, _NONE)
    # Screening against the call -----------------------------------------------------------------
    DATE_STALE = Row(
        "the Date of the request is not fresh", "RFC 8224 section 6.2 step 4", _STALE, _NONE
    )
    DATE_MISSING = Row(
        "a compact form cannot be checked without the Date of the request",
        "RFC 8224 section 6.2 step 5",
        _INVALID,
        _NONE,
    )
    IAT_STALE = Row(
        "iat is too far from the time of the call", "RFC 8224 section 6.2 step 4", _STALE, _NONE
    )
    ORIG_MISMATCH = Row(
        "orig is not the calling number of the request",
        "RFC 8224 section 6.2 step 5",
        _INVALID,
        _FAILED,
    )
    DEST_MISMATCH = Row(
        "dest does not hold the called number of the request",
        "RFC 8224 section 6.2 step 5",
        _INVALID,
        _FAILED,
    )
    DIV_CHAIN_BROKEN = Row(
        "the div tokens do not lead from the call's token to its target",
        "RFC 8946 section 4.2",
        _INVALID,
        _FAILED,
    )
    DIV_CHAIN_INCOMPLETE = Row(
        "a div token stands without the token that it diverts",
        "RFC 8946 section 4.2",
        _INVALID,
        _NONE,
    )
    X5U_POLICY = Row(
        "x5u is not a place certificates may be fetched from",
        "ATIS-1000074 section 5.3.1",
        _INFO,
        _NONE,
    )
    # Certificate and trust ----------------------------------------------------------------------
    CERT_UNREACHABLE = Row(
        "the certificate could not be fetched", "RFC 8224 section 6.2.2", _INFO, _NONE
    )
    CERT_MALFORMED = Row(
        "what x5u serves is not a certificate chain", "RFC 8224 section 6.2.2", _INFO, _NONE
    )
    CERT_UNTRUSTED = Row(
        "the certificate does not chain to a trusted root",
        "RFC 8224 section 6.2 step 3",
        _CRED,
        _FAILED,
    )
    CERT_EXPIRED = Row("the certificate has expired", "RFC 5280 section 6.1", _CRED, _FAILED)
    CERT_NOT_YET_VALID = Row(
        "the certificate is not valid yet", "RFC 5280 section 6.1", _CRED, _FAILED
    )
    CERT_PROFILE = Row(
        "the certificate violates the SHAKEN profile", "ATIS-1000080 section 6.4", _CRED, _FAILED
    )
    CERT_REVOKED = Row(
        "the certificate has been revoked", "ATIS-1000080 section 6.3.9", _CRED, _FAILED
    )
    CRL_UNAVAILABLE = Row(
        "no fresh revocation list covers the certificate", "RFC 5280 section 6.3", _CRED, _NONE
    )
    TNAUTHLIST_MISSING = Row(
        "the certificate has no TNAuthList", "RFC 8226 section 9", _CRED, _FAILED
    )
    TNAUTHLIST_INVALID = Row(
        "the certificate's TNAuthList cannot be read", "RFC 8226 section 9", _CRED, _FAILED
    )
    TNAUTHLIST_NOT_COVERED = Row(
        "the certificate's TNAuthList does not cover the calling number, or the one that diverts",
        "RFC 8226 section 7",
        _CRED,
        _FAILED,
    )
    SPC_NOT_HOLDER = Row(
        "the number is held at another service provider code than the one that signed",
        "this project",
        _CRED,
        _FAILED,
    )
    CLAIM_CONSTRAINED = Row(
        "a claim breaks the certificate's JWTClaimConstraints",
        "RFC 8226 section 8, RFC 9118 section 5",
        _INVALID,
        _FAILED,
    )
    SIGNATURE_INVALID = Row(
        "the signature does not verify", "RFC 8224 section 6.2 step 3", _INVALID, _FAILED
    )
    # Judging a verified token -------------------------------------------------------------------
    REPLAYED = Row(
        "the token was already seen with another call", "RFC 8224 section 12.1", _INVALID, _FAILED
    )
    REPLAY_UNKNOWN = Row("the replay store could not be asked", "this project", _INVALID, _NONE)
    ORDERED = Row(
        "an order stops whom or what the call involves",
        "this project",
        _CRED,
        _FAILED,
    )
    DISPLAY_POOLED = Row(
        "the display is taken from a pool of numbers",
        "RFC 8688; this project",
        SipStatus.REJECTED,
        _FAILED,
    )
    EMERGENCY_SHOWN = Row(
        "the display is an emergency number, and nobody is known to hold it",
        "RFC 8688; this project",
        SipStatus.REJECTED,
        _FAILED,
    )
    MIDDLE_NUMBER = Row(
        "a number outside of the range for privacy numbers serves as one",
        "MIIT notice on number protection services of 2025-07; this project",
        SipStatus.REJECTED,
        _FAILED,
    )
    CALLEE_REFUSES = Row(
        "the callee refuses calls of the purpose that is stated",
        "RFC 8197; this project",
        SipStatus.UNWANTED,
        Verstat.PASSED,
    )
    # Signing decisions --------------------------------------------------------------------------
    HELD_AND_VERIFIED = Row(
        "the access's subject holds the number and its real name is verified", "RFC 8588 section 4"
    )
    DISPLAY_UNKNOWN = Row(
        "the subject is known, but no holding says who holds the number", "RFC 8588 section 4"
    )
    ACCESS_UNKNOWN = Row(
        "the access the call came in by is not known (gateway traffic)", "RFC 8588 section 4"
    )
    REGISTRY_UNAVAILABLE = Row(
        "the registry could not be asked, so nothing above C is signed", "this project"
    )
    REGISTRY_STALE = Row(
        "the registry's local copy may lag behind, so nothing above B is signed", "this project"
    )
    BOUND = Row("an active binding of the privacy number names caller and callee", "this project")
    ASKED_FOR_LESS = Row("the proxy asked for less than it could get", "this project")
    DIVERTED = Row(
        "the call was made to a number that the access's subject holds, and is diverted from it",
        "RFC 8946 section 4.1",
    )
    DIVERSION_CLAIMED = Row(
        "the display is another's, and the call is said to be diverted: nothing above C is signed",
        "RFC 8946 section 4.1; this project",
    )
    DIVERSION_UNPROVEN = Row(
        "nothing received proves that the call is diverted from a number of the access",
        "RFC 8946 section 4.1; this project",
    )
    DIVERSION_LOOP = Row(
        "the call was diverted from its new destination before",
        "RFC 8946 section 4.2; this project",
    )
    DISPLAY_OF_ANOTHER = Row(
        "the number is held by another subject (spoofed display)",
        "this project",
    )
    HOLDING_UNVERIFIED = Row(
        "the number's holder is not real-name verified",
        "this project",
    )
    DO_NOT_ORIGINATE = Row("the number never originates calls", "this project")
    SUBJECT_SUSPENDED = Row("the subject is suspended", "this project")
    RESELLER_SUSPENDED = Row(
        "a reseller between carrier and subject is suspended",
        "this project",
    )
    ACCESS_SUSPENDED = Row("the access is suspended", "this project")
    NOT_BOUND = Row(
        "no active binding of the privacy number names caller and callee",
        "this project",
    )
    POOLED_DISPLAY = Row(
        "the caller's displays are used as a pool (打显)",
        "this project",
    )
    POOLED_LOWERED = Row(
        "the caller's displays are used as a pool (打显), so nothing above B is signed",
        "this project",
    )
    POOLED_SUSPECTED = Row(
        "the caller's displays look like a pool (打显), which nothing proves, so nothing above B is"
        " signed",
        "this project",
    )
    CALLS_CAPPED = Row(
        "the caller is suspected, and made as many calls within a minute as the operator lets it",
        "RFC 3261 sections 20.33 and 21.4.18; this project",
    )
    ORIG_NOT_A_NUMBER = Row(
        "the calling identity is a URI, which no holding vouches for", "RFC 8588 section 4"
    )
    PRIVATE_NUMBER = Row(
        "the calling identity is a private number, an extension or local to a domain, so nothing"
        " above C is signed",
        "RFC 8224 section 8.1, RFC 3966 section 5.1.5; this project",
    )
    ANONYMOUS = Row(
        "the caller withholds its number and none is asserted, so nothing above C is signed",
        "RFC 3323 section 4.1; this project",
    )
    EMERGENCY_CALL = Row(
        "the call is to an emergency number: it goes on, though another would be refused",
        "RFC 9027; this project",
    )
    HELP_UNSIGNED = Row(
        "the call is one for help by To or by its Request-URI alone, or perhaps, by a host that is"
        " not ours, and goes on without a signature",
        "RFC 3261 section 8.1.1.1, RFC 9027; this project",
    )
    NOT_READY = Row(
        "no usable signing key and certificate are loaded",
        "this project",
    )
    # REST requests ------------------------------------------------------------------------------
    BODY_MISSING = Row("Error: Missing JSON body in the request.", "ATIS-1000082")
    PARAMETER_MISSING = Row("Error: Missing mandatory parameter '%1'.", "ATIS-1000082")
    RESPONSE_TYPE_UNSUPPORTED = Row(
        "Error: Requested response body type '%1' is not supported.",
        "ATIS-1000082",
    )
    RESOURCE_NOT_FOUND = Row("Error: Requested resource was not found.", "ATIS-1000082")
    BODY_TYPE_UNSUPPORTED = Row(
        "Error: Unsupported request body type, expected '%1'.",
        "ATIS-1000082",
    )
    PARAMETER_INVALID = Row("Error: Invalid '%1' parameter value: %2.", "ATIS-1000082")
    BODY_UNPARSABLE = Row(
        "Error: Failed to parse received message body: '%1'.",
        "ATIS-1000082",
    )
    TWO_DISPLAYS = Row(
        "From has another number than the one that the token vouches for, and may be what is shown",
        "RFC 3325 section 9.1; this project",
    )
    IN_DIALOG = Row(
        "the request belongs to a dialog, which is not asked about again",
        "RFC 3261 section 12.2",
    )
    SIP_SYNTAX = Row(
        "the SIP request does not follow the grammar",
        "RFC 3261 section 25",
    )
    LENGTH_MISSING = Row(
        "Error: Missing mandatory Content-Length header.",
        "ATIS-1000082",
    )
    BODY_TOO_LARGE = Row("Error: Request body larger than %1 bytes.", "this project")
    METHOD_NOT_ALLOWED = Row(
        "Error: Method Not Allowed: Invalid HTTP method used",
        "ATIS-1000082",
    )
    UNAUTHENTICATED = Row(
        "Error: Missing or unknown API credentials.",
        "this project",
    )
    FORBIDDEN = Row(
        "Error: The credentials do not permit this request.",
        "this project",
    )
    MALFORMED_HTTP = Row("Error: Malformed HTTP request: %1.", "RFC 9112")
    HTTP_VERSION = Row(
        "Error: HTTP of this version is not spoken: 1.1 and 1.0 are.",
        "RFC 9110 section 15.6.6",
    )
    TOO_SLOW = Row(
        "Error: The request did not arrive in time.",
        "RFC 9110 section 15.5.9",
    )
    TARGET_TOO_LONG = Row(
        "Error: Request target longer than is accepted (%1 bytes of head).",
        "RFC 9110 section 15.5.15",
    )
    HEAD_TOO_LARGE = Row(
        "Error: Request head and trailers larger than %1 bytes or %2 fields.",
        "RFC 6585 section 5",
    )
    HOST_FOREIGN = Row(
        "Error: Without credentials this service answers on its own names only, not as %1"
        " (server.hosts).",
        "RFC 9110 section 15.5.20; this project",
    )
    ORIGIN_FOREIGN = Row(
        "Error: Without credentials this service answers no page of another origin: %1"
        " (server.hosts).",
        "this project",
    )
    TOO_MANY_CONNECTIONS = Row("Error: Too many connections are open.", "this project")
    OVERLOADED = Row(
        "Error: More calls wait for their answers than this service can answer soon.",
        "RFC 9110 section 15.6.4; this project",
    )
    STOPPING = Row(
        "Error: This service is being stopped, and the time for requests under way is over.",
        "RFC 9110 section 15.6.4; this project",
    )
    INTERNAL = Row("Error: Internal Server Issue", "ATIS-1000082")

    # Enum's own `name` and `value` walk descriptors on each access; the hot path reads these often.
    code: str  # the member's name
    text: str
    source: str
    sip: SipStatus | None
    verstat: Verstat | None

    def __init__(self, *row: object) -> None:
        self.code = self._name_
        self.text, self.source, self.sip, self.verstat = row  # type: ignore[assignment]


_PPI = re.compile(r"[A-Za-z0-9_\-.=+/]{1,4096}\Z")


def reason_header(reason: Reason, ppi: str | None = None) -> str:
    """Write the SIP Reason header field value for a failed verification (RFC 9410 section 3).

    Protocol STIR has the causes of RFC 8224 section 6.2.2 and no others. 607 and 608 say nothing
    about an Identity header field; they are a SIP status, which a response has in its status line,
    and RFC 3326 section 2 lets a response repeat it only where its status code says so.

    Args:
        reason: a member that carries a SIP status.
        ppi: the compact or full PASSporT that failed; sent so that the signer can find the call.
            Left out when it is not made of a token's characters: it came from the wire, and a
            quotation mark or line break in it would write header fields of its own.

    Raises:
        ValueError: the reason has no SIP status, or one that is no cause of protocol STIR.
    """
    if reason.sip is None or not reason.sip.stir:
        raise ValueError(f"{reason.name} is not a verification failure")
    value = f'STIR;cause={reason.sip.code};text="{reason.sip.phrase}"'
    return f'{value};ppi="{ppi}"' if ppi is not None and _PPI.match(ppi) else value
