"""The token: claims, signatures, Identity headers. No clock, no input or output."""
