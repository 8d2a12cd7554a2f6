"""Orders over the management API: give and lift them, and see which nodes obey."""

# Annotations name variables of the functions around them: they are not postponed here.
from collections.abc import Awaitable
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Response

from zhenxian.api.auth import Authenticator, Principal
from zhenxian.api.management.answers import (
    RECORDS,
    AcknowledgementsAnswer,
    NodesAnswer,
    page_type,
)
from zhenxian.api.management.bodies import OrderBody
from zhenxian.api.management.common import problems, requires
from zhenxian.api.management.editing import Editor, shown
from zhenxian.api.management.pages import listing, pages
from zhenxian.api.management.parameters import After, Key, Limit, Reason
from zhenxian.api.permissions import Action, Thing
from zhenxian.api.schema import answered
from zhenxian.registry import orders
from zhenxian.registry.journal import RegistryConflictError, put
from zhenxian.registry.model import Kind, Order, Record
from zhenxian.registry.node_key import Pins
from zhenxian.registry.store import Page


def order_routes(
    routes: APIRouter, editor: Editor, authenticator: Authenticator, pins: Pins | None
) -> None:
    """The routes of orders, and of the nodes that obey them."""
    read = requires(authenticator, Thing.ORDERS, Action.READ)
    give = requires(authenticator, Thing.ORDERS, Action.GIVE)
    nodes = requires(authenticator, Thing.NODES, Action.READ)
    registry = editor.registry
    pinned = {name: sorted(keys) for name, keys in pins.items()} if pins is not None else None

    @routes.post(
        "/orders",
        summary="Give or lift an order",
        operation_id="give_order",
        responses=answered("The order as it now is.", RECORDS[Kind.ORDER])
        | problems(
            c403="Forged, of an unknown issuer, or of one who is not entitled.",
            c404="There is no such order to lift.",
            c409="Replayed, rolled back, or in force already.",
            c422="No order token: the detail says what is wrong with its form.",
        ),
    )
    async def give_order(
        principal: Annotated[Principal, give], body: OrderBody, reason: Reason
    ) -> dict[str, Any]:
        instruction = orders.read_instruction(body.token, editor.issuers, int(editor.clock()))
        if instruction.action is orders.Action.STOP:
            order = orders.order_of(instruction, body.token)
            expected: int | None = 0
        else:
            entry = registry.records.get(Kind.ORDER, instruction.order)
            if entry is None or not isinstance(entry[1], Order):
                raise HTTPException(404, f"there is no order {instruction.order}")
            order = orders.lifted(entry[1], instruction, body.token)
            expected = entry[0]
        if expected == 0 and registry.records.get(Kind.ORDER, order.id) is not None:
            raise RegistryConflictError(f"order {order.id} was given before")
        commit = await editor.commit([put(order, expected)], principal, reason, None, None)
        return shown(order, principal, commit.seq)

    @routes.get(
        "/orders",
        summary="List orders",
        operation_id="list_orders",
        responses=answered("A page of them.", page_type(Kind.ORDER, "orders")),
    )
    async def listed(
        principal: Annotated[Principal, read], limit: Limit = 100, after: After = ""
    ) -> Response:
        def ask(start: str, count: int) -> Awaitable[Page]:
            return registry.read(lambda records: records.page(Kind.ORDER, after=start, limit=count))

        def row(version: int, record: Record) -> dict[str, Any]:
            return shown(record, principal, version)

        return await listing("orders", pages(ask, after, limit), row)

    @routes.get(
        "/orders/{key}/acknowledgements",
        summary="Which nodes obey an order, and since when",
        operation_id="read_acknowledgements",
        responses=problems(c404="No such order.")
        | answered("The order, and who obeys it.", AcknowledgementsAnswer),
    )
    async def acknowledgements(principal: Annotated[Principal, read], key: Key) -> dict[str, Any]:
        entry = registry.records.get(Kind.ORDER, key)
        if entry is None:
            raise HTTPException(404, f"there is no order {key}")
        rows = await registry.acknowledgements(key)
        return {
            "order": shown(entry[1], principal, entry[0]),
            "acknowledgements": [
                {"node": node, "token": token, "key": jwk} for node, token, jwk in rows
            ],
            "nodes": await registry.nodes(),
            "pins": pinned,
        }

    @routes.get(
        "/nodes",
        summary="The nodes that answer calls",
        operation_id="list_nodes",
        responses=answered("All of them.", NodesAnswer),
        dependencies=[nodes],
    )
    async def all_nodes() -> dict[str, Any]:
        return {"nodes": await registry.nodes(), "pins": pinned}
