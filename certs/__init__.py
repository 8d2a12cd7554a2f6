"""Trust: certificates, who issued them, what they may speak for, and where they come from."""
