"""Nodes among which keys are parted, that look like one Detector: calls come to any of them."""

from __future__ import annotations

from random import Random

from zhenxian.analytics import Detector, Key, Observation, Policy, State
from zhenxian.analytics.shares import Member


def members(count: int) -> list[Member]:
    return [Member(f"n-{number}/1", f"n-{number}#0") for number in range(count)]


class Parted:
    """A fleet in one process; what its nodes send each other comes every so many calls."""

    def __init__(self, count: int, policy: Policy | None = None, *, every: int = 8):
        self.members = members(count)
        self.nodes = {
            one.name: Detector(policy, fleet=True, boot=boot)
            for boot, one in enumerate(self.members)
        }
        self.every, self.turn, self.sent = every, 0, 0
        self.random = Random(f"parted {count}")
        self.part()

    def part(self, mixed: bool = False) -> None:
        for name, node in self.nodes.items():
            node.among(name, self.members, mixed=mixed)

    @property
    def policy(self):
        return next(iter(self.nodes.values())).policy

    def any(self) -> Detector:
        return self.random.choice(list(self.nodes.values()))

    def exchange(self, seconds: float = 0.5) -> None:
        """Each sends what it has to send, and then each takes what came."""
        for node in self.nodes.values():
            node.take_marks()  # as when they are saved
        told: list[tuple[str, str | None, bytes]] = []
        for name, node in self.nodes.items():
            node.pace(seconds)
            while node.sort():
                pass
            told += [(name, to, delta) for to, delta in iter(node.take_parcel, None)]
            told += [(name, None, delta) for delta in iter(node.take_delta, None)]
        self.sent += sum(len(delta) for _, _, delta in told)
        for sender, to, delta in told:
            for name in [to] if to is not None else [one for one in self.nodes if one != sender]:
                if name in self.nodes:
                    assert self.nodes[name].merge(sender, delta)

    def rounds(self, count: int = 3) -> None:
        for _ in range(count):
            self.exchange()

    def observe(self, observation: Observation) -> None:
        self.any().observe(observation)
        self.turn += 1
        if self.turn % self.every == 0:
            self.exchange()

    def met(self, *call, **how):
        return self.any().met(*call, **how)

    def ended(self, key, at, contact=None, keys=()):
        self.any().ended(key, at, contact, keys)

    def finding(self, key, at):
        return self.any().finding(key, at)

    def known(self, key, now):
        return self.any().known(key, now)

    def resembles(self, key, since):
        return self.any().resembles(key, since)

    def pooled(self, at: int) -> list[dict]:
        """What each node knows."""
        return [
            {one.key: one.measure for one in node.standing(at) if one.state is State.POOLED}
            for node in self.nodes.values()
        ]

    def owners(self, key: Key) -> list[Detector]:
        return [node for node in self.nodes.values() if node.counts(key)]

    def picture(self, key, at):
        return self.owners(key)[0].picture(key, at)

    def held(self, numbers, at):
        for node in self.nodes.values():
            node.held(list(numbers), at)

    def complained(self, *told):
        return max(node.complained(*told) for node in self.nodes.values())

    def expire(self, now):
        for node in self.nodes.values():
            node.expire(now)

    def take_delta(self):
        return None
