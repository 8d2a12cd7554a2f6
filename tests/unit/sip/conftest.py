"""The service in process, and a redirect service on it."""

import contextlib
import time

import pytest
from desk import (  # noqa: F401
    _no_environment,
    _untouched,
    desk,
    desk_of,
    desk_with,
    installation,
    on_either_engine,
    prepared,
)
from sips import Line, with_chains


@pytest.fixture
def line_of(desk_with):  # noqa: F811
    """Makes a redirect service: line_of(sip={"failed": "reject"}, trunk="call-centre-trunk")."""

    def make(*, trunk="bank-trunk", door=None, redirection=None, ready=lambda: True, **sections):
        made = desk_with(**sections)
        with_chains(made.service)
        line = Line(made.service, trunk=trunk, door=door, redirection=redirection, ready=ready)
        line.desk = made
        return line

    return make


@pytest.fixture
def line(line_of):
    return line_of()


@pytest.fixture
def benchmark_seconds():
    """Fails what takes more processor time than it may; a busy machine makes no difference."""

    @contextlib.contextmanager
    def within(seconds):
        began = time.process_time()
        yield
        assert time.process_time() - began < seconds

    return within
