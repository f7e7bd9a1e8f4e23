"""Sandbox: images are looked at in child processes, which may die of them; the worker does not.

In: how many children there may be and what each is held to; images, from many threads. Out: patches, or a
typed refusal. A child serves many images, and is replaced when it died, was late, lied, has grown or has
served long enough. It knows neither what a child is asked (`dialogue`) nor what an image is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from worker import log
from worker.errors import DecoderUnavailable, DecodingCrashed, DecodingTooSlow, ImageRefused
from worker.imaging.decoder import PROGRAM, Confines, Decoder, Lost
from worker.imaging.supply import Supply
from worker.imaging.wanted import Seen, Wanted

#: then what libraries have lost of its memory is given back
LOOKS_PER_CHILD = 1000
#: how long an image may wait for a child, beyond the time that another may take in it
WAIT_SECONDS = 120.0

logger = log.get(__name__)


class Sandbox:
    """For any number of threads. To be closed."""

    def __init__(
        self,
        confines: Confines,
        *,
        children: int,
        looks_per_child: int = LOOKS_PER_CHILD,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        """`children`: at most; each starts when nobody else is free."""
        self._confines = confines
        self._most = children
        self._looks = looks_per_child
        self._program = program
        self._changed = threading.Condition()
        self._idle: list[Decoder] = []
        self._busy: list[Decoder] = []
        #: children that the keeper is about to start
        self._wanted = 0
        self._waiting = 0
        #: how many starts have failed
        self._failures = 0
        self._closed = False
        # All children are started by one thread, for a child dies with the thread that started it.
        self._keeper = threading.Thread(target=self._keep, name="decoders", daemon=True)
        self._keeper.start()

    def start(self) -> None:
        """One child, beside whatever else begins: the first image does not wait for it. Returns at once."""
        with self._changed:
            self._want_one()

    def look(self, supply: Supply, wanted: Wanted) -> tuple[Seen, ...]:
        """Raises an ImageRefused, of which no second try changes anything; DecoderUnavailable; or what the
        supply raises."""
        try:
            return self._look(supply, wanted)
        except Lost as lost:
            if not lost.is_suspect:
                raise self._verdict(lost) from None
        try:  # what an earlier image left behind in that child may have been the reason
            return self._look(supply, wanted)
        except Lost as lost:
            raise self._verdict(lost) from None

    def pids(self) -> tuple[int, ...]:
        """Of the children there are."""
        with self._changed:
            return tuple(decoder.pid for decoder in (*self._idle, *self._busy))

    def close(self) -> None:
        """Ends all children; whoever still waits for one gets DecoderUnavailable."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            for decoder in self._busy:
                decoder.kill()
            self._changed.notify_all()
        for decoder in idle:
            decoder.end()
        self._keeper.join()

    def _look(self, supply: Supply, wanted: Wanted) -> tuple[Seen, ...]:
        decoder = self._take()
        try:
            return decoder.look(supply, wanted)
        finally:
            self._give_back(decoder)

    def _verdict(self, lost: Lost) -> ImageRefused | DecoderUnavailable:
        if lost.stood_still or self._closed:
            return DecoderUnavailable()
        if lost.late:
            return DecodingTooSlow(f"It was given {self._confines.seconds:g} seconds.")
        return DecodingCrashed()

    def _take(self) -> Decoder:
        end = time.monotonic() + WAIT_SECONDS + self._confines.seconds
        with self._changed:
            failures = self._failures
            self._waiting += 1
            try:
                while (decoder := self._living()) is None:
                    if self._closed or self._failures > failures or time.monotonic() >= end:
                        raise DecoderUnavailable
                    if self._wanted < self._waiting:
                        self._want_one()
                    self._changed.wait(end - time.monotonic())
            finally:
                self._waiting -= 1
            self._busy.append(decoder)
            return decoder

    def _living(self) -> Decoder | None:
        """The one that was used last; whoever died while nobody used it is left out."""
        while self._idle:
            decoder = self._idle.pop()
            if not decoder.has_ended():
                return decoder
            self._end(decoder)
        return None

    def _give_back(self, decoder: Decoder) -> None:
        may_stay = decoder.usable and decoder.looks < self._looks
        if not may_stay:
            self._end(decoder)
        with self._changed:
            self._busy.remove(decoder)
            if may_stay and not self._closed:
                self._idle.append(decoder)
            elif may_stay:
                decoder.end()
            elif not self._idle:
                self._want_one()
            self._changed.notify()

    def _end(self, decoder: Decoder) -> None:
        was_usable = decoder.usable
        status = decoder.end()
        if not was_usable:
            logger.info("decoder.replaced", pid=decoder.pid, exit_status=status, count=decoder.looks)

    def _want_one(self) -> None:
        """With the condition held."""
        if not self._closed and len(self._idle) + len(self._busy) + self._wanted < self._most:
            self._wanted += 1
            self._changed.notify_all()

    def _keep(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closed)
                if self._closed:
                    return
            decoder = self._started()
            with self._changed:
                self._wanted -= 1
                if decoder is None:
                    self._failures += 1
                elif self._closed:
                    decoder.end()
                else:
                    self._idle.append(decoder)
                self._changed.notify_all()

    def _started(self) -> Decoder | None:
        try:
            return Decoder(self._confines, self._program)
        except (OSError, ValueError) as error:  # no memory, no file descriptors
            logger.warning("decoder.not_started", **log.kind_and_place(error))
            return None
