"""What may be asked, and how a refusal names the field and never repeats the value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import a_request
from worker.errors import InvalidRequest
from worker.jobs.request import OPTION_LETTERS, JobRequest, parse_request

REFERENCE = {"reference": "file:/x.png"}


def refused(**fields):
    """The names of the fields that are wrong."""
    with pytest.raises(InvalidRequest) as caught:
        a_request(**fields)
    return [field for field, _ in caught.value.problems]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"question": ""}, "question"),
        ({"question": "   "}, "question"),
        ({"question": "x" * 4001}, "question"),
        ({"options": ["one"]}, "options"),
        ({"options": [f"o{i}" for i in range(27)]}, "options"),
        ({"options": ["Same", "same"]}, "options"),
        ({"options": ["a", ""]}, "options.1"),
        ({"priority": "asap"}, "priority"),
        ({"style": "poem"}, "style"),
        ({"images": []}, "images"),
        ({"images": [REFERENCE] * 9}, "images"),
        ({"images": [{"reference": "ftp://host/x.png"}]}, "images.0.reference"),
        ({"images": [{"reference": "x.png"}]}, "images.0.reference"),
        ({"images": [REFERENCE | {"frame": 0}]}, "images.0.frame"),
        ({"images": [REFERENCE | {"region": {"x": -1, "y": 0, "width": 1, "height": 1}}]}, "images.0.region.x"),
        ({"due_at": "2026-01-01T00:00:00"}, "due_at"),
        ({"timeout": 0}, "timeout"),
        ({"samples": 2}, "samples"),
        ({"version": 2}, "version"),
        ({"labels": {"note": "y" * 513}}, "labels.?"),
        ({"surprise": 1}, "?"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(fields, field):
    assert field in refused(**fields)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", '{"images": NaN}'])
def test_what_is_not_a_json_object_is_refused(body):
    with pytest.raises(InvalidRequest):
        parse_request(body)


def test_a_refusal_never_repeats_what_was_sent():
    with pytest.raises(InvalidRequest) as caught:
        a_request(
            question="",
            priority="Canary",
            labels={"Canary": 1},
            Canary="Canary",
            images=[{"reference": "Canary"}],
        )
    assert "Canary" not in caught.value.public + str(caught.value) + repr(caught.value.problems)


def test_a_minimal_request_has_the_documented_defaults():
    request = a_request()
    assert (request.style, request.priority, request.samples, request.options) == ("cot", "routine", 1, ())
    assert request.endpoints is None


def test_there_is_a_letter_for_every_option():
    assert len(OPTION_LETTERS) == 26


def test_the_digest_is_of_the_meaning_not_of_the_writing():
    one = parse_request('{"question": "Q?", "images": [{"reference": "file:/x"}], "style": "cot"}')
    other = parse_request(
        '{"images":[{"reference":"file:/x","frame":null}],"question":"Q?","idempotency_key":"k"}'
    )
    assert one.digest == other.digest
    assert one.digest != a_request(question="Q!").digest


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    )
)
def test_any_json_is_accepted_or_refused_with_a_reason(value):
    try:
        parse_request(json.dumps(value))
    except InvalidRequest as error:
        assert error.problems


WRITTEN = st.characters(exclude_characters="\0", exclude_categories=["Cs"])


@given(st.text(WRITTEN, min_size=1, max_size=200).filter(str.strip))
def test_any_question_survives_being_written_and_read(question):
    request = a_request(question=question)
    assert JobRequest.model_validate(request.model_dump(mode="json")) == request


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("question", "a\0b"), ("options", ["a", "b\0"]), ("labels", {"a": "\0"}), ("labels", {"\0": "a"}),
        ("correlation_id", "\0"), ("idempotency_key", "\0"), ("endpoints", ["\0"]), ("timeout", "5"),
        ("timeout", True), ("due_at", 5), ("due_at", "0.5"), ("due_at", "0001-01-01T00:00:00+10:00"),
        ("version", True), ("version", "1"), ("samples", True),
    ],
)  # fmt: skip
def test_what_no_database_keeps_and_what_only_python_takes_for_the_same_is_refused(field, value):
    with pytest.raises(InvalidRequest) as caught:
        a_request(**{field: value})
    assert caught.value.problems[0][0].split(".")[0] == field


def test_a_whole_number_may_be_written_with_a_point():
    image = {"reference": "upload:x", "frame": 2.0, "region": {"x": 0.0, "y": 0, "width": 3.0, "height": 4}}
    (parsed,) = a_request(images=[image], version=1.0).images
    assert (parsed.frame, parsed.region.width) == (2, 3)
    for wrong in (True, "2", 2.5):
        with pytest.raises(InvalidRequest):
            a_request(images=[image | {"frame": wrong}])
