"""What was found, in one plain sentence with its figures, in English and Chinese."""

from __future__ import annotations

from typing import Final

from zhenxian.analytics.model import Finding, Measure

_MATCHES: Final = "matches"
_OF_PERSON: Final = "strangers a person and day"


def english(found: Finding) -> str:
    """Such as "27 of 27 calls showed a number of the callee's own city"."""
    figures = found.figures
    calls = _count(figures.get("calls"))
    if found.measure is Measure.LOCAL_PRESENCE and _MATCHES in figures:
        text = (
            f"{_count(figures[_MATCHES])} of {calls} calls showed a number of the callee's own"
            f" city; by chance it would be {_count(figures.get('expected'))}"
        )
    elif found.measure is Measure.SPREAD:
        text = f"{calls} calls showed {_count(figures.get('displays'))} different numbers"
    elif found.measure is Measure.ROTATION:
        text = f"{_count(figures.get('displays'))} numbers were used one after the other"
        if "displays used up" in figures and "displays" not in figures:
            text = f"{_count(figures['displays used up'])} numbers were used up one after the other"
    elif found.measure is Measure.STRANGERS:
        if _OF_PERSON in figures:
            called = _count(figures[_OF_PERSON])
            text = f"the numbers of a person called {called} strangers within a day"
        else:
            each = _count(figures.get("strangers a number and day"))
            text = f"one number called {each} strangers within a day"
    elif found.measure is Measure.OWN_PAST:
        text = (
            f"{_count(figures.get('calls at unusual hours'))} calls were made at hours at which"
            " this caller never called,"
            f" {figures.get('of them to strangers', 0):.0%} of them to strangers"
        )
    elif found.measure is Measure.RATE:
        text = f"{_count(figures.get('calls in the last hour'))} calls were made within an hour"
    elif found.measure is Measure.CONCURRENCY:
        text = f"{_count(figures.get('calls at a time'))} calls were in progress at the same time"
    elif found.measure is Measure.LINKAGE:
        text = _linked_english(figures)
    elif found.measure is Measure.COMPLAINTS:
        text = f"{_count(figures.get('complaints'))} callees complained within a week"
    elif found.measure is Measure.HANDOVER:
        text = "one caller falls silent each time another one begins, as cards in one device do"
    else:
        text = "privacy numbers were lent to who calls strangers anywhere"
    return text + _evidence_english(figures) + "."


def chinese(found: Finding) -> str:
    """The same in Chinese."""
    figures = found.figures
    calls = _count(figures.get("calls"))
    if found.measure is Measure.LOCAL_PRESENCE and _MATCHES in figures:
        text = (
            f"{calls} 次呼叫中有 {_count(figures[_MATCHES])} 次显示了被叫所在城市的号码"
            f"，按概率应为 {_count(figures.get('expected'))} 次"
        )
    elif found.measure is Measure.SPREAD:
        text = f"{calls} 次呼叫显示了 {_count(figures.get('displays'))} 个不同的号码"
    elif found.measure is Measure.ROTATION:
        text = "多个号码被依次轮换使用"
    elif found.measure is Measure.STRANGERS:
        if _OF_PERSON in figures:
            text = f"本人名下的号码一天内呼叫了 {_count(figures[_OF_PERSON])} 个陌生号码"
        else:
            each = _count(figures.get("strangers a number and day"))
            text = f"一个号码一天内呼叫了 {each} 个陌生号码"
    elif found.measure is Measure.OWN_PAST:
        text = (
            f"在该主叫从未呼叫的时段发起了 {_count(figures.get('calls at unusual hours'))} 次呼叫"
            f"，其中 {figures.get('of them to strangers', 0):.0%} 打给陌生号码"
        )
    elif found.measure is Measure.RATE:
        text = f"一小时内发起了 {_count(figures.get('calls in the last hour'))} 次呼叫"
    elif found.measure is Measure.CONCURRENCY:
        text = f"同时进行的呼叫达 {_count(figures.get('calls at a time'))} 路"
    elif found.measure is Measure.LINKAGE:
        text = _linked_chinese(figures)
    elif found.measure is Measure.COMPLAINTS:
        text = f"一周内有 {_count(figures.get('complaints'))} 个被叫投诉"
    elif found.measure is Measure.HANDOVER:
        text = "一个主叫停止后另一个随即开始，与多卡设备的特征一致"
    else:
        text = "隐私号码被出借给向各地陌生人拨打电话的人"
    return text + _evidence_chinese(figures) + "。"


_NUMBERS: Final = "numbers of a found caller"
_CALLEES: Final = "callees of a found caller"


def _linked_english(figures: dict[str, float]) -> str:
    if _NUMBERS in figures:
        share = figures.get("share of that caller's", 0.0)
        return (
            f"{_count(figures[_NUMBERS])} numbers, {share:.0%} of those of a caller that was found"
            " before, are with this one"
        )
    return f"{_count(figures.get(_CALLEES))} callees of a caller that was found before were called"


def _linked_chinese(figures: dict[str, float]) -> str:
    if _NUMBERS in figures:
        share = figures.get("share of that caller's", 0.0)
        return (
            f"此前被认定的主叫的 {_count(figures[_NUMBERS])} 个号码（占其号码的 {share:.0%}）"
            "现由该主叫使用"
        )
    return f"呼叫了此前被认定的主叫呼叫过的 {_count(figures.get(_CALLEES))} 个被叫"


def _evidence_english(figures: dict[str, float]) -> str:
    text = ""
    if "answered" in figures and "long talks" in figures:
        text += (
            f"; {figures['answered']:.0%} of the calls were answered and"
            f" {figures['long talks']:.1%} led to a talk of a minute"
        )
    if "first calls of each number" in figures:
        text += (
            f"; of {_count(figures['first calls of each number'])} first calls of each number to"
            f" strangers, {figures.get('of them long talks', 0):.1%} led to a talk of a minute"
        )
    aged = figures.get("displays seen on an earlier day", 0)
    if aged:
        known = figures.get("of them to a callee called on an earlier day", 0)
        text += (
            f"; of {_count(aged)} calls of numbers used on an earlier day, {_count(known)} went to"
            " somebody called before"
        )
    if "complaints" in figures and text:
        text += f"; {_count(figures['complaints'])} callees complained within a week"
    return text


def _evidence_chinese(figures: dict[str, float]) -> str:
    text = ""
    if "answered" in figures and "long talks" in figures:
        text += (
            f"；接通率为 {figures['answered']:.0%}，通话满一分钟的占 {figures['long talks']:.1%}"
        )
    if "first calls of each number" in figures:
        text += (
            f"；各号码最初打给陌生人的 {_count(figures['first calls of each number'])} 次呼叫中"
            f"，通话满一分钟的占 {figures.get('of them long talks', 0):.1%}"
        )
    aged = figures.get("displays seen on an earlier day", 0)
    if aged:
        known = figures.get("of them to a callee called on an earlier day", 0)
        text += f"；前几日用过的号码发起的 {_count(aged)} 次呼叫中"
        text += f"，{_count(known)} 次打给曾呼叫过的人"
    return text


def _count(value: float | None) -> str:
    return "some" if value is None else f"{value:,.0f}"
