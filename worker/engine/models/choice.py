"""Choice: which token each row writes next. Importing this imports torch.

In: the rows' logits in the pool, and how each row is to be decoded. Out: the tokens, in the pool for the
next step and on the host: the one moment of a step in which the host waits for the device. The order is
that of transformers' `generate`: repetition penalty, no early end, temperature, top-p.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch

from worker.engine.models.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How one row is decoded."""

    temperature: float = 0.0
    top_p: float = 1.0
    #: draws of this row only, on the host: the same for the same seed, whoever runs beside it
    draws: torch.Generator | None = field(default=None)
    logprobs: bool = False
    #: whether it must not end before some length (`Pool.holds`)
    holds: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    tokens: list[int]
    #: of the tokens, by the model's own distribution; none where no row asked
    logprobs: list[float] | None


class Chooser:
    def __init__(self, pool: Pool, ends: Collection[int], penalty: float) -> None:
        self._pool, self._penalty = pool, penalty
        self._is_end = torch.zeros(pool.shape.vocabulary, dtype=torch.bool, device=pool.logits.device)
        self._is_end[list(ends)] = True

    def choose(self, rows: Sequence[Decoding]) -> Chosen:
        pool, count = self._pool, len(rows)
        scores = pool.logits[:count]
        if self._penalty != 1.0:
            scores = self._penalised(scores, pool.seen[:count])
        if any(row.holds for row in rows):
            held = pool.lengths[:count] < pool.holds[:count]
            scores = scores.masked_fill(held[:, None] & self._is_end, -torch.inf)
        tokens = scores.argmax(-1)
        if hot := [number for number, row in enumerate(rows) if row.temperature > 0]:
            tokens[hot] = _drawn(scores[hot], [rows[number] for number in hot])
        pool.tokens[:count] = tokens
        if self._penalty != 1.0:
            pool.seen[pool.numbers[:count], tokens] = True
        if not any(row.logprobs for row in rows):
            return Chosen(tokens=tokens.tolist(), logprobs=None)
        logits = pool.logits[:count]
        logprobs = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
        both = torch.stack([tokens.double(), logprobs.double()]).tolist()
        return Chosen(tokens=[int(token) for token in both[0]], logprobs=both[1])

    def _penalised(self, scores: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        less = torch.where(scores < 0, scores * self._penalty, scores / self._penalty)
        return torch.where(seen, less, scores)


def _drawn(scores: torch.Tensor, rows: Sequence[Decoding]) -> torch.Tensor:
    """One token a row: the first whose cumulated probability passes the row's draw."""
    device = scores.device
    parameters = [(row.temperature, row.top_p, torch.rand((), generator=row.draws).item()) for row in rows]
    temperature, top_p, draw = torch.tensor(parameters, dtype=torch.float32).to(device)[:, :, None].unbind(1)
    likely, order = torch.softmax(scores / temperature, -1).sort(-1, descending=True)
    before = likely.cumsum(-1) - likely
    likely = likely.masked_fill(before >= top_p, 0.0)
    reached = likely.cumsum(-1)
    place = (reached <= draw * reached[:, -1:]).sum(-1, keepdim=True)
    last = (likely > 0).sum(-1, keepdim=True) - 1
    return order.gather(1, torch.minimum(place, last))[:, 0]
