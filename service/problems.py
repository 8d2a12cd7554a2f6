"""Whether a node can sign and verify, and what else is to be looked at."""

from __future__ import annotations

from contextlib import suppress

from zhenxian.certs.keys import moment
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.service.service import Service
from zhenxian.stores.fleet.registry import FleetRegistry


def problems(service: Service) -> list[str]:
    """Why a node cannot sign or verify as configured, one sentence each; empty if it can.

    Also what is wrong with the operator's own files: the node goes on with what it read before,
    but would not start with them.
    """
    found = []
    if service.keys is None:
        found.append("signing: no key and chain are configured (signer.key, signer.chain)")
    elif service.clock() < service.keys.current.not_before:
        begin = moment(service.keys.current.not_before)
        found.append(f"signing: the certificate is not valid before {begin}")
    elif service.credential() is None:
        found.append("signing: the certificate has expired")
    if not service.verifier.trust.roots.roots:
        found.append("verifying: the trust list is empty (trust.roots)")
    if isinstance(service.registry, FleetRegistry):
        found.extend(f"registry: {text}" for text in service.registry.faults())
    if service.replays is not None and service.replays.problem is not None:
        found.append(f"replays: {service.replays.problem}")
    elif service.replays is None and service.seen.problem is not None:
        found.append(
            f"replays: tokens that were seen cannot be recorded ({service.seen.problem}): every"
            " token is No-TN-Validation, REPLAY_UNKNOWN"
        )
    with suppress(StoreUnavailableError):
        if service.registry.guard.contradicted(service.registry.records):
            found.append("clock: the rest of the fleet contradicts it: others may take no token")
    found.extend(f"{name}: {text}" for name, text in sorted(service.reported.sentences.items()))
    found.extend(service.trust.crls.faults)
    if service.settings.trust.revocation == "require":
        found.extend(service.lists.missing())
    return found


def remarks(service: Service) -> list[str]:
    """What is to be looked at and keeps nobody from signing or verifying.

    All that strangers can cause is here: what certificates name, what stands in Redis.
    """
    found = [*service.trust.crls.remarks, *service.trust.unreadable]
    if service.settings.trust.revocation != "require":
        found.extend(service.lists.missing())
    if isinstance(service.registry, FleetRegistry):
        found.extend(f"registry: {text}" for text in service.registry.remarks())
    with suppress(StoreUnavailableError):
        found.extend(
            f"clock: {text}; nothing is registered until it is right, or accepted"
            " (`zhenxian clock accept`)"
            for text in service.registry.clock_doubts()
        )
    if service.disk.exposed:
        names = ", ".join(service.disk.exposed)
        found.append(f"data folder: others can read or write {names}: chmod 600")
    if service.origids.problem is not None:
        found.append(f"origids: {service.origids.problem}")
    if service.keeper is not None:
        found.extend(f"displays: {text}" for text in service.keeper.problems())
    node = service.node
    if service.pins is not None and node.thumbprint not in service.pins.get(node.name, ()):
        found.append(
            f"orders: registry.nodes does not name this node ({node.name}) with its key"
            f" ({node.thumbprint}): its acknowledgements count for nothing"
        )
    return found
