"""What was found is held against what is true.

The unit of recall is the operator: whoever is behind one or more accesses, signers or carriers.
It is found when the first of its keys is, its agents' included. False positives are counted in
several units (`Unit`), of which the subject is the one that the goal is about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import Enum
from math import inf

from msgspec import Struct

from bench.evaluation.drive import ORIGINATING, Side
from zhenxian.analytics import Key, KeyKind, Measure
from zhenxian.simulation import Call, Kind, Truth
from zhenxian.simulation import Key as TruthKey

USES = (5, 13, 27)  # calls a number; 13 is the average of published campaigns, 27 most stay below
LEAST_CALLS = 5  # of an agent that counts: customers who called back once are no agents


class Unit(str, Enum):
    """In what the honest are counted.

    SUBJECT: whoever made a call. On the originating side it is hit when it is found; on the
    terminating side when a call of its own began while its signer, SPC or agent was pooled by
    something that fails calls, whoever else signs there. The same subjects count on both sides.
    AGENT: who calls behind a privacy number, where bindings are known.
    SIGNER: signers and SPCs, on the terminating side, found by something that fails calls. One may
    be a switch of hundreds of subjects.
    LABELLED: SPCs there that are found by what only labels.
    """

    SUBJECT = "subjects"
    AGENT = "agents"
    SIGNER = "signers"
    LABELLED = "SPCs, labelled only"


class Outcome(Struct):
    """What became of one dishonest operator on one side.

    Attributes:
        calls: it made. until: which of them had it found; inf for none. seconds: from its first
            call to that. under: calls it made while found; failed: of them, those that a service
            refuses or fails with its defaults.
        keys, keys_found: accesses, signers or carriers.
        uses: for each of USES, whether it was found by when its numbers had been used so often
            on average; None when they never were and it was not found.
    """

    kind: Kind
    calls: int = 0
    until: float = inf
    seconds: float = inf
    under: int = 0
    failed: int = 0
    keys: int = 0
    keys_found: int = 0
    measure: Measure | None = None
    uses: dict[int, bool | None] = {}


class Honest(Struct):
    """What became of the honest on one side, by kind.

    Attributes:
        keys, found: of the unit. calls, under: calls, and those of them that were refused, failed
            or, in the unit LABELLED, labelled. measures: by which it was found, how often.
    """

    keys: int = 0
    found: int = 0
    calls: int = 0
    under: int = 0
    measures: dict[str, int] = {}

    def hit(self, measure: Measure) -> None:
        """One more was found."""
        self.found += 1
        self.measures[measure.value] = self.measures.get(measure.value, 0) + 1


Counts = dict[Unit, dict[Kind, Honest]]


class Scored(Struct):
    """One run, one side."""

    outcomes: list[Outcome]
    honest: Counts
    scores: list[tuple[Kind, float]]


_KINDS = {
    TruthKey.ACCESS: KeyKind.ACCESS,
    TruthKey.SUBJECT: KeyKind.SUBJECT,
    TruthKey.SIGNER: KeyKind.SIGNER,
    TruthKey.SPC: KeyKind.SPC,
    TruthKey.AGENT: KeyKind.AGENT,
}
# Carriers of their own, with an origid for each call or number: judged by their SPC.
_CARRIERS = (Kind.MINTER, Kind.ORIGID_POOL, Kind.NUMBERING)


def score(calls: Sequence[Call], truth: Sequence[Truth], name: str, side: Side) -> Scored:
    """Score one side of a run.

    Calls with somebody else's token count for nobody here: the verifier's figures are elsewhere.
    """
    rows: dict[TruthKey, dict[str, Truth]] = {key: {} for key in TruthKey}
    for row in truth:
        rows[row.key][row.id] = row
    outcomes: dict[str, Outcome] = {}
    scores: list[tuple[Kind, float]] = []
    agents = _strongest_agents(rows[TruthKey.AGENT].values(), side)
    for row in truth:
        if not _judged(row, name):
            continue
        key = _key(row)
        strength = max(side.strongest.get(key, 0.0), agents.get(row.operator, 0.0))
        scores.append((row.kind, strength))
        if not row.honest:
            outcome = outcomes.setdefault(row.operator, Outcome(row.kind))
            outcome.keys += 1
            outcome.keys_found += key in side.first
    firsts = _first_of_operators(truth, side)
    _replay_calls(calls, name, side, rows, outcomes, firsts)
    return Scored(list(outcomes.values()), _honest(calls, name, side, rows), scores)


def _key(row: Truth) -> Key:
    return Key(_KINDS[row.key], row.id)


def _judged(row: Truth, name: str) -> bool:
    """One row for each that is judged on this side: an access is its subject's only one here.

    An agent counts beside, as a part of its platform.
    """
    if name == ORIGINATING:
        return row.key is TruthKey.SUBJECT
    if row.key is TruthKey.SPC:
        return True
    return row.key is TruthKey.SIGNER and row.kind not in _CARRIERS


def _strongest_agents(agents: Iterable[Truth], side: Side) -> dict[str, float]:
    """By operator: what shows of its agents shows of it."""
    found: dict[str, float] = {}
    for row in agents if side.strongest else ():
        strength = side.strongest.get(_key(row), 0.0)
        found[row.operator] = max(found.get(row.operator, 0.0), strength)
    return found


def _first_of_operators(truth: Sequence[Truth], side: Side) -> dict[str, tuple[int, Measure]]:
    firsts: dict[str, tuple[int, Measure]] = {}
    for row in truth:
        if row.honest or row.key not in _KINDS:
            continue
        first = side.first.get(_key(row))
        if first is None:
            continue
        known = firsts.get(row.operator)
        if known is None or first.index < known[0]:
            firsts[row.operator] = (first.index, first.measure)
    return firsts


def _replay_calls(
    calls: Sequence[Call],
    name: str,
    side: Side,
    rows: dict[TruthKey, dict[str, Truth]],
    outcomes: dict[str, Outcome],
    firsts: dict[str, tuple[int, Measure]],
) -> None:
    """Find out which call of an operator was the one that had it found."""
    began: dict[str, int] = {}
    shown: dict[str, set[str]] = defaultdict(set)
    places: dict[str, list[int]] = defaultdict(list)
    for index, call in enumerate(calls):
        if call.token is not None:
            continue
        row = _row(call, name, rows)
        outcome = outcomes.get(row.operator) if row is not None else None
        if row is None or outcome is None:
            continue
        outcome.calls += 1
        outcome.under += side.under[index]
        outcome.failed += index in side.failed
        began.setdefault(row.operator, call.at)
        shown[row.operator].add(call.display)
        places[row.operator].append(index)
        first = firsts.get(row.operator)
        if first is not None and first[0] == index:
            outcome.until, outcome.measure = outcome.calls, first[1]
            outcome.seconds = call.at - began[row.operator]
    for operator, outcome in outcomes.items():
        first, numbers, mine = firsts.get(operator), len(shown[operator]), places[operator]
        for uses in USES:
            if uses * numbers <= len(mine):
                by = mine[uses * numbers - 1] if numbers else 0
                outcome.uses[uses] = first is not None and first[0] <= by
            else:
                outcome.uses[uses] = None if first is None else True


def _row(call: Call, name: str, rows: dict[TruthKey, dict[str, Truth]]) -> Truth | None:
    if name == ORIGINATING:
        return rows[TruthKey.SUBJECT].get(call.subject or "")
    return rows[TruthKey.SIGNER].get(f"{call.spc}/{call.origid}")


def _honest(
    calls: Sequence[Call], name: str, side: Side, rows: dict[TruthKey, dict[str, Truth]]
) -> Counts:
    """Count those who did nothing, in each unit that means something on this side."""
    counts: Counts = {unit: defaultdict(Honest) for unit in Unit}
    hit: dict[str, Measure] = {}
    for index, call in enumerate(calls):
        if call.token is not None:
            continue
        failed = side.failed.get(index)
        if failed is not None and call.subject is not None:
            hit.setdefault(call.subject, failed)
        for unit, row in _parties(call, name, rows):
            kept = counts[unit][row.kind]
            kept.calls += 1
            if unit is Unit.LABELLED:
                kept.under += failed is None and side.under[index]
            else:
                kept.under += failed is not None
    for of in rows.values():
        for row in of.values():
            for unit in _units(row, name) if row.honest else ():
                kept = counts[unit][row.kind]
                kept.keys += 1
                measure = _found(row, unit, name, side, hit)
                if measure is not None:
                    kept.hit(measure)
    return {unit: dict(kinds) for unit, kinds in counts.items()}


def _units(row: Truth, name: str) -> tuple[Unit, ...]:
    """What the subject of a row counts as."""
    if row.key is TruthKey.SUBJECT:
        return (Unit.SUBJECT,)
    if row.key is TruthKey.AGENT:
        return (Unit.AGENT,) if row.calls >= LEAST_CALLS else ()
    if name == ORIGINATING or not _judged(row, name):
        return ()
    return (Unit.SIGNER, Unit.LABELLED) if row.key is TruthKey.SPC else (Unit.SIGNER,)


def _parties(
    call: Call, name: str, rows: dict[TruthKey, dict[str, Truth]]
) -> list[tuple[Unit, Truth]]:
    """The honest whom a call counts for."""
    found = [(Unit.SUBJECT, rows[TruthKey.SUBJECT].get(call.subject or ""))]
    if call.bound:
        agent = rows[TruthKey.AGENT].get(f"{call.subject}/{call.caller}")
        if agent is not None and agent.calls >= LEAST_CALLS:
            found.append((Unit.AGENT, agent))
    if name != ORIGINATING:
        signer = _row(call, name, rows)
        found.append((Unit.SIGNER, signer))
        if signer is not None and signer.honest:  # a carrier's dishonest customers are not meant
            found.append((Unit.LABELLED, rows[TruthKey.SPC].get(call.spc)))
    return [(unit, row) for unit, row in found if row is not None and row.honest]


def _found(
    row: Truth, unit: Unit, name: str, side: Side, hit: dict[str, Measure]
) -> Measure | None:
    """What a row was found by, as its unit counts it; None for nothing."""
    if unit is Unit.SUBJECT and name != ORIGINATING:
        return hit.get(row.id)
    key = _key(row)
    failing, first = side.failing.get(key), side.first.get(key)
    if unit is Unit.LABELLED:
        return first.measure if first is not None and failing is None else None
    return failing.measure if failing is not None else None
