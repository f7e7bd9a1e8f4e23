"""Unacked: what kombu's Redis transport does about rings that were heard over a connection that is gone.

In: nothing. Out: kombu's own bookkeeping, in which that is nothing at all. It knows no ring of ours.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis


def install() -> None:
    """For every channel that is opened from now on."""
    redis.Channel.QoS = QoS


class QoS(redis.QoS):
    """What was heard and not acknowledged; over a connection that is gone nothing is done about it.

    kombu 5.7 raises AttributeError then, which Celery expects neither while it reconnects nor from a thread
    that ends its ring meanwhile: the whole worker ended, and its model with it. The visibility timeout puts
    such a ring back, and a ring that is heard twice is harmless.
    """

    @property
    def _is_gone(self) -> bool:
        connection = self.channel.connection
        return connection is None or connection.client is None

    def restore_unacked(self, client: Any = None) -> None:
        if not self._is_gone:
            super().restore_unacked(client)  # type: ignore[no-untyped-call]

    def ack(self, delivery_tag: str) -> None:
        if not self._is_gone:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002  # kombu's
        if not self._is_gone:
            super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]
