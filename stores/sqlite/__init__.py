"""The registry in one SQLite file: journal, records in force, past versions."""
