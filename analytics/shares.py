"""Which nodes of a fleet count a key: two of them, however many there are.

Keys fall into shares, and each share belongs to the two live nodes whose hash with it is largest
(rendezvous hashing: Thaler and Ravishankar, 1998). When a node leaves, only its shares go to
others, and the second one of each has all of its counts already; when it comes back, it has them
again. Both are of different machines, where there are several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Final

from msgspec import Struct

from zhenxian.analytics.model import Key, KeyKind

COPIES: Final = 2  # nodes that count a key
_SHARES: Final = 4_096
_CACHED: Final = 65_536  # routes, and accesses; about 20 MB when full
_MASK_64: Final = (1 << 64) - 1
_ODD: Final = 0x9E37_79B9_7F4A_7C15
_ACCESS: Final = KeyKind.ACCESS
_SUBJECT: Final = KeyKind.SUBJECT


class Member(Struct, frozen=True, order=True):
    """One process that counts calls.

    Attributes:
        name: by which it is reached; another one at each start.
        place: by which its shares are found; the same after a restart, since its counts are in its
            file. Those of one machine are the same up to "#".
    """

    name: str
    place: str

    @property
    def machine(self) -> str:
        """The same for all processes that end together."""
        return self.place.partition("#")[0]


class Route(Struct, frozen=True):
    """Who counts a call.

    Attributes:
        mine: which of its keys are counted here, a bit each.
        others: names of the other members that count it, and which of its keys.
    """

    mine: int
    others: tuple[tuple[str, int], ...]

    def of(self, keys: tuple[Key, ...]) -> tuple[Key, ...]:
        """Those that are counted here; the very same ones."""
        return picked(keys, self.mine) if self.mine else ()


class Shares:
    """The shares among some members; another one is made when others live."""

    def __init__(
        self,
        me: str,
        members: Sequence[Member],
        text: Callable[[str], int],
        subjects: dict[Key, Key],
    ) -> None:
        """Share keys out.

        Args:
            me: name of this one.
            text: hashes any text, alike on all members.
            subjects: of accesses, as far as calls told; more are added.
        """
        self.me = me
        self.members = tuple(sorted(members))
        self._text = text
        self._hashes = [(_hash(one.place), _hash(one.name), one) for one in self.members]
        self._owners: dict[int, tuple[str, ...]] = {}
        self._routes: dict[tuple[Key, ...], Route] = {}
        self._subjects = subjects

    def owners(self, key: Key) -> tuple[str, ...]:
        """Names of the members that count a key; an access is counted with its subject."""
        share = self._text(str(self._subjects.get(key, key))) % _SHARES
        found = self._owners.get(share)
        if found is None:
            found = self._owners[share] = self._found(share)
        return found

    def _found(self, share: int) -> tuple[str, ...]:
        # Those of the same place, as where two machines have one name, are told apart by their own.
        order = sorted(
            self._hashes,
            key=lambda one: (_mixed(one[0], share), _mixed(one[1], share), one[2]),
            reverse=True,
        )
        first = order[0][2]
        apart = [one for *_, one in order[1:] if one.machine != first.machine]
        rest = apart or [one for *_, one in order[1:]]
        return (first.name, *(one.name for one in rest[: COPIES - 1]))

    def route(self, keys: tuple[Key, ...]) -> Route:
        """Who counts a call with these keys."""
        route = self._routes.get(keys)
        if route is None:
            if len(self._routes) >= _CACHED:
                self._routes.clear()
            route = self._routes[keys] = self._found_route(keys)
        return route

    def _found_route(self, keys: tuple[Key, ...]) -> Route:
        self.learn(keys)
        masks: dict[str, int] = {}
        for place, key in enumerate(keys):
            for name in self.owners(key):
                masks[name] = masks.get(name, 0) | 1 << place
        return Route(masks.pop(self.me, 0), tuple(masks.items()))

    def of(self, keys: tuple[Key, ...]) -> tuple[Key, ...]:
        """Those of a call's keys that are counted here."""
        return self.route(keys).of(keys)

    def learn(self, keys: tuple[Key, ...]) -> None:
        """Take over whose an access is."""
        if len(keys) > 1 and keys[0].kind is _ACCESS and keys[1].kind is _SUBJECT:
            subjects = self._subjects
            if len(subjects) >= _CACHED:
                for access in list(islice(subjects, _CACHED // 2)):
                    del subjects[access]
            subjects[keys[0]] = keys[1]

    def places(self, key: Key) -> bool:
        """Tell whether `owners` is right: not of accesses whose subject nobody told."""
        return key.kind is not _ACCESS or key in self._subjects or "/" in key.id

    def mine(self, key: Key) -> bool:
        """Tell whether a key is counted here, as far as that is known of accesses."""
        return self.me in self.owners(key)


def picked(keys: tuple[Key, ...], mask: int) -> tuple[Key, ...]:
    """Those of some keys that have their bit."""
    if mask == (1 << len(keys)) - 1:
        return keys
    return tuple([key for place, key in enumerate(keys) if mask >> place & 1])


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _mixed(member: int, share: int) -> int:
    mixed = (member ^ share * _ODD) * _ODD & _MASK_64
    mixed = (mixed ^ mixed >> 29) * _ODD & _MASK_64
    return mixed ^ mixed >> 32
