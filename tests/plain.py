"""The registry as plainly as it can be said: dictionaries, naive scans, every state kept.

The oracle of the engines' tests; it shares the rules with them, and no storage.
"""

from __future__ import annotations

from msgspec.structs import replace

from zhenxian.core.errors import ConfigError
from zhenxian.core.tn import TNRange
from zhenxian.registry.journal import Commit, KeyReusedError, Version, put
from zhenxian.registry.model import PERSON_LIMITS, Kind, Standing, State, Subject, TargetKind
from zhenxian.registry.rules import FOREVER, check, displays, parties


class PlainRegistry:
    def __init__(self, holdings=(), accesses=(), subjects=(), others=(), current=True):
        self.current = current
        self.records = {}  # (kind, key) -> (version, record)
        self.commits = []  # (Commit, state after it)
        self.requests = {}
        self.numbers = {}
        self.origids = {}
        self.customers = {}  # by origid
        named = {s.id for s in subjects}
        missing = {r.subject for r in (*holdings, *accesses)} - named
        given = [*subjects, *(Subject(id=name) for name in sorted(missing))]
        for record in (*given, *others, *holdings, *accesses):
            self._put(put(record), 1)

    def add(self, record):
        """Register something without asking the rules."""
        self._put(put(record), 1)

    # writing
    def write(self, changes, *, author, reason, now, request=b"", fingerprint=b"", dry_run=False):
        if request and request in self.requests:
            before, commit = self.requests[request]
            if before != fingerprint:
                raise KeyReusedError("used for another request")
            return replace(commit, changes=())
        if len({(c.kind, c.key) for c in changes}) != len(changes):
            raise ConfigError("twice")
        saved = (dict(self.records), dict(self.numbers), dict(self.origids), dict(self.customers))
        seq = len(self.commits) + 1
        time = max([now, *(c.time for c, _ in self.commits[-1:])])
        checked = []
        try:
            for change in changes:
                accepted = check(change, self, now)
                self._put(accepted, seq)
                checked.append(accepted)
        except BaseException:
            self.records, self.numbers, self.origids, self.customers = saved
            raise
        commit = Commit(
            seq=seq,
            time=time,
            author=author,
            reason=reason,
            changes=tuple(checked),
            request=request,
            fingerprint=fingerprint,
        )
        if dry_run:
            self.records, self.numbers, self.origids, self.customers = saved
            return commit
        if request:
            self.requests[request] = (fingerprint, commit)
        self.commits.append((commit, dict(self.records)))
        return commit

    def _put(self, change, seq):
        if change.value is None:
            del self.records[change.kind, change.key]
            return
        self.records[change.kind, change.key] = (seq, change.value)
        if change.kind is Kind.ORDER:
            self.numbers[change.value.issuer] = change.value.number
        if change.kind is Kind.ACCESS:
            for origid in (change.value.origid, *change.value.former):
                self.origids[origid] = change.value
        if change.kind is Kind.CUSTOMER and change.value.origid:
            self.customers[change.value.origid] = change.value

    def _all(self, kind, records=None):
        records = self.records if records is None else records
        return [entry for (k, _), entry in records.items() if k is kind]

    # registry.rules.View
    def get(self, kind, key):
        return self.records.get((kind, key))

    def covering(self, tn):
        return self._covering(tn, self.records)

    def _covering(self, tn, records):
        found = self._covering_version(tn, records)
        return found[1] if found is not None else None

    def _covering_version(self, tn, records):
        held = [e for e in self._all(Kind.HOLDING, records) if tn in e[1].numbers]
        return min(held, key=lambda e: e[1].numbers.size, default=None)

    def around(self, numbers):
        held = [h for _, h in self._all(Kind.HOLDING) if h.numbers.covers(numbers)]
        return min(
            (h for h in held if h.numbers != numbers), key=lambda h: h.numbers.size, default=None
        )

    def touching(self, numbers):
        for _, held in self._all(Kind.HOLDING):
            a, b = held.numbers, numbers
            if len(a.first) != len(b.first) or a.last < b.first or b.last < a.first:
                continue
            if not a.covers(b) and not b.covers(a):
                yield held

    def subject_of(self, document):
        return next((s for _, s in self._all(Kind.SUBJECT) if s.document == document), None)

    def access_of(self, origid):
        known = self.origids.get(origid)
        if known is None:
            return None
        now = self.get(Kind.ACCESS, known.id)
        return now[1] if now is not None else known

    def children(self, reseller):
        return [r.id for _, r in self._all(Kind.RESELLER) if r.parent == reseller]

    def uses(self, kind, key):
        if kind is Kind.SUBJECT:
            rows = [*self._all(Kind.HOLDING), *self._all(Kind.ACCESS)]
            return next((f"{r.key}" for _, r in rows if r.subject == key), None)
        if self.children(key):
            return self.children(key)[0]
        states = [*(state for _, state in self.commits), self.records]
        held = (h for state in states for _, h in self._all(Kind.HOLDING, state))
        return next(("holdings" for h in held if h.reseller == key), None)

    def bound(self, display, among, since, until, but):
        wanted = set(among)
        for _, b in self._all(Kind.BINDING):
            if b.id == but or display not in displays(b):
                continue
            if wanted and not wanted & set(parties(b)):
                continue
            if (b.until or FOREVER) > since and b.since < until:
                return b
        return None

    def lent(self, display, since, until):
        return sum(
            b.x == display and (b.until or FOREVER) > since for _, b in self._all(Kind.BINDING)
        )

    def stopped(self, who):
        return self.order(who, FOREVER)

    def last_number(self, issuer):
        return self.numbers.get(issuer, 0)

    # registry.model.Registry
    def holding(self, tn):
        return self.covering(tn)

    def access(self, name, origid):
        if name is not None:
            found = self.get(Kind.ACCESS, name)
            return found[1] if found is not None else None
        return next((a for _, a in self._all(Kind.ACCESS) if a.origid == origid), None)

    def standing(self, subject, reseller=""):
        found = self.get(Kind.SUBJECT, subject)
        holder = found[1] if found is not None else None
        chain, closed = [], None
        while reseller:
            chain.insert(0, reseller)
            above = self.get(Kind.RESELLER, reseller)
            if above is None:
                break
            if above[1].state is not State.ACTIVE:
                closed = f"reseller {reseller} is {above[1].state.value}"
            reseller = above[1].parent
        if holder is not None and holder.state is not State.ACTIVE:
            closed = f"subject {subject} is {holder.state.value}"
        return Standing(holder, tuple(chain), closed)

    def binding(self, caller, display, callee, extension, now):
        for _, b in self._all(Kind.BINDING):
            if b.active(now) and b.permits(caller, display, callee, extension):
                return b
        return None

    def shown(self, display, callee, now):
        found = [
            b for _, b in self._all(Kind.BINDING) if b.active(now) and b.shows(display, callee)
        ]
        anybody = (b for b in found if b.caller(display, callee) is None)
        return next(anybody, found[0] if found else None)

    def order(self, who, now):
        found = [
            o
            for _, o in self._all(Kind.ORDER)
            if o.lifted is None and o.since <= now and _covers(o, who)
        ]
        return min(found, key=lambda o: (o.since, o.id), default=None)

    def numbers_a_person(self, numbers):
        return PERSON_LIMITS.get(numbers.first[:2])

    def numbers_held(self, subject, carrier, like, enough):
        return sum(
            one.numbers.size
            for _, one in self._all(Kind.HOLDING)
            if one.subject == subject
            and (one.spcs[0] if one.spcs else "") == carrier
            and one.numbers.first[:2] == like.first[:2]
        )

    def exempted(self, kind, target):
        found = (e for _, e in self._all(Kind.EXEMPTION))
        return [e for e in found if (e.kind.value, e.target) == (kind, target)]

    def exemption(self, kind, target, now):
        return next((e for e in self.exempted(kind, target) if e.since <= now < e.until), None)

    def customer_of_origid(self, origid):
        known = self.customers.get(origid)
        now = self.get(Kind.CUSTOMER, known.id) if known is not None else None
        return now[1] if now is not None else known

    def customer_named(self, access, name):
        found = (c for _, c in self._all(Kind.CUSTOMER))
        return next((c for c in found if c.access == access and name in c.called), None)

    def customer_showing(self, access, numbers, but=""):
        for _, one in self._all(Kind.CUSTOMER):
            if (
                one.access == access
                and one.id != but
                and any(
                    len(span.first) == len(numbers.first)
                    and span.first <= numbers.last
                    and numbers.first <= span.last
                    for span in one.spans
                )
            ):
                return one
        return None

    def customer_of(self, access):
        return next((c.id for _, c in self._all(Kind.CUSTOMER) if c.access == access), None)

    @property
    def shared(self):
        return {c.access for _, c in self._all(Kind.CUSTOMER)}

    def customer(self, access, name, display):
        if name is not None:
            return self.customer_named(access, name)
        if display is None or not display.isdecimal():
            return None
        return self.customer_showing(access, TNRange(display, display))

    def declarations(self, subject, now):
        found = (d for _, d in self._all(Kind.DECLARATION))
        return [d for d in found if d.subject == subject and d.active(now)]

    def clearings(self, since):
        found = [c for _, c in self._all(Kind.CLEARING) if int(c.id.split("-")[0]) >= since]
        return sorted(found, key=lambda c: c.id)

    def refusal(self, callee, scope, now):
        found = (r for _, r in self._all(Kind.REFUSAL) if callee in r.numbers)
        return next((r for r in found if scope in r.scopes and r.active(now)), None)

    # history
    def history(self, kind, key):
        return tuple(
            Version(
                version=commit.seq,
                time=commit.time,
                author=commit.author,
                reason=commit.reason,
                value=change.value,
            )
            for commit, _ in self.commits
            for change in commit.changes
            if (change.kind, change.key) == (kind, key)
        )

    def at(self, kind, key, time):
        found = [v for v in self.history(kind, key) if v.time <= time]
        return found[-1] if found and found[-1].value is not None else None

    def held_at(self, tn, time):
        state = None
        for commit, after in self.commits:
            if commit.time <= time:
                state = after
        found = self._covering_version(tn, state) if state is not None else None
        if found is None:
            return None
        commit = self.commits[found[0] - 1][0]
        return Version(
            version=found[0],
            time=commit.time,
            author=commit.author,
            reason=commit.reason,
            value=found[1],
        )


def _covers(order, who):
    if order.kind is TargetKind.RANGE:
        first, _, last = order.target.partition("-")
        last = last or first
        return any(len(n) == len(first) and first <= n <= last for n in who.numbers)
    named = {
        TargetKind.SUBJECT: who.subjects,
        TargetKind.RESELLER: who.resellers,
        TargetKind.SPC: who.spcs,
        TargetKind.NUMBER: who.numbers,
        TargetKind.CERTIFICATE: (who.serial,),
    }
    return order.target in named[order.kind]
