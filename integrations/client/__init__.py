"""The client: ask Pathlane from another program, and check what it sends.

In: a gateway's URL and an API key; or what came to a webhook. Out: frozen values, and one small tree of
errors. It imports httpx and nothing of the server, so that it costs its program little.

    with Pathlane("https://pathlane.lab.example", key) as pathlane:
        job = pathlane.wait(pathlane.submit(Path("tile.png"), "Which stain is shown?"))
"""

from integrations.client.asynchronous import AsyncPathlane
from integrations.client.errors import PathlaneError, Refused, Unavailable, WaitTimeout, WebhookRefused
from integrations.client.synchronous import Pathlane
from integrations.client.values import Job, Listed, Reading, Review
from integrations.client.webhook import Event, verify

__all__ = [
    "AsyncPathlane",
    "Event",
    "Job",
    "Listed",
    "Pathlane",
    "PathlaneError",
    "Reading",
    "Refused",
    "Review",
    "Unavailable",
    "WaitTimeout",
    "WebhookRefused",
    "verify",
]
