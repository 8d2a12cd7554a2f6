"""How displays behave over time: pools, local presence, rates, rotation. Pure; no clock, no I/O."""

from zhenxian.analytics.codec import ConductFormatError, Saved
from zhenxian.analytics.detector import Detector
from zhenxian.analytics.model import (
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
from zhenxian.analytics.thresholds import Policy

__all__ = [
    "Assessment",
    "ConductFormatError",
    "Detector",
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
