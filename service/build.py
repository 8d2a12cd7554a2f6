"""The composition root: builds everything from one Settings.

It is the only place that names an engine. service.run runs what comes from here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from zhenxian import __version__
from zhenxian.analytics.detector import Conduct
from zhenxian.api.auth import Authenticator
from zhenxian.api.calls import responses as answers
from zhenxian.api.calls.requests import Dialect
from zhenxian.api.calls.routes import calls_router
from zhenxian.api.calls.service import CallPolicy, Calls
from zhenxian.api.entrance import Entrance
from zhenxian.api.management.analytics import clearings_router, displays_router
from zhenxian.api.management.bulk import bulk_router
from zhenxian.api.management.common import (
    INTERNAL,
    error_response,
    health_router,
    metrics_router,
    problem,
)
from zhenxian.api.management.records import registry_router
from zhenxian.api.openapi import router as docs_router
from zhenxian.api.published.certificates import PATH as PUBLISH_PATH
from zhenxian.api.published.certificates import Publisher
from zhenxian.api.published.certificates import router as publish_router
from zhenxian.api.published.redress import Redress
from zhenxian.api.published.redress import router as redress_router
from zhenxian.api.transport.refusals import of_calls, spoken
from zhenxian.api.words import member, sentence
from zhenxian.calls.lists import LearntLists
from zhenxian.calls.pipeline import Around, Pipeline, SigningSide, VerifyingSide
from zhenxian.calls.record import Recorder
from zhenxian.certs.chain import Chain
from zhenxian.certs.crl import RevocationList
from zhenxian.certs.crlstore import FETCHED, CrlStore
from zhenxian.certs.fetch import FetchLimits, HttpFetcher
from zhenxian.certs.files import Looks, folder_stamp
from zhenxian.certs.keys import Credential, KeyStore
from zhenxian.certs.profile import ProfilePolicy
from zhenxian.certs.repository import CertificateRepository
from zhenxian.certs.revocation import Assignment, RevocationPolicy, RevocationView, build_view
from zhenxian.certs.trustlist import TrustList, load_roots, load_trust_list
from zhenxian.certs.x5u import X5uPolicy
from zhenxian.core.errors import ConfigError, StoreUnavailableError, ZhenxianError
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN
from zhenxian.registry.consent import Consent, ConsentPolicy
from zhenxian.registry.orders import Issuer, load_issuers, unfounded
from zhenxian.service import readiness
from zhenxian.service.data_folder import make_data_folder
from zhenxian.service.figures import publish
from zhenxian.service.numbers import plan_of, reading_of
from zhenxian.service.origids import OrigidKeeper
from zhenxian.service.settings import Settings, listener_address
from zhenxian.service.tls import ListenerCertificate
from zhenxian.signer.analytics import PooledSigning
from zhenxian.stores.analytics.file import ConductFile, Exchange, WorkerExchange
from zhenxian.stores.analytics.fleet import FleetExchange
from zhenxian.stores.analytics.sync import ConductKeeper, load_policy, salt_of
from zhenxian.stores.fleet.link import FleetOptions
from zhenxian.stores.fleet.node_key import NodeKey, load_pins
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.replay.file import SqliteReplayStore
from zhenxian.stores.replay.fleet import FleetReplayStore
from zhenxian.stores.replay.memory import MemoryReplayStore
from zhenxian.stores.sqlite.registry import REGISTRY_FILE, EmbeddedRegistry
from zhenxian.telemetry.logs import CallLog, Pseudonym, pseudonym_key
from zhenxian.telemetry.metrics import Metrics
from zhenxian.verifier.analytics import ConductPolicy, PooledVerifying
from zhenxian.verifier.redress import Contact
from zhenxian.verifier.screen import ScreenPolicy
from zhenxian.verifier.unsigned import Action, UnsignedPolicy, region
from zhenxian.verifier.verify import Trust, Verifier

WATCH_EVERY: Final = 1.0  # seconds between two looks at files that may have changed
USED_EVERY: Final = 3600.0  # seconds between two notes of which lists are in use
FLUSH_EVERY: Final = 0.2  # seconds between two writes of call records

TEXT: Final = (
    "Caller ID that can be believed: STIR/SHAKEN authentication (STI-AS) and verification (STI-VS)"
    " in the ATIS-1000082 and 3GPP TS 24.229 Ms dialects, and the registry that signing decides by."
)

_logger = logging.getLogger("zhenxian")


class Service:
    """One process of the service: every room, built and wired, not yet listening."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        metrics_folder: str | None = None,
    ) -> None:
        """Raises ConfigError, or RegistryConflictError, for what cannot be started with."""
        self.settings = settings
        self._clock = clock
        self._problems: dict[str, str] = {}
        self._unreadable: list[str] = []  # fetched lists
        self._remarked: frozenset[str] = frozenset()
        self._used_at = 0.0
        data = settings.data
        make_data_folder(data)
        self.metrics = Metrics(metrics_folder)
        self.log = CallLog(settings.log.level)
        self.pseudonym = Pseudonym(
            pseudonym_key(data / "log.key"), clear=settings.log.clear_numbers
        )
        self.publisher = Publisher(data / "published")
        self.authenticator = Authenticator(
            settings.auth.keys, mtls=settings.server.tls_client_ca is not None
        )
        self.tls: ListenerCertificate | None = None  # set by who listens
        self._looks = Looks()
        self._now = asyncio.Event()
        self.plan = plan_of(settings)
        self.reading = reading_of(settings, self.plan, self._special)
        self.issuers = load_issuers(settings.registry.issuers)
        self.pins = load_pins(settings.registry.nodes)
        self.node = node_key(settings)
        self.identity_key = pseudonym_key(settings.registry.identity_key or data / "identity.key")
        fleet = _fleet(settings)
        self.registry = self._registry(fleet)
        window = settings.verifier.repeat_seconds
        self._seen = FleetReplayStore(fleet, window=window) if fleet is not None else None
        self.origids = OrigidKeeper(data, self.node.name, settings.signer, fleet, clock)
        self.keeper = self._conduct(fleet)
        conduct = self.keeper.calls if self.keeper is not None else None
        self.keys = self._key_store()
        self.redress = self._redress()
        x5u = X5uPolicy(
            allow_http_loopback=settings.fetch.allow_http_loopback,
            repositories=settings.fetch.repositories,
        )
        fetcher = HttpFetcher(
            policy=x5u,
            limits=FetchLimits(total_seconds=settings.fetch.seconds),
            ca_file=settings.fetch.ca_file,
        )
        self.repository = CertificateRepository(
            fetcher,
            policy=x5u,
            clock=lambda: int(clock()),
            stale_seconds=settings.fetch.stale_seconds,
            failure_seconds=settings.fetch.failure_seconds,
        )
        self.crls = CrlStore(
            settings.trust.crl_folder or data / "crl",
            fetcher,
            urls=settings.trust.crl_urls,
            signed=self._list_signed,
            count=self.metrics.lists,
        )
        self.lists = LearntLists(self.crls, lambda: self.verifier.trust, clock, self._refresh_trust)
        self._trust_stamp: tuple[object, ...] = ()
        self._roots = TrustList()
        self._list_issuers: dict[Path, TrustList] = {}
        self._view: RevocationView | None = None
        self._roots_whole = True
        self._trust_lock = asyncio.Lock()
        trust = self._load_trust()
        consent = ConsentPolicy(
            Consent(settings.consent.marketing), settings.consent.marketing_terms
        )
        self.verifier = Verifier(
            ScreenPolicy(
                settings.verifier.date_window,
                settings.verifier.iat_window,
                frozenset(None if name == "baseline" else name for name in settings.verifier.types),
                x5u,
                self.reading,
                settings.verifier.diverted_window,
            ),
            self.repository,
            trust,
            MemoryReplayStore(window=window)
            if settings.server.workers == 1
            else SqliteReplayStore(data / "replay.sqlite", window),
            self.registry,
            conduct,
            ConductPolicy(
                PooledVerifying(settings.displays.verifying),
                PooledVerifying(settings.displays.carriers),
            ),
            unsigned=self._unsigned(),
            suspect=self.repository.suspect,
            country=self._country,
            consent=consent,
            plan=self.plan,
            lacking=self.lists.lacking,
        )
        dialect = settings.server.dialect
        keeper = self.keeper
        self.pipeline = Pipeline(
            signing=SigningSide(
                credential=self.credential,
                registry=self.registry,
                plan=self.plan,
                origids=self.origids.origids,
                pooled=PooledSigning(settings.displays.signing),
                consent=consent,
                conduct=conduct,
                claimed=settings.signer.claimed_diversions == "C",
                destinations=settings.signer.diversions,
            ),
            verifying=VerifyingSide(
                verifier=self.verifier,
                repository=self.repository,
                lists=self.lists,
                replay=self._seen,
            ),
            recorder=Recorder(self.metrics, self.log, self.pseudonym, clock),
            around=Around(refresh=self._turn, keep=keeper.keep, count=keeper.calls.count)
            if keeper is not None
            else Around(refresh=self._turn),
            clock=clock,
        )
        self.calls = Calls(
            CallPolicy(
                dialect=None if dialect == "auto" else Dialect(dialect),
                max_body=settings.server.max_body,
                explain=settings.server.explain,
                reading=self.reading,
                iat_window=settings.signer.iat_window,
            ),
            self.pipeline,
            self.authenticator,
            self.redress.rejection,
        )
        publish(self)

    def _conduct(self, fleet: FleetOptions | None) -> ConductKeeper | None:
        """What counts conduct; None when nobody wants to know."""
        displays = self.settings.displays
        if {displays.signing, displays.verifying, displays.carriers} == {"off"}:
            return None
        policy = load_policy(
            displays.thresholds, salt=salt_of(self.identity_key), max_keys=displays.max_keys
        )
        file = ConductFile(self.settings.data / "conduct.db")
        # In containers all have one process number; with a clock set back, `boot` is smaller.
        process = f"{os.getpid()}-{secrets.token_hex(4)}"
        name = f"{self.settings.registry.node or socket.gethostname()}/{process}"
        exchange: Exchange | None = None
        if fleet is not None:
            exchange = FleetExchange(fleet, name)
        elif self.settings.server.workers > 1:
            exchange = WorkerExchange(file, name)
        conduct = Conduct(
            policy,
            show=str if displays.clear_samples else self.pseudonym,
            fleet=exchange is not None,
            boot=int(self._clock() * 1_000),
        )
        return ConductKeeper(conduct, file, exchange, self._clock, self.registry)

    def _turn(self) -> None:
        """What each batch of calls is preceded by."""
        try:
            self.registry.turn()
        finally:
            if self.keeper is not None:
                self.keeper.turn()

    def clock(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def _registry(self, fleet: FleetOptions | None) -> EmbeddedRegistry | FleetRegistry:
        if fleet is None:
            return EmbeddedRegistry(self.settings.data / REGISTRY_FILE, self.node)
        return _fleet_registry(self.settings, fleet, self.issuers)

    async def start(self) -> None:
        """Reach what is outside this machine. Raises ConfigError when Redis refuses us."""
        if self.keeper is not None:
            self.keeper.restore()
        if isinstance(self.registry, FleetRegistry):
            await self.registry.start()

    def credential(self) -> Credential | None:
        """The key and chain that sign now; None when there are none, or they are not valid now."""
        if self.keys is None:
            return None
        credential = self.keys.current
        return credential if credential.not_before <= self._clock() < credential.not_after else None

    def problems(self) -> list[str]:
        """Why this node cannot sign or verify as configured; see service.readiness."""
        replays = self._seen.problem if self._seen is not None else None
        return readiness.problems(self, self._problems, replays)

    def remarks(self) -> list[str]:
        """What else is to be looked at; see service.readiness."""
        return readiness.remarks(self, self._unreadable)

    async def close(self) -> None:
        """Write the last records and let go of connections."""
        self.log.flush()
        await self.repository.close()
        if self.keeper is not None:
            await self.keeper.close()
        if self._seen is not None:
            await self._seen.close()
        await self.origids.close()
        if isinstance(self.registry, FleetRegistry):
            await self.registry.aclose()
        else:
            self.registry.close()

    async def watch(self) -> None:
        """Take over what changes on disk, fetch what is due, and write the log, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write_log())
            tasks.create_task(self._fetch_lists())
            if isinstance(self.registry, FleetRegistry):
                tasks.create_task(self.registry.follow())
            if self.keeper is not None:
                tasks.create_task(self.keeper.run())
            tasks.create_task(self.origids.run())
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._now.wait(), WATCH_EVERY)
                told = self._now.is_set()
                self._now.clear()
                await self.refresh(at_once=told)
                if told:
                    _logger.info("looked at all files anew; settings are read at the start only")

    def look_at_once(self) -> None:
        """Take over all files as they are now, without a second look."""
        self._now.set()

    async def _write_log(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            self.log.flush()

    async def _fetch_lists(self) -> None:
        while True:
            now = self._clock()
            if not 0 <= now - self._used_at < USED_EVERY:
                self._used_at = now
                self.lists.used(self.repository.proven(), int(now))
            try:
                await self.crls.refresh_due(int(now))
                self._report("folder of revocation lists", None)
            except ConfigError as error:
                self._report("folder of revocation lists", str(error))
            self._remark()
            await asyncio.sleep(WATCH_EVERY)

    def _remark(self) -> None:
        """Log the remarks that are new."""
        remarks = self.remarks()
        for text in remarks:
            if text not in self._remarked:
                _logger.warning("%s", self.pseudonym.text(text))
        self._remarked = frozenset(remarks)

    async def refresh(self, *, at_once: bool = True) -> None:
        """Look at everything that may have changed: keys, holdings, trust, lists.

        Args:
            at_once: take over what changed; otherwise what the look before has seen, too. A file
                that is being written may be empty or half, and read as if it were whole.
        """

        def whole(name: str, seen: object) -> bool:
            return self._looks.still(name, seen) or at_once

        self.repository.refresh_due()
        if self.keys is not None:
            settled = whole("signing key", self.keys.stamps())
            if settled and self.keys.reload_if_changed(self._clock()):
                _logger.info("a new signing certificate is in use: %s", self.keys.current.x5u)
            self._report("signing key", self.keys.problem)
        await self._refresh_registry()
        self.origids.forget()
        if self._seen is not None:
            await self._seen.mend()
        if whole("API keys", self.authenticator.stamps()):
            self.authenticator.refresh()
        self._report("API keys", self.authenticator.problem)
        if self.tls is not None:
            if whole("TLS certificate", self.tls.stamps()) and self.tls.reload_if_changed():
                _logger.info("a new TLS certificate is in use")
            self._report("TLS certificate", self.tls.problem)
        self._roots_whole = whole("trust", self._root_files())
        await self._refresh_trust()

    def _list_signed(self, listed: RevocationList, keys: Sequence[str]) -> bool:
        return self.verifier.trust.revocation.signed(listed, keys)

    async def _refresh_registry(self) -> None:
        try:
            self.registry.turn()
            await self.registry.with_writer(lambda book: book.purge(int(self._clock())))
            self._report("registry", None)
        except StoreUnavailableError as error:
            self._report("registry", str(error))

    async def _refresh_trust(self) -> None:
        async with self._trust_lock:
            try:
                found = self._trust_files()
                if found == self._trust_stamp:
                    self._report("trust", None)
                # A list that has arrived waits for roots that are being written.
                elif self._roots_whole or found[:2] == self._trust_stamp[:2]:
                    # In a thread: a list of many entries takes longer to read than a call may wait.
                    self.verifier.trust = await asyncio.to_thread(self._load_trust)
                    _logger.info("trust list and revocation lists were read anew")
            except ConfigError as error:
                self._report("trust", str(error))

    def _report(self, name: str, text: str | None) -> None:
        """Remember a problem for /readyz and log it when it is new."""
        if text is None:
            self._problems.pop(name, None)
        elif self._problems.get(name) != text:
            self._problems[name] = text
            _logger.warning("%s: %s", name, self.pseudonym.text(text))

    def _key_store(self) -> KeyStore | None:
        signer = self.settings.signer
        if signer.key is None or signer.chain is None:
            if signer.key is not None or signer.chain is not None:
                raise ConfigError("signer.key and signer.chain are given together or not at all")
            return None
        x5u = signer.x5u or self._own_x5u
        return KeyStore(signer.key, signer.chain, x5u=x5u)

    def _own_x5u(self, _: Chain, chain_pem: bytes) -> str:
        """Publish the chain and tell where: what cannot be published is not signed with."""
        name = self.publisher.publish(chain_pem)
        return self._public_base() + PUBLISH_PATH + name

    def _unsigned(self) -> UnsignedPolicy:
        settings = self.settings.verifier
        return UnsignedPolicy(
            {entry.spc: Action(entry.action) for entry in settings.unsigned if entry.spc},
            {entry.country: Action(entry.action) for entry in settings.unsigned if entry.country},
            frozenset(self.reading.number(text) for text in settings.health_numbers),
        )

    def _country(self, tn: TN) -> str | None:
        """The country of a number; 95588 is one of ours, and not Myanmar's 5 588."""
        return self.settings.country if self.plan.national(tn) else region(tn)

    def _special(self, tn: TN) -> bool:
        """True for a short number that is no extension: of the plan, or held by somebody."""
        if self.plan.emergency(tn) or self.plan.national(tn):
            return True
        try:
            return self.registry.holding(tn) is not None
        except StoreUnavailableError:
            return False

    def _public_base(self) -> str:
        """Where strangers reach what this service publishes."""
        base = self.settings.signer.publish_base
        if base is None:
            host, port = listener_address(self.settings.server.calls)
            host = f"[{host}]" if ":" in host else host
            scheme = "https" if self.settings.server.tls_cert is not None else "http"
            base = f"{scheme}://{host}:{port}"
        return base.rstrip("/")

    def _redress(self) -> Redress:
        settings = self.settings.redress
        contact = None
        if settings.organisation is not None:
            contact = Contact(
                settings.organisation,
                settings.phone,
                settings.email,
                settings.url,
                settings.address,
                settings.language,
            )
            if self.keys is None and settings.status == 608:
                raise ConfigError("the redress contact is signed: set signer.key and signer.chain")
        return Redress(
            contact,
            unwanted=settings.status == 607,
            base=self._public_base(),
            credential=self.credential,
            clock=self._clock,
        )

    def _root_files(self) -> tuple[object, ...]:
        trust = self.settings.trust
        named = [path for entry in trust.crl_issuers for path in (entry.certificates, entry.roots)]
        return (folder_stamp(trust.roots), tuple(map(folder_stamp, named)))

    def _trust_files(self) -> tuple[object, ...]:
        return (*self._root_files(), self.crls.version())

    def _load_trust(self) -> Trust:
        trust = self.settings.trust
        stamp = self._trust_files()
        roots = load_roots(trust.roots, self._roots)
        issuers = {
            path: load_trust_list(path, self._list_issuers.get(path))
            for entry in trust.crl_issuers
            for path in (entry.certificates, entry.roots)
            if path is not None
        }
        view, problems = build_view(
            self.crls.held(),
            issuers=TrustList(),
            assigned=[
                Assignment(
                    issuers[entry.certificates],
                    issuers[entry.roots] if entry.roots is not None else None,
                    entry.addresses,
                )
                for entry in trust.crl_issuers
            ],
            trust=roots,
            policy=RevocationPolicy(trust.revocation),
            before=self._view,
        )
        self._view = view
        self._unreadable = [text for text in problems if text.lower().startswith(FETCHED)]
        own = [text for text in problems if text not in self._unreadable]
        self._report("reading revocation lists", "; ".join(own) or None)
        self._report("trust", None)
        self._trust_stamp = stamp
        self._roots, self._list_issuers = roots, issuers
        return Trust(roots, view, ProfilePolicy(strict=trust.profile == "strict"))


def _fleet(settings: Settings) -> FleetOptions | None:
    """How this node takes part in a fleet; None when it is alone."""
    fleet = settings.fleet
    if not fleet.url:
        return None
    return FleetOptions(
        fleet.url,
        password_file=fleet.password,
        sentinel_password_file=fleet.sentinel_password,
        tls_ca=fleet.tls_ca,
        tag=fleet.name,
        lag_limit=fleet.lag_limit,
        timeout=fleet.timeout,
        wait_replicas=fleet.wait_replicas,
        wait_ms=int(fleet.timeout * 500),
        allow_volatile=fleet.allow_volatile,
        take_over_foreign=fleet.take_over_foreign,
        version=__version__,
    )


def open_fleet(settings: Settings) -> FleetRegistry:
    """A node's registry of its fleet, not yet started. Raises ConfigError when it is alone."""
    fleet = _fleet(settings)
    if fleet is None:
        raise ConfigError("this node belongs to no fleet: fleet.url is not set")
    return _fleet_registry(settings, fleet, load_issuers(settings.registry.issuers))


def _fleet_registry(
    settings: Settings, fleet: FleetOptions, issuers: Mapping[str, Issuer]
) -> FleetRegistry:
    return FleetRegistry(
        settings.data / REGISTRY_FILE,
        fleet,
        node_key(settings),
        vet=lambda order, before: unfounded(order, before, issuers),
    )


def node_key(settings: Settings) -> NodeKey:
    """Name and key of this node; the key is made when there is none."""
    name = settings.registry.node or socket.gethostname()
    return NodeKey.load_or_create(settings.data / "node.key", name)


_OF_CALLS: Final = {404: Reason.RESOURCE_NOT_FOUND, 405: Reason.METHOD_NOT_ALLOWED}


def _application(dialect: Dialect, authenticator: Authenticator) -> FastAPI:
    """An application without routes; below /stir it refuses in the words of `dialect`."""
    app = FastAPI(
        title="Zhenxian (真显)",
        version=__version__,
        description=TEXT,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # a redirect would be built from the client's Host
    )

    app.add_middleware(Entrance, authenticator=authenticator)

    @app.exception_handler(ZhenxianError)
    def ours(_: Request, error: ZhenxianError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        sentences = (f"{member(entry['loc'])}: {sentence(entry)}" for entry in error.errors())
        return problem(422, "Invalid request", "; ".join(sentences))

    @app.exception_handler(StarletteHTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        reason = _OF_CALLS.get(error.status_code)
        response: Response
        if reason is not None and of_calls(request.scope["path"]):
            body = answers.refused(reason, (), dialect)
            response = Response(body, error.status_code, media_type="application/json")
        else:
            title = HTTPStatus(error.status_code).phrase
            response = problem(error.status_code, title, str(error.detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    def failed(_: Request, __: Exception) -> JSONResponse:
        """Told without its text, which may name numbers; the server logs it."""
        return problem(500, "Internal error", INTERNAL)

    return app


def applications(service: Service) -> tuple[FastAPI, FastAPI | None]:
    """The application of the calls listener, and that of the admin listener if there is one.

    The documents describe both: an engineer reads one page.
    """
    per_call: list[APIRouter] = [
        calls_router(service.calls),
        publish_router(service.publisher),
        redress_router(service.redress),
    ]
    text = service.pseudonym.text
    health = health_router(
        lambda: list(map(text, service.problems())), lambda: list(map(text, service.remarks()))
    )
    administration = [
        registry_router(
            service.registry,
            service.authenticator,
            identity_key=service.identity_key,
            issuers=service.issuers,
            pins=service.pins,
            plan=service.plan,
            reading=service.reading,
            given_for=service.origids.given_for,
            clock=service.clock,
        ),
        bulk_router(
            service.registry,
            service.authenticator,
            identity_key=service.identity_key,
            max_import=service.settings.server.max_import,
            reading=service.reading,
            clock=service.clock,
        ),
        clearings_router(service.registry, service.authenticator),
        metrics_router(service.metrics, service.authenticator),
    ]
    if service.keeper is not None:
        administration.append(
            displays_router(
                service.keeper,
                service.registry,
                service.authenticator,
                clock=service.clock,
                logged=service.pseudonym.text,
                reading=service.reading,
            )
        )
    dialect = spoken(service.settings.server.dialect)
    documented = _application(dialect, service.authenticator)
    for router in (*per_call, health, *administration):
        documented.include_router(router)
    docs = docs_router(documented)
    calls = _application(dialect, service.authenticator)
    for router in (*per_call, health):
        calls.include_router(router)
    admin = calls
    if service.settings.server.admin is not None:
        admin = _application(dialect, service.authenticator)
        admin.include_router(health)
    for router in (*administration, docs):
        admin.include_router(router)
    return calls, admin if admin is not calls else None
