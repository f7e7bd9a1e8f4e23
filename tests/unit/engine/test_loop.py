"""The loop, with a reasoner that says back what it was asked and can be held or made to fail."""

from __future__ import annotations

import threading
import time

import pytest

from tests.reasoners import Whole, submit
from worker.engine.loop import EngineLoop
from worker.engine.reasoner import Completion, Finish, Identity, Interrupt, Prepared, Prompt
from worker.errors import EngineStopped, GpuOutOfMemory, InternalError, ModelUnavailable, PromptUnreadable
from worker.jobs.request import Priority, Style

IDENTITY = Identity(
    model="echo", weights_digest="sha256:00", license="Apache-2.0", engine="echo", dtype="float32", device="cpu",
    max_pixels=784, decoding={}, prompt_version="1", software={},
)  # fmt: skip


class Echo(Whole):
    """Writes back each question, when the gate is open. Some questions are commands."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.reading = threading.Event()
        self.batches = []
        self.threads = set()

    def load(self, device):
        self.threads.add(threading.current_thread())
        if device == "missing":
            raise ModelUnavailable("Set PATHLANE_DEVICE.")
        if device == "broken":
            raise ZeroDivisionError
        return IDENTITY

    def read(self, prompts, interrupts, on_step=lambda: None):
        self.threads.add(threading.current_thread())
        self.batches.append([prompt.question for prompt in prompts])
        self.reading.set()
        assert self.gate.wait(5)
        on_step()
        if any(prompt.question == "device lost" for prompt in prompts):
            raise EngineStopped
        if any(prompt.question == "thread dies" for prompt in prompts):
            raise SystemExit
        if any(prompt.question == "break" for prompt in prompts):
            raise ZeroDivisionError
        if len(prompts) > 1 and any(prompt.question == "too big" for prompt in prompts):
            raise GpuOutOfMemory
        return [self._answer(prompt, len(prompts)) for prompt in prompts]

    def _answer(self, prompt, rows):
        if prompt.question == "malformed":
            return PromptUnreadable()
        return Completion(
            text=prompt.question,
            finish=Finish.STOP,
            prompt_tokens=1,
            completion_tokens=1,
            seconds=0.0,
            rows=rows,
        )


def ask(question):
    return Prompt(images=(), question=question, style=Style.COT, max_new_tokens=8)


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def loop(echo):
    loop = EngineLoop(echo, rows=3)
    loop.start("cpu")
    yield loop
    echo.gate.set()
    assert loop.close(timeout=5)


def held(loop, echo):
    """A request that is being read until the gate is opened."""
    echo.gate.clear()
    future = submit(loop, ask("held"), Interrupt())
    assert echo.reading.wait(5)
    return future


def test_a_question_is_answered(loop):
    assert submit(loop, ask("why"), Interrupt()).result(5).text == "why"


def test_the_thread_that_loads_is_the_thread_that_reads(loop, echo):
    submit(loop, ask("why"), Interrupt()).result(5)
    assert len(echo.threads) == 1
    assert threading.current_thread() not in echo.threads


def test_what_waits_shares_a_step_up_to_the_rows(loop, echo):
    first = held(loop, echo)
    futures = [submit(loop, ask(str(number)), Interrupt()) for number in range(5)]
    echo.gate.set()
    assert [future.result(5).text for future in (first, *futures)] == ["held", "0", "1", "2", "3", "4"]
    assert echo.batches == [["held"], ["0", "1", "2"], ["3", "4"]]


def test_a_request_that_wants_to_be_alone_is_read_alone(loop, echo):
    held(loop, echo)
    futures = [submit(loop, ask(str(number)), Interrupt(), alone=number == 1) for number in range(4)]
    echo.gate.set()
    assert [future.result(5).rows for future in futures] == [1, 1, 2, 2]


def test_what_was_cancelled_or_late_while_waiting_is_never_read(loop, echo):
    held(loop, echo)
    cancelled = Interrupt()
    futures = [
        submit(loop, ask("unwanted"), cancelled),
        submit(loop, ask("late"), Interrupt(deadline=time.monotonic())),
        submit(loop, ask("wanted"), Interrupt()),
    ]
    cancelled.cancelled.set()
    echo.gate.set()
    assert [future.result(5).finish for future in futures] == [Finish.CANCELLED, Finish.DEADLINE, Finish.STOP]
    assert [future.result().text for future in futures] == ["", "", "wanted"]
    assert echo.batches == [["held"], ["wanted"]]


def test_a_future_that_its_owner_cancelled_is_never_read(loop, echo):
    held(loop, echo)
    forgotten = submit(loop, ask("forgotten"), Interrupt())
    assert forgotten.cancel()
    echo.gate.set()
    submit(loop, ask("next"), Interrupt()).result(5)
    assert ["forgotten"] not in echo.batches


def test_a_malformed_request_fails_alone(loop, echo):
    held(loop, echo)
    good, bad = submit(loop, ask("good"), Interrupt()), submit(loop, ask("malformed"), Interrupt())
    echo.gate.set()
    assert good.result(5).rows == 2
    assert isinstance(bad.exception(5), PromptUnreadable)


def test_an_unforeseen_error_fails_its_own_request_and_the_loop_goes_on(loop, echo):
    held(loop, echo)
    good, bad = submit(loop, ask("good"), Interrupt()), submit(loop, ask("break"), Interrupt())
    echo.gate.set()
    assert isinstance(bad.exception(5), InternalError)
    assert good.result(5).rows == 1
    assert submit(loop, ask("after"), Interrupt()).result(5).text == "after"


def test_a_typed_error_of_a_whole_step_is_tried_again_one_by_one(loop, echo):
    held(loop, echo)
    futures = [submit(loop, ask(question), Interrupt()) for question in ("too big", "small")]
    echo.gate.set()
    assert [future.result(5).text for future in futures] == ["too big", "small"]


def test_closing_fails_what_waits_and_lets_the_running_step_end(loop, echo):
    running = held(loop, echo)
    waiting = submit(loop, ask("waiting"), Interrupt())
    assert not loop.close(timeout=0.01)
    assert isinstance(waiting.exception(5), EngineStopped)
    assert waiting.exception().retryable
    echo.gate.set()
    assert running.result(5).text == "held"
    assert loop.close(timeout=5)


def test_after_closing_every_request_fails_at_once(loop):
    loop.close(timeout=5)
    assert isinstance(submit(loop, ask("late"), Interrupt()).exception(0), EngineStopped)


@pytest.mark.parametrize("device", ["missing", "broken"])
def test_a_model_that_cannot_be_loaded_says_so_at_start_and_closes_the_loop(echo, device):
    loop = EngineLoop(echo, rows=1)
    with pytest.raises(ModelUnavailable):
        loop.start(device)
    assert isinstance(submit(loop, ask("why"), Interrupt()).exception(5), EngineStopped)
    assert loop.close(timeout=5)


def test_start_returns_the_identity_of_the_model(echo):
    loop = EngineLoop(echo, rows=1)
    assert loop.start("cpu") == IDENTITY
    assert loop.close(timeout=5)


def test_progress_tells_a_step_that_runs_from_an_idle_loop(loop, echo):
    assert not loop.progress().busy
    before = loop.progress().at
    future = held(loop, echo)
    assert loop.progress().busy
    echo.gate.set()
    future.result(5)
    assert not loop.progress().busy
    assert loop.progress().at > before


@pytest.mark.parametrize("question", ["device lost", "thread dies"])
def test_an_engine_that_ends_by_itself_says_so_and_tells_its_suspects_from_those_that_waited(echo, question):
    loop = EngineLoop(echo, rows=3)
    loop.start("cpu")
    held(loop, echo)
    guilty = Interrupt()
    suspects = [submit(loop, ask(question), guilty), submit(loop, ask("beside"), Interrupt())]
    waiting = submit(loop, ask("behind"), Interrupt(), alone=True)
    echo.gate.set()
    assert [future.exception(5).begun for future in suspects] == [True, True]
    assert waiting.exception(5).begun is False
    assert loop.close(timeout=5)
    assert loop.progress().crashed
    assert any(interrupt is guilty for interrupt in loop.progress().in_step)
    assert echo.batches == [["held"], [question, "beside"]], "nothing is read again on a lost device"
    assert submit(loop, ask("late"), Interrupt()).exception(5).begun is False


def test_a_loop_that_was_closed_has_not_crashed(echo):
    loop = EngineLoop(echo, rows=1)
    loop.start("cpu")
    assert loop.close(timeout=5)
    assert not loop.progress().crashed


def test_progress_says_whose_reading_shares_the_step(loop, echo):
    echo.gate.clear()
    inside = Interrupt()
    future = submit(loop, ask("inside"), inside)
    assert echo.reading.wait(5)
    submit(loop, ask("waiting"), Interrupt())
    assert [interrupt is inside for interrupt in loop.progress().in_step] == [True]
    echo.gate.set()
    future.result(5)


class Words(Whole):
    """Writes back each question, a word a step; one step at a time when a test holds it."""

    can_pause = True

    def __init__(self):
        self.steps, self.left, self.rows_seen, self.preparers = threading.Semaphore(0), {}, [], set()
        self.failure = None

    def load(self, device):
        return IDENTITY

    def prepare(self, prompt):
        self.preparers.add(threading.current_thread())
        if prompt.question == "malformed":
            raise PromptUnreadable
        if prompt.question == "torn":
            raise OSError
        return Prepared(samples=prompt.samples, payload=prompt.question)

    def step(self, enter, pause, on_move=lambda: None):
        assert self.steps.acquire(timeout=5)
        for ask in pause:
            self.left[ask] = (self.left.pop(ask), "paused")
        for ask in enter:
            words = self.left.pop(ask, (ask.prepared.payload.split(), ""))[0]
            self.left[ask] = words
        running = [ask for ask, words in self.left.items() if isinstance(words, list)]
        if any(ask.prepared.payload == "device lost" for ask in running):
            raise EngineStopped
        if self.failure:
            raise self.failure
        self.rows_seen.append(len(running))
        ended = []
        for ask in running:
            self.left[ask] = self.left[ask][1:]
            if not self.left[ask] or ask.interrupt.cancelled.is_set():
                del self.left[ask]
                ended.append((ask, Echo._answer(self, ask_prompt(ask), len(running))))
        return ended

    def clear(self):
        self.left.clear()
        self.failure = None


def ask_prompt(ask_):
    return ask(ask_.prepared.payload)


@pytest.fixture
def words():
    return Words()


@pytest.fixture
def stepping(words):
    loop = EngineLoop(words, rows=2)
    loop.start("cpu")
    yield loop
    words.steps.release(1000)
    assert loop.close(timeout=5)


def settle(loop, in_step):
    """Wait until so many share the step."""
    end = time.monotonic() + 5
    while len(loop.progress().in_step) != in_step:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_who_is_done_leaves_and_who_waits_takes_the_place_while_others_write_on(stepping, words):
    with stepping._changed:
        long, short, waiting = (submit(stepping, ask(text), Interrupt()) for text in ("a b c d", "a", "a b"))
    words.steps.release(1)
    assert short.result(5).text == "a"
    words.steps.release(2)
    assert waiting.result(5).rows == 2
    assert not long.done()
    words.steps.release(1)
    assert long.result(5).text == "a b c d"
    assert words.rows_seen == [2, 2, 2, 1]


def test_stat_takes_the_place_of_a_routine_case_which_then_goes_on(stepping, words):
    with stepping._changed:
        first, second = (submit(stepping, ask("a b c"), Interrupt()) for _ in range(2))
    words.steps.release(1)
    settle(stepping, 2)
    stat = submit(stepping, ask("x"), Interrupt(), priority=Priority.STAT)
    words.steps.release(2)
    assert stat.result(5).text == "x"
    assert not second.done()
    words.steps.release(2)
    assert (first.result(5).text, second.result(5).text) == ("a b c", "a b c")


def test_steps_in_which_nothing_moves_are_no_progress(words):
    class Silent(Words):
        def step(self, enter, pause, on_move=lambda: None):
            self.steps.acquire(timeout=0.01)
            for ask in enter:
                self.left[ask] = ask
            if words.left:
                on_move()
            return [(ask, PromptUnreadable()) for ask in self.left if ask.interrupt.cancelled.is_set()]

    loop, interrupt = EngineLoop(Silent(), rows=1), Interrupt()
    loop.start("cpu")
    future = submit(loop, ask("a"), interrupt)
    settle(loop, 1)
    stamp = loop.progress().at
    time.sleep(0.05)
    assert loop.progress().at == stamp
    words.left["something"] = "moves"
    end = time.monotonic() + 5
    while loop.progress().at == stamp:
        assert time.monotonic() < end
        time.sleep(0.001)
    interrupt.cancelled.set()
    assert isinstance(future.exception(5), PromptUnreadable)
    assert loop.close(timeout=5)


def test_a_prompt_is_prepared_by_who_asks(stepping, words):
    words.steps.release(1)
    submit(stepping, ask("a"), Interrupt()).result(5)
    assert words.preparers == {threading.current_thread()}


@pytest.mark.parametrize("question", ["malformed", "torn"])
def test_what_cannot_be_prepared_fails_before_it_waits(stepping, question):
    assert isinstance(submit(stepping, ask(question), Interrupt()).exception(0), PromptUnreadable)


def test_more_samples_than_rows_are_refused(stepping):
    wide = Prompt(images=(), question="a", style=Style.COT, max_new_tokens=8, samples=3)
    assert isinstance(submit(stepping, wide, Interrupt()).exception(0), PromptUnreadable)


def test_a_step_that_fails_is_begun_again_one_by_one(stepping, words):
    with stepping._changed:
        both = [submit(stepping, ask(text), Interrupt()) for text in ("a b c d", "c d e f")]
    words.steps.release(1)
    settle(stepping, 2)
    words.failure = ZeroDivisionError()
    words.steps.release(10)
    assert [future.result(5).text for future in both] == ["a b c d", "c d e f"]
    assert words.rows_seen[-8:] == [1] * 8


def test_a_step_that_finds_no_memory_is_begun_again_with_half_the_rows(stepping, words):
    words.failure = GpuOutOfMemory()
    with stepping._changed:
        both = [submit(stepping, ask(text), Interrupt()) for text in ("a", "b")]
    words.steps.release(3)
    assert [future.result(5).rows for future in both] == [1, 1]


def test_closing_lets_what_has_begun_end_though_it_takes_many_steps(stepping, words):
    with stepping._changed:
        running = submit(stepping, ask("a b c"), Interrupt())
    words.steps.release(1)
    settle(stepping, 1)
    with stepping._changed:
        alone = submit(stepping, ask("z"), Interrupt(), alone=True)
        assert not stepping.close(timeout=0)
    assert alone.exception(5).begun is False
    words.steps.release(10)
    assert running.result(5).text == "a b c"


def test_what_is_put_aside_when_the_engine_ends_is_no_suspect(words):
    loop = EngineLoop(words, rows=1)
    loop.start("cpu")
    aside = submit(loop, ask("a b c d e"), Interrupt())
    words.steps.release(1)
    settle(loop, 1)
    guilty = submit(loop, ask("device lost"), Interrupt(), priority=Priority.STAT)
    words.steps.release(2)
    assert guilty.exception(5).begun is True
    assert aside.exception(5).begun is False
    assert loop.close(timeout=5)


def test_the_time_of_a_step_is_divided_among_those_who_were_in_it(loop, echo):
    """By their rows: what all of them are told adds up to what passed."""
    echo.gate.clear()
    first = submit(loop, ask("alone"), Interrupt())
    assert echo.reading.wait(5)
    others = [submit(loop, ask(question), Interrupt()) for question in ("a", "b")]
    began = time.monotonic()
    time.sleep(0.2)
    echo.gate.set()
    alone = first.result(5).device_seconds
    shared = [other.result(5).device_seconds for other in others]
    passed = time.monotonic() - began
    assert 0.2 <= alone <= passed + 0.2
    assert shared[0] == shared[1] > 0
    assert sum(shared) <= passed
