"""Small synthetic streams of calls; nothing of the simulator's."""

from random import Random

from zhenxian.analytics import Key, KeyKind, Observation, Policy
from zhenxian.analytics.model import agent
from zhenxian.core.tn import TN

NOON = 1_795_492_800  # seconds since the epoch, in the middle of half a window
# How displays spread refuses by itself: what other evidence adds is tested apart.
ALONE = Policy(structure_alone=True)
CODES = (
    "10",
    "21",
    "755",
    "20",
    "28",
    "27",
    "29",
    "25",
    "22",
    "23",
    "24",
    "571",
    "574",
    "591",
    "592",
    "531",
    "532",
    "411",
    "431",
    "451",
    "371",
    "731",
    "791",
    "551",
    "771",
    "851",
    "871",
    "898",
    "931",
    "951",
    "971",
    "991",
    "351",
    "311",
    "471",
    "513",
    "512",
    "510",
    "519",
    "379",
)  # area codes of as many cities
ACCESS = Key(KeyKind.ACCESS, "a-1")
SUBJECT = Key(KeyKind.SUBJECT, "s-1")
SIGNER = Key(KeyKind.SIGNER, "1001/o-1")
SPC = Key(KeyKind.SPC, "1001")


def number(code: str, index: int) -> TN:
    """The index-th fixed-line number of an area code."""
    return TN(f"86{code}6{index:0{(12 if len(code) == 2 else 13) - 3 - len(code)}d}")


def numbers(random: Random, count: int) -> list[tuple[str, TN]]:
    """Distinct numbers of the country's cities, with their codes."""
    codes = [random.choice(CODES) for _ in range(count)]
    return [(code, number(code, 1_000 + index)) for index, code in enumerate(codes)]


def somebody(random: Random, code: str | None = None) -> TN:
    """Anybody, of the city or of any."""
    return number(code or random.choice(CODES), random.randrange(500_000))


def calls(keys, pairs, *, start=NOON, every=20, origid="o-1", bound=False):
    """Observations of (display, callee) pairs, one after another; `{}` is a call's number."""
    if isinstance(keys, Key):
        keys = (keys,)
    for index, (display, callee) in enumerate(pairs):
        own = None if origid is None else origid.format(index)
        yield Observation(
            at=int(start + index * every),
            keys=keys,
            display=display,
            callee=callee,
            origid=own,
            bound=bound,
        )


def lent(keys, calls, *, platform="p", start=NOON, every=20):
    """Observations of bound calls of (agent, display, callee)."""
    for index, (behind, display, callee) in enumerate(calls):
        whose = (*keys, agent(platform, behind))
        at = int(start + index * every)
        yield Observation(
            at=at, keys=whose, display=display, callee=callee, bound=True, hidden_caller=behind
        )


def fed(conduct, observations):
    """Feed them; the number of the first call at which each key was pooled."""
    pooled = {}
    for index, observation in enumerate(observations, 1):
        conduct.observe(observation)
        for key in observation.keys:
            found = conduct.finding(key, observation.at)
            if found is not None and found.state == 2:
                pooled.setdefault(key, index)
    return pooled


def pool(random, count, *, size=5_000, local=1.0):
    """A pool: each callee once, shown a number of its own city as often as `local` says."""
    held = numbers(random, size)
    by_code = {}
    for code, display in held:
        by_code.setdefault(code, []).append(display)
    for _ in range(count):
        code = random.choice(CODES)
        mine = random.random() < local and code in by_code
        display = random.choice(by_code[code]) if mine else random.choice(held)[1]
        yield display, somebody(random, code)


def people(random, count, *, persons=500, codes=CODES, local=0.75, contacts=12):
    """Subscribers of one switch: most calls go to a few contacts, most of them local."""
    homes = [random.choice(codes) for _ in range(persons)]
    displays = [number(home, 1_000 + person) for person, home in enumerate(homes)]

    def other(home):
        return somebody(random, home if random.random() < local else None)

    known = [[other(home) for _ in range(contacts)] for home in homes]
    for _ in range(count):
        person = int(random.random() ** 2 * persons)
        if random.random() < 0.7:
            yield displays[person], random.choice(known[person])
        else:
            yield displays[person], other(homes[person])


def hear(conduct, random, talk, pair, keys, at):
    """Tell how a call ended; talk is the share answered, and seconds of talk on average."""
    answered = random.random() < talk[0]
    seconds = round(random.expovariate(1 / talk[1])) if answered else 0
    over = conduct.met(*pair, answered=answered, seconds=seconds)
    for key in keys:
        conduct.ended(key, at, over)
