"""The wire: REST dialects, administration, command line, configuration, start-up."""

__version__ = "0.1.0"
