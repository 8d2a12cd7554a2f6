"""The per-call routes in both REST dialects: bytes to requests, results to bytes."""
