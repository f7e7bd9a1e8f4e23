"""Graphs: a step captured once for each pair of buckets, then replayed. Importing this imports torch.

In: a step that reads and writes tensors which stay where they are, and its buckets. Out: the same step
without the host's work for each of its some two thousand kernels. Needs CUDA; **this has not been run
on a GPU**. A pair is captured when it first comes, so its first step takes long.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

_WARM_UPS = 2


class Graphs:
    """Called as the step itself."""

    def __init__(self, step: Callable[[int, int], None]) -> None:
        self._step = step
        self._captured: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        self._memory = torch.cuda.graph_pool_handle()

    def __call__(self, rows: int, span: int) -> None:
        key = (rows, span)
        if key not in self._captured:
            self._captured[key] = self._capture(rows, span)
        self._captured[key].replay()

    def _capture(self, rows: int, span: int) -> torch.cuda.CUDAGraph:
        """The step writes the same again when it is repeated, so warming up changes nothing."""
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                self._step(rows, span)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # thread_local: askers pin memory in their own threads meanwhile, which a global capture would forbid
        with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):
            self._step(rows, span)
        return graph
