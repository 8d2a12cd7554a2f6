"""Calls of a scenario as a proxy makes them: signed, verified, counted.

The service is asked through functions that are passed in, and so are clock and sleep. It gets what
a proxy knows of a call; the truth is joined to its answers here, afterwards.

A token is fresh for a minute, so that `iat` is the time by the clock on the wall. The calls of a
day are therefore made within minutes, and whatever counts calls an hour sees them come many times
as fast as they are meant.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final
from uuid import UUID, uuid5

from msgspec import Struct
from msgspec.structs import replace

from zhenxian.core.errors import ConfigError
from zhenxian.registry.model import Access, Binding, BindingModel, Holding, Record
from zhenxian.simulation.model import Call, Key, Kind, Truth

Ask = Callable[[Mapping[str, Any]], tuple[int, dict[str, Any]]]

BINDING_SECONDS: Final = 3  # a binding of a privacy number is in force so long, then it ends
_KEPT: Final = 4_096  # tokens that may be stolen later; a thief has 50 seconds of simulated time
_NAMES: Final = UUID("6f1c1b1e-6d0c-4b8e-9a44-2f9a3c9d7b10")  # a name space of our own (RFC 9562)


class Answer(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What became of one call.

    Attributes:
        call: its id. sent: seconds since the epoch.
        signing: reason of the decision, or of the refusal; empty where nothing was signed because
            the call carries another's token.
        attest: empty for a refusal. verstat, reason, labels: of the verdict; empty when none was
            asked for.
    """

    call: str
    sent: int
    signing: str = ""
    attest: str = ""
    verstat: str = ""
    reason: str = ""
    labels: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """One column of the table by kind."""
        if self.signing and not self.attest:
            return "refused"
        if not self.verstat:
            return "signed"
        if self.labels:
            return "labelled"
        return "passed" if self.verstat == "TN-Validation-Passed" else "failed"

    @property
    def decisive(self) -> str:
        """The reason that had the last word."""
        return self.reason or self.signing


class Proxy:
    """Places calls at a service: signing at one, then verification at the same or another."""

    def __init__(
        self,
        sign: Ask,
        verify: Ask | None,
        lend: Callable[[Binding], bool],
        clock: Callable[[], float],
    ) -> None:
        """Take the ways to ask.

        Args:
            verify: None to sign only.
            lend: writes the binding of a privacy number; False when it was refused.
            clock: seconds since the epoch.
        """
        self._sign = sign
        self._verify = verify
        self._lend = lend
        self._clock = clock
        self._tokens: OrderedDict[str, str] = OrderedDict()

    def place(self, call: Call) -> Answer | None:
        """Place one call; None for one whose stolen token was never signed.

        Raises:
            ConfigError: the service could not read the request.
        """
        if call.token is not None:
            token = self._tokens.get(call.token)
            if token is None:
                return None
            now = int(self._clock())
            return self._verified(Answer(call=call.id, sent=now), call, token, now)
        now = int(self._clock())
        if call.bound:
            self._lend(binding(call, now))
        status, told = self._sign(signing_request(call, now))
        if status in (403, 429):
            return Answer(call=call.id, sent=now, signing=_refusal(told))
        response = told.get("signingResponse")
        if status != 200 or not isinstance(response, dict) or "identity" not in response:
            raise ConfigError(f"signing was answered {status}: {told}")
        answer = Answer(
            call=call.id,
            sent=now,
            signing=str(response.get("decision", "SIGNED")),
            attest=str(response.get("attest", "?")),
        )
        token = str(response["identity"])
        self._tokens[call.id] = token
        if len(self._tokens) > _KEPT:
            self._tokens.popitem(last=False)
        return self._verified(answer, call, token, now)

    def _verified(self, answer: Answer, call: Call, token: str, now: int) -> Answer:
        if self._verify is None:
            return answer
        status, told = self._verify(verification_request(call, token, now))
        verdict = told.get("verificationResponse")
        if status != 200 or not isinstance(verdict, dict) or "verstat" not in verdict:
            raise ConfigError(f"verification was answered {status}: {told}")
        return replace(
            answer,
            verstat=str(verdict["verstat"]),
            reason=str(verdict.get("reason", "")),
            labels=tuple(verdict.get("labels", ())),
        )


def signing_request(call: Call, now: int) -> dict[str, Any]:
    """The body for POST /stir/v1/signing. A call without access is gateway traffic."""
    members: dict[str, Any] = {
        "attest": "A",
        "orig": {"tn": call.display},
        "dest": {"tn": [call.callee]},
        "iat": now,
        "origid": call.origid,
    }
    if call.access is not None:
        members["access"] = call.access
    if call.caller is not None:
        members["caller"] = {"tn": call.caller}
    return {"signingRequest": members}


def verification_request(call: Call, token: str, now: int) -> dict[str, Any]:
    """The body for POST /stir/v1/verification."""
    return {
        "verificationRequest": {
            "from": {"tn": call.display},
            "to": {"tn": [call.callee]},
            "time": now,
            "identity": token,
            "callId": call.id,
        }
    }


def binding(call: Call, now: int) -> Binding:
    """What a platform writes before it connects a rider to a customer.

    It ends after seconds, since no pair of A and X, or B and X, may be bound twice at a time.
    """
    if call.subject is None or call.caller is None:
        raise ValueError(f"call {call.id}: a bound call has subject and caller")
    return Binding(
        id=f"sim-{call.id}",
        platform=call.subject,
        model=BindingModel.AXB,
        x=call.display,
        a=call.caller,
        since=now,
        b=call.callee,
        until=now + BINDING_SECONDS,
    )


def _refusal(told: Mapping[str, Any]) -> str:
    error = told.get("requestError")
    if isinstance(error, dict):
        for kind in error.values():
            if isinstance(kind, dict) and kind.get("variables"):
                return str(kind["variables"][0])
    return "REFUSED"


def paced(
    calls: Iterable[Call],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    *,
    rate: float = 0.0,
    speed: float = 0.0,
) -> Iterator[Call]:
    """Yield each call when it is due; one that is late comes at once.

    Args:
        rate: calls a second, evenly; or speed: simulated seconds in one of the clock's, which
            keeps rushes and nights. 0 for neither: as fast as they are taken.
        clock: seconds from anywhere, never back.
    """
    began = clock()
    first: int | None = None
    for index, call in enumerate(calls):
        first = call.at if first is None else first
        due = began + (index / rate if rate else (call.at - first) / speed if speed else 0.0)
        wait = due - clock()
        if wait > 0:
            sleep(wait)
        yield call


def registrable(records: Iterable[Record], accesses: Mapping[str, str]) -> Iterator[Record]:
    """What the registry is to know before the first call.

    Args:
        records: of the traffic, in the order in which they can be written.
        accesses: subject by access, of those that share a switch's origid: each gets an origid of
            its own here, since a registry knows each at one access only.

    Yields:
        The same, but holdings name no SPC: one service signs for all carriers of the scenario.
    """
    for record in records:
        yield replace(record, spcs=()) if isinstance(record, Holding) else record
    for access, subject in accesses.items():
        yield Access(id=access, origid=str(uuid5(_NAMES, access)), subject=subject)


class Tally:
    """Counts answers by who called; kinds come in when the truth is known."""

    def __init__(self) -> None:
        """Count nothing yet."""
        self.reasons: Counter[tuple[str, str]] = Counter()  # (outcome, reason)
        self._by: Counter[tuple[tuple[Key, str], str, str]] = Counter()
        self.lost = 0  # calls whose stolen token was never signed

    def add(self, call: Call, answer: Answer | None) -> None:
        """Count one call."""
        if answer is None:
            self.lost += 1
            return
        self.reasons[answer.outcome, answer.decisive] += 1
        if call.token is not None:
            who = (Key.CALL, call.id)
        elif call.subject is not None:
            who = (Key.SUBJECT, call.subject)
        else:
            who = (Key.SIGNER, f"{call.spc}/{call.origid}")
        self._by[who, answer.outcome, answer.decisive] += 1

    def by_kind(self, truth: Iterable[Truth]) -> dict[Kind, Counter[tuple[str, str]]]:
        """(outcome, reason) by what the callers truly are."""
        kinds = {(row.key, row.id): row.kind for row in truth}
        found: dict[Kind, Counter[tuple[str, str]]] = {}
        for (who, outcome, reason), count in self._by.items():
            found.setdefault(kinds[who], Counter())[outcome, reason] += count
        return {kind: found[kind] for kind in Kind if kind in found}
