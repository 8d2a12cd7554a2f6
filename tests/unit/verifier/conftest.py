"""A case of its own for every test."""

import pytest
from verification import Case


@pytest.fixture
def case():
    """A good call; see verification.py."""
    return Case()
