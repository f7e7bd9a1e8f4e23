import pytest

from worker.errors import InvalidRequest
from worker.jobs.archived import ArchivedImages, archived_in
from worker.jobs.request import parse_request

SERIES = "dicomweb:main/studies/1.2.3/series/1.2.4"


def ask(**image):
    return parse_request({"images": [image], "question": "x"}).images[0]


@pytest.mark.parametrize(
    "reference",
    [
        "dicomweb:main/studies/1.2.3",
        SERIES,
        f"{SERIES}/instances/1.2.5",
        f"{SERIES}/instances/1.2.5/frames/12",
    ],
)
def test_a_reference_is_read_and_written_again(reference):
    assert archived_in(reference).reference == reference
    assert ask(reference=reference).reference == reference


def test_each_part_is_what_it_says():
    found = archived_in(f"{SERIES}/instances/1.2.5/frames/12")
    assert found == ArchivedImages(archive="main", study="1.2.3", series="1.2.4", instance="1.2.5", frame=12)


@pytest.mark.parametrize(
    "reference",
    [
        "dicomweb:https://pacs.example/studies/1.2",
        "dicomweb://pacs.example/studies/1.2",
        "dicomweb:main/studies/1.2/../../x",
        "dicomweb:main/studies/1.2?x=1",
        "dicomweb:main/studies/1.2/",
        f"dicomweb:main/studies/{'1' * 65}",
        "dicomweb:main/studies/1.2/instances/1.3",
        f"{SERIES}/frames/1",
        f"{SERIES}/instances/1.2.5/frames/0",
        f"{SERIES}/instances/1.2.5/frames/1,2",
        "dicomweb:main/studies/1.٢",
        "dicomweb:../studies/1.2",
    ],
)
def test_anything_else_is_refused_and_not_repeated(reference):
    with pytest.raises(InvalidRequest) as refusal:
        ask(reference=reference)
    assert reference not in str(refusal.value)
    assert "NAME/studies/UID" in str(refusal.value)


def test_a_line_break_behind_a_reference_is_no_part_of_it():
    with pytest.raises(ValueError, match="dicomweb:NAME"):
        archived_in(f"{SERIES}\n")
    assert ask(reference=f"{SERIES}\n").reference == SERIES


def test_the_frame_of_a_reference_is_the_frame_that_is_shown():
    reference = f"{SERIES}/instances/1.2.5/frames/3"
    assert ask(reference=reference).shown_frame == 3
    assert ask(reference=reference, frame=3).shown_frame == 3
    assert ask(reference=SERIES, frame=2).shown_frame == 2
    assert ask(reference=SERIES).shown_frame is None
    with pytest.raises(InvalidRequest, match="another frame"):
        ask(reference=reference, frame=2)
