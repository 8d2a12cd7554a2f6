"""What certificates are judged by, and the chains that were: validated once, then remembered."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from msgspec import Struct

from zhenxian.certs.chain import Chain, TrustedSigner, Untrusted, unread, validate
from zhenxian.certs.profile import ProfilePolicy
from zhenxian.certs.repository import MAX_CHAINS
from zhenxian.certs.revocation import RevocationView
from zhenxian.certs.trustlist import TrustList

UNTRUSTED_FOR: Final = 10  # seconds a refused chain is not validated again


class Trust(Struct, frozen=True):
    """What certificates are judged by; replaced as a whole when any part changes."""

    roots: TrustList
    revocation: RevocationView
    profile: ProfilePolicy


class _Remembered(Struct, frozen=True):
    """What validating a chain gave under some trust; good from `since` to before `until`."""

    trust: Trust
    since: int
    until: int
    result: TrustedSigner | Untrusted


class Signers:
    """Signers by their chains, as validated; those longest not asked for are forgotten first."""

    def __init__(self, bound: int = MAX_CHAINS) -> None:
        """Start with none; `bound` are remembered."""
        self._bound = bound
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()

    def signer(self, chain: Chain, now: int, trust: Trust) -> TrustedSigner | Untrusted:
        """Validate a chain, or remember doing so.

        A result is used again only with the same trust list and revocation lists, and only
        while nothing on the path and no list it rests on has expired.
        """
        remembered = self._remembered.get(chain.digest)
        if (
            remembered is not None
            and remembered.trust is trust
            and remembered.since <= now < remembered.until
        ):
            self._remembered.move_to_end(chain.digest)  # strangers' chains push out idle ones first
            return remembered.result
        result = validate(
            unread(chain),
            now=now,
            trust=trust.roots,
            revocation=trust.revocation,
            profile=trust.profile,
        )
        # A refusal counts from now on only: a clock that was ahead and is set back ends it.
        since, until = (
            (now, now + UNTRUSTED_FOR)
            if isinstance(result, Untrusted)
            else (result.valid_from, result.valid_until)
        )
        self._remembered[chain.digest] = _Remembered(trust, since, until, result)
        self._remembered.move_to_end(chain.digest)
        if len(self._remembered) > self._bound:
            self._remembered.popitem(last=False)
        return result
