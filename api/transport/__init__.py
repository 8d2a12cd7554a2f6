"""Connections of any listener: bounds, names, and what no route ever sees."""
