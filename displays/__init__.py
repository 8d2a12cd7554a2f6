"""How displays behave over time: pools, local presence, rates, rotation. Pure; no clock, no I/O."""

from displays.conduct import Conduct, ConductFormatError, Saved
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
