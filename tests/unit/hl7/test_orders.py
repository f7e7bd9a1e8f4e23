"""A message becomes what it says about slides and cases."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from integrations.hl7.message import parse
from integrations.hl7.orders import Ignored, read_orders
from integrations.hl7.profiles import profile_of
from integrations.hl7.times import read_time
from integrations.hl7.units import MOST_UNITS
from tests.unit.hl7.messages import LAB_104, message
from worker.errors import (
    FieldInvalid,
    FieldMissing,
    MessageTooLarge,
    MessageUnsupported,
    VersionUnsupported,
)
from worker.jobs.order import Channel, Code, Merge, Order, Patient, Sender, Subject, Verb
from worker.jobs.request import Priority

DPOW = profile_of("ihe-dpow")
CLASSIC = profile_of("classic")
REPORTS = profile_of("reports")


def orders(raw, profile=DPOW):
    found = read_orders(parse(raw), profile)
    return found if isinstance(found, Ignored) else list(found)


def only(raw, profile=DPOW):
    (order,) = orders(raw, profile)
    return order


def registration(what, body):
    return message(body, profile=f"DPOW-{what}^IHE")


# IHE DPOW, LAB-104


def test_an_image_that_is_available_is_an_order_to_run_with_all_it_says():
    assert only(message()) == Order(
        verb=Verb.AVAILABLE,
        sender=Sender(channel=Channel.HL7, application="IMA", facility="PATH"),
        accession="S26-0001",
        slide="S26-0001-A1-01",
        block="S26-0001-A1",
        filler_order="S26-0001",
        procedure=Code(code="687891.024", text="Digital AP Study", system="L"),
        specimen_type=Code(code="TISS", text="Tissue", system="HL70487"),
        body_site=Code(code="80248007", text="Breast", system="SCT"),
        priority=Priority.STAT,
        study_uid="1.2.3.4.5",
        series_uid="1.2.3.4.6",
        patient=Patient(
            id="1234567890",
            authority="HIS&1.2.3&ISO",
            family="MÜLLER",
            given="ZOË",
            birth_date="19000101",
            sex="F",
        ),
        occurred_at=datetime(2026, 11, 23, 9, 55, tzinfo=UTC),
    )


def test_an_image_that_was_removed_is_withdrawn():
    order = only(message(LAB_104.replace("||Y||", "||N||")))
    assert (order.verb, order.accession, order.slide) == (Verb.WITHDRAWN, "S26-0001", "S26-0001-A1-01")


@pytest.mark.parametrize("state", ["", "X"])
def test_an_image_in_no_state_is_refused(state):
    with pytest.raises(MessageUnsupported):
        orders(message(LAB_104.replace("||Y||", f"||{state}||")))


def test_several_slides_in_one_message_are_several_orders():
    second = LAB_104[LAB_104.index("SPM|") :].replace("-A1-01", "-A1-02").replace("4.6", "4.7")
    first, other = orders(message(LAB_104 + second))
    assert (first.slide, first.series_uid) == ("S26-0001-A1-01", "1.2.3.4.6")
    assert (other.slide, other.series_uid) == ("S26-0001-A1-02", "1.2.3.4.7")
    assert other.priority is Priority.STAT


def test_several_order_groups_in_one_message_are_several_orders():
    group = LAB_104[LAB_104.index("ORC|") :].replace("S26-0001", "S26-0002").replace("|S^Stat^HL70485", "|R")
    first, other = orders(message(LAB_104 + group))
    assert (first.accession, first.priority) == ("S26-0001", Priority.STAT)
    assert (other.accession, other.priority) == ("S26-0002", Priority.ROUTINE)
    assert other.patient == first.patient


def test_the_same_thing_said_twice_in_a_message_is_one_order():
    assert len(orders(message(LAB_104 + LAB_104[LAB_104.index("ORC|") :]))) == 1


@pytest.mark.parametrize("uid", ["1.2.x", "../../etc/passwd", "1", "1." + "2" * 64, "1.2.3 OR 1=1"])
def test_an_image_under_no_dicom_uid_is_refused(uid):
    with pytest.raises(FieldInvalid) as refused:
        orders(message(LAB_104.replace("1.2.3.4.6", uid)))
    assert refused.value.where == "OBX-5"


def test_an_image_of_no_case_is_refused():
    body = "PID|||1\rORC|SC\rOBR|1\rSPM|1|||||||||||||||||||Y".replace("\r", "\n")
    with pytest.raises(FieldMissing):
        orders(message(body))


@pytest.mark.parametrize("control", ["CA", "DC", "OC"])
def test_a_cancelled_order_is_withdrawn_whatever_else_the_message_says(control):
    assert only(message(LAB_104.replace("ORC|SC", f"ORC|{control}"))).verb is Verb.WITHDRAWN


def test_a_test_message_makes_orders_that_say_so():
    assert only(message(processing="T")).is_test
    assert only(message(processing="D")).is_test
    assert not only(message(processing="P")).is_test


# LAB-100 to LAB-103


@pytest.mark.parametrize("what", ["SPECIMEN", "BLOCK", "SLIDE", "PLACE-WO", "ACCEPT-WO"])
def test_registrations_and_work_orders_tell_what_is_known(what):
    order = only(registration(what, LAB_104.replace("||Y||", "||||")))
    assert (order.verb, order.slide, order.study_uid) == (Verb.REGISTERED, "S26-0001-A1-01", "")


def test_the_substances_of_one_stain_are_one_stain():
    body = LAB_104 + (
        "OBX|3|CWE|430864009^Tissue fixative^SCT||431510009^Formalin^SCT||||||F\n"
        "OBX|4|CWE|397165007^Stain^SCT|1|12710003^Hematoxylin stain^SCT||||||F\n"
        "OBX|5|CWE|397165007^Stain^SCT|1|36879007^Water soluble eosin stain^SCT||||||F\n"
        "OBX|6|CWE|397165007^Stain^SCT|2|PAS^Periodic acid Schiff^L||||||F\n"
        "OBX|7|CWE|397165007^Stain^SCT||KI67||||||F\n"
    )
    assert only(registration("SLIDE", body)).stains == (
        Code(code="12710003+36879007", text="Hematoxylin stain + Water soluble eosin stain", system="SCT"),
        Code(code="PAS", text="Periodic acid Schiff", system="L"),
        Code(code="KI67"),
    )


@pytest.mark.parametrize(
    ("orc", "verb"),
    [
        ("ORC|SC||S26-0001||CM" + "|" * 20 + "Final^Final^99DPOW", Verb.CLOSED),
        ("ORC|SC||S26-0001||CM" + "|" * 20 + "Ended", Verb.CLOSED),
        ("ORC|SC||S26-0001||CM" + "|" * 20 + "Preliminary", Verb.REGISTERED),
        ("ORC|SC||S26-0001||IP", Verb.REGISTERED),
        ("ORC|NW||S26-0001", Verb.REGISTERED),
        ("ORC|CA||S26-0001", Verb.WITHDRAWN),
    ],
)
def test_a_case_update_closes_a_case_that_is_final_or_ended(orc, verb):
    order = only(registration("CASE-UPDATE", f"PID|||1\n{orc}\nOBR|1||S26-0001"))
    assert (order.verb, order.accession, order.slide) == (verb, "S26-0001", "")


@pytest.mark.parametrize("profile", ["", "DPOW-NEW-THING^IHE", "LAB-1^IHE"])
def test_an_order_of_an_unknown_profile_is_refused_or_ignored_as_the_site_says(profile):
    from dataclasses import replace

    raw = message(profile=profile)
    with pytest.raises(MessageUnsupported) as refused:
        orders(raw)
    assert refused.value.where == "MSH-9"
    assert isinstance(orders(raw, replace(DPOW, refuses_unknown=False)), Ignored)


def test_specimen_availability_is_not_about_images_outside_of_the_profile():
    assert only(message(profile=""), CLASSIC).verb is Verb.REGISTERED


# fields and their precedence


@pytest.mark.parametrize(
    ("body", "accession"),
    [
        (
            "ORC|NW|P1|F1" + "|" * 35 + "GROUP^X\nOBR|1|P2|F2\nSPM|1|S||TISS" + "|" * 26 + "SPM30\nSAC||SAC2",
            "GROUP",
        ),
        ("ORC|NW|P1|F1\nOBR|1|P2|F2\nSPM|1|S||TISS" + "|" * 26 + "SPM30^^^LAB\nSAC||SAC2", "SPM30"),
        ("ORC|NW|P1|F1\nOBR|1|P2|F2\nSPM|1|S\nSAC||SAC2", "SAC2"),
        ("ORC|NW|P1|F1\nOBR|1|P2|F2^LAB" + "|" * 15 + "O18", "F2"),
        ("ORC|NW|P1|F1\nOBR|1|P2|" + "|" * 15 + "O18", "F1"),
        ("ORC|NW|P1|\nOBR|1|P2|" + "|" * 15 + "O18||O20", "O18"),
        ("ORC|NW|P1|\nOBR|1|P2|" + "|" * 17 + "O20", "O20"),
        # the null value is no accession
        ('ORC|NW|P1|F1\nOBR|1|P2|""', "F1"),
    ],
)
def test_the_accession_is_taken_from_the_first_field_that_has_one(body, accession):
    assert only(registration("SLIDE", f"PID|||1\n{body}")).accession == accession


@pytest.mark.parametrize(
    ("body", "slide"),
    [
        ("SPM|1|PLACER^FILLER", "FILLER"),
        ("SPM|1|PLACER&LAB^FILLER&LAB", "FILLER"),
        ("SPM|1|PLACER&LAB", "PLACER"),
        ("SPM|1\nSAC||A|CONTAINER", "CONTAINER"),
        ("OBR|1||F" + "|" * 16 + "O19", "O19"),
    ],
)
def test_the_slide_is_the_fillers_number_before_the_placers(body, slide):
    assert only(registration("SLIDE", f"ORC|NW||F\n{body}")).slide == slide


@pytest.mark.parametrize(
    ("body", "priority"),
    [
        ("TQ1|1||||||||S^Stat^HL70485", Priority.STAT),
        ("TQ1|1||||||||A", Priority.URGENT),
        ("TQ1|1||||||||R\nOBR|1||F||S", Priority.ROUTINE),
        ("TQ1|1||||||||weird\nOBR|1||F||S", Priority.STAT),
        ("OBR|1||F||R" + "|" * 22 + "1^^^^^S", Priority.STAT),
        ("OBR|1||F||A", Priority.URGENT),
        ("OBR|1||F", Priority.ROUTINE),
    ],
)
def test_the_priority_is_that_of_tq1_then_of_the_older_fields(body, priority):
    assert only(message(f"ORC|NW||F\n{body}", kind="ORM^O01", profile=""), CLASSIC).priority is priority


def test_the_priority_may_stand_in_orc_7():
    assert only(message("ORC|NW||F||||1^^^^^S\nOBR|1", kind="ORM^O01"), CLASSIC).priority is Priority.STAT


def test_a_site_can_say_where_things_stand():
    profile = profile_of("classic", given={"accession": ["ZAP-2.1"], "slide": ["OBR-18"], "stain": ["OBR-4"]})
    body = "ORC|NW||F\nOBR|1||F|HE^Haematoxylin^L" + "|" * 14 + "SLIDE\nZAP||S26^X"
    order = only(message(body, kind="ORM^O01"), profile)
    assert (order.accession, order.slide, order.stains) == (
        "S26", "SLIDE", (Code(code="HE", text="Haematoxylin", system="L"),),
    )  # fmt: skip


@pytest.mark.parametrize("bad", ["a\\X00\\b", "a\\.br\\b", "7" * 201])
def test_an_identifier_nothing_can_be_found_by_is_refused_and_not_quoted(bad):
    with pytest.raises(FieldInvalid) as refused:
        orders(message(LAB_104.replace("|S26-0001-A1-01|", f"|{bad}|")))
    assert refused.value.where == "SPM-2.1"
    assert bad not in refused.value.public


@pytest.mark.parametrize(
    ("pid", "expected"),
    [
        ("PID|||1^^^A~2^^^B^MR~3^^^C^PI", ("2", "B")),
        ("PID|||1^^^A^XX~3^^^C&1.2&ISO^PI", ("3", "C&1.2&ISO")),
        ("PID|||1^^^A~2^^^B", ("1", "A")),
        ("PID||7", ("7", "")),
    ],
)
def test_of_several_numbers_of_a_patient_the_same_is_always_taken(pid, expected):
    patient = only(registration("SLIDE", f"{pid}\nORC|NW||F\nOBR|1")).patient
    assert (patient.id, patient.authority) == expected


def test_a_message_without_a_patient_has_none():
    assert only(registration("SLIDE", "ORC|NW||F\nOBR|1||F")).patient is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20261123", datetime(2026, 11, 23, tzinfo=UTC)),
        ("202611230955", datetime(2026, 11, 23, 9, 55, tzinfo=UTC)),
        ("20261123095530.2500+0100", datetime(2026, 11, 23, 8, 55, 30, 250000, tzinfo=UTC)),
        ("20261123095530-0530", datetime(2026, 11, 23, 15, 25, 30, tzinfo=UTC)),
        ("202611", None),
        ("20261323", None),
        ("20261123+9999", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_a_time_is_read_as_far_as_it_is_told(text, expected):
    assert read_time(text, UTC) == expected


def test_a_time_without_its_zone_is_of_the_senders():
    assert read_time("20260701120000", ZoneInfo("Europe/Berlin")) == datetime(2026, 7, 1, 10, tzinfo=UTC)


# the older feeds


def test_an_orm_registers_and_cancels():
    body = "PID|||1\nORC|NW|P|F\nOBR|1|P|F|88305^Biopsy^C4"
    assert only(message(body, kind="ORM^O01"), CLASSIC).verb is Verb.REGISTERED
    assert only(message(body.replace("|NW|", "|CA|"), kind="ORM^O01"), CLASSIC).verb is Verb.WITHDRAWN


def test_a_second_request_without_its_own_orc_belongs_to_the_same_order():
    body = "PID|||1\nORC|CA|P|F\nOBR|1|P|F1\nOBR|2|P|F2"
    assert [one.accession for one in orders(message(body, kind="ORM^O01"), CLASSIC)] == ["F1", "F2"]
    assert {one.verb for one in orders(message(body, kind="ORM^O01"), CLASSIC)} == {Verb.WITHDRAWN}


@pytest.mark.parametrize("kind", ["ORU^R01", "ORM^O01", "OML^O21", "OUL^R22"])
def test_a_site_can_say_what_a_finished_scan_looks_like(kind):
    profile = profile_of(
        "classic",
        scan_done={"OBX-3": ["SCAN"], "OBX-5": ["done", "complete"]},
        given={"images": ["OBX-5"]},
    )
    body = (
        "PID|||1\nORC|SC||F\nOBR|1||F\nOBX|1|ST|SCAN||{}||||||F|||20261123\n"
        "OBX|2|RP|URL||https://images.example.org/slide?a=1\\T\\b=2\nOBX|3|ST|OTHER||done\nOBX|4|ST|FILE||file:/etc/passwd"
    )
    order = only(message(body.format("DONE"), kind=kind), profile)
    assert order.verb is Verb.AVAILABLE
    assert order.images == ("https://images.example.org/slide?a=1&b=2",)
    assert order.occurred_at == datetime(2026, 11, 23, tzinfo=UTC)
    other = orders(message(body.format("FAILED"), kind=kind), profile)
    assert isinstance(other, Ignored) or other[0].verb is Verb.REGISTERED


def test_conditions_on_one_kind_of_segment_are_met_by_one_segment():
    profile = profile_of("classic", triggers={"available": ["ORU^R01 where OBX-3=SCAN and OBX-5=DONE"]})
    body = "ORC|RE||F\nOBR|1||F\nOBX|1|ST|SCAN||FAILED\nOBX|2|ST|LABEL||DONE"
    assert isinstance(orders(message(body, kind="ORU^R01"), profile), Ignored)


@pytest.mark.parametrize("kind", ["OML^O33", "OML^O35"])
def test_specimen_centric_orders_are_read_specimen_by_specimen(kind):
    body = (
        "PID|||1\nSPM|1|A1||TISS\nOBX|1|CWE|397165007||HE\nSAC||ACC|C1\nORC|NW||F1\nOBR|1||F1\nORC|NW||F2\nOBR|2||F2\n"
        "SPM|2|A2||TISS\nOBX|1|CWE|397165007||PAS\nORC|CA||F3\nOBR|1||F3"
    )
    found = orders(message(body, kind=kind), CLASSIC)
    told = [(one.verb, one.slide, one.filler_order, [stain.code for stain in one.stains]) for one in found]
    assert told == [
        (Verb.REGISTERED, "A1", "F1", ["HE"]),
        (Verb.REGISTERED, "A1", "F2", ["HE"]),
        (Verb.WITHDRAWN, "A2", "F3", []),
    ]


def test_a_second_container_of_a_specimen_has_orders_of_its_own():
    body = "PID|||1\nSPM|1|A1||TISS\nSAC||X|C1\nORC|NW||F1\nOBR|1||F1\nSAC||Y|C2\nORC|NW||F2\nOBR|1||F2"
    profile = profile_of("classic", given={"slide": ["SAC-3"], "accession": ["SAC-2"]})
    found = [
        (one.accession, one.slide, one.filler_order) for one in orders(message(body, kind="OML^O35"), profile)
    ]
    assert found == [("X", "C1", "F1"), ("Y", "C2", "F2")]


def test_in_a_specimen_result_the_common_order_follows_its_request():
    profile = profile_of("classic", triggers={"available": ["OUL^R22 where ORC-5=CM"]})
    body = "PID|||1\nSPM|1|A1||TISS\nOBR|1||F1\nORC|SC||F1||CM\nOBX|1|ST|X||1\nOBR|2||F2\nORC|SC||F2||IP"
    found = orders(message(body, kind="OUL^R22"), profile)
    assert [(one.slide, one.filler_order) for one in found] == [("A1", "F1")]


def test_earlier_results_that_are_sent_along_are_no_orders():
    body = (
        "PID|||1\nORC|NW||F1\nOBR|1||F1\nSPM|1|A1||TISS\nORC|PR||OLD\nOBR|1||OLD\nOBX|1|ST|X||1\n"
        "PID|||1\nOBR|1||OLDER\nOBX|1|ST|X||1\nORC|NW||F2\nOBR|1||F2"
    )
    found = orders(message(body, kind="OML^O21", profile=""), CLASSIC)
    assert [one.accession for one in found] == ["F1", "F2"]


def test_an_order_without_any_number_is_left_alone():
    assert orders(message("ORC|NW\nOBR|1", kind="ORM^O01"), CLASSIC) == Ignored("nothing_to_do")


@pytest.mark.parametrize("kind", ["SIU^S12", "ADT^A01", "ACK^R01", "ORL^O22"])
@pytest.mark.parametrize("profile", [DPOW, CLASSIC, REPORTS])
def test_what_is_no_business_of_ours_is_ignored(kind, profile):
    assert isinstance(orders(message("PID|||1", kind=kind), profile), Ignored)


@pytest.mark.parametrize("kind", ["BAR^P01", "QRY^A19", "XYZ"])
def test_other_kinds_are_refused(kind):
    with pytest.raises(MessageUnsupported):
        orders(message(kind=kind))


def test_another_version_than_two_is_refused():
    raw = message().replace(b"|2.5.1|", b"|3.0|")
    with pytest.raises(VersionUnsupported):
        orders(raw)


# closing


def test_a_final_report_closes_the_case_with_its_words():
    body = (
        "PID|||1\nORC|RE||S26-1\nOBR|1||S26-1" + "|" * 22 + "F\n"
        "OBX|1|TX|DX||Invasive carcinoma.||||||F\nOBX|2|FT|DX||Grade 2.\\.br\\Margins & nodes ^ free~second||||||F\n"
        "OBX|3|NM|SIZE||12||||||F\nOBX|4|ED|PDF||^application^pdf^Base64^SmFuZQ==||||||F"
    )
    order = only(message(body, kind="ORU^R01"), REPORTS)
    assert (order.verb, order.accession, order.slide) == (Verb.CLOSED, "S26-1", "")
    assert order.final_report == "Invasive carcinoma.\nGrade 2.\nMargins & nodes ^ free\nsecond"


def test_a_case_closed_in_several_parts_is_closed_once_with_all_the_words():
    part = "ORC|RE||S26-1\nOBR|1||S26-1" + "|" * 22 + "F\nOBX|1|TX|DX||{}||||||F\n"
    order = only(message("PID|||1\n" + part.format("one") + part.format("two"), kind="ORU^R01"), REPORTS)
    assert order.final_report == "one\ntwo"


@pytest.mark.parametrize(("status", "observed", "closes"), [
    ("F", "F", True), ("C", "C", True), ("P", "F", False), ("", "F", True), ("", "P", False),
])  # fmt: skip
def test_only_a_final_report_closes(status, observed, closes):
    body = "OBR|1||S26-1" + "|" * 22 + f"{status}\nOBX|1|TX|DX||words||||||{observed}"
    found = orders(message(body, kind="ORU^R01"), REPORTS)
    assert isinstance(found, Ignored) is not closes


def test_a_document_closes_the_case_it_names():
    body = "EVN|T02\nPID|||1\nTXA|1|SP|TX|" + "|" * 10 + "P1|S26-1||{}\nOBX|1|TX|DX||words"
    order = only(message(body.format("LA"), kind="MDM^T02"), REPORTS)
    assert (order.verb, order.accession, order.final_report) == (Verb.CLOSED, "S26-1", "words")
    assert isinstance(orders(message(body.format("DI"), kind="MDM^T02"), REPORTS), Ignored)


def test_a_document_about_several_orders_closes_each():
    body = "PID|||1\nORC|RE||S1\nOBR|1||S1\nORC|RE||S2\nOBR|1||S2\nTXA|1|SP\nOBX|1|TX|DX||words"
    found = orders(message(body, kind="MDM^T02"), REPORTS)
    assert [(one.accession, one.final_report) for one in found] == [("S1", "words"), ("S2", "words")]


# patients and merges


@pytest.mark.parametrize("kind", ["ADT^A08", "ADT^A31"])
def test_a_patients_new_name_is_registered_without_a_case(kind):
    order = only(message("EVN|A08\nPID|||1^^^HIS||NEW^NAME\nPV1|1", kind=kind))
    assert (order.verb, order.accession, order.patient.family) == (Verb.REGISTERED, "", "NEW")


def test_a_merged_patient_is_rekeyed_within_each_authority():
    body = "PID|||10^^^A~20^^^B||NEW^NAME\nMRG|2^^^B~1^^^A"
    found = orders(message(body, kind="ADT^A40"))
    assert {one.merge for one in found} == {
        Merge(subject=Subject.PATIENT, prior="1", survivor="10", prior_authority="A", survivor_authority="A"),
        Merge(subject=Subject.PATIENT, prior="2", survivor="20", prior_authority="B", survivor_authority="B"),
    }
    assert all(one.verb is Verb.MERGED and one.patient.id == one.merge.survivor for one in found)


def test_a_number_that_stays_what_it_was_is_no_merge():
    assert orders(message("PID|||1^^^A\nMRG|1^^^A", kind="ADT^A40")) == Ignored("nothing_to_do")


def test_several_merges_in_one_message_are_several():
    body = "EVN|A40\nPID|||10\nMRG|1\nPID|||20\nMRG|2"
    found = [(one.merge.prior, one.merge.survivor) for one in orders(message(body, kind="ADT^A40"))]
    assert found == [("1", "10"), ("2", "20")]


@pytest.mark.parametrize(("body", "where"), [("PID|||1", "MRG-1"), ("MRG|1", "PID-3")])
def test_half_a_merge_is_refused(body, where):
    with pytest.raises(FieldMissing) as refused:
        orders(message(body, kind="ADT^A40"))
    assert refused.value.where == where


def test_a_site_can_say_how_an_accession_is_merged():
    profile = profile_of(
        "classic",
        triggers={"merged": ["ORM^O01 where ORC-1=XO and OBR-44=MERGE"]},
        given={"prior_accession": ["ORC-2"], "accession": ["OBR-3"]},
    )
    body = "ORC|XO|OLD\nOBR|1||NEW" + "|" * 41 + "MERGE"
    order = only(message(body, kind="ORM^O01"), profile)
    assert order.merge == Merge(subject=Subject.ACCESSION, prior="OLD", survivor="NEW")


# limits, privacy


def test_a_message_of_very_many_orders_is_refused():
    body = "PID|||1\n" + "ORC|NW||F\nOBR|1||F\n" * (MOST_UNITS + 1)
    with pytest.raises(MessageTooLarge):
        orders(registration("SLIDE", body))


def test_nothing_of_a_case_is_in_a_repr():
    shown = repr(orders(message())) + repr(only(message()).patient)
    assert "S26" not in shown
    assert "ZOË" not in shown


# profiles


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "nothing"},
        {"given": {"colour": ["OBX-5"]}},
        {"given": {"triggers": ["OBX-5"]}},
        {"given": {"accession": ["ORC38"]}},
        {"given": {"accession": ["ORC-38.1.1.1"]}},
        {"triggers": {"explode": ["ORM^O01"]}},
        {"triggers": {"available": ["ORM"]}},
        {"triggers": {"available": ["ORM^O01 where OBX-3"]}},
        {"triggers": {"available": ["ORM^O01 where OBX-3="]}},
        {"scan_done": {"OBX-3": []}},
    ],
)
def test_what_a_site_says_wrong_about_a_profile_is_told(wrong):
    with pytest.raises(ValueError, match=r"\w"):
        profile_of(**wrong)


def test_a_sites_own_triggers_come_before_the_profiles():
    profile = profile_of("ihe-dpow", triggers={"ignored": ["OML^O21 where MSH-3=IMA"]})
    assert orders(message(), profile) == Ignored("nothing_to_do")
