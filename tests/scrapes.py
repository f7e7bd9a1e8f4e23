"""What a program answers at /metrics, read by prometheus_client's own parser."""

from __future__ import annotations

import urllib.request

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from worker import metrics

Key = tuple[str, frozenset[tuple[str, str]]]


class Scrape:
    """One look: `scrape("pathlane_queue_depth", priority="stat")` is a number."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """0 where nothing was counted under these labels yet."""
        return self._values.get((name, frozenset(labels.items())), 0.0)

    def since(self, earlier: Scrape, name: str, **labels: str) -> float:
        return self(name, **labels) - earlier(name, **labels)


def of_port(port: int) -> Scrape:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return Scrape(answer.read().decode())


def of_this_process() -> Scrape:
    """Of all programs at once, as far as they run in here."""
    return Scrape(generate_latest(metrics.registry_of(*metrics.Program)).decode())
