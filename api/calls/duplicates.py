"""Members that stand twice in one object of a body: refused by name, at the price of a count.

The decoder of the calls keeps the last of two members of one name. The text is read a second time,
by a reader that sees both, unless a count shows that it has no more members than were decoded: a
member's colon follows its name's quote, or white space.
"""

from __future__ import annotations

from typing import Final

from zhenxian.passport.json import loads_plain

LEAST: Final = 7  # octets that a further member takes with its comma: "tn":1,


def refuse_duplicates(body: bytes, members: int) -> None:
    """Refuse a body in which a member stands twice. It was decoded.

    Args:
        body: the JSON text.
        members: as many are known to stand in what was decoded, at all levels; not more.

    Raises:
        ParseError: JSON_DUPLICATE_KEY, whose `where` names the member.
    """
    if (
        b"\n" in body
        or b"\r" in body
        or b"\t" in body
        or b" :" in body
        or body.count(b'":') > members  # strings may hold it, too: never too low
    ):
        loads_plain(body)
