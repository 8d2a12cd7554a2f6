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
def own_process(request):
    """Whether a module is about processes: OWN_PROCESS = True starts each as an operator does."""
    return getattr(request.module, "OWN_PROCESS", False)


@pytest.fixture(scope="module")
def service(tmp_path_factory, own_process):
    """One running service with the demonstration's carriers and registry."""
    running = Service(tmp_path_factory.mktemp("service"), own_process=own_process).start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.logged()


@pytest.fixture(scope="module")
def apart(tmp_path_factory, own_process):
    """One running service with administration on a listener of its own, port `admin`."""
    port = free_port()
    running = Service(
        tmp_path_factory.mktemp("apart"),
        own_process=own_process,
        server__admin=f"127.0.0.1:{port}",
    )
    running.admin = port
    yield running.start()
    assert running.stop() == 0
    assert "Traceback" not in running.logged()


@pytest.fixture
def serve(tmp_path, own_process):
    """Starts services with settings of their own: serve(server__workers=2)."""
    started = []

    def start(**settings):
        folder = tmp_path / f"service{len(started)}"
        running = Service(folder, **{"own_process": own_process} | settings)
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
