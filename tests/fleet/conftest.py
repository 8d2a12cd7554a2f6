"""Fleets on a real Redis on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis_server import Cluster, RedisServer, Watched

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Everything here needs redis-server, and may use loopback."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.redis)
            item.add_marker(pytest.mark.enable_socket)


@pytest.fixture
def serve(tmp_path):
    """Starts servers with settings of their own: serve(requirepass="x")."""
    started = []

    def start(**settings):
        started.append(RedisServer(tmp_path / f"redis{len(started)}", **settings))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory):
    """One server for the tests of a module that do not harm it."""
    server = RedisServer(tmp_path_factory.mktemp("redis") / "data")
    yield server
    server.stop()


@pytest.fixture
def redis(shared_server):
    """That server, empty."""
    shared_server.ask("FLUSHALL")
    return shared_server


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    yield started
    started.stop()


@pytest.fixture
def watched(tmp_path):
    started = Watched(tmp_path / "watched")
    yield started
    started.stop()
