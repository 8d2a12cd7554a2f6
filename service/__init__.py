"""The running service: settings, the parts put together, workers, trust kept fresh."""
