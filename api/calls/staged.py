"""Calls between what must be known first and what costs most: the signature."""

from __future__ import annotations

from msgspec import Struct

from zhenxian.api.calls.requests import Echo
from zhenxian.certs.keys import Credential
from zhenxian.signer.decide import Decision
from zhenxian.signer.request import SigningRequest
from zhenxian.signer.sign import SignedHeader, sign
from zhenxian.verifier.replay import Question
from zhenxian.verifier.verify import Opened


class Signing(Struct):
    """A signing request that was decided; `signed` is what it waits for."""

    request: SigningRequest
    echo: Echo
    decision: Decision
    credential: Credential
    request_id: bytes
    started: float
    signed: SignedHeader | None = None

    def compute(self) -> None:
        """Sign."""
        self.signed = sign(self.request, self.decision, self.credential)


class Verifying(Struct):
    """A verification request whose cheap checks are done."""

    opened: Opened
    echo: Echo
    request_id: bytes
    started: float
    question: Question | None = None

    def compute(self) -> None:
        """Check the signatures."""
        self.opened.check()
