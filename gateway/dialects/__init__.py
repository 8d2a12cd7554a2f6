"""REST dialects: bytes to requests, results to bytes. One file each, no decisions."""
