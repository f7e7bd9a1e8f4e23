"""Pool: all that running rows have on the device, in tensors that are made once. It imports torch.

In: keys and values, as transformers' attention layers hand them to a cache. Out: those each row may look
at. Row r of every tensor belongs to running row r; the running rows are always the first ones, so that a
step works on views, with no gather and no holes. It knows no model and nobody who asks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    layers: int
    rows: int
    key_heads: int
    positions: int
    dim: int
    vocabulary: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A row that was put aside, on the host."""

    keys: torch.Tensor
    values: torch.Tensor
    state: tuple[torch.Tensor, ...]


class Pool:
    """A cache for transformers' layers (`past_key_values`), and the small state of each row beside it."""

    is_compileable = False

    def __init__(self, shape: Shape, dtype: torch.dtype, device: str) -> None:
        self.shape = shape
        store = (shape.layers, shape.rows, shape.key_heads, shape.positions, shape.dim)
        self.keys = torch.zeros(store, dtype=dtype, device=device)
        self.values = torch.zeros(store, dtype=dtype, device=device)
        #: the token that each row reads next
        self.tokens = torch.zeros(shape.rows, dtype=torch.long, device=device)
        #: positions that are filled
        self.lengths = torch.zeros(shape.rows, dtype=torch.long, device=device)
        #: what to add to a position to have the one that is rotated: less, where images are
        self.offsets = torch.zeros(shape.rows, dtype=torch.long, device=device)
        #: no end token while a row is shorter
        self.holds = torch.zeros(shape.rows, dtype=torch.long, device=device)
        #: 0 where a row may look, else minus infinity
        self.bias = torch.full((shape.rows, shape.positions), -torch.inf, dtype=dtype, device=device)
        #: tokens of the prompt and of the answer so far
        self.seen = torch.zeros((shape.rows, shape.vocabulary), dtype=torch.bool, device=device)
        #: of the token that each row chooses in this step
        self.logits = torch.zeros((shape.rows, shape.vocabulary), dtype=torch.float32, device=device)
        self.numbers = torch.arange(shape.rows, device=device)
        self._heads = torch.arange(shape.key_heads, device=device)[None]
        self._state = (self.tokens, self.lengths, self.offsets, self.holds, self.bias, self.seen)
        self._positions = torch.arange(shape.positions, device=device)
        self._seen_bias = torch.zeros((), dtype=dtype, device=device)
        self._prefilled: slice | None = None
        self._rows = self._span = 0
        self._at: tuple[torch.Tensor, ...] = ()

    def open_rows(self, rows: slice, state: torch.Tensor, ids: torch.Tensor) -> None:
        """What the layers write from now on are the first positions of these new rows.

        `state` is length, offset and hold of each; `ids` its tokens, shorter ones filled up with their own.
        """
        self._prefilled = rows
        self.lengths[rows], self.offsets[rows], self.holds[rows] = state
        hidden = self._positions >= state[0][:, None]
        self.bias[rows] = torch.zeros_like(self.bias[rows]).masked_fill_(hidden, -torch.inf)
        self.seen[rows] = False
        self.seen[rows].scatter_(1, ids, True)  # noqa: FBT003  the value to write

    def open_step(self, rows: int, span: int) -> torch.Tensor:
        """What the layers write from now on is one position a row. Gives the mask, over `span` positions."""
        self._prefilled = None
        self._rows, self._span = rows, span
        lengths = self.lengths[:rows]
        self._at = (self.numbers[:rows, None], self._heads, lengths[:, None])
        self.bias.index_put_((self.numbers[:rows], lengths), self._seen_bias)
        return self.bias[:rows, None, None, :span]

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Called by each attention layer."""
        if (rows := self._prefilled) is not None:
            self.keys[layer, rows, :, : keys.shape[2]] = keys
            self.values[layer, rows, :, : values.shape[2]] = values
            return keys, values
        layer_keys, layer_values = self.keys[layer], self.values[layer]
        layer_keys.index_put_(self._at, keys[:, :, 0])
        layer_values.index_put_(self._at, values[:, :, 0])
        return layer_keys[: self._rows, :, : self._span], layer_values[: self._rows, :, : self._span]

    def get_seq_length(self, *_: object) -> int:
        return 0

    def copy(self, source: int, target: int, length: int) -> None:
        for store in (self.keys, self.values):
            store[:, target, :, :length] = store[:, source, :, :length]
        for tensor in (*self._state, self.logits):
            tensor[target] = tensor[source]

    def close_row(self, row: int) -> None:
        """Nobody's any more. A step over more rows than run then writes to its first position only."""
        self.lengths[row] = 0

    def save(self, row: int, length: int) -> Saved:
        return Saved(
            keys=self.keys[:, row, :, :length].to("cpu", copy=True),
            values=self.values[:, row, :, :length].to("cpu", copy=True),
            state=tuple(tensor[row].to("cpu", copy=True) for tensor in self._state),
        )

    def restore(self, row: int, saved: Saved) -> None:
        length = saved.keys.shape[2]
        self.keys[:, row, :, :length] = saved.keys.to(self.keys.device)
        self.values[:, row, :, :length] = saved.values.to(self.values.device)
        for tensor, old in zip(self._state, saved.state, strict=True):
            tensor[row] = old.to(tensor.device)
