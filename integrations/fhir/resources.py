"""Resources: the content of a Bundle, with its references resolved inside it.

In: Bundles (searchset, history, collection) or single resources. Out: resources by type, and what a reference
leads to. It fetches nothing: what a reference leads to may not be here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from integrations.fhir.elements import Element, each, instant, one, text
from worker.errors import FhirOrderRefused, FhirUnreadable

TYPE_AND_ID: Final = re.compile(r"(?:^|/)([A-Z][A-Za-z]{1,40})/([A-Za-z0-9\-.]{1,64})(?:/_history/[^/?#]+)?$")


@dataclass(frozen=True, slots=True, repr=False)
class Resources:
    """Each resource once, at its newest version."""

    #: every name it goes by (fullUrl, `Type/id`) -> the resource
    _named: Mapping[str, Element]
    _all: tuple[Element, ...]
    #: id() of a resource -> the base of the server it is on, where its fullUrl says so
    _bases: Mapping[int, str]

    @classmethod
    def of(cls, *bundles: Element) -> Resources:
        """Raises FhirUnreadable when one of `bundles` is no resource."""
        found: dict[str, tuple[str, Element]] = {}
        for number, bundle in enumerate(bundles):
            for place, (full_url, resource) in enumerate(_entries(bundle)):
                key = _key(full_url, resource) or f"#{number}.{place}"
                if key not in found or _version(resource) > _version(found[key][1]):
                    found[key] = (full_url, resource)
        named: dict[str, Element] = {}
        bases: dict[int, str] = {}
        for full_url, resource in found.values():
            own = local(resource)
            for name in filter(None, (full_url, own)):
                named.setdefault(name, resource)
            if own and full_url.endswith(f"/{own}"):
                bases[id(resource)] = full_url.removesuffix(own)
        return cls(named, tuple(resource for _, resource in found.values()), bases)

    def each(self, kind: str) -> Iterator[Element]:
        return (resource for resource in self._all if resource.get("resourceType") == kind)

    def find(self, source: Element, reference: Element) -> Element | None:
        """What `reference`, which stands in `source`, leads to; None when it is not here."""
        found = self._literal(source, text(reference, "reference"))
        return found or self._logical(one(reference, "identifier"), text(reference, "type"))

    def name(self, source: Element, reference: Element, kind: str) -> Element | None:
        """The same; of an identifier whose resource is not here, a `kind` that has only this identifier."""
        found = self.find(source, reference)
        if found is None and text(known := one(reference, "identifier"), "value"):
            return {"resourceType": kind, "identifier": [known]}
        return found if found is None or found.get("resourceType") == kind else None

    def follow(self, source: Element, element: str, kind: str) -> list[Element]:
        """Where the references in `element` of `source` lead, as far as they are to `kind`.

        Raises FhirOrderRefused when one leads out.
        """
        found = []
        for reference in each(source, element):
            if leads_to(reference) not in ("", kind):
                continue
            target = self.find(source, reference)
            if target is None:
                raise FhirOrderRefused(f"{source.get('resourceType')}.{element} leads to what is not here.")
            found += [target] if target.get("resourceType") == kind else []
        return found

    def bundle(self) -> dict[str, Any]:
        """All of it as one Bundle."""
        entries = [
            {"resource": resource}
            | ({"fullUrl": base + local(resource)} if (base := self._bases.get(id(resource))) else {})
            for resource in self._all
        ]
        return {"resourceType": "Bundle", "type": "collection", "entry": entries}

    def _literal(self, source: Element, name: str) -> Element | None:
        if not name:
            return None
        if name.startswith("#"):
            inside = each(source, "contained")
            return next((resource for resource in inside if text(resource, "id") == name[1:]), None)
        name = name.partition("/_history/")[0]
        if ":" not in name:
            base = self._bases.get(id(source), "")
            return self._named.get(base + name) or self._named.get(name)
        if name in self._named or (own := TYPE_AND_ID.search(name)) is None:
            return self._named.get(name)
        # What a Bundle lists without a fullUrl may be meant; what has one is another server's.
        here = self._named.get(f"{own[1]}/{own[2]}")
        return here if here is not None and id(here) not in self._bases else None

    def _logical(self, wanted: Element, kind: str) -> Element | None:
        key = (text(wanted, "system"), text(wanted, "value"))
        if not key[1]:
            return None
        for resource in self.each(kind) if kind else self._all:
            if key in {
                (text(known, "system"), text(known, "value")) for known in each(resource, "identifier")
            }:
                return resource
        return None


def local(resource: Element) -> str:
    """`Type/id`, or `` where it has no id."""
    own = text(resource, "id")
    return f"{text(resource, 'resourceType')}/{own}" if own else ""


def leads_to(reference: Element) -> str:
    """The type of resource a reference names; `` where it does not say."""
    named = TYPE_AND_ID.search(text(reference, "reference"))
    return text(reference, "type") or (named[1] if named else "")


def _entries(bundle: Element) -> Iterable[tuple[str, Element]]:
    if not isinstance(bundle, Mapping) or not isinstance(bundle.get("resourceType"), str):
        raise FhirUnreadable
    if bundle["resourceType"] != "Bundle":
        return [("", bundle)]
    entries = [(text(entry, "fullUrl"), one(entry, "resource")) for entry in each(bundle, "entry")]
    return [
        (url.partition("/_history/")[0], resource)
        for url, resource in entries
        if text(resource, "resourceType")
    ]


def _key(full_url: str, resource: Element) -> str:
    own = local(resource)
    return full_url if full_url and not full_url.startswith("urn:") else own or full_url


def _version(resource: Element) -> datetime:
    return instant(text(one(resource, "meta"), "lastUpdated")) or datetime.min.replace(tzinfo=UTC)
