"""Endpoints: who is told, and with which secret. Secrets are shown once, when they are made.

In: names and addresses. Out: endpoints without their secrets, but for the new one.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field, StringConstraints

from integrations.http_api.access import Operating
from integrations.http_api.answers import USUAL, answer, answers
from integrations.http_api.documents import (
    EndpointId,
    EndpointList,
    EndpointShown,
    EndpointWithSecret,
    Given,
    TestSent,
)
from integrations.http_api.state import Api, Parts
from integrations.view import endpoint_document
from worker.errors import InvalidRequest
from worker.jobs.event import JOB_EVENTS, Endpoint, EventType, Payload
from worker.store.endpoints import SCHEMES

router = APIRouter(tags=["endpoints"])

_SCHEMES: Final = "|".join(scheme.replace("+", r"\+") for scheme in SCHEMES)
#: host names and IPv4; an IPv6 address is given on the command line
_URL: Final = rf"^({_SCHEMES})://[0-9A-Za-z]([0-9A-Za-z.-]*[0-9A-Za-z])?(:[0-9]{{1,5}})?(/[!-~]*)?$"
_FULL_IS_HTTPS: Final[dict[str, Any]] = {
    "if": {"properties": {"payload": {"const": "full"}}, "required": ["payload"]},
    "then": {"properties": {"url": {"pattern": "^https://"}}},
}
_HOURS: Final = 3600.0


class NewEndpoint(Given):
    """Who is to be told. Webhooks hear of every job; a hospital's systems of what a rule tells them."""

    model_config = ConfigDict(
        json_schema_extra=_FULL_IS_HTTPS
        | {
            "examples": [
                {"name": "lis", "url": "https://lis.example.org/pathlane", "events": ["job.succeeded"]}
            ]
        }
    )

    name: Annotated[str, StringConstraints(max_length=64, pattern=r"^[0-9A-Za-z][0-9A-Za-z_.-]*$")]
    url: Annotated[str, StringConstraints(max_length=2000, pattern=_URL)]
    events: Annotated[
        list[EventType],
        Field(
            min_length=1, max_length=len(JOB_EVENTS), default_factory=lambda: list(JOB_EVENTS),
            json_schema_extra={"items": {"enum": [event.value for event in JOB_EVENTS]}, "uniqueItems": True},
        ),
    ]  # fmt: skip
    payload: Payload = Payload.THIN


class Rotation(Given):
    overlap_hours: Annotated[
        float, Field(ge=0, le=720, strict=True, description="How long the old secret signs too.")
    ] = 24


_A_DAY: Final = Rotation()


@router.get("/v1/endpoints", response_model=EndpointList, summary="All endpoints", responses=USUAL)
def list_endpoints(api: Parts, _: Operating) -> Response:
    return answer({"items": [endpoint_document(one) for one in api.stores.endpoints.all()]})


@router.post(
    "/v1/endpoints", status_code=HTTPStatus.CREATED, response_model=EndpointWithSecret,
    summary="Tell somebody from now on", responses=USUAL | answers(409),
)  # fmt: skip
def add_endpoint(body: NewEndpoint, api: Parts, asker: Operating) -> Response:
    """The secret is shown now and never again."""
    if unknown := [event for event in body.events if event not in JOB_EVENTS]:
        raise InvalidRequest((("events", f"{unknown[0].value} cannot be subscribed to"),))
    secret = api.new_secret()
    added = api.stores.endpoints.add(
        body.name, body.url, secret=secret, event_types=tuple(dict.fromkeys(body.events)),
        payload=body.payload, actor=asker.actor,
    )  # fmt: skip
    headers = {"Location": f"/v1/endpoints/{added.id}", "Cache-Control": "no-store"}
    return answer(_with_secret(added, secret), HTTPStatus.CREATED, headers)


@router.get(
    "/v1/endpoints/{endpoint_id}", response_model=EndpointShown, summary="One endpoint",
    responses=USUAL | answers(404),
)  # fmt: skip
def get_endpoint(endpoint_id: EndpointId, api: Parts, _: Operating) -> Response:
    return answer(endpoint_document(api.stores.endpoints.get(endpoint_id)))


@router.post(
    "/v1/endpoints/{endpoint_id}/rotate", response_model=EndpointWithSecret, summary="Give it a new secret",
    responses=USUAL | answers(404),
)  # fmt: skip
def rotate_endpoint(
    endpoint_id: EndpointId, api: Parts, asker: Operating, body: Rotation = _A_DAY
) -> Response:
    """Both secrets sign for a while, so that the receiver can change over. The new one is shown once."""
    _check(api, endpoint_id)
    secret = api.new_secret()
    changed = api.stores.endpoints.rotate(
        endpoint_id, secret=secret, overlap_seconds=body.overlap_hours * _HOURS, actor=asker.actor
    )
    return answer(_with_secret(changed, secret), headers={"Cache-Control": "no-store"})


@router.post(
    "/v1/endpoints/{endpoint_id}/pause", response_model=EndpointShown, summary="Let its events wait",
    responses=USUAL | answers(404),
)  # fmt: skip
def pause_endpoint(endpoint_id: EndpointId, api: Parts, asker: Operating) -> Response:
    _check(api, endpoint_id)
    return answer(endpoint_document(api.stores.endpoints.pause(endpoint_id, actor=asker.actor)))


@router.post(
    "/v1/endpoints/{endpoint_id}/resume", response_model=EndpointShown, summary="Send what has waited",
    responses=USUAL | answers(404),
)  # fmt: skip
def resume_endpoint(endpoint_id: EndpointId, api: Parts, asker: Operating) -> Response:
    """Also an endpoint that had said it takes no more (410)."""
    _check(api, endpoint_id)
    return answer(endpoint_document(api.stores.endpoints.resume(endpoint_id, actor=asker.actor)))


@router.post(
    "/v1/endpoints/{endpoint_id}/test", status_code=HTTPStatus.ACCEPTED, response_model=TestSent,
    summary="Send a test event", responses=USUAL | answers(404, 409),
)  # fmt: skip
def send_test_event(endpoint_id: EndpointId, api: Parts, asker: Operating) -> Response:
    """`endpoint.test`, signed and tried again as any other event. To a paused endpoint it waits."""
    return answer(
        {"delivery_id": api.stores.outbox.test(endpoint_id, actor=asker.actor)}, HTTPStatus.ACCEPTED
    )


def _check(api: Api, endpoint_id: str) -> None:
    """The store takes names too; a URL has ids only. Raises NotFound."""
    api.stores.endpoints.get(endpoint_id)


def _with_secret(endpoint: Endpoint, secret: str) -> dict[str, Any]:
    return endpoint_document(endpoint) | {"secret": secret}
