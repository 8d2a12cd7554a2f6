"""How displays behave over time: pools, local presence, rates, rotation. Pure; no clock, no I/O."""

from displays.conduct import Conduct
from displays.model import (
    Assessment,
    Finding,
    Key,
    KeyKind,
    Measure,
    Observation,
    Picture,
    Sample,
    State,
)
from displays.policy import Policy
from displays.wire import ConductFormatError, Saved

__all__ = [
    "Assessment",
    "Conduct",
    "ConductFormatError",
    "Finding",
    "Key",
    "KeyKind",
    "Measure",
    "Observation",
    "Picture",
    "Policy",
    "Sample",
    "Saved",
    "State",
]
