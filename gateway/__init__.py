"""The wire: REST dialects, administration, command line, configuration, start-up."""
