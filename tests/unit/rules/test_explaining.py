"""What is told about the rules is true, and says nothing of a patient."""

import json

from integrations.rules.explaining import explain, explain_plan, explain_plan_text, explain_text
from integrations.rules.reading import open_rules
from tests.unit.rules.given import EXAMPLE, an_order, one_rule, rules_with
from worker.jobs.order import Code, Patient, Verb
from worker.jobs.request import Priority

RULES = open_rules(EXAMPLE)


def test_each_rule_is_a_sentence():
    sentences = [rule["sentence"] for rule in explain(RULES)["rules"]]
    frozen, biopsy, rest = sentences
    assert frozen.startswith(
        "When sender is `archive` and procedure is `*frozen*` or `*intraoperative*`, ask "
    )
    assert frozen.endswith("ask malignancy version 2 at stat priority or higher; tell lis.")
    assert (
        "and stain is `12710003` or `*hematoxylin*` or `H&E` and body site is `80248007` or `Breast`"
        in biopsy
    )
    assert "ask stain-check version 1 and malignancy version 2 at the lab's own priority" in biopsy
    assert biopsy.endswith(", of 2048 x 2048 at 0, 0; tell nobody (shadow; lis when live).")
    assert rest == (
        "Always ask stain-check version 1 at the lab's own priority, style cod; tell nobody (shadow)."
    )


def test_the_text_has_every_question_with_what_its_answers_do():
    text = explain_text(RULES)
    assert "2. breast-biopsy (shadow): When procedure is" in text
    assert "malignancy version 2" in text
    assert "  malignant: Is malignant tissue seen? (in a draft of few words, the whole image)" in text
    assert "    Yes               raise to urgent" in text
    assert "    No                nothing" in text
    assert "    an open question: its answer changes nothing" in text
    assert "old-lis: hl7, application LABSYS*, facility *, profile classic, accession numbers of PATH" in text


def test_the_document_has_everything_and_is_json():
    document = json.loads(json.dumps(explain(RULES)))
    assert document["digest"] == RULES.digest
    assert document["rules"][1]["match"]["body_site"] == ["80248007", "Breast"]
    assert document["rules"][2]["priority"] == "as-ordered"
    assert document["protocols"][1]["questions"][0]["triage"]["Cannot be judged"] == "flag"
    assert document["senders"][0]["channel"] == "hl7"


def test_a_rule_that_goes_on_says_so():
    assert explain(one_rule("stop: false"))["rules"][0]["sentence"].endswith("Then go on with the next rule.")


def test_a_plan_says_which_rule_matched_why_the_others_did_not_and_what_would_be_submitted():
    order = an_order(priority=Priority.ROUTINE)
    told = json.loads(json.dumps(explain_plan(order, RULES.plan(order))))
    assert told["rule"] == "breast-biopsy"
    assert [(rule["name"], rule["matched"]) for rule in told["rules"]] == [
        ("frozen-section", False), ("breast-biopsy", True), ("everything-else", False),
    ]  # fmt: skip
    assert [(one["protocol"], one["name"]) for one in told["submitted"]] == [
        ("stain-check", "stain"), ("malignancy", "malignant"), ("malignancy", "reason"),
    ]  # fmt: skip
    malignant = told["submitted"][1]
    assert malignant["options"] == ["Yes", "No", "Cannot be judged"]
    assert (malignant["priority"], malignant["mode"], malignant["tell"]) == ("routine", "shadow", ["lis"])
    assert malignant["reported_priority"] == {"Yes": "urgent", "No": "routine", "Cannot be judged": "routine"}


def test_the_priority_reported_for_an_answer_is_never_below_the_orders():
    order = an_order(priority=Priority.STAT)
    for one in explain_plan(order, RULES.plan(order))["submitted"]:
        assert set(one["reported_priority"].values()) <= {"stat"}


def test_the_text_of_a_plan_is_for_reading():
    text = explain_plan_text(an_order(), RULES.plan(an_order()))
    assert "HL7 order: slide available, routine priority." in text
    assert "It names sender, facility, procedure, stain and body site." in text
    assert "  - frozen-section: procedure is not `*frozen*` or `*intraoperative*`" in text
    assert "  - everything-else: `breast-biopsy` matched before and stops" in text
    assert (
        "2. breast-biopsy asks malignancy version 2, routine priority; tell nobody (shadow; lis when live)"
        in text
    )


def test_what_brings_no_image_submits_nothing_whatever_matches():
    for verb in set(Verb) - {Verb.AVAILABLE}:
        order = an_order(verb=verb)
        assert explain_plan(order, RULES.plan(order))["submitted"] == []
        assert "Nothing would be submitted: no image becomes available." in explain_plan_text(
            order, RULES.plan(order)
        )


def test_an_order_that_nothing_matches_says_so():
    rules = one_rule("match: {stain: HER2}")
    assert "Nothing would be submitted: no rule matches." in explain_plan_text(
        an_order(), rules.plan(an_order())
    )
    assert "There are no rules." in explain_plan_text(an_order(), rules_with("[]").plan(an_order()))


def test_nothing_of_the_patient_or_the_case_is_told():
    canary = "CANARY-7f3a"
    order = an_order(
        accession=canary, slide=canary, block=canary, placer_order=canary, filler_order=canary,
        study_uid=canary, series_uid=canary, images=(f"https://{canary}.example",), final_report=canary,
        patient=Patient(id=canary, family=canary, given=canary), procedure=Code(code=canary, text=canary),
        body_site=Code(text=canary), specimen_type=Code(text=canary), stains=(Code(code=canary),),
    )  # fmt: skip
    plan = RULES.plan(order)
    assert canary not in json.dumps(explain_plan(order, plan)) + explain_plan_text(order, plan) + repr(plan)
