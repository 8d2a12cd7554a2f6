"""The composition root: builds everything from one Settings.

It is the only place that names an engine. service.serving serves what comes from here.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from zhenxian import __version__
from zhenxian.api.auth import Authenticator
from zhenxian.api.calls import responses as answers
from zhenxian.api.calls.requests import Dialect
from zhenxian.api.calls.routes import calls_router
from zhenxian.api.calls.service import CallPolicy, Calls
from zhenxian.api.entrance import Entrance
from zhenxian.api.management.analytics import (
    clearing_router,
    clearings_router,
    displays_router,
)
from zhenxian.api.management.bulk import bulk_router
from zhenxian.api.management.clock import clock_router
from zhenxian.api.management.common import (
    INTERNAL,
    error_response,
    health_router,
    metrics_router,
    problem,
    requires,
)
from zhenxian.api.management.complaints import complaints_router
from zhenxian.api.management.losses import losses_router
from zhenxian.api.management.records import registry_router
from zhenxian.api.openapi import TAGS
from zhenxian.api.openapi import router as docs_router
from zhenxian.api.permissions import Action, Thing
from zhenxian.api.published.certificates import Publisher
from zhenxian.api.published.certificates import router as publish_router
from zhenxian.api.published.redress import router as redress_router
from zhenxian.api.transport.refusals import of_calls, spoken
from zhenxian.api.words import member, sentence
from zhenxian.calls.lists import LearntLists
from zhenxian.calls.pipeline import Around, Pipeline, SigningSide, VerifyingSide
from zhenxian.calls.record import Recorder
from zhenxian.certs.fetch import FetchLimits, HttpFetcher
from zhenxian.certs.repository import CertificateRepository, RepositoryLimits
from zhenxian.certs.resolver import SystemResolver
from zhenxian.certs.x5u import X5uPolicy
from zhenxian.core.errors import ConfigError, StoreUnavailableError, ZhenxianError
from zhenxian.core.reading import Reading
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN
from zhenxian.passport.es256 import Choice, use
from zhenxian.registry.consent import Consent, ConsentPolicy
from zhenxian.registry.kinds import Plan
from zhenxian.registry.model import Registry
from zhenxian.registry.node_key import NodeKey
from zhenxian.registry.orders import Issuer, unfounded
from zhenxian.service.chains import ChainKeeper
from zhenxian.service.data_folder import make_data_folder
from zhenxian.service.disk import Disk
from zhenxian.service.figures import publish
from zhenxian.service.identity_key import identity_key_of
from zhenxian.service.imports import RunningImports
from zhenxian.service.numbers import plan_of, reading_of
from zhenxian.service.order_files import load_issuers, load_pins
from zhenxian.service.origids import OrigidKeeper
from zhenxian.service.parts import (
    conduct_keeper,
    contact_of,
    credential_now,
    keep_person_limits,
    key_store,
    redress_of,
    unsigned_policy,
)
from zhenxian.service.problems import problems, remarks
from zhenxian.service.reported import Problems
from zhenxian.service.service import Service
from zhenxian.service.settings import Settings
from zhenxian.service.sip_rules import access_rules, digest_of, sip_policy, sip_responses
from zhenxian.service.trust import TrustKeeper
from zhenxian.signer.analytics import PooledSigning
from zhenxian.sip.answering import SipCalls
from zhenxian.sip.routes import sip_router
from zhenxian.stores.analytics.sync import AnalyticsSync
from zhenxian.stores.clock import CLOCK_FILE, ClockGuard
from zhenxian.stores.fleet.link import FleetOptions
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.key_file import load_node_key, load_secret
from zhenxian.stores.replay.file import SqliteReplayStore
from zhenxian.stores.replay.fleet import FleetReplayStore
from zhenxian.stores.replay.memory import MemoryReplayStore
from zhenxian.stores.sqlite.registry import REGISTRY_FILE, EmbeddedRegistry
from zhenxian.stores.sqlite.requests import done
from zhenxian.telemetry.logs import CallLog, Pseudonym
from zhenxian.telemetry.metrics import Metrics
from zhenxian.verifier.analytics import ConductPolicy, PooledVerifying
from zhenxian.verifier.screen import ScreenPolicy
from zhenxian.verifier.unsigned import region
from zhenxian.verifier.verify import Verifier

TEXT: Final = (
    "Caller ID that can be believed: STIR/SHAKEN authentication (STI-AS) and verification (STI-VS)"
    " in the ATIS-1000082 and 3GPP TS 24.229 Ms dialects, and the registry that signing decides by."
)


def build(
    settings: Settings,
    *,
    clock: Callable[[], float] = time.time,
    metrics_folder: str | None = None,
) -> Service:
    """Build one process of the service.

    Raises:
        ConfigError, RegistryConflictError: what cannot be started with.
    """
    use(Choice(settings.server.es256))
    data = settings.data
    make_data_folder(data)
    metrics = Metrics(metrics_folder)
    log = CallLog(settings.log.level)
    pseudonym = Pseudonym(load_secret(data / "log.key"), clear=settings.log.clear_numbers)
    reported = Problems(pseudonym.text)
    publisher = Publisher(data / "published")
    authenticator = Authenticator(
        settings.auth.keys, mtls=settings.server.tls_client_ca is not None
    )

    # Who may show what, and who calls how
    plan = plan_of(settings)
    issuers = load_issuers(settings.registry.issuers)
    pins = load_pins(settings.registry.nodes)
    node = node_key(settings)
    identity_key = identity_key_of(settings)
    fleet = _fleet(settings)
    registry = _open_registry(settings, node, fleet, issuers, clock)
    keep_person_limits(data / REGISTRY_FILE, settings.registry.numbers_a_person)
    reading = reading_of(settings, plan, lambda tn: _special(tn, plan, registry))
    replays = (
        FleetReplayStore(fleet, window=settings.verifier.repeat_seconds)
        if fleet is not None
        else None
    )
    seen = _replay_store(settings)
    origids = OrigidKeeper(data, node.name, settings.signer, fleet, clock)
    keeper = conduct_keeper(
        settings, fleet, registry, identity_key=identity_key, pseudonym=pseudonym, clock=clock
    )
    conduct = keeper.calls if keeper is not None else None
    consent = ConsentPolicy(Consent(settings.consent.marketing), settings.consent.marketing_terms)

    # What signs
    keys = key_store(settings, publisher)
    credential = partial(credential_now, keys, clock)
    redress = redress_of(settings, credential, clock)

    # What certificates are judged by
    resolver = SystemResolver()
    x5u, fetcher, repository = _repository(settings, resolver, clock, metrics.certificates)
    trust = TrustKeeper(settings, fetcher, reported, metrics.lists)
    lists = LearntLists(trust.crls, lambda: trust.current, clock, trust.refresh)

    verifier = Verifier(
        _screen_policy(settings, x5u, reading),
        repository,
        trust.current,
        seen,
        registry,
        conduct,
        ConductPolicy(
            PooledVerifying(settings.displays.verifying),
            PooledVerifying(settings.displays.carriers),
        ),
        unsigned=unsigned_policy(settings, reading),
        suspect=repository.suspect,
        country=lambda tn: settings.country if plan.national(tn) else region(tn),
        consent=consent,
        plan=plan,
        lacking=lists.lacking,
        chains=settings.fetch.chains,
    )
    trust.taken = verifier.judge_by
    pipeline = Pipeline(
        signing=SigningSide(
            credential=credential,
            registry=registry,
            iat_window=settings.signer.iat_window,
            plan=plan,
            origids=origids.origids,
            pooled=PooledSigning(settings.displays.signing),
            consent=consent,
            conduct=conduct,
            claimed=settings.signer.claimed_diversions == "C",
            destinations=settings.signer.diversions,
        ),
        verifying=VerifyingSide(
            verifier=verifier,
            repository=repository,
            lists=lists,
            replay=replays,
            together=seen if replays is None and isinstance(seen, SqliteReplayStore) else None,
        ),
        recorder=Recorder(metrics, log, pseudonym, clock),
        around=_around(registry, keeper),
        clock=clock,
    )
    calls = Calls(
        _call_policy(settings, reading),
        pipeline,
        authenticator,
        redress.rejection,
    )
    sip = SipCalls(sip_policy(settings, reading), pipeline, redress.rejection)
    service = Service(
        settings=settings,
        clock=clock,
        metrics=metrics,
        log=log,
        pseudonym=pseudonym,
        publisher=publisher,
        authenticator=authenticator,
        plan=plan,
        reading=reading,
        issuers=issuers,
        pins=pins,
        node=node,
        identity_key=identity_key,
        registry=registry,
        replays=replays,
        seen=seen,
        disk=Disk(data, data / REGISTRY_FILE if fleet is None else None),
        origids=origids,
        keeper=keeper,
        keys=keys,
        credential=credential,
        redress=redress,
        resolver=resolver,
        repository=repository,
        chains=ChainKeeper(settings.data / "chains.json", repository, reported),
        reported=reported,
        trust=trust,
        lists=lists,
        verifier=verifier,
        pipeline=pipeline,
        calls=calls,
        sip=sip,
        sip_digest=digest_of(settings, clock),
    )
    publish(service)
    return service


def _open_registry(
    settings: Settings,
    node: NodeKey,
    fleet: FleetOptions | None,
    issuers: Mapping[str, Issuer],
    clock: Callable[[], float],
) -> EmbeddedRegistry | FleetRegistry:
    guard = (
        ClockGuard(kept=settings.data / CLOCK_FILE)
        if clock is time.time
        else ClockGuard(clock, clock, lambda: None)
    )
    if fleet is not None:
        return _fleet_registry(settings, fleet, issuers, guard)
    file = settings.data / REGISTRY_FILE
    return EmbeddedRegistry(file, node, guard=guard, version=__version__)


def _repository(
    settings: Settings,
    resolver: SystemResolver,
    clock: Callable[[], float],
    count: Callable[[str], None],
) -> tuple[X5uPolicy, HttpFetcher, CertificateRepository]:
    """Where certificates may come from, what fetches them, and what remembers them."""
    x5u = X5uPolicy(
        allow_http_loopback=settings.fetch.allow_http_loopback,
        repositories=settings.fetch.repositories,
    )
    fetcher = HttpFetcher(
        policy=x5u,
        limits=FetchLimits(total_seconds=settings.fetch.seconds),
        ca_file=settings.fetch.ca_file,
        resolve=resolver,
    )
    repository = CertificateRepository(
        fetcher,
        policy=x5u,
        clock=lambda: int(clock()),
        limits=RepositoryLimits(entries=settings.fetch.chains),
        stale_seconds=settings.fetch.stale_seconds,
        failure_seconds=settings.fetch.failure_seconds,
        count=count,
    )
    resolver.known = repository.knows
    return x5u, fetcher, repository


def _screen_policy(settings: Settings, x5u: X5uPolicy, reading: Reading) -> ScreenPolicy:
    return ScreenPolicy(
        date_window=settings.verifier.date_window,
        iat_window=settings.verifier.iat_window,
        types=frozenset(None if name == "baseline" else name for name in settings.verifier.types),
        x5u=x5u,
        reading=reading,
        diverted_window=settings.verifier.diverted_window,
    )


def _call_policy(settings: Settings, reading: Reading) -> CallPolicy:
    dialect = settings.server.dialect
    return CallPolicy(
        dialect=None if dialect == "auto" else Dialect(dialect),
        max_body=settings.server.max_body,
        max_waiting=settings.server.max_waiting,
        explain=settings.server.explain,
        reading=reading,
        as_608=settings.sip.refused == 608,
        contact=contact_of(settings),
    )


def _special(tn: TN, plan: Plan, registry: Registry) -> bool:
    """True for a short number that is no extension: of the plan, or held by somebody."""
    if plan.emergency(tn) or plan.national(tn):
        return True
    try:
        return registry.holding(tn) is not None
    except StoreUnavailableError:
        return False


def _replay_store(settings: Settings) -> MemoryReplayStore | SqliteReplayStore:
    """That of this machine; its processes share one."""
    window = settings.verifier.repeat_seconds
    if settings.server.workers == 1:
        return MemoryReplayStore(window=window)
    return SqliteReplayStore(settings.data / "replay.sqlite", window)


def _around(registry: EmbeddedRegistry | FleetRegistry, keeper: AnalyticsSync | None) -> Around:
    """What each batch of calls is preceded and followed by."""
    if keeper is None:
        return Around(refresh=registry.catch_up)

    def refresh() -> None:
        try:
            registry.catch_up()
        finally:
            keeper.catch_up()

    return Around(refresh=refresh, keep=keeper.keep, count=keeper.calls.count)


def _fleet(settings: Settings) -> FleetOptions | None:
    """How this node takes part in a fleet; None when it is alone."""
    fleet = settings.fleet
    if not fleet.url:
        return None
    return FleetOptions(
        url=fleet.url,
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
    make_data_folder(settings.data)
    guard = ClockGuard(kept=settings.data / CLOCK_FILE)
    return _fleet_registry(settings, fleet, load_issuers(settings.registry.issuers), guard)


def _fleet_registry(
    settings: Settings,
    fleet: FleetOptions,
    issuers: Mapping[str, Issuer],
    guard: ClockGuard | None = None,
) -> FleetRegistry:
    return FleetRegistry(
        settings.data / REGISTRY_FILE,
        fleet,
        node_key(settings),
        vet=lambda order, before: unfounded(order, before, issuers),
        guard=guard,
    )


def node_key(settings: Settings) -> NodeKey:
    """Name and key of this node; the key is made when there is none."""
    name = settings.registry.node or socket.gethostname()
    return load_node_key(settings.data / "node.key", name)


_Routers = tuple[list[APIRouter], APIRouter, list[APIRouter]]
_UNTOLD: Final = {
    404: "there is nothing at this address; no id has a slash in it",
    405: "this address does not take that method; the Allow header names those it takes",
}
_OF_CALLS: Final = {404: Reason.RESOURCE_NOT_FOUND, 405: Reason.METHOD_NOT_ALLOWED}


def _application(dialect: Dialect, authenticator: Authenticator) -> FastAPI:
    """An application without routes; below /stir it refuses in the words of `dialect`."""
    app = FastAPI(
        title="Zhenxian",
        version=__version__,
        description=TEXT,
        license_info={"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,  # a redirect would be built from the client's Host
    )

    app.add_middleware(Entrance, authenticator=authenticator)

    # Coroutines: what is no coroutine is run in a thread, and there may be none.
    @app.exception_handler(ZhenxianError)
    async def ours(_: Request, error: ZhenxianError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        sentences = (f"{member(entry['loc'])}: {sentence(entry)}" for entry in error.errors())
        return problem(422, "Invalid request", "; ".join(sentences))

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        reason = _OF_CALLS.get(error.status_code)
        response: Response
        if reason is not None and of_calls(request.scope["path"]):
            body = answers.refused(reason, (), dialect)
            response = Response(body, error.status_code, media_type="application/json")
        else:
            title = HTTPStatus(error.status_code).phrase
            told = str(error.detail)  # the framework's own errors repeat their title
            told = told if told != title else _UNTOLD.get(error.status_code, told)
            response = problem(error.status_code, title, told)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(ClientDisconnect)
    async def left(_: Request, __: Exception) -> Response:
        """Nobody reads it: who sent half a body has gone, which is no error of the service."""
        return Response(status_code=400)

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> JSONResponse:
        """Told without its text, which may name numbers; the server logs it."""
        return problem(500, "Internal error", INTERNAL)

    return app


def applications(service: Service) -> tuple[FastAPI, FastAPI | None]:
    """The application of the calls listener, and that of the admin listener if there is one.

    The documents describe both: an engineer reads one page. Routes are shared rather than included:
    the framework analyses an included route anew, for each application and at its first request.
    """
    routers = _routers(service)
    per_call, health, administration = routers
    described = _described(service, routers)
    docs = docs_router(described, service.authenticator, service.credential, service.clock)
    dialect = spoken(service.settings.server.dialect)
    calls = _application(dialect, service.authenticator)
    for router in (*per_call, health):
        calls.routes.extend(router.routes)
    admin = calls
    if service.settings.server.admin is not None:
        admin = _application(dialect, service.authenticator)
        admin.routes.extend(health.routes)
    for router in (*administration, docs):
        admin.routes.extend(router.routes)
    return calls, admin if admin is not calls else None


def documented(service: Service) -> FastAPI:
    """An application with the routes of both listeners, which the documents describe."""
    return _described(service, _routers(service))


def _described(service: Service, routers: _Routers) -> FastAPI:
    per_call, health, administration = routers
    app = _application(spoken(service.settings.server.dialect), service.authenticator)
    for router in (*per_call, health, *administration):
        app.routes.extend(router.routes)
    return app


def _routers(service: Service) -> _Routers:
    """The routes of the calls listener, of health, and of administration."""
    per_call: list[APIRouter] = [
        calls_router(service.calls),
        publish_router(service.publisher),
        redress_router(service.redress),
        sip_router(
            service.sip,
            access_rules(service.settings),
            requires(service.authenticator, Thing.CALLS, Action.ASK),
            sip_responses(),
        ),
    ]
    text = service.pseudonym.text
    health = health_router(
        lambda: list(map(text, problems(service))), lambda: list(map(text, remarks(service)))
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
            done=lambda requests: service.registry.read(lambda file: done(file, requests)),
            given_for=service.origids.given_for,
            clock=service.clock,
        ),
        bulk_router(
            service.registry,
            service.authenticator,
            imports=RunningImports(
                service.registry, service.settings, service.identity_key, service.reading
            ),
            max_import=service.settings.server.max_import,
            clock=service.clock,
        ),
        clearings_router(service.registry, service.authenticator),
        complaints_router(
            service.registry, service.authenticator, clock=service.clock, reading=service.reading
        ),
        losses_router(service.registry, service.authenticator, service.pseudonym.text),
        clock_router(
            service.registry, service.authenticator, service.clock, service.pseudonym.text
        ),
        metrics_router(service.metrics, service.authenticator),
    ]
    if service.keeper is not None:
        administration.append(
            clearing_router(
                service.keeper,
                service.registry,
                service.authenticator,
                clock=service.clock,
                spc=lambda: signing.spc if (signing := service.credential()) else None,
                logged=service.pseudonym.text,
            )
        )
        administration.append(
            displays_router(
                service.keeper,
                service.registry,
                service.authenticator,
                clock=service.clock,
                logged=service.pseudonym.text,
                reading=service.reading,
                contact=contact_of(service.settings),
            )
        )
    return per_call, health, administration
