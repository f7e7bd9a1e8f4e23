"""Site: which gateway, and as whom.

In: a URL and a key. Out: URLs and headers. The key is only ever in a header.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import httpx

from integrations.client.steps import Answer


@dataclass(frozen=True, slots=True)
class Site:
    base: str
    key: str = field(repr=False)

    @classmethod
    def of(cls, url: str, key: str) -> Self:
        """Raises ValueError, with no part of what was given."""
        if httpx.URL(url).scheme not in {"http", "https"}:
            raise ValueError("a gateway's URL begins with https:// or http://")
        key = key.strip()  # a file's last line end
        if not key.isascii() or not key:
            raise ValueError("an API key is printed by `pathlane key add`")
        return cls(url.rstrip("/"), key)

    def url(self, path: str) -> str:
        return self.base + path

    def headers(self, more: Mapping[str, str] = {}) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}", "user-agent": "pathlane-client", **more}


def answer_of(response: httpx.Response) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(status=response.status_code, headers=headers, content=response.content)
