"""Whose the origids of single calls are: in a file, and for a whole fleet."""
