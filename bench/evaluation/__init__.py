"""How well pools are found, on calls that chose no threshold: `make eval`.

`drive` is the only module that touches the detector, and it is given calls alone. What is true of
them comes in afterwards, in `score`.
"""
