"""What becomes of a message is said the way its sender asked for."""

import inspect
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as some

import worker.errors
from integrations.hl7.acknowledgement import Mode, Verdict, acknowledge, judged
from integrations.hl7.head import head_of, identity_of, read_head
from integrations.hl7.message import parse
from tests.unit.hl7.messages import message
from worker.errors import (
    CharacterSetUnsupported,
    CharactersInvalid,
    FieldInvalid,
    FieldMissing,
    IdempotencyConflict,
    MessageRefused,
    MessageUnreadable,
    MessageUnsupported,
    PathlaneError,
    StoreUnavailable,
    VersionUnsupported,
)

AT = datetime(2026, 11, 23, 10, 0, 5, tzinfo=UTC)


def answer(raw, problem=None, **settings):
    reply = acknowledge(read_head(raw), problem, control_id="ACK1", at=AT, **settings)
    return parse(reply, charset="8859/1") if reply else None


def test_an_image_notification_is_answered_by_orl_o22_with_aa():
    reply = answer(message())
    assert (reply.kind, reply.get("MSH", 9, 3)) == ("ORL^O22", "ORL_O22")
    assert (reply.get("MSA", 1), reply.get("MSA", 2)) == ("AA", "MSG00001")
    assert reply.all("ERR") == ()


def test_the_answer_goes_back_to_who_sent_under_its_own_control_id():
    reply = answer(message(processing="T"))
    assert [reply.get("MSH", n) for n in (3, 4, 5, 6)] == ["AIWORKER", "PATH", "IMA", "PATH"]
    assert [reply.get("MSH", n) for n in (7, 10, 11, 12, 18)] == [
        "20261123100005+0000", "ACK1", "T", "2.5.1", "UNICODE UTF-8",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("OML^O21", "ORL^O22"),
        ("OML^O33", "ORL^O34"),
        ("OML^O35", "ORL^O36"),
        ("ORM^O01", "ORR^O02"),
        ("ORU^R01", "ACK^R01"),
        ("OUL^R22", "ACK^R22"),
        ("ADT^A40", "ACK^A40"),
        ("MDM^T02", "ACK^T02"),
        ("XYZ", "ACK^"),
    ],
)
def test_each_kind_of_message_has_its_kind_of_answer(kind, expected):
    assert answer(message(kind=kind)).kind == expected


@pytest.mark.parametrize("kind", ["ACK^O21", "ORL^O22", "ORR^O02"])
def test_an_answer_is_never_answered(kind):
    assert answer(message(kind=kind)) is None
    assert answer(message(kind=kind), MessageUnsupported()) is None


@pytest.mark.parametrize(
    ("problem", "code", "condition", "place"),
    [
        # the operator or time can mend these
        (StoreUnavailable(), "AE", "207", ""),
        (CharactersInvalid("The byte at offset 161 is not utf-8."), "AE", "102", "MSH-18"),
        (IdempotencyConflict(), "AE", "205", "MSH-10"),
        (RuntimeError("JANE DOE"), "AE", "207", ""),
        # these stay as they are
        (MessageUnreadable(), "AR", "100", ""),
        (MessageUnsupported(where="MSH-9"), "AR", "200", "MSH-9"),
        (CharacterSetUnsupported(), "AR", "103", "MSH-18"),
        (VersionUnsupported(), "AR", "203", "MSH-12"),
        (FieldMissing(where="ORC-38"), "AR", "101", "ORC-38"),
        (FieldInvalid(where="SPM-2.2"), "AR", "102", "SPM-2.2"),
    ],
)
def test_an_error_says_whether_to_try_again_and_where_it_lies(problem, code, condition, place):
    reply = answer(message(), problem)
    assert reply.get("MSA", 1) == code
    err = reply.first("ERR")
    assert (err.get(3), err.get(3, 3), err.get(4)) == (condition, "HL70357", "E")
    name, _, number = place.partition("-")
    field, _, component = number.partition(".")
    assert (err.get(2), err.get(2, 3), err.get(2, 5)) == (name, field, component)
    assert err.get(8) == reply.get("MSA", 3) != ""
    assert "JANE" not in err.get(8)


def test_every_error_of_ours_has_a_judgement_and_every_refusal_its_own():
    errors = [
        one for _, one in inspect.getmembers(worker.errors, inspect.isclass) if issubclass(one, PathlaneError)
    ]
    for error in errors:
        assert judged(error.__new__(error)).verdict is not Verdict.ACCEPTED
    refusals = [one for one in errors if issubclass(one, MessageRefused) and one is not MessageRefused]
    assert all(judged(one()).condition != "207" for one in refusals)


def test_transient_errors_mean_try_again():
    for _, error in inspect.getmembers(worker.errors, inspect.isclass):
        if issubclass(error, worker.errors.TransientError):
            assert judged(error.__new__(error)).verdict is Verdict.TRY_AGAIN


@pytest.mark.parametrize(
    ("accept", "apply", "problem", "expected"),
    [
        # original mode: both empty
        ("", "", None, "AA"),
        ("", "", MessageUnsupported(), "AR"),
        # the accepting system alone
        ("AL", "NE", None, "CA"),
        ("AL", "NE", StoreUnavailable(), "CE"),
        ("AL", "NE", MessageUnsupported(), "CR"),
        ("AL", "", None, "CA"),
        ("ER", "NE", None, None),
        ("ER", "NE", MessageUnsupported(), "CR"),
        ("SU", "NE", None, "CA"),
        ("SU", "NE", StoreUnavailable(), None),
        ("NE", "NE", None, None),
        # the application's stands for both
        ("AL", "AL", None, "AA"),
        ("NE", "AL", StoreUnavailable(), "AE"),
        ("AL", "ER", None, "CA"),
        ("AL", "ER", MessageUnsupported(), "AR"),
        ("AL", "SU", None, "AA"),
        ("AL", "SU", MessageUnsupported(), "CR"),
        ("NE", "ER", None, None),
        # not of the table
        ("XX", "NE", None, "CA"),
    ],
)
def test_enhanced_mode_follows_msh_15_and_msh_16(accept, apply, problem, expected):
    reply = answer(message(accept=accept, apply=apply), problem, mode=Mode.ENHANCED)
    assert (reply.get("MSA", 1) if reply else None) == expected


def test_an_accept_acknowledgement_is_a_general_one():
    assert answer(message(), mode=Mode.ENHANCED).kind == "ACK^O21"
    assert answer(message(apply="AL"), mode=Mode.ENHANCED).kind == "ORL^O22"


def test_a_sender_in_application_mode_gets_the_applications_whatever_it_asks_for():
    assert answer(message(accept="NE", apply="NE")).get("MSA", 1) == "AA"


def test_a_note_stands_where_there_is_no_problem():
    assert answer(message(), note="seen before").get("MSA", 3) == "seen before"


@pytest.mark.parametrize("encoding", ["utf-8", "iso8859-1", "iso8859-5"])
def test_what_is_sent_back_is_byte_for_byte_what_came(encoding):
    name = {"iso8859-5": "Ж"}.get(encoding, "ÅØ")
    raw = message("", control_id=f"{name}-1", encoding=encoding, charset="").replace(
        b"|IMA|", f"|{name}^1.2&x^ISO|".encode(encoding)
    )
    reply = acknowledge(read_head(raw), control_id="1", at=AT)
    assert f"|{name}^1.2&x^ISO|".encode(encoding) in reply
    assert f"MSA|AA|{name}-1\r".encode(encoding) in reply


def test_a_sender_with_delimiters_of_its_own_is_answered_with_the_usual_ones():
    raw = b"MSH#*!?@#App*1.2#Fac#We#Here#2026##OML*O21#A|1#P#2.5.1\r"
    reply = answer(raw)
    assert reply.get("MSH", 2) == "^~\\&"
    assert (reply.get("MSH", 5), reply.get("MSH", 5, 2), reply.get("MSA", 2)) == ("App", "1.2", "A|1")


def test_a_set_that_is_not_supported_is_not_claimed_for_the_answer():
    assert answer(message(charset="UNICODE UTF-16"), CharacterSetUnsupported()).get("MSH", 18) == ""


@pytest.mark.parametrize("raw", [b"", b"MSH", b"hello", b"MSH|", b"\xff\xfeM\x00S\x00H\x00", b"MSH|^^^^|a|b"])
def test_what_has_no_head_is_answered_all_the_same(raw):
    reply = answer(raw, MessageUnreadable())
    assert (reply.kind, reply.get("MSA", 1), reply.get("MSA", 2)) == ("ACK^", "AR", "")


@given(some.binary(max_size=300))
def test_any_bytes_have_a_head_and_an_answer_of_one_frame(raw):
    for start in (b"", b"MSH|^~\\&|"):
        reply = acknowledge(read_head(start + raw), MessageUnreadable(), control_id="1", at=AT)
        assert not {0x0B, 0x1C, 0x00, 0x0A} & set(reply)
        assert (
            [one.name for one in parse(reply, charset="8859/1").segments] == ["MSH", "MSA", "ERR"]
            if reply
            else True
        )


def test_a_message_is_known_again_by_sender_and_control_id_and_told_apart_by_its_digest():
    first, other = (
        message(),
        message(control_id="MSG00001").replace(b"ROUTINE", b"").replace(b"|F\r", b"|M\r"),
    )
    one, two = identity_of(parse(first), first), identity_of(parse(other), other)
    assert one.key == two.key == ("IMA", "PATH", "MSG00001")
    assert one.digest != two.digest
    assert one == identity_of(parse(first), first)


def test_the_time_of_sending_is_part_of_the_digest():
    later = message().replace(b"20261123100000", b"20261123100001")
    assert identity_of(parse(later), later).digest != identity_of(parse(message()), message()).digest


@pytest.mark.parametrize(
    ("control_id", "error"),
    [("", FieldMissing), ("a\x00b", FieldInvalid), ("7" * 201, FieldInvalid), ("\\X00\\", FieldInvalid)],
)
def test_a_message_that_cannot_be_known_again_is_refused(control_id, error):
    raw = message(control_id=control_id)
    with pytest.raises(error) as refused:
        identity_of(parse(raw), raw)
    assert refused.value.where == "MSH-10"


def test_a_test_message_says_so_in_its_head():
    assert read_head(message(processing="T")).is_test
    assert read_head(message(processing="D^A")).is_test
    assert not read_head(message()).is_test
    assert head_of(parse(message())).trigger == "O21"
