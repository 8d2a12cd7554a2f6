"""CSV import and export of many records at once."""
