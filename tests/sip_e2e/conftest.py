"""Two services, two Kamailios, SIPp at both ends. A missing part fails: scripts/peers test."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.sip.stage import Stage

pytest.register_assert_rewrite("sip_e2e.ways")

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.enable_socket)


@pytest.fixture(scope="session")
def stage(tmp_path_factory):
    """A signing and a verifying service, and certificates over TLS."""
    # A busy machine fetches a certificate within that, where it does not within 0.4 s.
    with Stage(tmp_path_factory.mktemp("stage"), sip__wait_ms=4_000) as running:
        yield running
    for node in (running.signing, running.verifying):
        assert "Traceback" not in node.logged()
