"""Starts the real service on loopback; it is stopped by the process id it was started with."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import Host, Service, free_port

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Everything here is end to end, and may use loopback."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.enable_socket)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """One running service with the demonstration's carriers and registry."""
    running = Service(tmp_path_factory.mktemp("service")).start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.logged()


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """One running service with administration on a listener of its own, port `admin`."""
    port = free_port()
    running = Service(tmp_path_factory.mktemp("apart"), server__admin=f"127.0.0.1:{port}")
    running.admin = port
    yield running.start()
    assert running.stop() == 0
    assert "Traceback" not in running.logged()


@pytest.fixture
def serve(tmp_path):
    """Starts services with settings of their own: serve(server__workers=2)."""
    started = []

    def start(*, alter=None, tls=False, descriptors=None, **settings):
        folder = tmp_path / f"service{len(started)}"
        running = Service(folder, alter=alter, tls=tls, descriptors=descriptors, **settings)
        started.append(running)
        return running.start()

    yield start
    for running in started:
        running.stop()
        assert "Traceback" not in running.logged()


@pytest.fixture
def host():
    """A certificate host."""
    serving = Host()
    yield serving
    serving.stop()
