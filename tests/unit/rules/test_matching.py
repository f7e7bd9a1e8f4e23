"""An order meets the rules."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.rules.matching import SenderRules
from integrations.rules.reading import open_rules
from tests.unit.rules.given import ARCHIVE, EXAMPLE, an_order, one_rule, rules_with
from worker.jobs.order import Channel, Code, Mode, Order, Question, Sender, Verb
from worker.jobs.request import JobRequest, Priority


def matched(rules, **fields):
    return rules.plan(an_order(**fields)).rule == "r"


@pytest.mark.parametrize(
    ("condition", "fields"),
    [
        ("stain: 12710003", {}),  # the code
        ("stain: hematoxylin STAIN", {}),  # the text, in any case
        ("stain: '*toxylin*'", {}),
        ("stain: [HER2, 'hema*']", {}),  # any of the list
        ("stain: eosin", {"stains": (Code(text="Hematoxylin"), Code(text="Eosin"))}),  # any of the stains
        ("procedure: '*biopsy*'", {}),
        ("body_site: Breast", {}),
        ("specimen_type: TISS", {"specimen_type": Code(code="TISS")}),
        ("sender: ima", {}),
        ("sender: '*'", {}),
        ("facility: [LAB, path]", {}),
        ("priority: [stat, Urgent]", {"priority": Priority.URGENT}),
        ("stain: 'HER2 [4B5]?'", {"stains": (Code(text="her2  [4b5]?"),)}),  # no wildcards but `*`
        ("body_site: 'Ne\u0301vus'", {"body_site": Code(text="N\u00e9vus")}),  # one letter in two ways
        ("body_site: STRASSE", {"body_site": Code(text="Straße")}),
    ],
)
def test_a_rule_matches_what_it_names(condition, fields):
    assert matched(one_rule(f"match: {{{condition}}}"), **fields)


@pytest.mark.parametrize(
    ("condition", "fields", "reason"),
    [
        ("stain: HER2", {}, "stain is not `HER2`"),
        ("stain: hema", {}, "stain is not `hema`"),
        ("stain: 'HER2 [4B5]'", {"stains": (Code(text="HER2 4"),)}, "stain is not `HER2 [4B5]`"),
        ("stain: '*'", {"stains": ()}, "the order names no stain"),  # `*` is anything, but something
        ("sender: IMA, facility: LAB", {}, "facility is not `LAB`"),
        ("priority: stat", {}, "priority is not `stat`"),
        ("stain: a, body_site: b", {"body_site": Code()}, "stain is not `a`; the order names no body site"),
    ],
)
def test_a_rule_that_does_not_match_says_why_and_quotes_only_itself(condition, fields, reason):
    plan = one_rule(f"match: {{{condition}}}").plan(an_order(**fields))
    assert (plan.rule, plan.questions) == ("", ())
    assert [verdict.reason for verdict in plan.verdicts] == [reason]


def test_a_question_carries_everything_that_its_rule_and_its_protocol_say():
    rules = one_rule("match: {stain: '*'}", "mode: live", "priority: urgent", "tell: [lis, archive]")
    assert rules.plan(an_order()).questions == (
        Question(
            protocol="stain-check", version=3, name="stain", text="Which stain is shown?", options=("H&E", "DAB"),
            style="cot", regions=(), priority=Priority.URGENT, tell=("lis", "archive"), mode=Mode.LIVE, rule="r",
            triage={"dab": "urgent"}, final={},
        ),
    )  # fmt: skip


def test_style_and_regions_of_a_rule_stand_before_those_of_the_question():
    def asked(*keys):
        rules = rules_with("\n".join(["- name: r", "  ask: second", *(f"  {key}" for key in keys)]))
        (question,) = rules.plan(an_order()).questions
        return question.style, question.regions

    assert asked() == ("cod", ((1, 2, 3, 4),))
    assert asked("style: cot", "regions: [[0, 0, 9, 9], [9, 9, 9, 9]]") == (
        "cot",
        ((0, 0, 9, 9), (9, 9, 9, 9)),
    )
    assert asked("regions: []") == ("cod", ())  # the whole image


def test_the_first_rule_that_matches_ends_the_list():
    rules = rules_with("""\
        - {name: other, match: {stain: HER2}, ask: second}
        - {name: first, match: {stain: '*'}, ask: second}
        - {name: second, ask: stain-check}
    """)
    plan = rules.plan(an_order())
    assert (plan.rule, [question.protocol for question in plan.questions]) == ("first", ["second"])
    assert [verdict.matched for verdict in plan.verdicts] == [False, True, False]
    assert plan.verdicts[2].reason == "`first` matched before and stops"


def test_a_rule_that_does_not_stop_lets_the_next_ask_too_and_a_question_is_asked_once():
    rules = rules_with("""\
        - {name: first, ask: second, mode: live, tell: lis, stop: false}
        - {name: next, ask: [second, stain-check]}
    """)
    plan = rules.plan(an_order())
    assert [(question.rule, question.protocol) for question in plan.questions] == [
        ("first", "second"),
        ("next", "stain-check"),
    ]


@pytest.mark.parametrize("ordered", Priority)
@pytest.mark.parametrize("ruled", ["as-ordered", "stat", "urgent", "routine"])
def test_a_rule_raises_the_labs_priority_and_never_lowers_it(ordered, ruled):
    (question,) = one_rule(f"priority: {ruled}").plan(an_order(priority=ordered)).questions
    wanted = ordered if ruled == "as-ordered" else Priority(ruled)
    assert question.priority.level == min(ordered.level, wanted.level)


def test_a_test_message_is_read_in_shadow_and_nobody_is_told():
    rules = one_rule("mode: live", "tell: lis")
    (live,) = rules.plan(an_order()).questions
    (kept_apart,) = rules.plan(an_order(is_test=True)).questions
    assert (live.mode, live.tell) == (Mode.LIVE, ("lis",))
    assert (kept_apart.mode, kept_apart.tell) == (Mode.SHADOW, ())


def test_without_rules_nothing_is_asked():
    plan = rules_with("[]").plan(an_order())
    assert (plan.rule, plan.questions, plan.verdicts) == ("", (), ())


SENDERS = """\
senders:
  - {name: scanner, channel: hl7, application: 'IMA*', facility: PATH, charset: 8859/15, domain: P}
  - {name: any-hl7, channel: hl7, profile: legacy}
  - {name: server, channel: fhir, application: 'https://fhir.example.org/*'}
"""


@pytest.mark.parametrize(
    ("channel", "application", "facility", "name"),
    [
        (Channel.HL7, "IMA", "PATH", "scanner"),
        (Channel.HL7, "ima2", "path", "scanner"),
        (Channel.HL7, "IMA", "LAB", "any-hl7"),
        (Channel.HL7, "", "", "any-hl7"),
        (Channel.FHIR, "https://fhir.example.org/r4", "", "server"),
        (Channel.FHIR, "https://else.example.org/r4", "", ""),
        (Channel.DICOM, "IMA", "PATH", ""),
    ],
)
def test_the_first_sender_that_fits_says_how_its_messages_are_read(channel, application, facility, name):
    rules = rules_with("[]", SENDERS)
    found = rules.sender(Sender(channel=channel, application=application, facility=facility))
    assert found.name == name
    assert found == next((sender for sender in rules.senders if sender.name == name), SenderRules())


def test_a_rule_may_name_a_sender_as_the_file_does_or_as_the_sender_does():
    for name in ("scanner", "IMA"):
        rules = rules_with(f"- {{name: r, ask: second, match: {{sender: {name}}}}}", SENDERS)
        assert rules.plan(an_order()).rule == "r"
        other = dataclasses.replace(ARCHIVE, application="X")
        assert rules.plan(an_order(sender=other)).rule == ""


CODES = st.builds(
    Code, code=st.text(max_size=6), text=st.text(max_size=20) | st.just("Breast biopsy, frozen")
)
ORDERS = st.builds(
    Order,
    verb=st.sampled_from(Verb),
    sender=st.builds(
        Sender, channel=st.sampled_from(Channel), application=st.text(max_size=5) | st.just("IMA")
    ),
    procedure=CODES,
    specimen_type=CODES,
    body_site=CODES | st.just(Code(text="breast")),
    stains=st.lists(CODES | st.just(Code(text="H&E")), max_size=3).map(tuple),
    priority=st.sampled_from(Priority),
    is_test=st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(ORDERS)
def test_whatever_is_ordered_no_plan_is_below_the_orders_priority_and_every_question_can_be_submitted(order):
    plan = open_rules(EXAMPLE).plan(order)
    assert plan.questions  # the last rule takes everything
    for question in plan.questions:
        assert question.priority.level <= order.priority.level
        assert not (order.is_test and (question.tell or question.mode is Mode.LIVE))
        JobRequest(
            images=[{"reference": "https://a.example/1"}], question=question.text, options=question.options,
            style=question.style, priority=question.priority, endpoints=question.tell,
        )  # fmt: skip


RULES = st.lists(
    st.fixed_dictionaries(
        {"ask": st.sampled_from(["second", "stain-check"]), "stop": st.booleans()},
        optional={
            "priority": st.sampled_from(["as-ordered", "stat", "urgent", "routine"]),
            "stain": st.sampled_from(["*", "H&E", "x"]),
        },
    ),
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(RULES, ORDERS)
def test_whatever_the_rules_are_no_plan_is_below_the_orders_priority(drawn, order):
    lines = []
    for number, rule in enumerate(drawn):
        lines += [f"- name: r{number}", f"  ask: {rule['ask']}", f"  stop: {str(rule['stop']).lower()}"]
        lines += [f"  priority: {rule['priority']}"] if "priority" in rule else []
        # A condition that always holds keeps the next rules within reach.
        lines += [
            f"  match: {{stain: '{rule['stain']}'}}"
            if "stain" in rule
            else "  match: {priority: [stat, urgent, routine]}"
        ]
    plan = rules_with("\n".join(lines) or "[]").plan(order)
    assert all(question.priority.level <= order.priority.level for question in plan.questions)
    assert len(plan.verdicts) == len(drawn)
    asked = {question.rule for question in plan.questions}
    assert asked <= {verdict.rule for verdict in plan.verdicts if verdict.matched}
