"""FHIR orders: what a FHIR server says becomes arrivals, whether it tells us or is asked.

In: polls and notifications. Out: rows of the store, and rings. It is the only place that knows both; the
FHIR room keeps nothing, the store knows no resource. What comes twice has the same source, and is taken once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
from ulid import ULID

from integrations import account
from integrations.fhir import polling, subscription
from integrations.fhir.client import FhirServer
from integrations.fhir.gathering import gathered
from integrations.fhir.orders import Announcement, Heard, orders_of
from integrations.fhir.results import identifier_system
from integrations.fhir.token import ClientSecret, PrivateKey, Tokens
from worker import log
from worker.errors import FhirRejected, FhirUnreadable
from worker.jobs.order import Channel, Sender
from worker.settings import LisSettings, Settings, SettingsError
from worker.store.bookmarks import Bookmarks
from worker.store.intake import Arrival, Intake

#: a bookmark's name begins with it
_BOOKMARK: Final = "fhir"

logger = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class FhirOrders:
    server: FhirServer
    intake: Intake
    bookmarks: Bookmarks
    sender: Sender
    #: identifier system of our own results
    ours: str
    watches: tuple[polling.Watch, ...]
    subscription_id: str
    secrets: tuple[str, ...]
    ring: Callable[[int], object]

    def poll(self) -> None:
        """Ask for everything that has changed. Raises PathlaneError; what was heard before that is kept."""
        for watch in self.watches:
            more = True
            while more:
                more = self._poll(watch)

    def _poll(self, watch: polling.Watch) -> bool:
        name = f"{_BOOKMARK} {watch.kind}"
        since = self.bookmarks.get(name).get("since")
        cursor = polling.Cursor(since=datetime.fromisoformat(since) if since else None)
        found = polling.poll(self.server, watch, cursor, sender=self.sender, ours=self.ours)
        self._take(found.heard)
        # Kept after what was heard: a crash in between hears it again, which changes nothing.
        if found.cursor.since is not None:
            self.bookmarks.put(name, {"since": found.cursor.since.isoformat()})
        return found.is_more and found.cursor != cursor

    def notified(self, headers: Mapping[str, str], body: bytes) -> None:
        """Take one notification. Raises NotAllowed, FhirUnreadable, and what the server's answers raise."""
        subscription.authenticate(headers, self.secrets)
        try:
            bundle = json.loads(body)
        except (ValueError, RecursionError):
            raise FhirUnreadable("It is not JSON.") from None
        name = f"{_BOOKMARK} Subscription {self.subscription_id}"
        kept = self.bookmarks.get(name)
        seen = subscription.Seen(last_event=kept.get("last_event", 0), ahead=tuple(kept.get("ahead", ())))
        notice = subscription.notice(bundle, seen, subscription_id=self.subscription_id)
        self._hear(notice)
        seen = self._refilled(notice) if notice.gap else notice.state
        self.bookmarks.put(name, {"last_event": seen.last_event, "ahead": list(seen.ahead)})
        logger.info("fhir.notified", kind=notice.kind.value, count=len(notice.events))

    def _hear(self, notice: subscription.Notice) -> None:
        focus = [name for event in notice.events for name in (event.focus, *event.context) if name]
        if focus:
            self._take(
                orders_of(
                    gathered(self.server, notice.bundle, focus=focus), sender=self.sender, ours=self.ours
                )
            )

    def _refilled(self, notice: subscription.Notice) -> subscription.Seen:
        """Events that never came are asked for; those that the server no longer has are polled for."""
        assert notice.gap is not None
        logger.warning("fhir.gap", count=len(notice.gap))
        try:
            answer = self.server.events(self.subscription_id, notice.gap, subscription.Content.ID_ONLY)
            missed = subscription.notice(answer, notice.state, subscription_id=self.subscription_id)
        except FhirRejected:
            self.poll()
            return notice.state.given_up(notice.gap)
        self._hear(missed)
        return missed.state if not missed.gap else missed.state.given_up(notice.gap)

    def _take(self, heard: Heard) -> None:
        for refusal in heard.refusals:
            logger.warning("order.refused", code=refusal.code)
            account.refused(refusal, channel="fhir")
        if not heard.announcements:
            return
        began = account.now()
        receipts = self.intake.take([self._arrival(one) for one in heard.announcements])
        made = sum(len(receipt.jobs) for receipt in receipts)
        logger.info("messages.taken", count=len(receipts), jobs=made)
        for receipt in receipts:
            account.taken_in(receipt.jobs, channel="fhir", began=began)
        if made:
            self.ring(made)

    def _arrival(self, said: Announcement) -> Arrival:
        return Arrival(
            channel=Channel.FHIR, application=self.sender.application, facility="",
            control_id=said.source, raw=said.raw, orders=said.orders,
        )  # fmt: skip


def fhir_orders_of(
    settings: Settings,
    client: httpx.Client,
    intake: Intake,
    bookmarks: Bookmarks,
    *,
    ring: Callable[[int], object],
) -> FhirOrders:
    """Raises SettingsError."""
    lis = settings.lis
    if not lis.fhir_url:
        raise SettingsError("PATHLANE_FHIR_URL: the server that orders are read from is needed")
    mine = (polling.tasks(lis.fhir_owner),) if lis.fhir_owner else (polling.requests(),)
    return FhirOrders(
        server=server_of(settings, client, lis.fhir_url),
        intake=intake,
        bookmarks=bookmarks,
        sender=Sender(channel=Channel.FHIR, application=lis.fhir_name),
        ours=identifier_system(settings.delivery.public_url),
        watches=(*mine, polling.studies(), polling.reports()),
        subscription_id=lis.fhir_subscription,
        secrets=tuple(_lines(lis.fhir_subscription_secret_file, "PATHLANE_FHIR_SUBSCRIPTION_SECRET_FILE")),
        ring=ring,
    )


def server_of(settings: Settings, client: httpx.Client, base: str) -> FhirServer:
    """The server at `base`, with our credentials if they are for it. Raises SettingsError."""
    lis = settings.lis
    tokens = None
    if lis.fhir_token_url and base.rstrip("/") == lis.fhir_url.rstrip("/"):
        tokens = Tokens(
            credentials=_credentials(lis),
            client=client,
            now=lambda: datetime.now(UTC),
            new_id=lambda: str(ULID()),
        )
    return FhirServer(base=base.rstrip("/"), client=client, tokens=tokens)


def _credentials(lis: LisSettings) -> ClientSecret | PrivateKey:
    if lis.fhir_key_file is not None:
        key = "\n".join(_lines(lis.fhir_key_file, "PATHLANE_FHIR_KEY_FILE"))
        return PrivateKey(
            token_url=lis.fhir_token_url, client_id=lis.fhir_client_id, key=key, key_id=lis.fhir_key_id,
            scope=lis.fhir_scope,
        )  # fmt: skip
    secret = "".join(_lines(lis.fhir_secret_file, "PATHLANE_FHIR_SECRET_FILE"))
    return ClientSecret(
        token_url=lis.fhir_token_url, client_id=lis.fhir_client_id, secret=secret, scope=lis.fhir_scope
    )


def _lines(file: Path | None, variable: str) -> Sequence[str]:
    if file is None:
        return ()
    try:
        return file.read_text(encoding="utf-8").split("\n")
    except OSError:
        raise SettingsError(f"{variable}: the file cannot be read") from None
