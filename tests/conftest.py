"""What every test may use: a world of its own."""

import pytest
from simulator import World


@pytest.fixture
def world():
    """Carriers, certificates and hosts in memory; see simulator.py."""
    return World()
