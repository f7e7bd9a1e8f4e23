"""Answers that are written side by side are, token for token, those of one after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.engine.tiny import LICENSE, MIXED, ask, picture, save_tiny
from tests.reasoners import read, submit
from worker.engine.loop import EngineLoop
from worker.engine.models.decoder import Decoder
from worker.engine.models.in_flight import InFlightReasoner
from worker.engine.models.loading import Source, load
from worker.engine.models.reference import ReferenceReasoner
from worker.engine.models.rows import Rows, grouped
from worker.engine.reasoner import Ask, Completion, Finish, Interrupt, Prepared
from worker.engine.scheduler import Scheduler
from worker.errors import EngineStopped, GpuOutOfMemory, PromptUnreadable
from worker.jobs.request import Priority, Style

ROWS = 5
LONGEST = 48
SIZES = [(56, 56), (112, 112), (224, 140), (84, 280), (280, 280), (140, 56)]
QUESTIONS = ["What is seen?", "Which?", "A rather longer question about the same thing, is it not?"]
PROMPTS = [
    ask(
        *(
            picture(10 * number + more, *SIZES[(number + more) % len(SIZES)])
            for more in range(1 + number % 2)
        ),
        question=QUESTIONS[number % 3],
        options=("first", "second") if number % 4 == 1 else (),
        limit=LONGEST,
        style=list(Style)[number % 2],
    )
    for number in range(12)
]


def ids(completion):
    """The tokens: these models were told to say their ids."""
    return [int(token) for token in completion.text.split()]


def saying_ids(model):
    model.text_of = lambda tokens: " ".join(map(str, tokens))
    return model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_tiny(folder, seed=1)
    return str(folder)


@dataclass
class Engines:
    """One checkpoint in both engines."""

    reference: ReferenceReasoner
    rows: Rows
    #: what the reference engine writes for each of PROMPTS, at full length
    wanted: list[Completion]


def both(model, rows=ROWS, max_image_tokens=10_240, **options):
    source = Source(
        model=model, license_accepted=LICENSE, max_pixels=1_003_520, max_image_tokens=max_image_tokens
    )
    reference = ReferenceReasoner(source)
    reference.load("cpu")
    saying_ids(reference._model)
    packed, _ = load(source, "cpu", engine="in-flight", packed=True)
    decoder = Decoder(packed.model, rows=rows, positions=1024, use_graphs=False, **options)
    return Engines(reference, Rows(saying_ids(packed), decoder), read(reference, PROMPTS))


@pytest.fixture(scope="module", params=["tiny", "demo"])
def engines(request, tiny):
    """One of the two steps over buckets of rows and positions, as on a GPU."""
    return both(tiny, buckets=True) if request.param == "tiny" else both("demo")


@pytest.fixture(scope="module")
def rows(tiny):
    return both(tiny).rows


def test_pictures_that_share_the_tokens_are_the_same_to_both_engines(tiny):
    pair = both(tiny, max_image_tokens=100)
    prompts = [
        ask(
            *(picture(number, *size) for number, size in enumerate(sizes)),
            legend="Image 1: overview of a slide.",
        )
        for sizes in ([(280, 280)] * 3, [(280, 280), (56, 56), (140, 84)], [(280, 140)] * 5)
    ]
    wanted, stage = read(pair.reference, prompts), Stage(pair.rows)
    asked = [stage.add(prompt) for prompt in prompts]
    results = stage.finish()
    assert [ids(results[each]) for each in asked] == [ids(each) for each in wanted]
    assert all(
        each.prompt_tokens < prompt_length(pair, prompt) for each, prompt in zip(wanted, prompts, strict=True)
    )


def prompt_length(pair, prompt):
    """With every picture as large as the model takes it."""
    pair.reference._model.max_image_tokens = 10_240
    return pair.reference.prepare(prompt).prompt_tokens


class Stage:
    """Rows under a scheduler, one step at a time."""

    def __init__(self, rows):
        self.rows, self.scheduler = rows, Scheduler(rows.count, can_pause=True)
        self.results, self.beside = {}, {}

    def add(self, prompt, **fields):
        asked = Ask(prepared=self.rows.prepare(prompt), **fields)
        self.scheduler.add(asked)
        return asked

    def step(self):
        plan = self.scheduler.schedule()
        for asked in plan.enter:
            asked.begun = True
        for asked in self.scheduler.running:
            total = sum(other.rows for other in self.scheduler.running)
            self.beside[asked] = max(self.beside.get(asked, 0), total)
        for asked, result in self.rows.step(plan.enter, plan.pause):
            self.scheduler.end(asked)
            self.results[asked] = result
        return plan

    def finish(self):
        while not self.scheduler.is_idle:
            self.step()
        return self.results


ARRIVALS = st.lists(
    st.fixed_dictionaries({
        "prompt": st.integers(0, len(PROMPTS) - 1),
        "limit": st.integers(1, LONGEST),
        "wait": st.integers(0, 6),
        "priority": st.sampled_from([Priority.ROUTINE, Priority.ROUTINE, Priority.URGENT, Priority.STAT]),
        "cancel_after": st.sampled_from([None, None, None, 0, 3, 11]),
    }),
    min_size=1,
    max_size=14,
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(arrivals=ARRIVALS)
def test_whoever_comes_and_goes_beside_it_each_answer_is_that_of_batch_1(engines, arrivals):
    stage, asked = Stage(engines.rows), []
    for arrival in arrivals:
        for _ in range(arrival["wait"]):
            step_and_cancel(stage, asked)
        prompt = replace(PROMPTS[arrival["prompt"]], max_new_tokens=arrival["limit"])
        asked.append((stage.add(prompt, priority=arrival["priority"]), arrival))
    while not stage.scheduler.is_idle:
        step_and_cancel(stage, asked)
    for one, arrival in asked:
        wanted, got = ids(engines.wanted[arrival["prompt"]]), stage.results[one]
        if one.interrupt.cancelled.is_set() and got.finish is Finish.CANCELLED:
            assert ids(got) == wanted[: got.completion_tokens]
            continue
        assert ids(got) == wanted[: arrival["limit"]]
        stopped = engines.wanted[arrival["prompt"]].finish is Finish.STOP and arrival["limit"] >= len(wanted)
        assert got.finish is (Finish.STOP if stopped else Finish.LENGTH)
        assert got.rows == stage.beside[one]
        assert got.prompt_tokens == engines.wanted[arrival["prompt"]].prompt_tokens


def step_and_cancel(stage, asked):
    stage.step()
    for one, arrival in asked:
        if arrival["cancel_after"] is not None and one in stage.beside:
            arrival["seen"] = arrival.get("seen", -1) + 1
            if arrival["seen"] == arrival["cancel_after"]:
                one.interrupt.cancelled.set()


def test_steps_over_more_rows_and_positions_than_run_write_the_same(tiny):
    engines = both(tiny, buckets=True)
    stage = Stage(engines.rows)
    asked = [stage.add(prompt) for prompt in PROMPTS]
    results = stage.finish()
    assert [ids(results[one]) for one in asked] == [ids(wanted) for wanted in engines.wanted]


def test_a_cancellation_is_heard_at_the_next_token_and_what_was_written_is_kept(rows):
    stage = Stage(rows)
    one, other = stage.add(PROMPTS[0]), stage.add(PROMPTS[1])
    for _ in range(12):
        stage.step()
    one.interrupt.cancelled.set()
    stage.step()
    assert (stage.results[one].finish, stage.results[one].completion_tokens) == (Finish.CANCELLED, 13)
    assert other not in stage.results
    assert len(ids(stage.finish()[other])) == LONGEST


class Bell:
    """An interrupt whose deadline comes when a test says so."""

    rung = False

    def reason(self, now):
        return Finish.DEADLINE if self.rung else None


def test_a_deadline_is_heard_at_the_next_token_and_while_it_is_paused(rows):
    stage = Stage(rows)
    late = Bell()
    running = stage.add(PROMPTS[0], interrupt=late)
    paused = [stage.add(PROMPTS[1], interrupt=late) for _ in range(rows.count)][-2]
    stage.step()
    stat = stage.add(PROMPTS[2], priority=Priority.STAT)
    assert stage.step().pause == (paused,)
    late.rung = True
    stage.step()
    assert {stage.results[one].finish for one in (running, paused)} == {Finish.DEADLINE}
    assert stage.results[paused].completion_tokens == 1
    assert stage.results[running].completion_tokens == 3
    assert stage.finish()[stat].finish in {Finish.STOP, Finish.LENGTH}


HOT = replace(PROMPTS[0], temperature=1.0, top_p=0.9, seed=7)


def test_a_sample_depends_on_its_seed_and_on_nothing_beside_it(rows):
    alone = Stage(rows)
    singles = [alone.add(replace(HOT, seed=7 + sample)) for sample in range(3)]
    wanted = []
    for single in singles:  # one after the other
        stage = Stage(rows)
        stage.scheduler.add(single)
        wanted.append(ids(stage.finish()[single]))
    assert len({tuple(tokens) for tokens in wanted}) == 3
    crowd = Stage(rows)
    crowd.add(PROMPTS[3])
    crowd.step()
    shared = crowd.add(replace(HOT, samples=3))
    crowd.add(PROMPTS[4])
    result = crowd.finish()[shared]
    assert [ids(each) for each in (result, *result.others)] == wanted


def test_samples_share_one_reading_of_the_prompt(rows):
    counting = Counting(rows._decoder)
    stage = Stage(Rows(rows._qwen, counting))
    shared = stage.add(replace(HOT, samples=4))
    result = stage.finish()[shared]
    assert counting.prefills == [(0, 1)]
    assert (len(result.others), result.rows) == (3, 4)


class Counting:
    """A decoder that counts its prefills, and fails as a device does where it is told to."""

    def __init__(self, decoder, error=None, when=lambda first, count: False):
        self.pool, self._decoder, self._error, self._when = decoder.pool, decoder, error, when
        self.prefills = []

    def prefill(self, openings, first):
        self.prefills.append((first, len(openings)))
        if self._when(first, len(openings)):
            raise self._error
        self._decoder.prefill(openings, first)

    def decode(self, rows, longest):
        self._decoder.decode(rows, longest)


def test_a_narrow_top_p_is_greedy(rows):
    [drawn, greedy] = results_of(rows, replace(HOT, top_p=1e-6), PROMPTS[0])
    assert ids(drawn) == ids(greedy)


def results_of(rows, *prompts):
    """The results of prompts that enter together."""
    stage = Stage(rows)
    asked = [stage.add(prompt) for prompt in prompts]
    results = stage.finish()
    return [results[one] for one in asked]


def test_log_probabilities_are_kept_where_they_are_asked_for_and_are_the_models_own(rows):
    silent, heard = results_of(rows, PROMPTS[1], replace(PROMPTS[0], logprobs=True))
    assert silent.logprobs is None
    assert len(heard.logprobs) == heard.completion_tokens
    inputs = rows._qwen.prepare(PROMPTS[0]).tensors
    tokens = torch.tensor([ids(heard)])
    full = torch.cat([inputs["input_ids"], tokens], 1)
    kinds = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, tokens.shape[1]))
    model, grid = rows._qwen.model, inputs["image_grid_thw"]
    with torch.inference_mode():
        positions, _ = model.model.get_rope_index(full, mm_token_type_ids=kinds, image_grid_thw=grid)
        logits = model(
            input_ids=full, position_ids=positions, pixel_values=inputs["pixel_values"], image_grid_thw=grid,
            attention_mask={"full_attention": None}, use_cache=False,
        ).logits  # fmt: skip
    said = logits[0, -1 - tokens.shape[1] : -1].log_softmax(-1).gather(1, tokens[0][:, None])[:, 0]
    assert heard.logprobs == pytest.approx(said.tolist(), abs=2e-3)


def test_no_answer_ends_before_its_least_length(rows):
    free = results_of(rows, *(replace(prompt, max_new_tokens=300) for prompt in PROMPTS))
    lengths = [completion.completion_tokens + 5 for completion in free]
    held = results_of(
        rows,
        *(replace(prompt, max_new_tokens=more, min_new_tokens=more)
          for prompt, more in zip(PROMPTS, lengths, strict=True)),
    )  # fmt: skip
    assert [completion.completion_tokens for completion in held] == lengths


def test_a_prompt_that_does_not_fit_a_row_is_refused_before_it_waits(rows):
    with pytest.raises(PromptUnreadable, match="1024"):
        rows.prepare(replace(PROMPTS[0], max_new_tokens=1500))


def test_tensors_that_do_not_fit_each_other_fail_alone(rows):
    stage = Stage(rows)
    first = stage.add(PROMPTS[0])
    stage.step()
    inputs = rows.prepare(PROMPTS[1]).payload
    tensors = inputs.opening.tensors
    broken = dict(tensors) | {"pixel_values": tensors["pixel_values"][:-4]}
    opening = replace(inputs.opening, tensors=broken)
    bad = Ask(prepared=Prepared(payload=replace(inputs, opening=opening)))
    stage.scheduler.add(bad)
    last = stage.add(PROMPTS[2])
    results = stage.finish()
    assert isinstance(results[bad], PromptUnreadable)
    assert [ids(results[one]) for one in (first, last)] == [
        ids(each) for each in results_of(rows, PROMPTS[0], PROMPTS[2])
    ]


@pytest.fixture
def failing_loop(rows):
    """A loop over rows whose device fails."""
    loops = []

    def start(error, when):
        reasoner = Ready(Rows(rows._qwen, Counting(rows._decoder, error, when)))
        loops.append(EngineLoop(reasoner, rows=ROWS))
        loops[-1].start("cpu")
        return loops[-1]

    yield start
    for loop in loops:
        assert loop.close(timeout=30)


class Ready(InFlightReasoner):
    """Loaded already."""

    def __init__(self, rows):
        self._rows = rows

    def load(self, device):
        return None


def test_a_prompt_that_finds_no_memory_is_read_once_more_with_fewer_beside_it(rows, failing_loop):
    wanted = [ids(each) for each in results_of(rows, *PROMPTS[:5])]
    loop = failing_loop(torch.OutOfMemoryError(), when=lambda first, count: first + count > 3)
    with loop._changed:
        futures = [submit(loop, prompt, Interrupt()) for prompt in PROMPTS[:5]]
    results = [future.result(60) for future in futures]
    assert [ids(each) for each in results] == wanted
    assert max(each.rows for each in results[3:]) <= 2


def test_a_prompt_that_never_finds_memory_fails_alone(rows, failing_loop):
    wanted = ids(results_of(rows, PROMPTS[0])[0])
    loop = failing_loop(torch.OutOfMemoryError(), when=lambda first, count: first == 0)
    assert isinstance(submit(loop, PROMPTS[1], Interrupt()).exception(60), GpuOutOfMemory)
    reads = []
    loop = failing_loop(
        torch.OutOfMemoryError(), when=lambda *read: reads.append(read) or read[1] > 1 or len(reads) > 2
    )
    with loop._changed:
        first, unlucky = (submit(loop, prompt, Interrupt()) for prompt in PROMPTS[:2])
    assert isinstance(unlucky.exception(60), GpuOutOfMemory)
    assert unlucky.exception().retryable
    assert ids(first.result(60)) == wanted
    assert reads == [(0, 2), (0, 1), (1, 1), (0, 1)], (
        "together, one by one, and once more with nobody beside it"
    )


def test_a_device_that_is_lost_stops_the_engine(rows, failing_loop):
    loop = failing_loop(torch.AcceleratorError("device-side assert", 710), when=lambda first, count: True)
    error = submit(loop, PROMPTS[0], Interrupt()).exception(60)
    assert isinstance(error, EngineStopped)
    assert error.begun
    assert loop.progress().crashed


def test_mixed_prompts_of_every_kind_agree_with_the_reference_through_the_loop(tiny):
    source = Source(model=tiny, license_accepted=LICENSE, max_pixels=1_003_520)
    answers = []
    for reasoner in (ReferenceReasoner(source), InFlightReasoner(source, rows=3, max_new_tokens=64)):
        loop = EngineLoop(reasoner, rows=4)
        loop.start("cpu")
        futures = [submit(loop, prompt, Interrupt()) for prompt in (*MIXED, *PROMPTS)]
        answers.append([future.result(120) for future in futures])
        assert loop.close(timeout=30)
    assert [each.text for each in answers[0]] == [each.text for each in answers[1]]
    assert max(each.rows for each in answers[1]) == 3


def test_prompts_are_read_together_up_to_a_limit_and_in_their_order():
    def of(*lengths):
        return [Ask(prepared=Prepared(prompt_tokens=length)) for length in lengths]

    def sizes(asks):
        groups = grouped(asks)
        assert [one for group in groups for one in group] == asks
        return [len(group) for group in groups]

    assert sizes(of()) == []
    assert sizes(of(100, 100, 100)) == [3]
    assert sizes(of(1300, 1300, 1300, 1300)) == [3, 1]
    assert sizes(of(100, 4000, 100, 100)) == [1, 1, 2], "a long one makes the others long"
    assert sizes(of(9000, 9000)) == [1, 1]


def test_prompts_that_enter_together_are_read_together(rows):
    counting = Counting(rows._decoder)
    stage = Stage(Rows(rows._qwen, counting))
    asked = [stage.add(prompt) for prompt in PROMPTS[:4]]
    results = stage.finish()
    assert counting.prefills == [(0, 4)]
    assert [ids(results[one]) for one in asked] == [ids(each) for each in results_of(rows, *PROMPTS[:4])]
