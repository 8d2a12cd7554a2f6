"""A prepared installation, and the service built from it without listening."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import time

import httpcore
import httpx
import pytest
from described import check_response, departure

from zhenxian.api.calls.messages import Answer, Headers, Incoming
from zhenxian.cli import client as client_module
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.service.build import applications, build
from zhenxian.service.settings import load_settings
from zhenxian.simulation.demo import prepare
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.replay.fleet import FleetReplayStore


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("ZHENXIAN_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Made once; whoever changes files copies it (see `installation`)."""
    folder = tmp_path_factory.mktemp("prepared")
    return prepare(folder, "127.0.0.1:9", int(time.time()))


@pytest.fixture(
    params=[
        "embedded",
        pytest.param("fleet", marks=[pytest.mark.redis, pytest.mark.enable_socket]),
    ]
)
def on_either_engine(request, prepared, tmp_path):
    """Every test on either engine: a file of this machine, and a fleet on a real Redis."""
    folder = tmp_path / "installation"
    folder.mkdir()
    shutil.copytree(prepared.config.parent / "state", folder / "state")
    config = folder / "zhenxian.toml"
    text = prepared.config.read_text()
    if request.param == "fleet":
        url = request.getfixturevalue("fleet_redis").url
        name = f"zx{secrets.token_hex(4)}"
        text += f'[fleet]\nurl = "{url}"\nname = "{name}"\ntimeout = 10\nlag_limit = 3600\n'
    config.write_text(text)
    return prepared._replace(config=config)


@pytest.fixture(scope="session")
def _untouched(tmp_path_factory):
    """An installation that is copied only."""
    return prepare(tmp_path_factory.mktemp("untouched"), "127.0.0.1:9", int(time.time()))


@pytest.fixture
def installation(_untouched, tmp_path):
    """An installation of the test's own."""
    folder, original = tmp_path / "installation", _untouched.config.parent
    shutil.copytree(original, folder)
    made = _moved(_untouched, original, folder)
    made.config.write_text(made.config.read_text().replace(str(original), str(folder)))
    return made


def _moved(named, original, folder):
    """What named files of one folder names those of its copy."""
    if isinstance(named, dict):
        return {name: _moved(value, original, folder) for name, value in named.items()}
    if isinstance(named, tuple):
        return type(named)(*(_moved(value, original, folder) for value in named))
    return folder / named.relative_to(original)


def _client(app):
    """Who asks an application in process; it holds nothing that is to be let go of."""
    if app is None:
        return None
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


class Desk:
    """A service that is asked in process."""

    def __init__(self, config, clock=time.time, **sections):
        settings = load_settings(config)
        changed = {
            name: getattr(settings, name).model_copy(update=values)
            for name, values in sections.items()
        }
        self.clock = clock  # may be set
        with pytest.MonkeyPatch.context() as patched:  # what waits for nothing else may wait
            patched.setitem(FleetReplayStore.__init__.__kwdefaults__, "timeout", 10.0)
            self.service = build(settings.model_copy(update=changed), clock=self._now)
        # Its clock is the test's, and may be set; that of Redis is not.
        self.service.registry.guard.redis_says = lambda moment: None
        self._clients = None  # made once: that takes longer than most requests
        self._loop = None
        if isinstance(self.service.registry, FleetRegistry):
            self._loop = asyncio.new_event_loop()  # connections to Redis belong to one
            with contextlib.suppress(StoreUnavailableError):  # seeded by another desk before
                self._loop.run_until_complete(self.service.registry.reseed())
            self._loop.run_until_complete(self.service.start())
        self.lines: list[dict] = []
        self.service.log._write = self._written

    def _now(self):
        return self.clock()

    def _written(self, data):
        self.lines += [json.loads(line) for line in data.splitlines()]

    def written_database(self):
        """The writing connection to the registry's file, to be made unwritable."""
        registry = self.service.registry
        fleet = isinstance(registry, FleetRegistry)
        file = registry.node._replica._file if fleet else registry._writer
        return file.connection.db

    def logged(self):
        self.service.log.flush()
        return self.lines

    def call(self, path, body, method=b"POST", **headers):
        """Status and decoded body of a per-call request, by the short way."""
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"content_length": str(len(encoded)).encode()} | headers
        (answer,) = self.service.calls.answer_all(
            (Incoming(path, method, Headers(**given), encoded),)
        )
        self.service.calls.answered()
        if not isinstance(answer, Answer):
            return answer, None
        told = json.loads(answer.body)
        wrong = departure(method.decode(), path, answer.status, "application/json", told)
        assert wrong is None, wrong
        return answer.status, told

    def http(self, method, path, *, admin=False, **more):
        """A request to the application, without a network."""
        if self._clients is None:
            self._clients = [_client(app) for app in applications(self.service)]
        asked = self._clients[admin].request(method, path, **more)
        answer = (
            self._loop.run_until_complete(asked) if self._loop is not None else asyncio.run(asked)
        )
        check_response(answer)
        return answer

    def close(self):
        """Let go of connections to Redis."""
        if self._loop is not None:
            self._loop.run_until_complete(self.service.close())
            self._loop.close()


@pytest.fixture
def desk(installation):
    """A service with the demonstration's carriers and registry."""
    made = Desk(installation.config)
    yield made
    made.close()


@pytest.fixture
def desk_with(installation):
    """Makes one with changed sections: desk_with(log={"clear_numbers": True})."""

    made = []

    def make(clock=time.time, **sections):
        made.append(Desk(installation.config, clock, **sections))
        return made[-1]

    yield make
    for desk in made:
        desk.close()


@pytest.fixture
def desk_of():
    """Makes one of a settings file: desk_of(config, clock, server={"workers": 2})."""

    made = []

    def make(config, clock=time.time, **sections):
        made.append(Desk(config, clock, **sections))
        return made[-1]

    yield make
    for desk in made:
        desk.close()


@pytest.fixture
def pool(monkeypatch):
    """Replaces the network; `pool.answer` answers, `pool.asked` is what it was asked."""

    class Pool:
        def __init__(self):
            self.asked = []
            self.answer = None

        def request(self, method, url, *, headers=None, content=None, extensions=None):
            self.asked.append((method, url, dict(headers), content))
            assert extensions["timeout"]["read"] > 0
            response = self.answer(method, url, dict(headers), content)
            response.read()
            return response

        @contextlib.contextmanager
        def stream(self, method, url, *, headers=None, extensions=None):
            response = self.answer(method, url, dict(headers), None)
            yield response

        def close(self):
            pass

    made = Pool()
    monkeypatch.setattr(client_module.httpcore, "ConnectionPool", lambda **_: made)
    return made


@pytest.fixture
def service(desk, pool):
    """The demonstration's service behind the default address."""

    def answer(method, url, headers, content):
        if content is not None and not isinstance(content, bytes):
            content = b"".join(content)
        response = pool.desk.http(
            method, url.removeprefix(client_module.DEFAULT_URL), headers=headers, content=content
        )
        return httpcore.Response(
            response.status_code, headers=response.headers.raw, content=response.content
        )

    pool.desk = desk
    pool.answer = answer
    return pool
