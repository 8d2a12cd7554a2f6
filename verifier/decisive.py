"""Which of a call's Identity headers decides, and what the call's verdict is by it."""

from __future__ import annotations

from typing import Final

from zhenxian.core.reasons import Reason, Verstat
from zhenxian.passport.ppt.shaken import Shaken
from zhenxian.verifier.verdict import Label, Result, Verdict

_RANK: Final = {Verstat.FAILED: 2, Verstat.NONE: 1, Verstat.PASSED: 0}


def verdict_of(results: tuple[Result, ...]) -> Verdict:
    """The call's verdict: a token that passed; else the gravest failure, the first of equals.

    A token of a call that the callee does not want has passed; of several, it decides. Of others
    that passed it is the one that vouches furthest, as header fields have no order. A div token
    vouches for no caller: it decides where nothing else stands beside it.
    """
    decisive = results[0]
    if decisive.diverting is not None:
        decisive = next((one for one in results if one.diverting is None), decisive)
    passed: Result | None = None
    for result in results:
        refusal = result.refusal
        if result.diverting is not None:
            continue
        if refusal is None or refusal.reason.verstat is Verstat.PASSED:
            if passed is None or _before(result, passed):
                passed = result
        elif _gravity(result) > _gravity(decisive):
            decisive = result
    if passed is not None:
        reason = passed.refusal.reason if passed.refusal is not None else Reason.VERIFIED
        detail = passed.refusal.detail if passed.refusal is not None else reason.text
        return Verdict(Verstat.PASSED, reason, detail, results, passed, _labels(passed))
    refusal = decisive.refusal
    if refusal is None or refusal.reason.verstat is None:
        raise RuntimeError("a failed result without a verification reason")
    return Verdict(refusal.reason.verstat, refusal.reason, refusal.detail, results, decisive)


def _labels(result: Result) -> tuple[Label, ...]:
    """What is said of a call that goes on although something was found."""
    finding, unwanted = result.finding, result.unwanted
    labels = (Label.of(finding),) if finding is not None else ()
    if unwanted is not None and result.refusal is None:
        return (*labels, Label.CALLEE_REFUSES_MARKETING)
    return labels


def _before(result: Result, other: Result) -> bool:
    """True for a token that passed and decides rather than the other."""
    if result.refusal is None and other.refusal is None:
        return _level(result) < _level(other)
    return result.refusal is not None and other.refusal is None


def _level(result: Result) -> str:
    """How far a token vouches, the furthest first; one that names no level is behind them."""
    extension = result.passport.extension if result.passport is not None else None
    return extension.attest.value if isinstance(extension, Shaken) else "D"


def _gravity(result: Result) -> int:
    """How much a failed header weighs.

    A verstat of failure outranks none; a type that is merely not for us weighs nothing.
    """
    reason = result.refusal.reason if result.refusal is not None else Reason.VERIFIED
    if reason.verstat is None or reason is Reason.PPT_UNSUPPORTED:
        return 0
    return _RANK[reason.verstat]
