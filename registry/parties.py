"""Who and what is involved in a call: as orders may name them, and as conduct counts for them."""

from __future__ import annotations

from zhenxian.analytics.model import Key, Observation, agent
from zhenxian.core.tn import TN, URI
from zhenxian.registry.model import Binding, Holding, Order, Who


def involved(
    number: TN | None,
    holding: Holding | None,
    resellers: tuple[str, ...] = (),
    subjects: tuple[str, ...] = (),
    spcs: tuple[str, ...] = (),
    serial: str = "",
) -> Who:
    """Whom and what an order may name where a number is used.

    Args:
        number: None for what is no number.
        holding: who holds it; None when nobody is known to.
        resellers: through whom its holder has it.
        subjects: who else answers for the call.
        spcs: service provider codes that sign or speak for the number.
        serial: of the certificate that signed, in upper-case hexadecimal; empty for none.
    """
    if holding is not None:
        subjects = (*subjects, holding.subject)
    return Who(subjects, resellers, spcs, (number,) if number is not None else (), serial)


def together(one: Who, other: Who) -> Who:
    """All that two numbers of one call involve. The certificate is that of the first."""
    return Who(
        one.subjects + other.subjects,
        one.resellers + other.resellers,
        one.spcs + other.spcs,
        one.numbers + other.numbers,
        one.serial,
    )


def order_text(order: Order) -> str:
    """For people: whose order it is, and what it stops."""
    return (
        f"order {order.id} of {order.issuer} ({order.reference}) stops {order.kind.value}"
        f" {order.target}"
    )


def observation(
    keys: tuple[Key, ...],
    display: TN | URI,
    callee: TN | None,
    at: int,
    binding: Binding | None,
    hidden_caller: TN | None,
    origid: str | None = None,
    mark: int = -1,
    *,
    vouched: bool = False,
) -> Observation | None:
    """The call as analytics counts it; None when its display is no number.

    Args:
        keys: whose conduct it counts for, whether or not a binding permits the display.
        callee: None when it is no number. at: seconds since the epoch.
        binding: a live one of a privacy number that permits the display.
        hidden_caller: who calls by it, an agent of its platform; None when it may be anybody.
        origid, mark, vouched: as in Observation.
    """
    if not isinstance(display, TN):
        return None
    if binding is None:
        return Observation(
            at=at,
            keys=keys,
            display=display,
            callee=callee,
            origid=origid,
            bound=False,
            mark=mark,
            vouched=vouched,
        )
    if hidden_caller is not None:
        keys = (*keys, agent(binding.platform, hidden_caller))
    return Observation(
        at=at,
        keys=keys,
        display=display,
        callee=callee,
        origid=origid,
        bound=True,
        mark=mark,
        hidden_caller=hidden_caller,
    )
