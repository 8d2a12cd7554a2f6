"""What every test may use: a world of its own."""

import pytest
from fleet.redis_server import RedisServer
from simulator import World


@pytest.fixture
def world():
    """Carriers, certificates and hosts in memory; see simulator.py."""
    return World()


@pytest.fixture(scope="session")
def fleet_redis(tmp_path_factory):
    """A Redis for fleets that each have a name of their own."""
    server = RedisServer(tmp_path_factory.mktemp("fleets") / "data", appendfsync="everysec")
    yield server
    server.stop()


def pytest_terminal_summary(terminalreporter):
    """What tests record as told is told at the end, whether they passed or not."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, text in getattr(report, "user_properties", ()):
                if name == "told" and report.when == "call":
                    terminalreporter.write_line(text)
