"""Naming a device. What a CUDA device is called is tested where there is one."""

from __future__ import annotations

import sys

from worker.engine import devices


def test_the_cpu_is_itself_and_needs_no_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert devices.choose("cpu") == devices.key_of("cpu") == "cpu"
