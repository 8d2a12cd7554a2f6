"""A call on its way through the procedure: what is open, and what must be fetched first."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from zhenxian.certs.chain import Chain, TrustedSigner
from zhenxian.certs.repository import Failure
from zhenxian.verifier.diversion import Diversions
from zhenxian.verifier.facts import Facts
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.screen import Screened
from zhenxian.verifier.token import VerifiedPASSporT, check_token
from zhenxian.verifier.verdict import Refusal, Result

NOTHING_FETCHED: Final[Mapping[str, Chain | Failure]] = MappingProxyType({})


class NeedCertificates(Struct, frozen=True):
    """Certificates or revocation lists that the procedure needs. Fetch them, then ask again.

    Attributes:
        urls: of chains.
        chains: when urls is empty, those whose revocation lists are to be fetched. They lead to a
            trusted root, and their key has signed a token of this call: nothing less makes this
            service ask strangers' addresses.
    """

    urls: tuple[str, ...]
    chains: tuple[Chain, ...] = ()


class Candidate(Struct):
    """A header that came as far as a trusted chain.

    Attributes:
        token: what step 9 made of it.
        key: replay_key of a genuine token.
        facts: of a genuine token, as if it were new.
        helps: a genuine token is of a call for help: nobody's conduct is told by it.
    """

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    screened: Screened
    signer: TrustedSigner
    value: str
    token: VerifiedPASSporT | Refusal | None = None
    key: bytes = b""
    facts: Facts | None = None
    helps: bool = False


class Opened(Struct):
    """A call whose cheap checks are done. `check` is the expensive part, and needs nothing else.

    The parts are apart so that a service can do one for many calls, then the next.
    """

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    request: VerificationRequest
    now: int
    entries: list[Result | Candidate]
    to_emergency: bool = False  # everyone called is an emergency number or service
    fetched: Mapping[str, Chain | Failure] = NOTHING_FETCHED
    diversions: Diversions | None = None  # of a call with several tokens, or a div

    def check(self) -> None:
        """Steps 8 and 9: what the certificate may speak for, and the signature."""
        for entry in self.entries:
            if isinstance(entry, Candidate):
                entry.token = check_token(entry.screened, entry.signer)
