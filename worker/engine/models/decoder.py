"""Decoder: a Qwen2.5-VL's own modules over a pool of rows: prompts into rows, one token for all rows.

In: prompts as tensors, or how many rows run and how long the longest is. Out: logits, in the pool. Importing
this imports torch. It chooses no token and knows nobody who asks. A step is captured as a CUDA graph for each
pair of buckets, rows and span; the buckets and the step itself are run on the CPU too, the capture was not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from worker.engine.models.graphs import Graphs
from worker.engine.models.pool import Pool, Shape

#: the shortest span of a graph; attention kernels of a GPU want a mask whose rows are aligned
_COARSE: Final = 128
_FINE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One prompt as tensors: `input_ids`, `position_ids`, `pixel_values`, `image_grid_thw`."""

    tensors: Mapping[str, torch.Tensor]
    length: int
    #: what to add to a position of the answer to have the one that is rotated
    offset: int
    #: no end token while the row is shorter
    hold: int


class Decoder:
    """One model and its pool. Use it from one thread."""

    def __init__(
        self, model: Any, *, rows: int, positions: int, use_graphs: bool, buckets: bool | None = None
    ) -> None:
        text = model.model.language_model
        self._model, self._text = model, text
        self.pool = Pool(shape_of(model, rows, positions), model.dtype, str(model.device))
        bucketed = use_graphs if buckets is None else buckets
        self._row_ladder = row_ladder(rows) if bucketed else tuple(range(1, rows + 1))
        self._span_ladder = span_ladder(positions, coarse=bucketed)
        self._cosines, self._sines = self._rotations(positions)
        self._step = Graphs(self._forward) if use_graphs else self._forward

    def prefill(self, openings: Sequence[Opening], first: int) -> None:
        """Read prompts into rows from `first` on; the logits of a prompt's last position are its row's.

        Shorter ones are filled up behind their end, where no token of theirs ever looks.
        """
        ids = torch.cat(self._filled_up("input_ids", openings))
        state = [(opening.length, opening.offset, opening.hold) for opening in openings]
        states = torch.tensor(state, device=ids.device).T
        rows = slice(first, first + len(openings))
        self.pool.open_rows(rows, states, ids)
        written = self._model.model(
            input_ids=ids,
            position_ids=torch.cat(self._filled_up("position_ids", openings), 1),
            pixel_values=torch.cat(self._on_device("pixel_values", openings)),
            image_grid_thw=torch.cat(self._on_device("image_grid_thw", openings)),
            attention_mask={"full_attention": None},
            past_key_values=self.pool,
            use_cache=True,
        )
        last = written.last_hidden_state[self.pool.numbers[: len(openings)], states[0] - 1]
        self.pool.logits[rows] = self._model.lm_head(last)

    def _on_device(self, name: str, openings: Sequence[Opening]) -> list[torch.Tensor]:
        device = self._model.device
        return [opening.tensors[name].to(device, non_blocking=True) for opening in openings]

    def _filled_up(self, name: str, openings: Sequence[Opening]) -> list[torch.Tensor]:
        """Each as long as the longest: its last entry again and again, which is no part of an image."""
        longest = max(opening.length for opening in openings)
        return [
            torch.cat([tensor, tensor[..., -1:].expand(*tensor.shape[:-1], longest - tensor.shape[-1])], -1)
            for tensor in self._on_device(name, openings)
        ]

    def decode(self, rows: int, longest: int) -> None:
        """Every row reads its next token; its logits are the row's. `longest` counts that token too."""
        bucket = self._row_ladder[bisect_left(self._row_ladder, rows)]
        span = self._span_ladder[bisect_left(self._span_ladder, longest)]
        self._step(bucket, span)
        self.pool.lengths[:rows] += 1

    def _forward(self, rows: int, span: int) -> None:
        pool = self.pool
        mask = pool.open_step(rows, span)
        positions = pool.lengths[:rows] + pool.offsets[:rows]
        rotations = (self._cosines[positions][:, None], self._sines[positions][:, None])
        hidden = self._text.embed_tokens(pool.tokens[:rows])[:, None]
        for layer in self._text.layers:
            hidden = layer(
                hidden,
                attention_mask=mask,
                past_key_values=pool,
                position_embeddings=rotations,
                use_cache=True,
            )
        pool.logits[:rows] = self._model.lm_head(self._text.norm(hidden[:, 0]))

    @torch.inference_mode()
    def _rotations(self, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine of every position of a written token, whose three coordinates are the same."""
        every = torch.arange(positions, device=self._model.device)[None, None].expand(3, 1, -1)
        like = torch.empty((), dtype=self._model.dtype, device=self._model.device)
        cosines, sines = self._text.rotary_emb(like, every)
        return cosines[0], sines[0]


def shape_of(model: Any, rows: int, positions: int) -> Shape:
    config = model.config.get_text_config()
    return Shape(
        layers=config.num_hidden_layers,
        rows=rows,
        key_heads=config.num_key_value_heads,
        positions=positions,
        dim=config.hidden_size // config.num_attention_heads,
        vocabulary=model.lm_head.out_features,
    )


def row_ladder(rows: int) -> tuple[int, ...]:
    """1, 2, 4, then steps of about a third: a graph for each, and few rows computed for nobody."""
    steps = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256]
    return (*(step for step in steps if step < rows), rows)


def span_ladder(positions: int, *, coarse: bool) -> tuple[int, ...]:
    """Up to all positions, in steps of 16; coarse ones grow by a third or a half, so that graphs stay few."""
    if not coarse:
        return (*range(_FINE, positions, _FINE), positions)
    steps = [_COARSE * step // 2 << power for power in range(32) for step in (2, 3)]
    return (*(step for step in steps if step < positions), positions)
