"""The routes under /v1: records, batches, orders, look-ups, bulk, analytics."""
