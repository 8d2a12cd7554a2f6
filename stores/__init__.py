"""The engines behind the rooms' protocols: SQLite, memory, Redis."""
