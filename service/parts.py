"""Parts of the service whose building takes more than a line: keys, conduct, redress, policies."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from zhenxian.analytics.detector import Detector
from zhenxian.api.published.certificates import PATH as PUBLISH_PATH
from zhenxian.api.published.certificates import Publisher
from zhenxian.api.published.redress import Redress
from zhenxian.certs.chain import Chain
from zhenxian.certs.keys import Credential, KeyStore
from zhenxian.core.errors import ConfigError
from zhenxian.core.reading import Reading
from zhenxian.service.settings import Settings, listener_address
from zhenxian.stores.analytics.file import ConductFile, Exchange, WorkerExchange
from zhenxian.stores.analytics.fleet import FleetExchange
from zhenxian.stores.analytics.sync import AnalyticsSync, load_policy, salt_of
from zhenxian.stores.fleet.link import FleetOptions
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.registry import EmbeddedRegistry
from zhenxian.telemetry.logs import Pseudonym
from zhenxian.verifier.redress import Contact
from zhenxian.verifier.unsigned import Action, UnsignedPolicy


def key_store(settings: Settings, publisher: Publisher) -> KeyStore | None:
    """The key and chain to sign with. A chain without an x5u of its own is published here."""
    signer = settings.signer
    if signer.key is None or signer.chain is None:
        if signer.key is not None or signer.chain is not None:
            raise ConfigError("signer.key and signer.chain are given together or not at all")
        return None

    def own_x5u(_: Chain, chain_pem: bytes) -> str:
        """Publish the chain and tell where: what cannot be published is not signed with."""
        return public_base(settings) + PUBLISH_PATH + publisher.publish(chain_pem)

    return KeyStore(signer.key, signer.chain, x5u=signer.x5u or own_x5u)


def credential_now(keys: KeyStore | None, clock: Callable[[], float]) -> Credential | None:
    """The key and chain that sign now; None when there are none, or they are not valid now."""
    if keys is None:
        return None
    credential = keys.current
    return credential if credential.not_before <= clock() < credential.not_after else None


def public_base(settings: Settings) -> str:
    """Where strangers reach what this service publishes."""
    base = settings.signer.publish_base
    if base is None:
        host, port = listener_address(settings.server.calls)
        host = f"[{host}]" if ":" in host else host
        scheme = "https" if settings.server.tls_cert is not None else "http"
        base = f"{scheme}://{host}:{port}"
    return base.rstrip("/")


def conduct_keeper(
    settings: Settings,
    fleet: FleetOptions | None,
    registry: EmbeddedRegistry | FleetRegistry,
    *,
    identity_key: bytes,
    pseudonym: Pseudonym,
    clock: Callable[[], float],
) -> AnalyticsSync | None:
    """What counts conduct; None when nobody wants to know."""
    displays = settings.displays
    if {displays.signing, displays.verifying, displays.carriers} == {"off"}:
        return None
    policy = load_policy(
        displays.thresholds,
        salt=salt_of(identity_key),
        max_keys=displays.max_keys,
        cap=displays.cap,
    )
    file = ConductFile(settings.data / "conduct.db")
    # In containers all have one process number; with a clock set back, `boot` is smaller.
    process = f"{os.getpid()}-{secrets.token_hex(4)}"
    node = settings.registry.node or socket.gethostname()
    name = f"{node}/{process}"
    exchange: Exchange | None = None
    if fleet is not None:
        exchange = FleetExchange(fleet, name, f"{node}#{file.slot()}")
    elif settings.server.workers > 1:
        exchange = WorkerExchange(file, name)
    conduct = Detector(
        policy,
        show=str if displays.clear_samples else pseudonym,
        fleet=exchange is not None,
        boot=int(clock() * 1_000),
    )
    return AnalyticsSync(conduct, file, exchange, clock, registry, registry, registry.clock_doubts)


def contact_of(settings: Settings) -> str:
    """Whom a caller may turn to against whom something stands; that for redress if none is set."""
    if settings.displays.contact:
        return settings.displays.contact
    redress = settings.redress
    told = (redress.organisation, redress.phone, redress.email, redress.url)
    return ", ".join(str(one) for one in told if one)


def keep_person_limits(path: Path, limits: Mapping[str, int]) -> None:
    """Keep in a registry file how many numbers a person may hold, for all who write to it."""
    with closing(RegistryFile(path)) as file:
        same = dict(limits) == file.person_limits
    if not same:
        with closing(RegistryFile(path, writer=True)) as file:
            file.set_person_limits(limits)


def unsigned_policy(settings: Settings, reading: Reading) -> UnsignedPolicy:
    """What follows when a call is not signed."""
    verifier = settings.verifier
    return UnsignedPolicy(
        {entry.spc: Action(entry.action) for entry in verifier.unsigned if entry.spc},
        {entry.country: Action(entry.action) for entry in verifier.unsigned if entry.country},
        frozenset(reading.number(text) for text in verifier.health_numbers),
    )


def redress_of(
    settings: Settings,
    credential: Callable[[], Credential | None],
    clock: Callable[[], float],
) -> Redress:
    """Whom to turn to when a call is rejected, and with which status it is."""
    redress = settings.redress
    contact = None
    if redress.organisation is not None:
        contact = Contact(
            organisation=redress.organisation,
            phone=redress.phone,
            email=redress.email,
            url=redress.url,
            address=redress.address,
            language=redress.language,
        )
        if settings.signer.key is None and redress.status == 608:
            raise ConfigError("the redress contact is signed: set signer.key and signer.chain")
    return Redress(
        contact,
        declines=redress.status != 608,
        base=public_base(settings),
        credential=credential,
        clock=clock,
    )
