"""What every test may use: a world of its own."""

import os
from typing import ClassVar

import fastapi._compat.v2 as compiled
import hypothesis
import pytest
from fleet.redis_server import RedisServer
from pydantic import TypeAdapter
from simulator import World

from zhenxian.passport.es256 import Choice, use

# The same commit has the same result wherever it is tested, and however busy the machine is: by
# itself Hypothesis fails an example that takes a fifth of a second. `make search` looks for new
# examples.
_PATIENT = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("same", derandomize=True, database=None, **_PATIENT)
hypothesis.settings.register_profile("search", print_blob=True, **_PATIENT)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


class _CompiledOnce:
    """As TypeAdapter: hundreds of services have the same parameters, which take most of a start."""

    _made: ClassVar[dict] = {}

    def __class_getitem__(cls, item):
        return TypeAdapter[item]

    def __new__(cls, kind, config=None):
        key = (repr(kind), repr(config))
        if key not in cls._made:
            cls._made[key] = TypeAdapter(kind, config=config)
        return cls._made[key]


compiled.TypeAdapter = _CompiledOnce


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
