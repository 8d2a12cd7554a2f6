"""A caller driven through one detector in the plainest way, as the evaluation is to come out."""

from heapq import heappop, heappush
from random import Random

from msgspec.structs import replace

from bench.evaluation import kinds
from bench.evaluation.kinds import SEEN, SIGNING, VERIFYING, Outcome, calls_of, judged, without
from zhenxian.analytics import Detector, KeyKind, Policy, State
from zhenxian.core.tn import TNRange
from zhenxian.registry.footprint import expected
from zhenxian.registry.model import Holding, Verification
from zhenxian.simulation.dialling import BACK
from zhenxian.simulation.flow import DAY
from zhenxian.verifier.analytics import AS_USUAL, PooledVerifying


def outcomes(case):
    """All lines of a case, each driven by itself."""
    calls = calls_of(case)
    seen = Random(f"{case.kind}/{case.index}/seen")
    some = [call for call in calls if seen.random() < SEEN]
    policies = without(case.kind) if case.without else {"": Policy()}
    return [
        _outcome(case, side, part, told, name, policy)
        for side, part in ((SIGNING, calls), (VERIFYING, some))
        for told in (True, False)
        for name, policy in policies.items()
    ]


def _outcome(case, side, calls, told, name, policy):
    detector, observed = Detector(policy), kinds._observed(case, side, name)
    mine = judged(case.kind)
    declares = case.kind in kinds._DECLARED and side == SIGNING and name != "declaration"
    declared = kinds._Declared(calls) if declares else None
    running, rows, expired = [], [], 0
    for number, call in enumerate(calls):
        one = observed(call)
        if one.at >= expired + 3_600:
            expired = one.at
            detector.expire(one.at)
        while running and running[0][0] <= one.at:
            at, _, contact, keys = heappop(running)
            for key in keys:
                detector.ended(key, at, contact)
        worst = None
        if mine(call):
            if case.kind == kinds._REGISTERED and side == SIGNING and not rows:
                held = sorted({before.display for before in calls[:number] if not before.seat})
                detector.mark_held("s-0", held)
                detector.held([(number, f"s-{call.seat}") for number in held], int(call.at))
            worst = _worst(detector, one, side, declared)
            rows.append((one.at, call.display, worst))
        detector.observe(one)
        refused = worst is not None and worst.state is State.POOLED
        if told and call.seat != BACK and not (refused and case.kind == kinds._NEWCOMER):
            keys, agent = (one.keys[:-1], one.keys[-1:]) if one.bound else (one.keys, ())
            for turn, (shown, whose) in enumerate(((call.display, keys), (call.caller, agent))):
                if whose and shown is not None:
                    met = detector.met(
                        shown, call.callee, answered=call.answered, seconds=call.seconds
                    )
                    heappush(running, (one.at + 12 + call.seconds, 2 * number + turn, met, whose))
    return _told(case, side, told, name, rows)


def _worst(detector, one, side, declared):
    keys = one.keys if side == SIGNING else one.keys[:1]
    if keys[-1].kind is KeyKind.RESELLER:
        together = detector.finding(keys[-1], one.at)
        if together is None or not any(
            detector.resembles(key, together.since) for key in keys[:-1]
        ):
            keys = keys[:-1]
    found = [detector.finding(key, one.at) for key in keys]
    if side == VERIFYING:
        carrier = detector.finding(one.keys[1], one.at)
        if carrier is not None and not detector.known(one.keys[0], one.at):
            fails = AS_USUAL.on(carrier) is PooledVerifying.FAIL
            found.append(
                carrier if fails else replace(carrier, state=State.SUSPECTED, lowers=False)
            )
    found = [seen for seen in found if seen is not None]
    if declared is not None:
        held = Holding(
            numbers=TNRange(one.display, one.display), subject="s-0",
            verification=Verification.VERIFIED,
        )  # fmt: skip
        call = ("s-0", one.display, held)
        found = [seen for seen in found if not expected(seen, call, declared, one.at)]
    if one.bound:
        found = [
            seen for seen in found
            if seen.key.kind is KeyKind.AGENT or "bindings" in seen.measures
        ]  # fmt: skip
    return max(found, key=lambda seen: (seen.state, seen.lowers), default=None)


def _told(case, side, told, name, rows):
    first, by, calls = {}, {}, max(len(rows), 1)
    day = [at < rows[0][0] + DAY for at, *_ in rows]
    pooled = [seen is not None and seen.state is State.POOLED for *_, seen in rows]
    low = [seen is not None and (hit or seen.lowers) for hit, (*_, seen) in zip(pooled, rows)]  # noqa: B905
    for place, (*_, seen) in enumerate(rows):
        if seen is not None:
            by[seen.measure.value] = by.get(seen.measure.value, 0) + 1
            first.setdefault("labelled", place + 1)
        if low[place]:
            first.setdefault("lowered", place + 1)
        if pooled[place]:
            first.setdefault("refused", place + 1)
    today = sum(hit for hit, early in zip(pooled, day, strict=True) if early)
    return Outcome(
        case.name, side, told, name, len(rows), first.get("labelled"), first.get("lowered"),
        first.get("refused"), sum(pooled) / calls, sum(low) / calls,
        max(by, key=by.__getitem__, default=""), len({display for _, display, _ in rows}),
        any(hit for hit, early in zip(low, day, strict=True) if early), today / max(sum(day), 1),
    )  # fmt: skip
