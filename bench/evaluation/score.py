"""What was found is held against what is true.

The unit of recall is the operator: whoever is behind one or more accesses, signers or carriers.
It is found when the first of its keys is. The unit of a false positive is the subject on the
originating side, and the signer or SPC on the terminating side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import inf

from msgspec import Struct

from bench.evaluation.drive import ORIGINATING, Side
from displays import Key, KeyKind, Measure
from gateway.simulation import Call, Kind, Truth
from gateway.simulation import Key as TruthKey

USES = (5, 13, 27)  # calls a number; 13 is the average of published campaigns, 27 most stay below


class Outcome(Struct):
    """What became of one dishonest operator on one side.

    Attributes:
        calls: it made. until: which of them had it found; inf for none. seconds: from its first
            call to that. under: calls it made while found.
        keys, keys_found: accesses, signers or carriers.
        uses: for each of USES, whether it was found by when its numbers had been used so often
            on average; None when they never were and it was not found.
    """

    kind: Kind
    calls: int = 0
    until: float = inf
    seconds: float = inf
    under: int = 0
    keys: int = 0
    keys_found: int = 0
    measure: Measure | None = None
    uses: dict[int, bool | None] = {}


class Honest(Struct):
    """What became of the honest on one side, by kind.

    Attributes:
        keys, found: subjects, or signers and SPCs. calls, under: calls, and those of them made
            while a key of theirs was pooled. measures: by which it was found, how often.
    """

    keys: int = 0
    found: int = 0
    calls: int = 0
    under: int = 0
    measures: dict[str, int] = {}


class Scored(Struct):
    """One run, one side."""

    outcomes: list[Outcome]
    honest: dict[Kind, Honest]
    scores: list[tuple[Kind, float]]


_KINDS = {
    TruthKey.ACCESS: KeyKind.ACCESS,
    TruthKey.SUBJECT: KeyKind.SUBJECT,
    TruthKey.SIGNER: KeyKind.SIGNER,
    TruthKey.SPC: KeyKind.SPC,
}


def score(calls: Sequence[Call], truth: Sequence[Truth], name: str, side: Side) -> Scored:
    """Score one side of a run.

    Calls with somebody else's token count for nobody here: the verifier's figures are elsewhere.
    """
    rows = {
        Key(_KINDS[row.key], row.id): row
        for row in truth
        if row.key in _KINDS and (row.key in _ORIGINATING) is (name == ORIGINATING)
    }
    outcomes: dict[str, Outcome] = {}
    honest: dict[Kind, Honest] = defaultdict(Honest)
    scores: list[tuple[Kind, float]] = []
    for key, row in rows.items():
        if not _counts(row):
            continue
        scores.append((row.kind, side.strongest.get(key, 0.0)))
        first = side.first.get(key)
        if row.honest:
            kept = honest[row.kind]
            kept.keys += 1
            if first is not None:
                kept.found += 1
                kept.measures[first.measure.value] = kept.measures.get(first.measure.value, 0) + 1
        else:
            outcome = outcomes.setdefault(row.operator, Outcome(row.kind))
            outcome.keys += 1
            outcome.keys_found += first is not None
    firsts = _first_of_operators(rows, side)
    _replay_calls(calls, name, side, rows, outcomes, honest, firsts)
    return Scored(list(outcomes.values()), dict(honest), scores)


_ORIGINATING = {TruthKey.ACCESS, TruthKey.SUBJECT}


def _counts(row: Truth) -> bool:
    """One row for each that is judged: an access is its subject's only one here.

    A rogue carrier's origids are new each time, and it is judged by its SPC.
    """
    if row.key is TruthKey.ACCESS:
        return False
    return row.kind is not Kind.MINTER or row.key is TruthKey.SPC


def _first_of_operators(rows: dict[Key, Truth], side: Side) -> dict[str, tuple[int, Measure]]:
    firsts: dict[str, tuple[int, Measure]] = {}
    for key, first in side.first.items():
        row = rows.get(key)
        if row is None or row.honest:
            continue
        known = firsts.get(row.operator)
        if known is None or first.index < known[0]:
            firsts[row.operator] = (first.index, first.measure)
    return firsts


def _replay_calls(
    calls: Sequence[Call],
    name: str,
    side: Side,
    rows: dict[Key, Truth],
    outcomes: dict[str, Outcome],
    honest: dict[Kind, Honest],
    firsts: dict[str, tuple[int, Measure]],
) -> None:
    """Count calls, and find out which call of an operator was the one that had it found."""
    began: dict[str, int] = {}
    shown: dict[str, set[str]] = defaultdict(set)
    places: dict[str, list[int]] = defaultdict(list)
    for index, call in enumerate(calls):
        if call.token is not None:
            continue
        row = rows.get(_key(call, name))
        if row is None:
            continue
        if row.honest:
            kept = honest[row.kind]
            kept.calls += 1
            kept.under += side.under[index]
            continue
        outcome = outcomes.get(row.operator)
        if outcome is None:
            continue
        outcome.calls += 1
        outcome.under += side.under[index]
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


def _key(call: Call, name: str) -> Key:
    if name == ORIGINATING:
        return Key(KeyKind.SUBJECT, call.subject or "")
    return Key(KeyKind.SIGNER, f"{call.spc}/{call.origid}")
