"""The token: telephone numbers, claims, signatures, Identity headers. No clock, no I/O."""
