"""A laboratory's FHIR server made of a function: reads, searches with pages, sorting and includes, `$events`.

It does what `integrations.fhir` asks of a server and no more; a server that was not written here is in
`tests/integration/fhir`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from integrations.fhir.client import FhirServer

BASE = "https://lis.lab.example/fhir"
Json = dict[str, Any]

#: search parameter of an `_include` -> element
INCLUDES = {
    "focus": "focus",
    "subject": "subject",
    "specimen": "specimen",
    "basedon": "basedOn",
    "based-on": "basedOn",
}


@dataclass
class Lis:
    resources: list[Json] = field(default_factory=list)
    #: whether `_include` is heard
    includes: bool = True
    sorts: bool = True
    #: types that are not shown to us
    hidden: frozenset[str] = frozenset()
    #: called before each answer; a response it gives is the answer
    before: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
    asked: list[str] = field(default_factory=list)

    @property
    def server(self) -> FhirServer:
        return FhirServer(base=BASE, client=httpx.Client(transport=httpx.MockTransport(self)))

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url).removeprefix(BASE + "/"))
        early = self.before(request)
        if early is not None:
            return early
        parts = request.url.path.removeprefix("/fhir/").split("/")
        if parts[0] in self.hidden:
            return httpx.Response(403, json={"resourceType": "OperationOutcome"})
        if len(parts) == 2:
            found = self._find("/".join(parts))
            return httpx.Response(200, json=found) if found else httpx.Response(404)
        return httpx.Response(200, json=self._search(parts[0], request.url))

    def _find(self, name: str) -> Json | None:
        return next((r for r in self.resources if f"{r['resourceType']}/{r['id']}" == name), None)

    def _search(self, kind: str, url: httpx.URL) -> Json:
        asked = url.params
        matches = [r for r in self.resources if r["resourceType"] == kind and _fits(r, asked)]
        if self.sorts and asked.get("_sort") == "_lastUpdated":
            matches.sort(key=lambda resource: resource["meta"]["lastUpdated"])
        start, count = int(asked.get("_offset", 0)), int(asked.get("_count", 50))
        page = matches[start : start + count]
        entries = [self._entry(resource, "match") for resource in page]
        if self.includes:
            names = [include.split(":")[1] for include in asked.get_list("_include")]
            entries += [self._entry(r, "include") for r in self._included(page, names)]
        link = []
        if start + count < len(matches):
            following = url.copy_set_param("_offset", str(start + count))
            link = [{"relation": "next", "url": str(following)}]
        return {"resourceType": "Bundle", "type": "searchset", "entry": entries, "link": link}

    def _entry(self, resource: Json, mode: str) -> Json:
        name = f"{resource['resourceType']}/{resource['id']}"
        return {"fullUrl": f"{BASE}/{name}", "resource": resource, "search": {"mode": mode}}

    def _included(self, page: list[Json], names: list[str]) -> list[Json]:
        found = {}
        for resource in page:
            for name in names:
                given = resource.get(INCLUDES[name], [])
                for reference in given if isinstance(given, list) else [given]:
                    target = self._find(reference.get("reference", ""))
                    if target is not None:
                        found[target["id"]] = target
        return list(found.values())


def _fits(resource: Json, asked: httpx.QueryParams) -> bool:
    since = re.fullmatch(r"ge(.+)", asked.get("_lastUpdated", "ge"))
    if since and resource.get("meta", {}).get("lastUpdated", "") < since[1]:
        return False
    if "status" in asked and resource.get("status") not in asked["status"].split(","):
        return False
    for parameter in ("basedon", "based-on"):
        if parameter in asked and {"reference": asked[parameter]} not in resource.get("basedOn", []):
            return False
    owner = resource.get("owner", {}).get("reference")
    return "owner" not in asked or owner == asked["owner"]
