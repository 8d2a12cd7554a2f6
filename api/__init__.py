"""The HTTP front end: call routes, management routes, what is published, permissions."""
