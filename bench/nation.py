"""A registry as large as a nation's: random numbers, thousands of accesses, a thousand signers."""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from bench.holdings import SUBJECTS, held, rows
from bench.machine import BenchError, Service, post
from bench.services import verification_body
from bench.world import Call, World, identity, served
from zhenxian.api.calls.messages import VERIFICATION
from zhenxian.certs.ca import create_development_pki
from zhenxian.passport.jws import SigningKey
from zhenxian.registry.imports import Mode
from zhenxian.registry.journal import put
from zhenxian.registry.model import Access, Kind, Subject
from zhenxian.service.sorted import LOOK_EVERY
from zhenxian.stores.bulk.importer import Import
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.registry import REGISTRY_FILE

HOLDINGS: Final = 1_000_000
SIGNERS: Final = 1_000
_OURS: Final = 1001  # code of the carrier that signs; those of other carriers follow
_FIRST_DEST: Final = 8613800000000
_FIRST_FOREIGN: Final = 8615000000000  # numbers of other carriers, which nobody holds here
_SPAN: Final = 10_000_000
_TOGETHER: Final = 1_000  # subjects of one commit
_SETTLING: Final = 60  # seconds for the holdings to be sorted


class Signer(Struct, frozen=True):
    """A carrier that signs: its file of a key, and where its chain is."""

    key: str
    x5u: str
    origid: str


class Nation(World, frozen=True, dict=True, kw_only=True):
    """A world of many: every subject has an access, and numbers and ranges all over the plan."""

    holdings: int
    signers: tuple[Signer, ...]

    @cached_property
    def _choose(self) -> random.Random:
        return random.Random(1)

    @cached_property
    def _keys(self) -> list[SigningKey]:
        return [SigningKey.from_pem(Path(signer.key).read_bytes()) for signer in self.signers]

    def calls(self) -> Iterator[Call]:
        """Calls that show random numbers of the nation, by the accesses of their holders."""
        choose = self._choose
        while True:
            number, subject = held(self.holdings, choose)
            yield Call(str(number), str(_FIRST_DEST + choose.randrange(_SPAN)), _origid(subject))

    def tokens(self, count: int, iat: int) -> Iterator[tuple[Call, str]]:
        """Calls of random numbers of other carriers, each signed by a random one of them."""
        for _ in range(count):
            yield self._token(self._choose.randrange(len(self.signers)), iat)

    def introductions(self, iat: int) -> Iterator[tuple[Call, str]]:
        """One call of each signer."""
        for place in range(len(self.signers)):
            yield self._token(place, iat)

    def _token(self, place: int, iat: int) -> tuple[Call, str]:
        choose, signer = self._choose, self.signers[place]
        orig, dest = _FIRST_FOREIGN + choose.randrange(_SPAN), _FIRST_DEST + choose.randrange(_SPAN)
        call = Call(str(orig), str(dest), signer.origid)
        return call, identity(call, signer.x5u, self._keys[place], iat)


def _origid(subject: int) -> str:
    return str(uuid.UUID(int=(4 << 76) + (8 << 60) + subject))


@contextlib.contextmanager
def make_nation(folder: Path, holdings: int = HOLDINGS, signers: int = SIGNERS) -> Iterator[Nation]:
    """As bench.world.make_world. Raises BenchError."""
    folder.mkdir(mode=0o700)
    codes = [str(_OURS + number) for number in range(signers)]
    names = {code: f"Carrier {code}" for code in codes}
    pki = create_development_pki(folder / "pki", names, now=int(time.time()))
    registry = folder / "registry"
    registry.mkdir(mode=0o700)
    _register(registry / REGISTRY_FILE, holdings)
    carriers = [pki.carriers[code] for code in codes]
    chains = {f"/{code}.pem": pki.carriers[code].chain.read_bytes() for code in codes}
    with served(chains) as base:
        nation = Nation(
            file=str(folder / "world.json"),
            key=str(carriers[0].key),
            chain=str(carriers[0].chain),
            root=str(pki.root),
            intermediate=str(pki.intermediate),
            crls=str(pki.crl_folder),
            crl_issuers=str(pki.crl_issuers),
            registry=str(registry),
            x5u=f"{base}/{_OURS}.pem",
            origid=_origid(0),
            holdings=holdings,
            signers=tuple(
                Signer(str(carrier.key), f"{base}/{code}.pem", str(uuid.uuid4()))
                for code, carrier in zip(codes, carriers, strict=True)
            ),
        )
        Path(nation.file).write_bytes(msgspec.json.encode(nation))
        yield nation


def _register(file: Path, holdings: int) -> None:
    registry = RegistryFile(file, writer=True)
    try:
        for begin in range(0, SUBJECTS, _TOGETHER):
            part = range(begin, min(begin + _TOGETHER, SUBJECTS))
            people = [Subject(id=f"s{index}") for index in part]
            ways = [Access(id=f"a{i}", origid=_origid(i), subject=f"s{i}") for i in part]
            changes = [put(record) for record in (*people, *ways)]
            registry.write(changes, author="bench", reason="bench", now=int(time.time()))
        work = Import(registry, Kind.HOLDING, author="b", reason="b", now=1, mode=Mode.BEST_EFFORT)
        with rows(0, holdings) as lines:
            if work.run(lines).changed != holdings:
                raise BenchError(f"rows refused: {work.report.rejected[:3]}")
    finally:
        registry.close()


def settled(service: Service, nation: Nation, folder: Path) -> None:
    """Wait until the columns of its registry, below the folder, are in use, and signers known.

    Raises:
        BenchError: the columns are not made, or a signer is not believed.
    """
    until = time.monotonic() + _SETTLING
    while not any(folder.glob("ours-*/data/*.sorted")):
        if time.monotonic() > until:
            raise BenchError("the holdings were not sorted")
        time.sleep(0.5)
    time.sleep(2 * LOOK_EVERY)
    now = int(time.time())
    for call, token in nation.introductions(now):
        body = verification_body(call, token, now)
        _, answer = post(service.port, VERIFICATION, body, "application/json")
        if b'"TN-Validation-Passed"' not in answer:
            raise BenchError(f"a signer is not believed: {answer!r}")
