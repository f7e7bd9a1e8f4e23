"""The network between the parts: a ward whose parts reach each other over links, and storms over those.

In: an empty PostgreSQL database that listens on a unix socket. Out: as any ward; and for each fault, how long
it took from its end until work flowed again. The test itself goes around the links, so that what it sees and
submits does not depend on them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from sqlalchemy import make_url, text

from tests.faults.proxy import Link
from tests.faults.ward import Ward
from tests.faults.weather import Storm
from tests.integration.webhooks.receiver import Receiver, Way

SEED = 4
LINKS = ("database", "broker", "receiver")
#: from the end of a fault until a fresh job has ended and events are told again, in seconds at most
BOUND = 30.0


@dataclass(kw_only=True)
class Distant(Receiver):
    """A receiver that senders reach over a link."""

    link: Link = field(default_factory=lambda: Link(to=("127.0.0.1", 0)))

    def url(self, host: str = "", scheme: str = "http") -> str:
        return f"{scheme}://{host or self.address}:{self.link.port}/in"

    @contextmanager
    def listening(self, tls: None = None) -> Iterator[Receiver]:
        with super().listening(tls):
            self.link.to = (self.address, self.port)
            with self.link.open():
                yield self


@dataclass(kw_only=True)
class Linked(Ward):
    """A ward whose parts have links before broker, database and receiver."""

    #: how long a fault lasts, in seconds
    lasting: float = 3
    receiver: Distant = field(default_factory=Distant)
    links: dict[str, Link] = field(default_factory=dict)
    #: fewer jobs than a courier can tell of on a slow machine
    step: float = 0.1
    #: after each fault, seconds until a fresh job had ended and something was told
    flows: list[float] = field(default_factory=list)

    @contextmanager
    def open(self, *ways: Way) -> Iterator[Ward]:
        place = make_url(self.url).query["host"]
        self.links = {
            "database": Link(to=Path(str(place)) / ".s.PGSQL.5432"),
            "broker": Link(to=self.socket_path),
            "receiver": self.receiver.link,
        }
        with ExitStack() as opened:
            for name in ("database", "broker"):
                opened.enter_context(self.links[name].open())
            yield opened.enter_context(super().open(*ways))

    def strike(self, name: str, fault: str) -> None:
        """A fault, its end, and how long it takes until work flows again."""
        self._event(None, time.time())
        FAULTS[fault](self.links[name])
        time.sleep(self.lasting)
        self.links[name].heal()
        healed = time.monotonic()
        fresh = self.submit(self.request())
        ended = f"id = '{fresh}' AND status = 'succeeded'"
        told = f"delivered_at > (SELECT created_at FROM jobs WHERE id = '{fresh}')"
        self.until(lambda: self.count("jobs", ended) and self.count("deliveries", told), BOUND)
        self.flows.append(time.monotonic() - healed)

    def recoveries(self) -> list[float]:
        return self.flows

    def settle(self, seconds: float = 45) -> None:
        """What is to be told again in five minutes or more is told now: the schedule has its own tests."""
        self.until(lambda: self.live() == 0, seconds)
        with self.database.write() as connection:
            connection.execute(text("UPDATE deliveries SET next_at = now() WHERE status = 'pending'"))
        super().settle(seconds)

    def environment(self) -> dict[str, str]:
        database = make_url(self.url).set(host="127.0.0.1", port=self.links["database"].port, query={})
        return super().environment() | {
            "PATHLANE_DATABASE_URL": database.render_as_string(hide_password=False),
            "PATHLANE_BROKER_URL": f"redis://127.0.0.1:{self.links['broker'].port}/0",
        }


FAULTS: dict[str, Callable[[Link], None]] = {
    "half-open": Link.swallow,
    "reset": Link.reset,
    "refused": Link.refuse,
    "slow": lambda link: link.delay(0.2),
    "byte by byte": lambda link: link.trickle(1),
}


def strike_links(ward: Linked, events: int) -> None:
    """Every fault on every link, in an order that looks random, then again; half-open ones first."""
    all_of_them = list(product(FAULTS, LINKS))
    later = all_of_them[len(LINKS) :]
    random.Random(SEED).shuffle(later)
    order = all_of_them[: len(LINKS)] + later
    with ward.undying(), ward.load():
        for number in range(events):
            fault, link = order[number % len(order)]
            time.sleep(0.5)
            ward.strike(link, fault)


def lose_database(ward: Linked, events: int) -> None:
    """The database is away for long, refusing at first, then silent."""
    with ward.undying(), ward.load():
        for number in range(events):
            time.sleep(1)
            ward.strike("database", ("refused", "half-open")[number % 2])


NETWORK_STORMS = {
    "links": Storm(
        fault="TCP: half-open, reset, refused, slow, byte by byte", blow=strike_links, events=20, short=3,
        needs_server=True, kind=Linked,
    ),
    "away": Storm(
        fault="database away for a minute", blow=lose_database, events=2, short=2, needs_server=True,
        kind=Linked, ward={"lasting": 60.0},
    ),
}  # fmt: skip
