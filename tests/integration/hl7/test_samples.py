"""Other people's messages are read or refused with a reason, and so are fifty thousand damaged ones."""

import itertools
import json
import random
import re
from collections import Counter
from datetime import UTC, datetime

import hl7
import pytest

from integrations.hl7.acknowledgement import Mode, acknowledge
from integrations.hl7.head import identity_of, read_head
from integrations.hl7.message import parse
from integrations.hl7.orders import Ignored, read_orders
from integrations.hl7.profiles import PROFILES, profile_of
from tests.unit.hl7.messages import LAB_104, message
from worker.errors import MessageRefused, MessageUnreadable
from worker.jobs.order import Verb, order_document, order_of

AT = datetime(2026, 11, 23, 10, tzinfo=UTC)
FUZZ = 50_000
#: a file of several messages is cut where a line starts with MSH and a delimiter
STARTS = re.compile(rb"(?:^|(?<=[\r\n]))(?=MSH[^\w\s])")
#: a file's own remarks between its messages
REMARK = re.compile(rb"[\r\n]+(?://|/\*| \*)[^\r\n]*")

PER_FOLDER = {
    "cdc_prime_reportstream": 32,
    "google_simhospital": 1013,
    "hapi_hl7v2": 36,
    "linuxforhealth_converter": 45,
    "microsoft_fhir_converter": 43,
    "mirth_connect": 2,
}
#: a structure sketch, and one PDF twice
NO_MESSAGES = {"guide.txt", "uuencoded.txt", "uuencoded_escaped.txt"}


def cut(path):
    data = REMARK.sub(b"", path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    return [piece for piece in STARTS.split(data) if piece.startswith(b"MSH")]


@pytest.fixture(scope="module")
def samples(shared_data):
    """(file, message), all of them."""
    files = sorted(path for path in (shared_data / "hl7").rglob("*") if path.is_file())
    return [(path, raw) for path in files for raw in cut(path)]


def test_every_message_of_every_file_is_there(samples, shared_data):
    assert Counter(path.parent.name for path, _ in samples) == PER_FOLDER
    every = {path.name for path in (shared_data / "hl7").rglob("*") if path.is_file()}
    assert every - {path.name for path, _ in samples} == NO_MESSAGES


def test_every_message_is_read_or_refused_with_a_reason(samples):
    refused = Counter()
    for path, raw in samples:
        try:
            parse(raw, charset="UNICODE UTF-8")
        except MessageRefused as error:
            assert raw[4:9] == b"^~\\\\&"  # a backslash too many in MSH-2, in five test strings
            refused[path.parent.name, type(error)] += 1
    assert refused == {("linuxforhealth_converter", MessageUnreadable): 5}


def test_python_hl7_reads_the_same_fields(samples):
    compared = 0
    for path, raw in samples:
        try:
            ours = parse(raw, charset="UNICODE UTF-8")
        except MessageRefused:
            continue
        lines = (line for line in re.split(r"[\r\n]+", raw.decode(ours.delimiters.codec)) if line)
        theirs = hl7.parse("\r".join(lines))
        assert len(theirs) == len(ours.segments), path
        for one, other in zip(ours.segments, theirs, strict=True):
            assert list(one.fields) == [str(field) for field in other], path
            compared += len(one.fields)
    assert compared > 200_000


def test_python_hl7_reads_the_same_components(samples):
    compared = 0
    for path, raw in samples:
        try:
            ours = parse(raw, charset="UNICODE UTF-8")
        except MessageRefused:
            continue
        lines = (line for line in re.split(r"[\r\n]+", raw.decode(ours.delimiters.codec)) if line)
        theirs = hl7.parse("\r".join(lines))
        for one, other in zip(ours.segments, theirs, strict=True):
            for number in range(1 if one.name != "MSH" else 3, len(one.fields)):
                compared += leaves_agree(one.field(number), other[number], path)
    assert compared > 200_000


def leaves_agree(ours, theirs, path):
    """Repetitions, components and subcomponents, as python-hl7 nests them: only as deep as there is anything."""
    wanted = [
        [list(component.subcomponents) for component in repetition.components]
        for repetition in ours.repetitions
    ]
    found = [
        [
            [ours.delimiters.unescaped(str(leaf)) for leaf in nested(component)]
            for component in nested(repetition)
        ]
        for repetition in (theirs if isinstance(theirs, hl7.Field) else [theirs])
    ]
    assert wanted == (found or [[[""]]]), path
    return sum(len(component) for repetition in wanted for component in repetition)


def nested(value):
    return list(value) if isinstance(value, (hl7.Repetition, hl7.Component)) and len(value) else [str(value)]


def test_what_the_samples_say_is_this(samples):
    told = {name: Counter(said(raw, profile) for _, raw in samples) for name, profile in PROFILES.items()}
    assert told["classic"] == {
        "ignored": 1104, "registered": 42, "withdrawn": 1, "merged": 1, "message_unsupported": 18,
        "message_unreadable": 5,
    }  # fmt: skip
    assert told["reports"]["closed"] == 659
    # None of them is of IHE DPOW: orders are refused, patients are taken.
    assert told["ihe-dpow"]["available"] == 0
    assert told["ihe-dpow"]["message_unsupported"] == 756


def said(raw, profile):
    try:
        found = read_orders(parse(raw, charset="UNICODE UTF-8"), profile)
    except MessageRefused as error:
        return error.code
    return "ignored" if isinstance(found, Ignored) else found[0].verb.value


# damaged messages

OWN = [
    message(),
    message(LAB_104.replace("||Y||", "||N||"), charset="8859/1", encoding="iso8859-1"),
    message("EVN|A40\nPID|||1^^^A~2^^^B&1.2&ISO||ÄÖ^Ü\nMRG|3^^^A~4^^^B", kind="ADT^A40", accept="", apply=""),
    message(
        "PID|||1\nORC|RE||S1\nOBR|1||S1" + "|" * 22 + "F\nOBX|1|FT|DX||one\\.br\\two\\X0D\\||||||F",
        kind="ORU^R01",
    ),
    message("PID|||1\nSPM|1|A&B^C&D\nOBX|1|CWE|397165007||HE\nSAC||X|Y\nORC|NW||F\nOBR|1||F", kind="OML^O33"),
    message("PID|||1\nTXA|1|SP|TX|" + "|" * 10 + "P1|S1||LA\nOBX|1|TX|DX||words", kind="MDM^T02"),
    b"MSH#*!?@#App*1.2#Fac#We#Here#2026##ORM*O01#A|1#P#2.3\rORC#NW##F1\rOBR#1##F1##S\r",
]
PIECES = [
    b"|", b"^", b"~", b"\\", b"&", b"\r", b"\n", b"\r\n", b"\x0b", b"\x1c", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b'""',
    b"MSH|", b"MSH|^~\\&|", b"\rMSH|^~\\&|A", b"\rPID|", b"\rORC|", b"\rORC|PR", b"\rOBR|", b"\rSPM|", b"\rSAC|", b"\rTXA|", b"\rMRG|",
    b"\\X00\\", b"\\XFF\\", b"\\X0D\\", b"\\E\\", b"\\.br\\", b"|" * 300, b"^" * 300, b"&" * 300, b"~" * 300, b"9" * 300,
    b"UNICODE UTF-8", b"8859/1", b"UNICODE UTF-16", b"OML^O33", b"OUL^R22", b"ADT^A40", b"MDM^T02", b"\xef\xbb\xbf", b"1.2.3", b"20261399",
]  # fmt: skip
SITE = profile_of(
    "classic",
    scan_done={"OBX-3": ["dx", "studyinstanceuid"]},
    given={
        "images": ["OBX-5"],
        "stain": ["OBR-4"],
        "prior_accession": ["ORC-2"],
        "series_uid": ["ZDS-1.1", "OBX-5"],
    },
    triggers={"merged": ["ORM^O01 where ORC-1=XO"], "available": ["OUL^*", "OML^O35"]},
)
EVERY_PROFILE = [*PROFILES.values(), SITE]


def damaged(chance, seeds):
    raw = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        at = chance.randint(0, len(raw))
        how = chance.randrange(6)
        if how == 0 and at < len(raw):
            raw[at] = chance.randrange(256)
        elif how == 1:
            raw[at:at] = chance.choice(PIECES)
        elif how == 2:
            del raw[at : at + chance.choice((1, 1, 2, 5, 40, 1000))]
        elif how == 3:
            end = at + chance.randint(0, 60)
            raw[at:at] = raw[at:end] * chance.choice((1, 2, 30))
        elif how == 4:
            other = chance.choice(seeds)
            start = chance.randint(0, len(other))
            raw[at : at + chance.randint(0, 30)] = other[start : start + chance.randint(0, 200)]
        else:
            raw[at : at + 1] = chance.choice(PIECES)
    return bytes(raw)


def put_through(raw, chance):
    """Everything that is done with a message; gives what became of it."""
    head, problem, outcome = read_head(raw), None, ""
    try:
        read = parse(raw, charset=chance.choice(("ASCII", "8859/1", "UNICODE UTF-8")))
        identity_of(read, raw)
        found = read_orders(read, chance.choice(EVERY_PROFILE))
        outcome = "ignored" if isinstance(found, Ignored) else found[0].verb
        for order in () if isinstance(found, Ignored) else found:
            can_be_kept(order)
    except MessageRefused as error:
        problem, outcome = error, error.code
    reply = acknowledge(head, problem, control_id="A1", at=AT, mode=chance.choice(list(Mode)))
    if reply:
        assert not {0x00, 0x0A, 0x0B, 0x1C} & set(reply)
        names = (
            [one.name for one in parse(reply, charset="8859/1").segments]
            if reply.isascii()
            else ["MSH", "MSA"]
        )
        assert names[:2] == ["MSH", "MSA"]
    return outcome


def can_be_kept(order):
    """JSON and back again, with nothing in it that a database refuses."""
    document = json.dumps(order_document(order))
    assert "\\u0000" not in document
    document.encode()
    assert order_of(json.loads(document)) == order
    if order.verb in (Verb.AVAILABLE, Verb.WITHDRAWN, Verb.CLOSED):
        assert order.accession or order.slide
    for text in (order.accession, order.slide, order.series_uid, order.sender.application):
        assert len(text) <= 200
        assert text.isprintable() or not re.search(r"[\x00-\x1f\x7f]", text)


@pytest.mark.timeout(600)
def test_fifty_thousand_damaged_messages_meet_only_our_own_refusals(request):
    """Other people's messages, where they are to be had, and always our own; the same ones every time."""
    from tests.conftest import SHARED_DATA

    others = request.getfixturevalue("samples") if SHARED_DATA.is_dir() else []
    small = [raw for _, raw in others if len(raw) < 3000]
    seeds = OWN * max(1, len(small) // len(OWN)) + small
    chance = random.Random(20261123)
    outcomes = Counter()
    for _ in range(FUZZ):
        raw = damaged(chance, seeds)
        try:
            outcomes[put_through(raw, chance)] += 1
        except Exception as error:  # noqa: BLE001 the bytes are what must be told
            pytest.fail(f"{error!r} on {raw!r}")
    assert outcomes.total() == FUZZ
    # The damage is neither so small that nothing is refused nor so great that nothing is read.
    wanted = {
        *Verb,
        "ignored",
        "message_unreadable",
        "message_unsupported",
        "characters_invalid",
        "field_invalid",
    }
    assert wanted <= set(outcomes), wanted - set(outcomes)
    assert max(outcomes.values()) < FUZZ / 2


def test_a_message_cut_anywhere_is_read_or_refused():
    for raw, size in itertools.product(OWN, range(0, 700, 3)):
        put_through(raw[:size], random.Random(size))
