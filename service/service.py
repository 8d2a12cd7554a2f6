"""One process of the service, as a value: every part, built and wired (service.build)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import anyio.lowlevel
from msgspec import Struct

from zhenxian.api.auth import Authenticator
from zhenxian.api.calls.service import Calls
from zhenxian.api.published.certificates import Publisher
from zhenxian.api.published.redress import Redress
from zhenxian.calls.lists import LearntLists
from zhenxian.calls.pipeline import Pipeline
from zhenxian.certs.keys import Credential, KeyStore
from zhenxian.certs.repository import CertificateRepository
from zhenxian.certs.resolver import SystemResolver
from zhenxian.core.reading import Reading
from zhenxian.registry.kinds import Plan
from zhenxian.registry.node_key import NodeKey, Pins
from zhenxian.registry.orders import Issuer
from zhenxian.service.chains import ChainKeeper
from zhenxian.service.disk import Disk
from zhenxian.service.origids import OrigidKeeper
from zhenxian.service.reported import Problems
from zhenxian.service.settings import Settings
from zhenxian.service.trust import TrustKeeper
from zhenxian.sip.answering import SipCalls
from zhenxian.sip.digest import Digest
from zhenxian.stores.analytics.sync import AnalyticsSync
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.replay.file import SqliteReplayStore
from zhenxian.stores.replay.fleet import FleetReplayStore
from zhenxian.stores.replay.memory import MemoryReplayStore
from zhenxian.stores.sqlite.registry import EmbeddedRegistry
from zhenxian.telemetry.logs import CallLog, Pseudonym
from zhenxian.telemetry.metrics import Metrics
from zhenxian.verifier.verify import Verifier


class Service(Struct, frozen=True, kw_only=True):
    """One process of the service: every room, built and wired, not yet listening.

    Attributes:
        clock: seconds since the epoch.
        pins: keys of nodes whose acknowledgements count, by name; None accepts any.
        identity_key: what identity documents are hashed with.
        replays: the fleet's replay store; None where this node has its own.
        seen: that of this node.
        keeper: what counts conduct; None when nobody wants to know.
        keys: the key and chain to sign with; None when none are configured.
        credential: those that sign now; None when there are none, or they are not valid now.
        reported: what its own files and stores fail with.
        sip: what answers INVITEs, over SIP and over HTTP.
        sip_digest: who must authenticate to the redirect service; None where nobody is asked.
    """

    settings: Settings
    clock: Callable[[], float]
    metrics: Metrics
    log: CallLog
    pseudonym: Pseudonym
    publisher: Publisher
    authenticator: Authenticator
    plan: Plan
    reading: Reading
    issuers: Mapping[str, Issuer]
    pins: Pins | None
    node: NodeKey
    identity_key: bytes
    registry: EmbeddedRegistry | FleetRegistry
    replays: FleetReplayStore | None
    seen: MemoryReplayStore | SqliteReplayStore
    disk: Disk
    origids: OrigidKeeper
    keeper: AnalyticsSync | None
    keys: KeyStore | None
    credential: Callable[[], Credential | None]
    redress: Redress
    resolver: SystemResolver
    repository: CertificateRepository
    chains: ChainKeeper
    reported: Problems
    trust: TrustKeeper
    lists: LearntLists
    verifier: Verifier
    pipeline: Pipeline
    calls: Calls
    sip: SipCalls
    sip_digest: Digest | None

    async def start(self) -> None:
        """Reach what is outside this machine. Raises ConfigError when Redis refuses us."""
        await anyio.lowlevel.checkpoint()  # the library loads what it needs, not in a fetch
        if self.keeper is not None:
            self.keeper.restore()
        if isinstance(self.registry, FleetRegistry):
            await self.registry.start()

    async def close(self) -> None:
        """Write the last records and let go of connections."""
        self.log.flush()
        self.metrics.flush()
        await self.repository.close()
        self.resolver.close()
        self.chains.write(self.repository.kept())
        parts = (self.keeper, self.replays, self.origids)
        # Beside each other: a Redis that is silent is waited for once.
        await asyncio.gather(*(part.close() for part in parts if part is not None))
        if isinstance(self.registry, FleetRegistry):
            await self.registry.aclose()
        else:
            self.registry.close()
