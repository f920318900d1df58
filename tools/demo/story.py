"""The demo's stories: what an order service's customers ask for, and what goes wrong meanwhile.

Separate from ``stage``, which plays them, so that what happens in each can be read in one place. A story is its
list of visits; what is wrong with Sumo Logic, or with the processes, begins with a visit and is said in its words.

Pure: values, and nothing runs here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sumo_source import ACCEPT, Fault

TIMEOUT_S = 30.0
"""The function's, where nothing else is said."""

_DENSE = 7
"""Orders close together, after which ``SUMO_FLUSH=auto`` has found them dense; the demo's test sees that it has."""
_BREAKER_S = 8.0
"""Longer than the first pause of the drainer's circuit breaker ever is."""


@dataclass(frozen=True)
class Visit:
    """One order, and how long the environment is frozen after it."""

    what: str
    event: Mapping[str, Any]
    pause_s: float
    is_killed: bool
    """The runtime is killed while it waits for the bank."""
    sumo: Fault | None
    """What Sumo Logic answers from here on; None for what it did before."""
    sumo_first: Sequence[Fault]
    """... and to the next requests before that, one each."""


@dataclass(frozen=True)
class Story:
    """A list of visits, and how the function is set up for it."""

    what: str
    visits: Callable[[], Iterator[Visit]]
    has_bucket: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of the function, beside those of every story."""
    timeout_s: float = TIMEOUT_S


def _visits() -> Callable[..., Visit]:
    """Return what makes visits, with numbers that go up."""
    numbers = itertools.count(1001)

    def visit(
        what: str = "",
        items: int = 2,
        payment: str = "invoice",
        pause_s: float = 0.5,
        is_killed: bool = False,
        sumo: Fault | None = None,
        sumo_first: Sequence[Fault] = (),
    ) -> Visit:
        number = next(numbers)
        articles = itertools.cycle((["espresso", 2], ["filter", 1], ["beans 1 kg", 1], ["grinder", 1]))
        event = {
            "order": number,
            "customer": f"c-{number % 7}",
            "items": list(itertools.islice(articles, items)),
            "payment": payment,
            "seconds": 0.12 + 0.03 * (number % 3),
        }
        return Visit(f"order {number}{what}", event, pause_s, is_killed, sumo, sumo_first)

    return visit


def _ordinary() -> Iterator[Visit]:
    """Yield five orders up to a crash, and then some close together."""
    visit = _visits()
    yield visit(", the first one", pause_s=2.0)
    yield visit(", after 2 s frozen", items=3)
    yield visit(", card expired", payment="expired card")
    yield visit(items=4)
    yield visit(", 40 items: SIGKILL", items=40, payment="card", is_killed=True)
    yield visit(", in a new process")
    for items in range(_DENSE):
        yield visit(items=1 + items % 3)


def _outage() -> Iterator[Visit]:
    visit = _visits()
    yield visit(", the first one")
    yield visit(items=3)
    yield visit(", Sumo Logic: 503", items=6, sumo=Fault(503))
    yield visit(", still 503", items=4, pause_s=_BREAKER_S)
    yield visit(", after 8 s: 200", sumo=ACCEPT)
    yield visit(items=3)


def _throttle() -> Iterator[Visit]:
    visit = _visits()
    yield visit(", the first one")
    yield visit(items=3)
    yield visit(", Sumo Logic: 429", items=6, sumo_first=[Fault(429, {"Retry-After": "1"})] * 3)
    yield visit(items=4, pause_s=1.5)
    yield visit(", after 1.5 s: 200")
    yield visit(items=3)


def _kill() -> Iterator[Visit]:
    visit = _visits()
    yield visit(", the first one")
    yield visit(", 40 items: SIGKILL", items=40, payment="card", is_killed=True)
    yield visit(", 20: again", items=20, payment="card", is_killed=True)
    yield visit(", in a new process")
    yield visit(items=3)
    yield visit(", 30: at the end", items=30, payment="card", is_killed=True)


def _timeout() -> Iterator[Visit]:
    visit = _visits()
    yield visit(", the first one")
    yield visit(items=3)
    yield visit(", 12 items: timeout", items=12, payment="card")
    yield visit(", in a new process")
    yield visit(items=3)


def _debug() -> Iterator[Visit]:
    visit = _visits()
    yield visit(", the first one")
    yield visit(items=3)
    yield visit(", card expired: its DEBUG", payment="expired card")
    yield visit(items=4)
    yield visit(items=2)


ORDINARY = Story("no fault but one crash: the runtime is killed once (SIGKILL)", _ordinary)
FAULTS = {
    "outage": Story("Sumo Logic responds with 503 for a while; there is a failover bucket", _outage, has_bucket=True),
    "throttle": Story("Sumo Logic responds with 429 three times, and asks for a second's pause", _throttle),
    "kill": Story("the runtime is killed three times (SIGKILL), once in its first invocation", _kill),
    "timeout": Story("a bank does not respond, and the function runs into its timeout of 2 s", _timeout, timeout_s=2.0),
    "debug": Story(
        "one order fails; DEBUG lines are kept for that (SUMO_DEBUG_ON_FAILURE)",
        _debug,
        variables={"SUMO_DEBUG_ON_FAILURE": "orders"},
    ),
}
"""By the name under which they are switched on."""
