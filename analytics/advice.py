"""What a caller against whom something stands can do, and whom to turn to; English and Chinese."""

from __future__ import annotations

from typing import Final

from zhenxian.analytics.model import Finding, Measure, State

_CARRIER: Final = ("your carrier", "您的运营商")

_STRUCTURE: Final = (
    "If these are your own branches or customers, have your proxy report for each call whether it"
    " was answered and for how many seconds, and show each branch's own number.",
    "如果这些是贵单位的分支机构或客户，请让您的代理服务器上报每次呼叫是否接通及通话秒数，"
    "并由各分支机构显示自己的号码。",
)
_ADVICE: Final[dict[Measure, tuple[str, str]]] = {
    Measure.LOCAL_PRESENCE: _STRUCTURE,
    Measure.SPREAD: _STRUCTURE,
    Measure.STRANGERS: (
        "If this is a survey, an alarm or another announced campaign, say so before it goes on.",
        "如果这是调查、告警或其他已公告的外呼活动，请在继续之前说明。",
    ),
    Measure.LINKAGE: (
        "If you took these numbers or customers over from somebody else, show the contract.",
        "如果这些号码或客户是从他人处接手的，请出示合同。",
    ),
    Measure.COMPLAINTS: (
        "Stop calling those who do not want it, and say what the calls are for.",
        "请停止呼叫不愿接听的用户，并说明呼叫用途。",
    ),
    Measure.ROTATION: (
        "Show the same number for the same purpose, not one after the other.",
        "同一用途请显示同一号码，不要轮换使用。",
    ),
    Measure.HANDOVER: (
        "If these accesses are used side by side by different people, say by whom.",
        "如果这些接入分别由不同人员使用，请说明使用人。",
    ),
    Measure.BINDINGS: (
        "Lend privacy numbers for calls to people who know of the order or the trip alone.",
        "隐私号码只应用于与订单或行程有关的呼叫。",
    ),
}
_OTHER: Final = (
    "If these calls are wanted, say what they are for.",
    "如果这些呼叫是被叫需要的，请说明用途。",
)


def what_to_do(found: Finding, contact: str = "") -> tuple[str, str]:
    """In English and Chinese: what helps, whom to call, and what to name there.

    Args:
        contact: of the carrier, as a setting has it; empty for none.
    """
    english, chinese = _ADVICE.get(found.measure, _OTHER)
    who, whom = (contact, contact) if contact else _CARRIER
    case = f" and name case {found.case}" if found.case else ""
    number = f"，并告知案件编号 {found.case}" if found.case else ""
    object_, objection = (
        ("If this is wrong, object: turn to", "如有异议，请联系")
        if found.state is State.POOLED
        else ("Turn to", "请联系")
    )
    return f"{english} {object_} {who}{case}.", f"{chinese}{objection} {whom}{number}。"
