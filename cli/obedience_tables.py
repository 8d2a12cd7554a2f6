"""Orders and who obeys them, as people and --json have them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from zhenxian.cli.common import console, errors
from zhenxian.cli.obedience import Examined
from zhenxian.registry.forms import row_of
from zhenxian.registry.model import Order


def plain(each: Examined) -> dict[str, Any]:
    """One order, for --json."""
    return {
        "order": row_of(each.order),
        "version": each.version,
        "signature": each.signature,
        "good": each.good,
        "nodes": [{**state._asdict(), "good": state.good} for state in each.nodes],
    }


def _at(milliseconds: int) -> str:
    try:
        moment = datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return f"{milliseconds} ms after 1970"
    return moment.isoformat(sep=" ", timespec="milliseconds").replace("+00:00", " UTC")


def print_one(each: Examined) -> None:
    """One order, and what each node has to do with it."""
    order = each.order
    console.print(
        f"order {order.id} of {order.issuer}, {order.reference}: {order.kind.value}"
        f" {order.target}, {_phase(order)}",
    )
    console.print(f"signature of the order: {each.signature}")
    table = Table(show_lines=False)
    for name in ("node", "obeys since", "delay, ms", "signature", "key", "thumbprint"):
        table.add_column(name, overflow="fold")
    for state in each.nodes:
        colour = "green" if state.good else "red"
        gone = "" if state.seen is not None else " (not running)"
        table.add_row(
            state.node + gone,
            _at(state.since) if state.since is not None else "-",
            str(state.delay) if state.delay is not None else "-",
            state.verdict,
            Text(state.key.value, colour),
            state.thumbprint,
        )
    console.print(table)
    if not each.nodes:
        errors.print("no node answers calls, and none has acknowledged")


def _phase(order: Order) -> str:
    if order.lifted is not None:
        return f"lifted {_at(order.lifted * 1000)}"
    began = order.since <= time.time()
    return f"{'in force' if began else 'to begin'} {_at(order.since * 1000)}"


def overview(found: list[Examined]) -> Table:
    """All orders, a line each."""
    table = Table(title="Orders", title_justify="left", show_lines=False)
    for name in ("order", "issuer", "stops", "state", "nodes that obey", "signature"):
        table.add_column(name, overflow="fold")
    for each in found:
        obey = sum(state.good for state in each.nodes)
        colour = "green" if each.good else "red"
        table.add_row(
            each.order.id,
            each.order.issuer,
            f"{each.order.kind.value} {each.order.target}",
            _phase(each.order),
            Text(f"{obey} of {len(each.nodes)}", colour),
            each.signature,
        )
    return table
