"""In flight: answers are written side by side, and join and leave between two tokens.

In: a checkpoint; then asks, as the scheduler lets them in. Out: an Identity; then completions. A step gives
every running row one token: rows that run read theirs, new ones read their prompt, all choose, and who is
done leaves. transformers' own modules over a fixed pool of rows (docs/decisions/0009). It schedules nothing.
torch is imported by `load` and by nothing else here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from worker import log
from worker.engine.models.loading import Source, load
from worker.engine.reasoner import Ask, Identity, Prepared, Prompt, Result
from worker.errors import EngineStopped

if TYPE_CHECKING:
    from worker.engine.models.rows import Rows

ENGINE: Final = "in-flight"

logger = log.get(__name__)


class InFlightReasoner:
    """The `Reasoner` of a device that Pathlane drives itself."""

    can_pause = True

    def __init__(self, source: Source, *, rows: int, max_new_tokens: int) -> None:
        """`max_new_tokens` of the longest answer. A device short of memory gives fewer than `rows`."""
        self._source, self._wanted_rows, self._max_new_tokens = source, rows, max_new_tokens
        self._rows: Rows | None = None

    @property
    def rows(self) -> int:
        return self._loaded().count

    @property
    def every_row_costs(self) -> bool:
        return self._loaded().every_row_costs

    def load(self, device: str) -> Identity:
        """Load onto `auto`, `cpu` or `cuda:N`. Raises ModelUnavailable with a sentence on what to do."""
        model, identity = load(self._source, device, engine=ENGINE, packed=True)
        from worker.engine.models.rows import rows_for  # noqa: PLC0415  it imports torch

        self._rows = rows_for(model, self._wanted_rows, self._max_new_tokens)
        logger.info("pool.ready", rows=self._rows.count, tokens=self._rows.positions)
        return identity

    def prepare(self, prompt: Prompt) -> Prepared:
        return self._loaded().prepare(prompt)

    def step(
        self, enter: Sequence[Ask], pause: Sequence[Ask], on_move: Callable[[], None] = lambda: None
    ) -> list[tuple[Ask, Result]]:
        return self._loaded().step(enter, pause, on_move)

    def clear(self) -> None:
        self._loaded().clear()

    def _loaded(self) -> Rows:
        if self._rows is None:
            raise EngineStopped(begun=False)
        return self._rows
