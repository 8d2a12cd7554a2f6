"""Diverted calls: from the tokens of a call to the chains they make (RFC 8946 section 4.2).

A div token vouches for one step: its signer speaks for the number in div, which the call was made
to, and which sent it on to dest. It says nothing of who calls. A token for another destination than
the call's is believed if div tokens lead from there to where the call goes, each of them genuine,
and all with the same orig. Identity header fields have no order, so the chain is found by numbers;
a div-o holds its predecessor in opt.

    S: A to B     D1: B to C     D2: C to D, where the call goes

Nothing here needs a key: what each check finds for each token is handed in, and handed back with
what follows for the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from zhenxian.core.errors import ParseError, StoreUnavailableError
from zhenxian.core.reasons import Reason, Verstat
from zhenxian.core.tn import TN, URI
from zhenxian.passport.claims import parse_header_segment
from zhenxian.passport.identity import MAX_HEADERS
from zhenxian.passport.jws import Token
from zhenxian.registry.model import Registry
from zhenxian.registry.parties import involved
from zhenxian.verifier.facts import Facts
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.screen import (
    Diverting,
    Screened,
    ScreenPolicy,
    read,
    screen,
)
from zhenxian.verifier.token import VerifiedPASSporT
from zhenxian.verifier.verdict import Check, Refusal, Result, Verdict

# Checks of a genuine token: whoever asks is told what was found, of whichever token it was.
_JUDGED: Final = (Check.REPLAY, Check.ORDER, Check.HOLDER)
_NO_ORIGINAL: Final = "no token stands beside it that the call was signed with"
_NO_TARGET: Final = "the request does not tell its Request-URI (dest)"


class Diversions:
    """How the tokens of one call refer to each other. A token is named by its place.

    Attributes:
        tokens, values: of the call's headers in order of reception, then those in opt of others.
        refused: what stands against each before a key is looked at; None for nothing.
    """

    def __init__(
        self,
        tokens: Sequence[Screened | Refusal],
        values: Sequence[str],
        request: VerificationRequest,
        policy: ScreenPolicy,
        now: int,
        *,
        forwarding: bool = False,
    ) -> None:
        """Args: see `Verifier.open`; tokens and values are of the headers alone."""
        self.tokens = [*tokens]
        self.values = [*values]
        self._request = request
        self._policy = policy
        self._forwarding = forwarding
        self.target = request.target
        self._nested: dict[int, int] = {}
        self._unfold()
        self._dest = [self._destinations(token) for token in self.tokens]
        if request.dest and self.target != request.dest and self._diverted_to(request.dest):
            self.target = request.dest
        self._parents = [list(self._find_parents(place)) for place in range(len(self.tokens))]
        self._children: list[list[int]] = [[] for _ in self.tokens]
        for place, parents in enumerate(self._parents):
            for parent in parents:
                self._children[parent].append(place)
        self.diverted = any(isinstance(token, Diverting) for token in self.tokens)
        if not self.diverted and not forwarding:
            self.target = request.to  # To is what a token is for where nothing is diverted
        screened = [self._screened(place, now) for place in range(len(self.tokens))]
        self.refused = self._follow(screened) if self.diverted else screened

    # Building

    def _unfold(self) -> None:
        """Read the tokens in opt, and in theirs; no more in all than a call may have headers."""
        for place, token in enumerate(self.tokens):  # grows meanwhile
            if not isinstance(token, Diverting) or token.nested is None:
                continue
            if len(self.tokens) >= MAX_HEADERS:
                reason = Reason.TOO_MANY_IDENTITIES
                self.tokens[place] = Refusal(Check.SYNTAX, reason, reason.text)
                continue
            self._nested[place] = len(self.tokens)
            value, nested = self._read_nested(token.nested)
            self.tokens.append(nested)
            self.values.append(value)

    def _read_nested(self, text: str) -> tuple[str, Screened | Refusal]:
        """The token in an opt, as if an Identity header had brought it."""
        try:
            header = parse_header_segment(Token.parse(text.encode()).header)
        except ParseError as error:
            return text, Refusal(Check.SYNTAX, error.reason, f"in opt: {error}")
        value = f"{text};info=<{header.x5u}>"
        return value, read(value, self._request, self._policy)

    def _destinations(self, token: Screened | Refusal) -> frozenset[TN | URI]:
        if isinstance(token, Refusal):
            return frozenset()
        identities = token.passport.dest.identities
        return frozenset((*identities, *map(self._policy.reading.claimed, identities)))

    def _diverted_to(self, identities: Sequence[TN | URI]) -> bool:
        """True where a div token is for these: a Request-URI that is no device's address."""
        return any(
            isinstance(token, Diverting) and all(one in dest for one in identities)
            for token, dest in zip(self.tokens, self._dest, strict=True)
        )

    def _find_parents(self, place: int) -> Iterator[int]:
        """Which tokens brought the call to whom this one diverts it from."""
        token = self.tokens[place]
        if not isinstance(token, Diverting):
            return
        if token.nested is not None:
            nested = self._nested[place]
            if token.diverting in self._dest[nested]:
                yield nested
            return
        for other, dest in enumerate(self._dest):
            if other != place and token.diverting in dest:
                yield other

    def _screened(self, place: int, now: int) -> Refusal | None:
        token = self.tokens[place]
        if isinstance(token, Refusal):
            return token
        if not self.diverted and not self._forwarding:
            return screen(token, self._request, now, self._policy)
        if not self.diverted and not self._direct(place):
            return Refusal(Check.DEST, Reason.DEST_MISMATCH, Reason.DEST_MISMATCH.text)
        if isinstance(token, Diverting):
            covered = bool(self._children[place])
        else:
            covered = self._forwarding or not self._direct(place)
        return screen(token, self._request, now, self._policy, led=True, covered=covered)

    def _direct(self, place: int) -> bool:
        """True for a token that is for where the call goes."""
        return all(identity in self._dest[place] for identity in self.target)

    # Following

    def _leading(self, alive: Sequence[bool]) -> set[int]:
        """The div tokens from which others lead to the target, all of them alive.

        The last of a chain is one that no div token refers to, so a loop has none.
        """
        found: set[int] = set()
        todo = [
            place
            for place, token in enumerate(self.tokens)
            if isinstance(token, Diverting) and not self._children[place] and self._direct(place)
        ]
        while todo:
            place = todo.pop()
            if alive[place] and place not in found:
                found.add(place)
                todo += [one for one in self._parents[place] if self._diverts(one)]
        return found

    def _rooted(self, sources: Sequence[int], among: set[int]) -> set[int]:
        """The div tokens of `among` that a chain leads to from any of these."""
        found: set[int] = set()
        todo = [child for place in sources for child in self._children[place]]
        while todo:
            place = todo.pop()
            if place in among and place not in found:
                found.add(place)
                todo += self._children[place]
        return found

    def _diverts(self, place: int) -> bool:
        return isinstance(self.tokens[place], Diverting)

    def _follow(self, refusals: Sequence[Refusal | None]) -> list[Refusal | None]:
        """What follows for each token from what was found of all."""
        alive = [one is None or one.reason.verstat is Verstat.PASSED for one in refusals]
        leading, linked = self._leading(alive), self._leading([True] * len(alive))
        sources = [
            place
            for place, token in enumerate(self.tokens)
            if not isinstance(token, Refusal | Diverting)
        ]
        led = self._rooted([place for place in sources if alive[place]], leading)
        rooted = self._rooted(sources, set(range(len(self.tokens))))
        result = [*refusals]
        for place, refusal in enumerate(refusals):
            if refusal is not None:
                continue
            if not self._diverts(place):
                if not self._direct(place) and not set(self._children[place]) & leading:
                    result[place] = self._astray(self._children[place], linked, refusals)
            elif place not in rooted:
                result[place] = Refusal(Check.SYNTAX, Reason.DIV_CHAIN_INCOMPLETE, _NO_ORIGINAL)
            elif place not in led:
                if place not in linked and self._unplaced(sources):
                    result[place] = Refusal(Check.SYNTAX, Reason.DIV_CHAIN_INCOMPLETE, _NO_TARGET)
                else:
                    around = [*self._children[place], *self._parents[place]]
                    result[place] = self._astray(around, linked | {*sources}, refusals)
        return result

    def _unplaced(self, sources: Sequence[int]) -> bool:
        """True where To alone is told, and a token is for it."""
        return not self._request.dest and any(map(self._direct, sources))

    def _astray(
        self,
        first: Sequence[int],
        linked: set[int],
        refusals: Sequence[Refusal | None],
    ) -> Refusal:
        """Why a token does not lead to the target: by the nearest of the others that is refused."""
        todo, met = [*first], set(first)
        for place in todo:  # grows meanwhile
            if place not in linked:
                continue
            refusal = refusals[place]
            if refusal is not None and refusal.reason.verstat is not Verstat.PASSED:
                return _broken(refusal)
            fresh = [one for one in self._children[place] if one not in met]
            todo += fresh
            met.update(fresh)
        return Refusal(Check.DEST, Reason.DIV_CHAIN_BROKEN, Reason.DIV_CHAIN_BROKEN.text)

    # What the verifier asks

    def led(self, place: int) -> bool:
        """True for a token of the caller's carrier that is for another destination."""
        return not self._diverts(place) and not self._direct(place)

    def helps(self, place: int, emergency: Callable[[TN | URI], bool]) -> bool:
        """True for a token of a call for help that is for who helps.

        Nobody signs the To of a diverted call but who signed the original for it.
        """
        if not self.diverted or all(map(emergency, self.target)):
            return True
        return not self._diverts(place) and all(
            one in self._dest[place] for one in self._request.to
        )

    @property
    def numbers(self) -> tuple[TN, ...]:
        """The numbers among `target`."""
        return tuple([identity for identity in self.target if isinstance(identity, TN)])

    def key(self, place: int, key: bytes) -> bytes:
        """What a token is remembered by: a diverted one with where it was diverted to.

        Its signer saw one call; who diverts it may let several ring, each once.
        """
        if not self.led(place):
            return key
        digest = hashlib.sha256(b"diverted" + key)
        for identity in sorted(self.target):
            digest.update(b"\0" + identity.encode())
        return digest.digest()[: len(key)]

    @property
    def kept(self) -> int:
        """Seconds from its iat for which a token of this call can be shown again."""
        return max(self._policy.iat_window, self._policy.diverted_window)

    def settled(self, results: Sequence[Result], passed: tuple[Check, ...]) -> list[Result]:
        """The results once each token has one: what is refused for the others' sake too.

        Args:
            passed: all checks of a token by itself.
        """
        if not self.diverted:
            return [*results]
        followed = self._follow([result.refusal for result in results])
        return [
            self._settled(place, result, refusal, passed)
            for place, (result, refusal) in enumerate(zip(results, followed, strict=True))
        ]

    def _settled(
        self, place: int, result: Result, refusal: Refusal | None, passed: tuple[Check, ...]
    ) -> Result:
        token = self.tokens[place]
        if refusal is not result.refusal:
            others = tuple([check for check in passed if check is not Check.DEST])
            return replace(result, refusal=refusal, passed=others, diverting=_from(token))
        return replace(result, diverting=_from(token))

    def last(self, place: int) -> int:
        """The token that brought the call where it is: the last of a chain from this one."""
        if self._direct(place):
            return place
        leading = self._leading([True] * len(self.tokens))
        while True:
            following = [one for one in self._children[place] if one in leading]
            if not following:
                return place
            leading -= {place}
            place = following[0]


def _from(token: Screened | Refusal) -> TN | URI | None:
    return token.diverting if isinstance(token, Diverting) else None


def _broken(refusal: Refusal) -> Refusal:
    """What a token is refused for that leads over one that is refused."""
    known = refusal.check in _JUDGED or refusal.reason.verstat is Verstat.NONE
    reason = refusal.reason if known else Reason.DIV_CHAIN_BROKEN
    return Refusal(Check.DEST, reason, f"a token that diverts the call: {refusal.detail}")


def gather_diverting(
    token: VerifiedPASSporT, diverting: TN | URI, registry: Registry, now: int
) -> Facts:
    """What the stores know of who diverts and who signed for that, of a token taken to be new."""
    signer = token.signer
    number = diverting if isinstance(diverting, TN) else None
    try:
        holding = registry.holding(number) if number is not None else None
        chain: tuple[str, ...] = ()
        if holding is not None:
            chain = registry.standing(holding.subject, holding.reseller).chain
        spcs = (signer.spc,) if signer.spc is not None else ()
        who = involved(number, holding, chain, spcs=spcs, serial=f"{signer.serial:X}")
        order = registry.order(who, now)
    except StoreUnavailableError:  # what the registry would have said is left out
        return Facts(True)
    return Facts(True, holding.spcs if holding is not None else (), order)


def unsigned_diversion(request: VerificationRequest, verdict: Verdict) -> bool:
    """True for a call that passed by To alone, and goes to another number than that."""
    if verdict.verstat is not Verstat.PASSED or verdict.decisive is None:
        return False
    passport = verdict.decisive.passport
    dest = passport.dest if passport is not None else ()
    diverted = any(result.diverting is not None for result in verdict.results)
    return not diverted and any(
        isinstance(one, TN) and one not in request.to and one not in dest for one in request.dest
    )
