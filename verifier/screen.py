"""Checks of a token that need no key: syntax, freshness of iat and Date, orig, dest, x5u."""

from __future__ import annotations

from msgspec import Struct

from zhenxian.certs.x5u import X5uPolicy, check_x5u
from zhenxian.core.errors import ParseError
from zhenxian.core.reading import Reading
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, URI
from zhenxian.passport.claims import Destination, Header, PASSporT
from zhenxian.passport.identity import IdentityHeader, parse_single
from zhenxian.passport.ppt import lookup
from zhenxian.passport.ppt.div import Div
from zhenxian.passport.ppt.div_o import DivO
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.verdict import Check, Refusal


class ScreenPolicy(Struct, frozen=True, kw_only=True):
    """What is accepted before a key is looked at.

    Attributes:
        date_window: seconds Date may lie from now, either way (RFC 8224 section 6.2 step 4: 60).
            A Date beyond it is left to `judge` where iat lies within it (section 12.1).
        iat_window: seconds iat may lie from now, either way. An iat that differs from Date but
            is fresh is good (RFC 8224 section 6.2 step 4).
        types: PASSporT types whose verification decides a call; None stands for baseline.
        x5u: where certificates may come from.
        reading: how the identities of tokens are read: as those of the call.
        diverted_window: seconds iat of a token may lie before now where a fresh div token diverts
            its call (RFC 8946 section 4.2 step 4: as iat_window, three hours at most).
    """

    date_window: int = 60
    iat_window: int = 60
    types: frozenset[str | None] = frozenset({"shaken"})
    x5u: X5uPolicy = X5uPolicy()
    reading: Reading = Reading()
    diverted_window: int = 60


class Screened(Struct, frozen=True):
    """A token that fits the call, as far as can be seen without a key.

    Attributes:
        orig: who calls, as the call has it. The token may write a number as a URI; it is judged
            by the number.
    """

    header: IdentityHeader
    passport: PASSporT
    orig: TN | URI


class Diverting(Screened, frozen=True, kw_only=True):
    """A div token, by syntax.

    Attributes:
        diverting: from whom it diverts the call, as this service reads it.
        nested: the token in its opt; None for a div without.
    """

    diverting: TN | URI
    nested: str | None = None


SCREEN_CHECKS = (Check.IDENTITY, Check.SYNTAX, Check.X5U, Check.DATE, Check.IAT, Check.ORIG,
                 Check.DEST)  # fmt: skip


def read(raw: str, request: VerificationRequest, policy: ScreenPolicy) -> Screened | Refusal:
    """Steps 1 to 3 of the procedure: syntax, type, and the claims as typed values.

    A compact form gets its claims from the request (RFC 8224 section 7); that it was signed over
    other values shows only as a signature that does not verify.
    """
    try:
        header = parse_single(raw)
        if header.compact:
            passport_type = lookup(header.ppt)
            if not passport_type.compact:
                return Refusal(
                    Check.SYNTAX, Reason.COMPACT_NOT_ALLOWED, Reason.COMPACT_NOT_ALLOWED.text
                )
            if request.time is None:
                return Refusal(Check.SYNTAX, Reason.DATE_MISSING, Reason.DATE_MISSING.text)
            passport = PASSporT(
                Header(header.info, header.ppt), request.orig, _destination(request), request.time
            )
            header = header.expanded(passport)
        else:
            passport = header.passport()
    except ParseError as error:
        return Refusal(Check.SYNTAX, error.reason, str(error))
    if passport.header.ppt not in policy.types:
        extension = passport.extension
        if isinstance(extension, Div):
            nested = extension.opt if isinstance(extension, DivO) else None
            diverting = policy.reading.claimed(extension.diverting)
            return Diverting(header, passport, request.orig, diverting=diverting, nested=nested)
        return Refusal(
            Check.SYNTAX,
            Reason.PPT_UNSUPPORTED,
            f"a PASSporT of type {passport.header.ppt or 'baseline'} does not decide a call here",
        )
    return Screened(header, passport, request.orig)


def screen(
    screened: Screened,
    request: VerificationRequest,
    now: int,
    policy: ScreenPolicy,
    *,
    led: bool = False,
    covered: bool = False,
) -> Refusal | None:
    """Steps 4 and 5 of the procedure, in the order of SCREEN_CHECKS; None when all hold.

    Date and iat are held against now as step 4 of RFC 8224 section 6.2 says.

    Args:
        led: dest is left to who links the tokens of a diverted call.
        covered: a div token that is fresh itself diverts the call: then iat may be older, and Date,
            which who diverts may have changed, says nothing of it (RFC 8946 section 3).
    """
    passport = screened.passport
    refused = check_x5u(passport.header.x5u, policy.x5u)
    if refused is not None:
        return Refusal(Check.X5U, refused.reason, refused.detail)
    window = policy.iat_window
    if covered:
        if passport.iat < now:
            window = max(window, policy.diverted_window)
    else:
        late = outdated(request, now, policy)
        # The iat of a compact form is its Date, so what is outdated there ends here.
        if late is not None and abs(now - passport.iat) > policy.date_window:
            return Refusal(Check.DATE, Reason.DATE_STALE, late)
    if abs(now - passport.iat) > window:
        return Refusal(
            Check.IAT,
            Reason.IAT_STALE,
            f"iat is {_apart(passport.iat, now)} now; {window} s are accepted",
        )
    orig, dest, reading = passport.orig, passport.dest, policy.reading
    if orig != request.orig and reading.claimed(orig) != request.orig:
        return Refusal(Check.ORIG, Reason.ORIG_MISMATCH, Reason.ORIG_MISMATCH.text)
    if led:
        return None
    for identity in request.to:
        if identity not in dest and not any(
            reading.claimed(one) == identity for one in dest.identities
        ):
            return Refusal(Check.DEST, Reason.DEST_MISMATCH, Reason.DEST_MISMATCH.text)
    return None


def outdated(request: VerificationRequest, now: int, policy: ScreenPolicy) -> str | None:
    """What is wrong with the request's Date, as a sentence; None when it is fresh or missing."""
    time = request.time
    if time is None or abs(now - time) <= policy.date_window:
        return None
    return f"Date is {_apart(time, now)} now; {policy.date_window} s are accepted"


def _apart(time: int, reference: int) -> str:
    return f"{abs(time - reference)} s {'before' if time < reference else 'after'}"


def _destination(request: VerificationRequest) -> Destination:
    return Destination(
        tuple(identity for identity in request.to if isinstance(identity, TN)),
        tuple(identity for identity in request.to if isinstance(identity, URI)),
    )
