"""What both services are given: a development PKI, its chain on loopback, numbers, tokens."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from bench.machine import LOOPBACK
from passport.claims import Destination, Header, PASSporT
from passport.identity import IdentityHeader
from passport.jws import SigningKey, Token, VerifyingKey, b64url_encode
from passport.ppt.shaken import Attestation, Shaken
from passport.tn import TN

HOLDINGS: Final = 10_000  # numbers held one by one, so that the registry has something to search
TOKEN_SECONDS: Final = 300  # how long secsipidx accepts a token; ours keeps its default of 60
_FIRST_ORIG: Final = 8613910000000
_FIRST_DEST: Final = 8613800000000
_SPOOFED: Final = "8613810000001"  # held by another subject


class Call(NamedTuple):
    """Who calls whom, canonical numbers."""

    orig: str
    dest: str


class World(Struct, frozen=True, dict=True):
    """Paths and names, as text so that another process can be told."""

    file: str
    key: str
    chain: str
    root: str
    intermediate: str
    crls: str
    crl_issuers: str
    holdings: str
    accesses: str
    x5u: str
    origid: str

    @cached_property
    def signing_key(self) -> SigningKey:
        """The key both services sign with."""
        return SigningKey.from_pem(Path(self.key).read_bytes())

    @cached_property
    def verifying_key(self) -> VerifyingKey:
        """Its public half."""
        return self.signing_key.verifying_key

    @cached_property
    def _numbers(self) -> Iterator[int]:
        return itertools.count()

    def calls(self) -> Iterator[Call]:
        """Calls from held numbers in turn, each to a number of its own."""
        for number in self._numbers:
            yield Call(
                str(_FIRST_ORIG + number * 7919 % HOLDINGS),
                str(_FIRST_DEST + number % 10_000_000),
            )

    def spoofed(self) -> Call:
        """A call that shows a number of another subject."""
        return Call(_SPOOFED, str(_FIRST_DEST))

    def tokens(self, count: int, iat: int) -> Iterator[tuple[Call, str]]:
        """That many calls with Identity headers of attestation A, signed here and now."""
        header = Header(self.x5u, "shaken")
        segment = b64url_encode(header.dumps())
        key = self.signing_key
        extension = Shaken(Attestation.A, self.origid)
        for call in itertools.islice(self.calls(), count):
            destination = Destination((TN(call.dest),))
            passport = PASSporT(header, TN(call.orig), destination, iat, extension)
            payload = b64url_encode(passport.payload())
            signature = b64url_encode(key.sign(segment + b"." + payload))
            token = Token(segment, payload, signature)
            yield call, IdentityHeader(token, self.x5u, "ES256", "shaken").dumps()


def load_world(file: Path) -> World:
    """The world another process made. Its service must still run there."""
    return msgspec.json.decode(file.read_bytes(), type=World)
