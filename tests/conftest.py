"""What every test may use: a world of its own."""

import gc
import os

import forks
import hypothesis
import once
import pytest
from _pytest.tmpdir import tmppath_result_key
from fleet.redis_server import RedisServer
from sharing import Sharing, turn
from simulator import World

from zhenxian.passport.es256 import Choice, use

# The same commit has the same result wherever it is tested, and however busy the machine is: by
# itself Hypothesis fails an example that takes a fifth of a second. `make search` looks for new
# examples.
_PATIENT = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("same", derandomize=True, database=None, **_PATIENT)
hypothesis.settings.register_profile("search", print_blob=True, **_PATIENT)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

once.install()


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_make_scheduler(config, log):
    """Which process runs which file; see sharing.py."""
    return Sharing(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items):
    """What waits comes first, in every process alike."""
    items.sort(key=lambda item: turn(item.nodeid))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Keep what a test wrote whose fixtures failed, too: pytest asks about the call alone."""
    report = yield
    if report.when == "setup" and report.failed:
        item.stash.setdefault(tmppath_result_key, {})["call"] = False
    return report


def pytest_collection_finish():
    """Ten thousand tests, and all that was imported for them, are no garbage, and not looked at."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    """Who forks services ends with the tests, and does so anyhow when this process does."""
    forks.end()


@pytest.fixture
def world():
    """Carriers, certificates and hosts in memory; see simulator.py."""
    return World()


@pytest.fixture(scope="module", params=[Choice.OPENSSL, Choice.AWS_LC])
def es256(request):
    """Keys made from now on compute with each library in turn; both are installed for tests."""
    use(request.param)
    yield request.param
    use(Choice.AUTO)


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
