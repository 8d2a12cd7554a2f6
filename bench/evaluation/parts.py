"""What other parts than the detector stop: the registry, orders, the verifier.

The service itself answers, built from a settings file as in production, with the simulated time for
a clock and without a network: each call is signed, and what was signed is verified. `drive` leaves
conduct off, so that only registry, orders and verifier speak; `whole` has everything on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from bench.evaluation import plan
from zhenxian.analytics.model import KeyKind
from zhenxian.api.calls.messages import (
    SIGNING,
    VERIFICATION,
    Answer,
    Headers,
    Incoming,
)
from zhenxian.certs.chain import Chain, parse_chain
from zhenxian.certs.repository import Failure
from zhenxian.core.errors import ConfigError
from zhenxian.passport.jws import SigningKey
from zhenxian.registry.journal import RegistryConflictError, put
from zhenxian.registry.model import Exemption, Record, Subject, TargetKind
from zhenxian.registry.orders import Action, Instruction, order_of, sign_instruction
from zhenxian.service.build import build
from zhenxian.service.service import Service
from zhenxian.service.settings import load_settings
from zhenxian.simulation import Call, Kind, Scenario, Traffic, Truth
from zhenxian.simulation import Key as TruthKey
from zhenxian.simulation.demo import NORTH, REGULATOR, World, prepare, register
from zhenxian.simulation.stream import Answer as Placed
from zhenxian.simulation.stream import Proxy, Tally, registrable
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.registry import REGISTRY_FILE

COUNTS = {
    Kind.SHOP: 6,
    Kind.UNVERIFIED: 1,
    Kind.RETURNED: 2,
    Kind.STRAW: 2,
    Kind.REPLAYED: 2,
    Kind.PASTED: 2,
}
WHOLE = {
    Kind.SUBSCRIBER: 50,
    Kind.SHOP: 4,
    Kind.OFFICE: 3,
    Kind.CALL_CENTRE: 1,
    Kind.COURIER: 1,
    Kind.MERCHANTS: 1,
    Kind.BRANCHES: 1,
    Kind.POOL: 1,
    Kind.REDIALLING_POOL: 1,
    Kind.SIM_BOX: 1,
    Kind.UNVERIFIED: 1,
    Kind.RETURNED: 1,
    Kind.BINDER: 1,
    Kind.REPLAYED: 1,
    Kind.PASTED: 1,
}
_JSON = b"application/json"
_EXEMPT_SECONDS = 300 * 86_400
_BANNED = (Kind.RETURNED, Kind.STRAW)


class Stopped(Struct):
    """What became of a kind's calls.

    Attributes:
        after: those after an order stopped the subject of the call before with another number.
        refused_after: refused ones of those.
        registrations: subjects that an ordered one tried to register under its identity document,
            and how many of them were refused.
    """

    calls: int = 0
    stopped: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    after: int = 0
    refused_after: int = 0
    registrations: int = 0
    registrations_refused: int = 0


class _OwnChain:
    """The service's own certificate, which needs not be fetched."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def cached(self, x5u: str, now: int) -> Chain | Failure | None:  # noqa: ARG002
        return self._chain

    def keep(self, x5u: str) -> None:
        pass


class Desk:
    """The service, asked in process at any time of day."""

    def __init__(self, folder: Path, traffic: Traffic, *, conduct: bool) -> None:
        start = traffic.scenario.start
        self.now = float(start)
        world = prepare(folder, "127.0.0.1:9", start)
        self._regulator = SigningKey.from_pem(world.regulator.read_bytes())
        self._orders = 0
        records = map(documented, registrable(traffic.records(), traffic.shared_accesses()))
        register(folder / "state", list(records), start)
        self._records = RegistryFile(folder / "state" / REGISTRY_FILE, writer=True)
        self._service = _service(world, lambda: self.now, conduct=conduct)
        current = self._service.keys.current if self._service.keys is not None else None
        if current is None:
            raise RuntimeError("the demonstration's service has no key")
        self._service.verifier.certificates = _OwnChain(parse_chain(current.chain_pem))
        self.proxy = Proxy(
            lambda body: self._ask(SIGNING, body),
            lambda body: self._ask(VERIFICATION, body),
            self.write,
            lambda: self.now,
        )

    def _ask(self, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        encoded = json.dumps(body).encode()
        headers = Headers(content_type=_JSON, content_length=str(len(encoded)).encode())
        incoming = Incoming(path, b"POST", headers, encoded)
        (answer,) = self._service.calls.answer_all((incoming,))
        if not isinstance(answer, Answer):
            raise TypeError("a call waits for something, though nothing is to be fetched")
        return answer.status, json.loads(answer.body)

    def place(self, call: Call) -> Placed | None:
        """One call at its own time."""
        self.now = float(call.at)
        return self.proxy.place(call)

    def write(self, record: Record) -> bool:
        """Put a record; False when the registry refuses it."""
        try:
            self._records.write([put(record)], author="bench", reason="bench", now=int(self.now))
        except (RegistryConflictError, ConfigError):
            return False
        return True

    def order(self, subject: str) -> None:
        """The regulator stops a subject."""
        self._orders += 1
        now = int(self.now)
        instruction = Instruction(
            action=Action.STOP,
            order=f"bench-{self._orders}",
            issuer=REGULATOR,
            number=self._orders,
            reference="complaints",
            kind=TargetKind.SUBJECT,
            target=subject,
            since=now,
            iat=now,
        )
        token = sign_instruction(instruction, self._regulator, REGULATOR)
        if not self.write(order_of(instruction, token)):
            raise RuntimeError(f"the order against {subject} was refused")

    def exempt(self, kind: KeyKind, target: str) -> None:
        """A registrar exempts somebody from findings of conduct."""
        now = int(self.now)
        exemption = Exemption(
            id=f"bench-{kind.value}-{target}",
            kind=kind,
            target=target,
            reason="branches",
            since=now,
            until=now + _EXEMPT_SECONDS,
        )
        if not self.write(exemption):
            raise RuntimeError(f"the exemption of {target} was refused")

    def close(self) -> None:
        self._records.close()
        self._service.registry.close()


def _service(world: World, clock: Callable[[], float], *, conduct: bool) -> Service:
    settings = load_settings(world.config)
    changed: dict[str, Any] = {"log": settings.log.model_copy(update={"level": "error"})}
    # How displays spread refuses by itself here; bench.evaluation.stages asks for evidence.
    thresholds = world.config.parent / "structure.toml"
    thresholds.write_text("structure_alone = true\n")
    how: dict[str, Any] = {"thresholds": thresholds}
    if not conduct:
        how |= {"signing": "off", "verifying": "off", "carriers": "off"}
    changed["displays"] = settings.displays.model_copy(update=how)
    return build(settings.model_copy(update=changed), clock=clock)


def documented(record: Record) -> Record:
    """A subject with an identity document of its own."""
    if not isinstance(record, Subject):
        return record
    return replace(record, document_kind="licence", document=f"{record.id:0>64}".replace("-", "0"))


def drive(seed: int, folder: Path) -> dict[Kind, Stopped]:
    """Place a day's calls; after complaints about a number, the regulator stops its subject."""
    # Drawn twice: complaints are true, so that who gives orders needs to know kinds beforehand.
    scenario = Scenario.of(COUNTS, seed=seed)
    calls, truth = plan.drawn(scenario)
    desk = Desk(folder, Traffic(scenario), conduct=False)
    try:
        return _drive(desk, calls, truth)
    finally:
        desk.close()


def _drive(desk: Desk, calls: list[Call], truth: list[Truth]) -> dict[Kind, Stopped]:
    rows = {(row.key, row.id): row for row in truth}
    found: dict[Kind, Stopped] = {}
    before: dict[str, tuple[str, str]] = {}  # operator: subject and number of the call before
    ordered: set[str] = set()
    for call in calls:
        subject = call.subject or ""
        row = rows[TruthKey.CALL, call.id] if call.token else rows[TruthKey.SUBJECT, subject]
        tally = found.setdefault(row.kind, Stopped())
        if row.kind in _BANNED:
            # The number before was stopped because of complaints; they name its subject.
            last, number = before.get(row.operator, (subject, call.display))
            if number != call.display and last not in ordered:
                desk.now = float(call.at)
                desk.order(last)
                ordered.add(last)
                tally.registrations += 1
                again = replace(documented(Subject(id=last)), id=f"{last}-again")
                tally.registrations_refused += not desk.write(again)
            before[row.operator] = (subject, call.display)
        answer = desk.place(call)
        if answer is None:
            continue
        stopped = answer.outcome in ("refused", "failed")
        tally.calls += 1
        tally.stopped += stopped
        if stopped:
            tally.reasons[answer.decisive] += 1
        if row.kind in _BANNED and ordered & _subjects(row, rows):
            tally.after += 1
            tally.refused_after += stopped
    return found


def whole(seed: int, folder: Path, *, exempted: bool) -> dict[Kind, Counter[tuple[str, str]]]:
    """A day's calls through the service with its defaults: (outcome, reason) by kind.

    Args:
        exempted: the registrar knows chains of branches, and exempts subject and signer.
    """
    scenario = Scenario.of(WHOLE, seed=seed)
    calls, truth = plan.drawn(scenario)
    desk = Desk(folder, Traffic(scenario), conduct=True)
    try:
        chains = {row.id for row in truth if row.kind is Kind.BRANCHES}
        for subject, origid in {(c.subject, c.origid) for c in calls if c.subject in chains}:
            if exempted and subject is not None:
                desk.exempt(KeyKind.SUBJECT, subject)
                desk.exempt(KeyKind.SIGNER, f"{NORTH}/{origid}")
        tally = Tally()
        for call in calls:
            tally.add(call, desk.place(call))
        return tally.by_kind(truth)
    finally:
        desk.close()


def _subjects(row: Truth, rows: Mapping[tuple[TruthKey, str], Truth]) -> set[str]:
    """Everybody who is the same operator."""
    return {
        name
        for (key, name), other in rows.items()
        if key is TruthKey.SUBJECT and other.operator == row.operator
    }
