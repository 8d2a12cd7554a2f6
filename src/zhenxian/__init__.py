"""Zhenxian (真显): caller ID that can be believed.

Each room here is a link to the folder of that name at the top of the repository.
"""

__version__ = "0.1.0"
