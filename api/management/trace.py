"""Whose an origid is: of an access, rotated away or not, and of a single call."""

# Annotations name variables of the functions around them: they are not postponed here.
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path

from zhenxian.api.auth import Authenticator, Principal
from zhenxian.api.management.answers import TracedAccess, TracedOrigid
from zhenxian.api.management.common import problems, requires
from zhenxian.api.management.editing import shown
from zhenxian.api.permissions import Action, Thing
from zhenxian.api.schema import answered
from zhenxian.registry.customers import Customer
from zhenxian.registry.model import Access, Kind
from zhenxian.registry.store import RegistryStore
from zhenxian.signer.origids import Given

Origid = Annotated[str, Path(min_length=1, max_length=128, description="Of a token.")]


def trace_route(
    routes: APIRouter,
    registry: RegistryStore,
    authenticator: Authenticator,
    given_for: Callable[[str], Awaitable[Given | None]],
) -> None:
    """Add the route that traces an origid.

    Args:
        given_for: what the origid of a call was given for.
    """
    audit = requires(authenticator, Thing.ORIGIDS, Action.READ)

    async def access_of(origid: str) -> Access | None:
        return await registry.read(lambda records: records.access_of(origid))

    async def customer_of(origid: str) -> Customer | None:
        return await registry.read(lambda records: records.customer_of_origid(origid))

    async def sharing(customer: Customer, principal: Principal) -> dict[str, Any]:
        found = await registry.read(lambda records: records.get(Kind.ACCESS, customer.access))
        access = found[1] if found is not None else None
        told = shown(access, principal) if access is not None else {"id": customer.access}
        return {**told, "origid": customer.origid, "customer": customer.id}

    @routes.get(
        "/origids/{origid}",
        summary="Trace an origid, also one that was rotated, or of a call",
        operation_id="trace_origid",
        responses=problems(c404="It names no access.")
        | answered("Whose it is.", TracedAccess, TracedOrigid),
    )
    async def trace(principal: Annotated[Principal, audit], origid: Origid) -> dict[str, Any]:
        """The access as it is, or last was. `current` says whether the origid is its own now.

        Of one that a customer of a shared access has or had, `customer` names it, and `origid` and
        `current` are of the customer.

        Of an origid that was given for one call (signer.origid = call) `call` says when, and by
        which node it was signed. A call whose access was not known has `id` null, and the origid
        that the proxy named.
        """
        access = await access_of(origid)
        if access is not None:
            return {**shown(access, principal), "current": access.origid == origid}
        customer = await customer_of(origid)
        if customer is not None:
            return {**await sharing(customer, principal), "current": customer.origid == origid}
        given = await given_for(origid)
        if given is None:
            raise HTTPException(404, f"no access has or had the origid {origid}, nor has a call")
        call = {"at": given.at, "node": given.node}
        access = await access_of(given.stable) if given.access else None
        customer = await customer_of(given.stable) if access is None else None
        if customer is not None:
            return {**await sharing(customer, principal), "current": False, "call": call}
        if access is None:
            told = {"id": given.access or None, "origid": given.stable}
            return {**told, "current": False, "call": call}
        return {**shown(access, principal), "current": False, "call": call}
