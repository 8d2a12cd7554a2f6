"""Request bodies of both dialects: bytes to typed requests, once.

ATIS-1000082 and 3GPP TS 24.229 Annex V (Ms) differ little in what they ask; one decoder reads
both, and the body tells which it was where it can. What no dialect knows is refused by name.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from zhenxian.api.calls.duplicates import LEAST, refuse_duplicates
from zhenxian.api.calls.members import (
    MAX_TEXT,
    Party,
    RenamedBody,
    SigningBody,
    SigningMembers,
    VerificationBody,
    VerificationMembers,
)
from zhenxian.core.errors import ParseError, ZhenxianError, shown
from zhenxian.core.header_fields import parse_addresses, parse_date
from zhenxian.core.reading import Reading, diverting_of, is_withheld
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import ANONYMOUS, TN, URI
from zhenxian.passport.claims import MAX_DESTINATIONS, Destination
from zhenxian.passport.json import loads_plain
from zhenxian.passport.ppt.shaken import (
    parse_attest,
    parse_crn,
    parse_origid,
)
from zhenxian.passport.words import fault, unreadable
from zhenxian.signer.request import Forwarding, SigningRequest
from zhenxian.verifier.request import VerificationRequest


class Dialect(str, Enum):
    """How the answer is spelled."""

    ATIS = "atis"
    THREEGPP = "3gpp"


class RequestError(ZhenxianError):
    """A request that cannot be acted on, with the variables of its text in the table."""

    def __init__(self, reason: Reason, *variables: str, dialect: Dialect = Dialect.ATIS) -> None:
        super().__init__(filled(reason, variables))
        self.reason = reason
        self.variables = variables
        self.dialect = dialect


def filled(reason: Reason, variables: tuple[str, ...]) -> str:
    """The reason's text with %1, %2 filled in."""
    text = reason.text
    for index, variable in enumerate(variables, 1):
        text = text.replace(f"%{index}", variable)
    return text


class Echo(Struct, frozen=True, gc=False):
    """Request members that are echoed in the answer; `orig` is the display as it was read."""

    # By position: one is made for each call, and by name msgspec takes 0.2 µs longer.
    dialect: Dialect
    request_id: str | None = None
    display_name: str | None = None
    explain: bool = False
    orig: TN | URI | None = None


_signing = msgspec.json.Decoder(SigningBody)
_verification = msgspec.json.Decoder(VerificationBody)
_renamed = msgspec.json.Decoder(RenamedBody)
_NO_JSON: Final = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)

_PLAIN: Final = (None, "shaken")
_USUAL: Final = 8  # members of a signing request that all dialects read
_EMPTY: Final = b'{"verificationRequest":{"from":{"tn":""},"to":{"tn":""},"time":,"identity":""}}'
_LONG_TIME: Final = 1_000_000_000  # and above: ten digits at least
_ROOM: Final = len(_EMPTY) + 10 + LEAST  # octets beside the texts, with which a twin may be there
_ONLY_3GPP = re.compile(rb'"(?:identityHeaders?|protectedHeaders|profileId|requestId)"\s*:')


def guess(configured: Dialect | None, body: bytes) -> Dialect:
    """The dialect of a body that could not be read."""
    if configured is not None:
        return configured
    return Dialect.THREEGPP if _ONLY_3GPP.search(body) else Dialect.ATIS


def _explain(error: Exception, body: bytes, dialect: Dialect, outer: str) -> RequestError:
    """Turn a decoder's message into the dialect's error that names the member.

    `outer` is the one member of the body: who leaves it out is told so.
    """
    if not isinstance(error, msgspec.ValidationError):
        return RequestError(Reason.BODY_UNPARSABLE, unreadable(error), dialect=dialect)
    try:
        loads_plain(body)
    except ParseError as unusable:
        return _unusable(unusable, dialect)
    found = fault(error)
    name = found.member.removeprefix(f"{outer}.")[:MAX_TEXT]
    if found.missing:
        return RequestError(Reason.PARAMETER_MISSING, name, dialect=dialect)
    told = "unknown parameter" if found.unknown else found.expected
    if found.unknown and name == found.member:
        told += f"; only {outer} stands here"
    elif found.unknown and outer == "verificationRequest" and name in ("orig", "iat"):
        told += " beside from, to and time; orig, dest and iat stand for these three together"
    return RequestError(Reason.PARAMETER_INVALID, name or "body", told[:200], dialect=dialect)


def _unusable(error: ParseError, dialect: Dialect) -> RequestError:
    """A body of which one reader would see something else than another."""
    if error.reason is Reason.JSON_DUPLICATE_KEY:
        return RequestError(
            Reason.PARAMETER_INVALID, error.where, "it stands twice", dialect=dialect
        )
    return RequestError(Reason.BODY_UNPARSABLE, error.detail, dialect=dialect)


def _once(
    body: bytes, members: Struct, parties: tuple[Party | None, ...], dialect: Dialect
) -> None:
    """Refuse a body in which a member stands twice."""
    values = astuple(members)
    standing = 1 + len(values) - values.count(None)
    for party in parties:
        if party is not None:
            standing += (party.tn is not None) + (party.uri is not None)
    if isinstance(members, SigningMembers) and members.div is not None:
        standing += 3 - astuple(members.div).count(None)
    if isinstance(members, VerificationMembers) and not members.explain:
        standing -= 1
    try:
        refuse_duplicates(body, standing)
    except ParseError as error:
        raise _unusable(error, dialect) from None


def _one(values: str | list[str] | None) -> list[str]:
    if values is None:
        return []
    return [values] if isinstance(values, str) else values


def _identities(
    party: Party, name: str, reading: Reading, dialect: Dialect
) -> tuple[TN | URI, ...]:
    tn = party.tn
    if tn is not None and party.uri is None:
        found: tuple[TN | URI, ...] = (
            (_number(tn, reading, name, dialect),)
            if isinstance(tn, str)
            else tuple([_number(item, reading, name, dialect) for item in tn])
        )
    else:
        try:
            found = (
                *(_number(item, reading, name, dialect) for item in _one(tn)),
                *(
                    reading.identity(uri, f"{name}.uri")
                    for text in _one(party.uri)
                    for uri in _uris(text, f"{name}.uri")
                ),
            )
        except ParseError as error:
            raise _invalid(error, dialect) from None
    if not found:
        raise RequestError(Reason.PARAMETER_MISSING, f"{name}.tn", dialect=dialect)
    return found


def _number(text: str, reading: Reading, name: str, dialect: Dialect) -> TN:
    try:
        return reading.number(text, f"{name}.tn")
    except ParseError as error:
        found = _number_of_field(text, reading, f"{name}.tn")
        if found is None:
            raise _invalid(error, dialect) from None
        return found


def _uris(text: str, where: str) -> tuple[str, ...]:
    """The URIs of a header field value as a proxy received it; a URI alone is itself.

    From, To and P-Asserted-Identity have a display name, angle brackets and parameters, and the
    latter may have two addresses.

    Raises:
        ParseError: SIP_SYNTAX.
    """
    if "<" not in text or (text.startswith("<") and text.endswith(">") and text.count("<") == 1):
        return (text,)
    return tuple(address.uri for address in parse_addresses((text,), where))


def _number_of_field(text: str, reading: Reading, where: str) -> TN | None:
    """The number that such a value has, given as `tn`; None for none."""
    if ":" not in text:
        return None
    try:
        found = {reading.identity(uri, where) for uri in _uris(text, where)}
    except ParseError:
        return None
    numbers = [one for one in found if isinstance(one, TN)]
    return numbers[0] if len(numbers) == 1 else None


_NAMED: Final = frozenset({Reason.TN_NATIONAL, Reason.TN_CONTEXT})


def _invalid(error: ParseError, dialect: Dialect) -> RequestError:
    """The dialect's error; a reason that clients act on stands before the sentence."""
    detail = error.detail
    if error.reason in _NAMED:
        detail = f"{error.reason.name}: {detail}"
    return RequestError(Reason.PARAMETER_INVALID, error.where, detail, dialect=dialect)


_NO_NUMBER_BEGINS: Final = ("", " ", "a", "A")  # what is_withheld may be of


def _caller(party: Party, name: str, reading: Reading, dialect: Dialect) -> TN | URI:
    tn = party.tn
    if type(tn) is not str or tn[:1] in _NO_NUMBER_BEGINS:
        party, withheld = _asserted(party)
        if withheld:
            return ANONYMOUS
    found = _identities(party, name, reading, dialect)
    if len(found) > 1 and isinstance(party.uri, str) and tn is None:
        # Of a SIP and a tel URI of one caller (RFC 3325 section 9.1) the number.
        found = tuple({one for one in found if isinstance(one, TN)})
    if len(found) != 1:
        raise RequestError(
            Reason.PARAMETER_INVALID, name, "exactly one of tn and uri", dialect=dialect
        )
    if not found[0].isdecimal():
        try:
            return reading.shown(found[0], f"{name}.{'tn' if party.uri is None else 'uri'}")
        except ParseError as error:
            raise _invalid(error, dialect) from None
    return found[0]


def _for_help(party: Party, name: str, reading: Reading, dialect: Dialect) -> bool:
    """True when everyone called is an emergency number or service."""
    try:
        return all(map(reading.emergency, _identities(party, name, reading, dialect)))
    except RequestError:
        return False


def _asserted(party: Party) -> tuple[Party, bool]:
    """The party without what says that its number is withheld; True when nothing else is there."""
    numbers = [tn for tn in _one(party.tn) if not is_withheld(tn)]
    if len(numbers) == len(_one(party.tn)):
        return party, False
    return Party(numbers or None, party.uri), not (numbers or party.uri)


def _own_number(party: Party | None, name: str, reading: Reading, dialect: Dialect) -> TN | None:
    if party is None:
        return None
    found = _caller(party, name, reading, dialect)
    if not isinstance(found, TN):
        raise RequestError(Reason.PARAMETER_INVALID, name, "a tn expected", dialect=dialect)
    return found


def _destination(party: Party, reading: Reading, dialect: Dialect) -> Destination:
    called = _identities(party, "dest", reading, dialect)
    if len(called) > MAX_DESTINATIONS:
        raise RequestError(
            Reason.PARAMETER_INVALID,
            "dest",
            f"more than {MAX_DESTINATIONS} identities",
            dialect=dialect,
        )
    if party.uri is None:
        return Destination(called)  # type: ignore[arg-type]  # numbers, all of them
    return Destination(
        tuple(dict.fromkeys(item for item in called if isinstance(item, TN))),
        tuple(item for item in called if isinstance(item, URI)),
    )


def read_signing(
    body: bytes, *, configured: Dialect | None, reading: Reading
) -> tuple[SigningRequest, Echo]:
    """Read the body of POST /stir/v1/signing.

    Args:
        configured: the dialect to answer in; None tells it from the body.
        reading: how identities are read.

    Raises:
        RequestError: names the member and what was expected.
    """
    try:
        members = _signing.decode(body).request
    except _NO_JSON as error:
        dated = _dated(body, "signingRequest", "iat")
        if dated is not None:
            return read_signing(dated, configured=configured, reading=reading)
        raise _explain(error, body, guess(configured, body), "signingRequest") from None
    dialect = configured or (
        Dialect.THREEGPP
        if members.profileId is not None or members.requestId is not None
        else Dialect.ATIS
    )
    colons = body.count(b":")  # each member has one
    if (
        (colons > _USUAL and (colons > _USUAL + 1 or None in (members.access, members.origid)))
        or members.attest is None
        or (members.origid is None and members.access is None)
    ):
        parties = (members.orig, members.dest, members.caller, members.requestUri)
        _once(body, members, parties, dialect)
    forwarded = None
    if (
        members.ppt not in _PLAIN
        or members.div is not None
        or members.identity is not None
        or members.identityHeader is not None
        or members.identityHeaders is not None
        or members.diversion is not None
        or members.rph
        or members.sph
    ):
        ppt = members.ppt
        try:
            forwarded = _forwarding(members, reading, dialect)
        except RequestError as error:
            told = error.variables[0].partition(".")[0] in ("div", "diversion")
            if not told or not _for_help(members.dest, "dest", reading, dialect):
                raise
            forwarded = Forwarding(iat=members.iat, ppt=None if ppt in _PLAIN else ppt)
    iat, attest, origid = members.iat, members.attest, members.origid
    diverts = forwarded is not None and forwarded.ppt is not None
    if iat is None:
        if not diverts:
            raise RequestError(Reason.PARAMETER_MISSING, "iat", dialect=dialect)
        iat = 0
    if dialect is Dialect.ATIS and not diverts:
        if attest is None:
            raise RequestError(Reason.PARAMETER_MISSING, "attest", dialect=dialect)
        if origid is None and members.access is None and members.profileId is None:
            raise RequestError(Reason.PARAMETER_MISSING, "origid", dialect=dialect)
    try:
        level = parse_attest(attest) if attest is not None else None
        if origid is not None:
            parse_origid(origid)
        if members.purpose is not None:
            parse_crn(members.purpose, "purpose")
        if members.crn is not None:
            parse_crn(members.crn)
    except ParseError as error:
        raise _invalid(error, dialect) from None
    unread = None
    try:
        orig = _caller(members.orig, "orig", reading, dialect)
        caller = _own_number(members.caller, "caller", reading, dialect)
    except RequestError as error:
        if not _for_help(members.dest, "dest", reading, dialect):
            raise
        orig, caller, unread = ANONYMOUS, None, f"{error.variables[0]} could not be read"
    if orig is ANONYMOUS and caller is not None:  # the number that is asserted
        orig, caller = caller, None
    request = SigningRequest(
        orig,
        _destination(members.dest, reading, dialect),
        iat,
        level,
        origid,
        members.access or members.profileId,
        caller,
        members.extension or "",
        members.purpose,
        members.crn,
        unread,
        forwarded,
        _request_uri(members, reading, dialect) if members.requestUri is not None else None,
        members.customer,
    )
    return request, Echo(dialect, members.requestId)


def _dated(body: bytes, outer: str, name: str) -> bytes | None:
    """The body with seconds where it has a Date header field value; None where it has none."""
    if b" GMT" not in body:
        return None
    try:
        told = loads_plain(body)
        members = told[outer]
        members[name] = parse_date(members[name].strip())
    except (ParseError, KeyError, TypeError, AttributeError):
        return None
    return msgspec.json.encode(told)


def _forwarding(members: SigningMembers, reading: Reading, dialect: Dialect) -> Forwarding:
    """What a forwarded call brings with it."""
    ppt, div = members.ppt, members.div
    if ppt not in (*_PLAIN, "div", "div-o") or members.rph or members.sph:
        raise RequestError(
            Reason.PARAMETER_INVALID,
            "ppt",
            f"{shown(ppt)}: shaken, div and div-o are signed here",
            dialect=dialect,
        )
    others = (*_one(members.identityHeader), *_one(members.identityHeaders))
    identities = [value for value in (*_one(members.identity), *others) if value.strip()]
    if ppt in _PLAIN and div is not None:
        raise RequestError(
            Reason.PARAMETER_INVALID, "ppt", f"{shown(ppt)}: div goes with ppt div", dialect=dialect
        )
    if ppt == "shaken" and identities:
        raise RequestError(
            Reason.PARAMETER_INVALID,
            "identity",
            "what was received goes with ppt div, or without ppt",
            dialect=dialect,
        )
    told: tuple[TN | URI, ...] = ()
    if div is not None and (div.tn is not None or div.uri is not None):
        told = _identities(Party(div.tn, div.uri), "div", reading, dialect)
        if len(told) != 1:
            raise RequestError(
                Reason.PARAMETER_INVALID, "div", "exactly one of tn and uri", dialect=dialect
            )
    elif div is not None:
        raise RequestError(Reason.PARAMETER_MISSING, "div.tn", dialect=dialect)
    elif members.diversion is not None:
        try:
            told = diverting_of(_one(members.diversion), reading)
        except ParseError as error:
            raise _invalid(error, dialect) from None
    return Forwarding(
        identities=tuple(identities),
        diverting=told[0] if told else None,
        hi=div.hi if div is not None else None,
        iat=members.iat,
        call_id=members.callId,
        ppt=ppt if ppt != "shaken" else None,
    )


def _as_the_token(body: bytes) -> VerificationMembers | None:
    """Read orig, dest and iat for from, to and time: a published client names the call so."""
    try:
        found = _renamed.decode(body).request
    except _NO_JSON:
        return None
    return VerificationMembers(
        from_=found.orig,
        to=found.dest,
        time=found.iat,
        identity=found.identity,
        requestId=found.requestId,
        callId=found.callId,
        explain=found.explain,
    )


def read_verification(
    body: bytes, *, configured: Dialect | None, reading: Reading
) -> tuple[VerificationRequest, Echo]:
    """Read the body of POST /stir/v1/verification.

    A body without Identity header is not an error: it is the health request of an SBC, or a call
    that was not signed.

    Raises:
        RequestError: names the member and what was expected.
    """
    try:
        members = _verification.decode(body).request
    except _NO_JSON as error:
        dated = _dated(body, "verificationRequest", "time")
        if dated is not None:
            return read_verification(dated, configured=configured, reading=reading)
        renamed = _as_the_token(body) if isinstance(error, msgspec.ValidationError) else None
        if renamed is None:
            dialect = guess(configured, body)
            raise _explain(error, body, dialect, "verificationRequest") from None
        members = renamed
    threegpp = (
        members.identityHeader is not None
        or members.identityHeaders is not None
        or (members.identity is None and isinstance(members.to.tn, str))
    )
    dialect = configured or (Dialect.THREEGPP if threegpp else Dialect.ATIS)
    try:
        room = len(body) - len(members.identity) - len(members.from_.tn) - len(members.to.tn[0])  # type: ignore[arg-type, index]
        short = room < _ROOM and members.time >= _LONG_TIME  # type: ignore[operator]
    except (TypeError, IndexError):  # one of them is not there
        short = False
    if not short:
        _once(body, members, (members.from_, members.to, members.dest), dialect)
    if members.purpose is not None:
        try:
            parse_crn(members.purpose, "purpose")
        except ParseError as error:
            raise _invalid(error, dialect) from None
    identity = members.identity
    if type(identity) is str and not threegpp:  # nearly every call
        identities: tuple[str, ...] = (identity,) if identity.strip() else ()
    else:
        others = (*_one(members.identityHeader), *_one(members.identityHeaders))
        identities = tuple([value for value in (*_one(identity), *others) if value.strip()])
    try:
        orig = _caller(members.from_, "from", reading, dialect)
    except RequestError:
        if not _for_help(members.to, "to", reading, dialect):
            raise
        orig, identities = ANONYMOUS, ()  # no token can be for who cannot be read
    request = VerificationRequest(
        orig,
        _identities(members.to, "to", reading, dialect),
        members.time,
        identities,
        members.callId,
        members.purpose,
        ()
        if members.dest is None
        else _target(members.dest, "dest", members.to, "to", reading, dialect),
    )
    return request, Echo(dialect, members.requestId, members.displayName, members.explain, orig)


def _request_uri(members: SigningMembers, reading: Reading, dialect: Dialect) -> TN | URI | None:
    """Who the Request-URI names; nobody where a proxy's variable for it is not set.

    Raises:
        RequestError: HELP_UNSIGNED: To calls for help, and where the call goes cannot be read.
    """
    party, called = members.requestUri, members.dest
    if party is None:
        return None
    found = _target(party, "requestUri", called, "dest", reading, dialect)
    if not found and _is_set(party):
        raise RequestError(Reason.HELP_UNSIGNED, dialect=dialect)
    if len(found) > 1:
        raise RequestError(
            Reason.PARAMETER_INVALID, "requestUri", "exactly one of tn and uri", dialect=dialect
        )
    return found[0] if found else None


def _is_set(party: Party) -> bool:
    return any(one.strip() for one in (*_one(party.tn), *_one(party.uri)))


def _target(
    party: Party, name: str, called: Party, whose: str, reading: Reading, dialect: Dialect
) -> tuple[TN | URI, ...]:
    """The Request-URI; nothing where a proxy's variable for it is not set.

    Args:
        called: who To names, as member `whose`: where that calls for help, what cannot be read of
            the Request-URI is passed over.
    """
    if not _is_set(party):
        return ()
    try:
        return _identities(party, name, reading, dialect)
    except RequestError:
        if not _for_help(called, whose, reading, dialect):
            raise
        return ()
