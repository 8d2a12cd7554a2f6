"""A country's telephone traffic, made up: honest callers and the broadcast's tricks.

Pure and seeded: one `Scenario` gives the same calls in every run and on every machine. `Traffic`
yields `Call` records, which say what a carrier can see of a call and never what kind of caller
made it; what is true stands apart, in the `Truth` rows. Code that judges calls gets observations
made from the first and never imports this package.
"""

from zhenxian.simulation.model import Call, Key, Kind, Truth
from zhenxian.simulation.scenario import COUNTRY, Scenario, Traffic

__all__ = ["COUNTRY", "Call", "Key", "Kind", "Scenario", "Traffic", "Truth"]
