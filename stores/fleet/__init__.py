"""The registry as a journal on Redis, with a full copy on each node."""
