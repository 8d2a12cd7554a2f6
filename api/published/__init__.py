"""What anybody may fetch: certificate chains and redress contacts."""
