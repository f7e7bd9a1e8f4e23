"""Reception: HL7 messages come in, acknowledgements go out, and what is said AA to is in the store.

In: the bytes of messages that arrived together. Out: one reply to each; they are written after the commit
that holds all of them. It knows neither sockets nor SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from integrations import account
from integrations.hl7.acknowledgement import Mode, acknowledge
from integrations.hl7.head import Head, identity_of, read_head
from integrations.hl7.message import parse
from integrations.hl7.orders import Ignored, read_orders
from integrations.hl7.profiles import Profile
from integrations.rules.matching import Rules, SenderRules
from integrations.site import profile_for
from worker import log
from worker.errors import IdempotencyConflict, PathlaneError
from worker.jobs.order import Channel, Sender
from worker.store.intake import Arrival, Intake, Receipt, Taken

logger = log.get(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Heard:
    """One message: its arrival, or why it was not taken."""

    head: Head
    mode: Mode
    arrival: Arrival | None = None
    problem: PathlaneError | None = None
    note: str = ""


@dataclass(slots=True, kw_only=True)
class Reception:
    rules: Rules
    intake: Intake
    now: Callable[[], datetime]
    #: a new control id for an acknowledgement
    new_id: Callable[[], str]
    #: "so many jobs were made", "these deliveries are due"; both return at once
    ring: Callable[[int], object]
    deliver: Callable[[Sequence[str]], object]
    _profiles: dict[str, Profile] = field(default_factory=dict)

    def answer(self, batch: Sequence[bytes]) -> list[bytes]:
        """One acknowledgement a message, in their order; empty where the sender wants none."""
        began = account.now()
        heard = [self._hear(raw) for raw in batch]
        receipts, problem = self._take([one.arrival for one in heard if one.arrival])
        for receipt in receipts:
            account.taken_in(receipt.jobs, channel="hl7", began=began)
        ended = iter(receipts)
        replies = []
        for one in heard:
            if one.arrival is not None:
                one = replace(one, problem=problem) if problem else _judged(one, next(ended))  # noqa: PLW2901
            replies.append(self._reply(one))
        return replies

    def refuse(self, begun: bytes, problem: PathlaneError) -> bytes:
        """The reply to a message of which only the beginning was read."""
        head = read_head(begun)
        return self._reply(_Heard(head=head, mode=Mode(self._sender(head).acknowledgement), problem=problem))

    def _hear(self, raw: bytes) -> _Heard:
        head = read_head(raw)
        known = self._sender(head)
        mode = Mode(known.acknowledgement)
        try:
            message = parse(raw, charset=known.charset)
            identity = identity_of(message, raw)
            found = read_orders(message, self._profile(known))
        except PathlaneError as problem:
            logger.warning("message.refused", code=problem.code)
            account.refused(problem, channel="hl7")
            return _Heard(head=head, mode=mode, problem=problem)
        orders = () if isinstance(found, Ignored) else found
        arrival = Arrival(
            channel=Channel.HL7, application=identity.application, facility=identity.facility,
            control_id=identity.control_id, raw=raw, is_test=head.is_test,
            orders=tuple(replace(order, domain=known.domain) for order in orders),
        )  # fmt: skip
        note = found.reason if isinstance(found, Ignored) else ""
        return _Heard(head=head, mode=mode, arrival=arrival, note=note)

    def _take(self, arrivals: Sequence[Arrival]) -> tuple[list[Receipt], PathlaneError | None]:
        if not arrivals:
            return [], None
        try:
            receipts = self.intake.take(arrivals)
        except PathlaneError as problem:
            logger.warning("messages.not_taken", code=problem.code, count=len(arrivals))
            account.refused(problem, channel="hl7")
            return [], problem
        made = sum(len(receipt.jobs) for receipt in receipts)
        logger.info("messages.taken", count=len(receipts), jobs=made)
        if made:
            self.ring(made)
        self.deliver([one for receipt in receipts for one in receipt.deliveries])
        return receipts, None

    def _reply(self, one: _Heard) -> bytes:
        return acknowledge(
            one.head, one.problem, control_id=self.new_id(), at=self.now(), mode=one.mode, note=one.note
        )

    def _sender(self, head: Head) -> SenderRules:
        return self.rules.sender(
            Sender(channel=Channel.HL7, application=head.application, facility=head.facility)
        )

    def _profile(self, known: SenderRules) -> Profile:
        if known.name not in self._profiles:
            self._profiles[known.name] = profile_for(known)
        return self._profiles[known.name]


def _judged(one: _Heard, receipt: Receipt) -> _Heard:
    if receipt.taken is Taken.CONFLICT:
        logger.error("message.conflict")
        account.refused(IdempotencyConflict(), channel="hl7")
        return replace(one, problem=IdempotencyConflict())
    return one
