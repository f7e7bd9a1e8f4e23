"""A served model: what is asked, what its stream means, and what becomes of a server that fails, over real HTTP."""

from __future__ import annotations

import base64
import io
import shutil
import ssl
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from tests.conftest import ROOT, missing
from tests.integration.engine.model_server import MODEL, ModelServer
from tests.integration.engine.tiny import LICENSE, ask, picture
from tests.reasoners import read, submit
from worker import reasoners
from worker.engine.loop import EngineLoop
from worker.engine.models import served_call
from worker.engine.models.served import Served, ServedReasoner
from worker.engine.models.served_server import Server
from worker.engine.pixels import model_size, share
from worker.engine.prompt import SYSTEM_PROMPTS
from worker.engine.reasoner import Completion, Finish, Interrupt
from worker.errors import (
    InternalError,
    ModelUnavailable,
    PathlaneError,
    PromptUnreadable,
    ServerUnavailable,
)
from worker.jobs.request import Style
from worker.settings import ModelSettings, SettingsError

SECRET = "Mrs Example of Sample Street"


@pytest.fixture
def served():
    """A server that answers by a plan, and a reasoner that asks it."""
    servers = []

    def start(plan=None, **more):
        servers.append(ModelServer(plan) if plan else ModelServer())
        return servers[-1], reasoner_at(servers[-1].url, **more)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def reasoner_at(url, *, rows=4, model=MODEL, licence=LICENSE, limit=512, **server):
    server = {"plain_http": True, "silence_seconds": 20} | server
    source = Served(model=model, license_accepted=licence, max_pixels=1_003_520, max_new_tokens=limit)
    return ServedReasoner(source, Server(url=url, **server), rows=rows)


def one(reasoner, interrupt=None, **fields):
    [result] = read(reasoner, [ask(picture(), **fields)], {0: interrupt or Interrupt()})
    return result


def after(seconds):
    return Interrupt(deadline=time.monotonic() + seconds)


def test_the_question_is_that_of_the_local_engines_with_its_picture_unchanged(served):
    server, reasoner = served()
    image = picture(3, 112, 84)
    [completion] = read(
        reasoner, [ask(image, question="Which?", options=("first", "second"), style=Style.COD, limit=40)]
    )
    assert (completion.text, completion.finish) == ("<answer>A</answer>", Finish.STOP)
    assert (completion.prompt_tokens, completion.completion_tokens, completion.rows) == (7, 3, 1)
    [said] = server.asked
    system, user = said.pop("messages")
    assert said == {
        "model": MODEL, "max_tokens": 40, "temperature": 0.0, "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    assert system == {"role": "system", "content": SYSTEM_PROMPTS[Style.COD]}
    shown, text = user["content"]
    assert text == {"type": "text", "text": "Which? A. first B. second"}
    head, _, encoded = shown["image_url"]["url"].partition(",")
    sent = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert (head, sent.mode) == ("data:image/png;base64", "RGB")
    assert ImageChops.difference(sent, image.convert("RGB")).getbbox() is None


class AtOnce(ServedReasoner):
    """Each call is over before the next line of the reasoner runs."""

    def _call(self, ask, sample):
        call = super()._call(ask, sample)
        while not call.is_over:
            time.sleep(0.001)
        return call


def test_an_answer_that_is_there_at_once_was_a_row_too(served):
    server, _ = served()
    reasoner = AtOnce(
        Served(model=MODEL, license_accepted=LICENSE, max_pixels=1_003_520, max_new_tokens=512),
        Server(url=server.url, plain_http=True, silence_seconds=20),
        rows=4,
    )
    results = read(reasoner, [ask(picture(number)) for number in range(2)])
    assert [result.rows for result in results] == [2, 2]


@settings(deadline=None)  # the first one imports torch
@given(width=st.integers(30, 5000), height=st.integers(30, 5000), most=st.integers(28 * 28 * 200, 12_845_056))
def test_sizes_are_those_of_the_library_that_the_local_engines_scale_with(width, height, most):
    from qwen_vl_utils.vision_process import smart_resize

    high, wide = smart_resize(height, width, factor=28, max_pixels=most)
    assert model_size(width, height, most) == (wide, high)


def test_pictures_of_one_question_share_its_tokens_and_are_named_before_it(served):
    server, reasoner = served()
    images = [picture(1, 1400, 1400), picture(2, 1400, 1400), picture(3, 112, 112)]
    [completion] = read(
        reasoner, [ask(*images * 4, question="Which?", legend="Image 1: overview of a slide.")]
    )
    assert completion.finish is Finish.STOP
    *shown, text = server.asked[0]["messages"][1]["content"]
    assert text["text"] == "Image 1: overview of a slide. Which?"
    sizes = [picture_of(part).size for part in shown]
    pixels = share([image.size for image in images * 4], tokens=10_240, max_pixels=1_003_520)
    assert sizes == [model_size(*image.size, most) for image, most in zip(images * 4, pixels, strict=True)]
    assert sum(width * height for width, height in sizes) <= 10_240 * 28 * 28


def picture_of(part):
    return Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2])))


def test_a_server_that_sends_no_figures_is_counted_by_its_pieces(served):
    _, reasoner = served(lambda handler, _: handler.answer("a", "b", "c", usage=None, reason="length"))
    completion = one(reasoner)
    assert (completion.text, completion.finish) == ("abc", Finish.LENGTH)
    assert (completion.prompt_tokens, completion.completion_tokens) == (0, 3)


def test_reasoning_that_a_server_took_out_of_the_text_is_put_back(served):
    def plan(handler, _):
        handler.begin()
        handler.event({"choices": [{"delta": {"reasoning_content": "brown"}}]})
        handler.piece("<answer>DAB</answer>")
        handler.end()

    _, reasoner = served(plan)
    assert one(reasoner).text == "<think>brown</think><answer>DAB</answer>"


def test_comments_other_fields_and_split_characters_of_a_stream_are_read(served):
    def plan(handler, _):
        handler.begin()
        handler.raw(": keep-alive\r\n\r\nevent: message\r\nid: 3\r\n")
        line = 'data: {"choices": [{"delta": {"content": "μm"}}]}\r\n\r\n'.encode()
        for byte in range(len(line)):
            handler.raw(line[byte : byte + 1])
        handler.end()

    _, reasoner = served(plan)
    assert one(reasoner).text == "μm"


def test_samples_are_requests_side_by_side_each_with_its_own_seed(served):
    together = threading.Barrier(3, timeout=20)

    def plan(handler, number):
        together.wait()
        handler.answer(f"{handler.server.asked[number]['seed']}")

    server, reasoner = served(plan)
    completion = one(reasoner, samples=3, seed=40, temperature=0.7, top_p=0.9)
    assert [part.text for part in (completion, *completion.others)] == ["40", "41", "42"]
    assert {said["top_p"] for said in server.asked} == {0.9}
    assert completion.rows == 3


def test_log_probabilities_come_where_they_are_asked_for(served):
    def plan(handler, _):
        handler.begin()
        for text, logprob in (("a", -0.25), ("b", -1.5)):
            handler.piece(text, logprobs={"content": [{"token": text, "logprob": logprob}]})
        handler.end()

    server, reasoner = served(plan)
    assert one(reasoner, logprobs=True).logprobs == (-0.25, -1.5)
    assert server.asked[0]["logprobs"] is True


def test_a_server_that_gives_no_log_probabilities_is_not_believed_to(served):
    _, reasoner = served()
    assert isinstance(one(reasoner, logprobs=True), PromptUnreadable)


def three_pieces_and_then_nothing(handler, _):
    handler.begin()
    for text in ("The ", "stain ", "is"):
        handler.piece(text)
    handler.until_left()


def test_a_deadline_keeps_what_has_come_and_hangs_up(served):
    server, reasoner = served(three_pieces_and_then_nothing)
    completion = one(reasoner, after(1.5))
    assert (completion.text, completion.finish) == ("The stain is", Finish.DEADLINE)
    assert completion.completion_tokens == 3
    assert server.left.wait(5)


def test_whoever_is_cancelled_before_the_first_byte_is_not_waited_for(served):
    server, reasoner = served(lambda handler, _: handler.until_left())
    interrupt = Interrupt()
    threading.Thread(target=lambda: (server.until_asked(), interrupt.cancelled.set())).start()
    completion = one(reasoner, interrupt)
    assert (completion.text, completion.finish) == ("", Finish.CANCELLED)
    assert server.left.wait(5)


@pytest.fixture
def behind_tls(tmp_path):
    """A server behind TLS that writes for ever, and the certificate that it signed by itself."""
    if shutil.which("openssl") is None:
        missing("openssl")
    pair = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=models", "-addext", "subjectAltName=IP:127.0.0.1",
         "-out", str(pair[0]), "-keyout", str(pair[1])],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    server = ModelServer(three_pieces_and_then_nothing, tls=context)
    yield server, pair[0]
    server.shutdown()
    server.server_close()


def test_behind_tls_an_answer_is_cut_just_the_same(behind_tls, monkeypatch):
    server, certificate = behind_tls
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    completion = one(reasoner_at(server.url, plain_http=False), after(2))
    assert (completion.text, completion.finish) == ("The stain is", Finish.DEADLINE)
    assert server.left.wait(5)


def test_a_server_of_an_unknown_authority_is_asked_nothing(behind_tls):
    server, _ = behind_tls
    error = one(reasoner_at(server.url, plain_http=False))
    assert (type(error), error.reason) == (ServerUnavailable, "certificate")
    assert not server.asked


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, PromptUnreadable), (413, PromptUnreadable), (422, PromptUnreadable),
        (401, ModelUnavailable), (403, ModelUnavailable), (404, ModelUnavailable), (307, ModelUnavailable),
        (500, ServerUnavailable),
    ],
)  # fmt: skip
def test_a_status_says_who_must_act(served, status, kind):
    server, reasoner = served(
        lambda handler, _: handler.whole(status, SECRET, location="http://127.0.0.1:1/v1")
    )
    error = one(reasoner, question=SECRET)
    assert type(error) is kind
    assert SECRET not in error.public
    assert server.url not in error.public
    assert len(server.asked) == 1


def busy_once(status, **headers):
    return lambda handler, number: handler.answer("x") if number else handler.whole(status, "", **headers)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(served, monkeypatch, status):
    monkeypatch.setattr(served_call, "FIRST_PAUSE", 0.05)
    server, reasoner = served(busy_once(status))
    assert one(reasoner).text == "x"
    assert len(server.asked) == 2


def test_a_server_is_asked_again_when_it_said_and_not_before(served, monkeypatch):
    monkeypatch.setattr(served_call, "FIRST_PAUSE", 0.05)
    _, reasoner = served(busy_once(429, retry_after="1"))
    began = time.monotonic()
    assert one(reasoner).text == "x"
    assert time.monotonic() - began >= 1


def test_one_that_wants_to_be_left_alone_for_long_has_the_case_back_in_the_queue_at_once(served):
    server, reasoner = served(busy_once(503, retry_after="3600"))
    error = one(reasoner)
    assert (type(error), error.reason, error.http_status) == (ServerUnavailable, "busy", 503)
    assert len(server.asked) == 1


def test_a_connection_that_is_reset_before_the_first_token_is_made_again(served, monkeypatch):
    monkeypatch.setattr(served_call, "FIRST_PAUSE", 0.05)
    _, reasoner = served(lambda handler, number: handler.answer("x") if number else handler.reset())
    assert one(reasoner).text == "x"


def test_a_server_that_restarts_costs_no_case_an_attempt(served, monkeypatch):
    monkeypatch.setattr(served_call, "FIRST_PAUSE", 0.2)
    gone = ModelServer()
    port = gone.server_address[1]
    gone.shutdown()
    gone.server_close()
    back = []
    timer = threading.Timer(1, lambda: back.append(ModelServer(port=port)))
    timer.start()
    assert one(reasoner_at(f"http://127.0.0.1:{port}/v1")).text == "<answer>A</answer>"
    back[0].shutdown()
    back[0].server_close()


def nobody():
    server = ModelServer()
    server.shutdown()
    server.server_close()
    return server.url


def test_a_server_that_stays_away_gives_the_case_back(monkeypatch):
    monkeypatch.setattr(served_call, "PATIENCE_SECONDS", 0.3)
    error = one(reasoner_at(nobody()))
    assert (type(error), error.reason) == (ServerUnavailable, "unreachable")


def test_a_deadline_that_nobody_was_there_to_hear_is_no_empty_reading():
    assert isinstance(one(reasoner_at(nobody()), after(0.3)), ServerUnavailable)


def test_a_stream_that_breaks_in_the_middle_is_tried_again_by_the_queue(served):
    def plan(handler, _):
        handler.begin()
        handler.piece("The ")
        handler.reset()

    server, reasoner = served(plan)
    error = one(reasoner)
    assert (type(error), error.reason, error.retryable) == (ServerUnavailable, "broken", True)
    assert len(server.asked) == 1


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(served):
    server, reasoner = served(lambda handler, _: handler.until_left(), silence_seconds=0.5)
    error = one(reasoner)
    assert (type(error), error.reason) == (ServerUnavailable, "silent")
    assert server.left.wait(5)


def sent(*lines):
    def plan(handler, _):
        handler.begin()
        handler.piece("The ")
        for line in lines:
            handler.event(line)

    return plan


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (lambda handler, _: handler.whole(200, f"<html>{SECRET}</html>", kind="text/html"), "broken"),
        (sent(f"{{{SECRET}"), "unreadable"),
        (sent("[1, 2]"), "unreadable"),
        (sent({"choices": [3]}), "unreadable"),
        (sent({"choices": 3}), "unreadable"),
        (sent({"choices": [{"delta": {"content": 3}}]}), "unreadable"),
        (sent({"choices": [], "usage": {"prompt_tokens": SECRET}}), "unreadable"),
        (sent({"error": SECRET}), "failed"),
        (sent({"error": {"message": SECRET, "code": 503}}), "busy"),
        (sent({"choices": [{"delta": {}, "finish_reason": "abort"}]}), "aborted"),
        (sent("[DONE]"), "broken"),
    ],
)
def test_what_is_no_answer_is_no_reading_and_is_quoted_nowhere(served, monkeypatch, capsys, plan, reason):
    monkeypatch.setattr(served_call, "PATIENCE_SECONDS", 0)
    _, reasoner = served(plan)
    error = one(reasoner, question=SECRET)
    assert (type(error), error.reason) == (ServerUnavailable, reason)
    assert SECRET not in f"{error.public} {error!r} {''.join(capsys.readouterr())}"


@pytest.mark.parametrize(
    "line",
    [
        {"error": {"message": SECRET, "code": 400}},
        {"choices": [{"delta": {}, "finish_reason": "content_filter"}]},
    ],
)
def test_an_answer_that_the_server_will_not_give_is_not_asked_for_again(served, line):
    _, reasoner = served(sent(line))
    assert isinstance(one(reasoner), PromptUnreadable)


@pytest.mark.parametrize("question", ["<|im_end|>", "What is <|image_pad|> here?"])
def test_control_tokens_are_not_sent(served, question):
    server, reasoner = served()
    assert isinstance(one(reasoner, question=question), PromptUnreadable)
    assert not server.asked


def test_a_case_that_fails_does_not_touch_the_one_beside_it(served):
    both = threading.Barrier(2, timeout=20)

    def plan(handler, number):
        both.wait()
        if "bad" in str(handler.server.asked[number]):
            handler.whole(400)
        else:
            handler.answer("good")

    _, reasoner = served(plan)
    loop = EngineLoop(reasoner, rows=4)
    loop.start("auto")
    bad = submit(loop, ask(picture(), question="bad"), Interrupt())
    good = submit(loop, ask(picture(), question="good"), Interrupt())
    assert good.result(20).text == "good"
    with pytest.raises(PromptUnreadable):
        bad.result(20)
    assert loop.close(5)


def test_more_cases_than_rows_wait_for_one(served):
    most, now, lock = [0], [0], threading.Lock()

    def plan(handler, _):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.1)
        with lock:
            now[0] -= 1
        handler.answer("x")

    _, reasoner = served(plan, rows=2)
    results = read(reasoner, [ask(picture())] * 6)
    assert [result.text for result in results] == ["x"] * 6
    assert most[0] == 2
    assert max(result.rows for result in results) == 2


def test_what_was_asked_is_hung_up_on_when_everything_is_forgotten(served):
    server, reasoner = served(lambda handler, _: handler.until_left())
    loop = EngineLoop(reasoner, rows=4)
    loop.start("auto")
    submit(loop, ask(picture()), Interrupt())
    server.until_asked()
    reasoner.clear()
    assert server.left.wait(5)


def test_a_model_that_the_server_lists_is_known_by_its_name_and_place(served):
    server, reasoner = served(token="s3cret-token")
    identity = reasoner.load("auto")
    assert (identity.model, identity.license, identity.engine) == (MODEL, LICENSE, "served")
    assert identity.weights_digest.startswith("unknown:")
    assert identity.dtype == "unknown"
    assert identity.device == server.url.split("/")[2]
    path, headers, _ = server.seen[0]
    assert (path, headers["authorization"]) == ("/v1/models", "Bearer s3cret-token")
    assert "s3cret-token" not in repr(vars(reasoner))


def test_two_models_are_never_one_device(served):
    first, reasoner = served()
    first.models += [{"id": "other"}]
    other = reasoner_at(first.url, model="other")
    assert reasoner.load("auto").weights_digest != other.load("auto").weights_digest


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ({"model": "patho/r2"}, f"set PATHLANE_MODEL to `{MODEL}`"),
        ({"licence": " "}, "PATHLANE_MODEL_LICENSE"),
        ({"limit": 4096}, "PATHLANE_MAX_NEW_TOKENS"),
        ({"plain_http": False}, "PATHLANE_SERVED_PLAIN_HTTP"),
    ],
)
def test_what_cannot_be_asked_of_this_server_says_what_to_change(served, wrong, advice):
    server, _ = served()
    with pytest.raises(ModelUnavailable, match=advice):
        reasoner_at(server.url, **wrong).load("auto")


@pytest.mark.parametrize(
    "url", ["", "gpu:8000/v1", "ftp://gpu/v1", "http://user:word@gpu/v1", "http://gpu:0x/v1"]
)
def test_a_url_that_is_none_of_a_server_is_refused_without_quoting_it(url):
    with pytest.raises(ModelUnavailable, match="PATHLANE_SERVED_URL") as refused:
        reasoner_at(url)
    assert "word" not in refused.value.public


def test_localhost_is_this_machine(served):
    server, _ = served()
    assert reasoner_at(server.url.replace("127.0.0.1", "localhost")).load("auto").model == MODEL


def test_a_server_that_is_not_up_yet_is_waited_for_by_whoever_starts_workers():
    with pytest.raises(ServerUnavailable) as refused:
        reasoner_at(nobody()).load("auto")
    assert refused.value.retryable


def settings_for(server, **more):
    return ModelSettings(
        engine="served",
        served_url=server.url,
        served_plain_http=True,
        model=MODEL,
        model_license=LICENSE,
        **more,
    )


def test_the_token_is_read_from_its_file_and_a_bad_file_is_not_quoted(served, tmp_path):
    server, _ = served()
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    reasoners.check_model(settings_for(server, served_token_file=file))
    assert server.seen[-1][1]["authorization"] == "Bearer s3cret"
    for content in ("two words", "", "a\nb"):
        file.write_text(content)
        with pytest.raises(SettingsError, match="one token") as refused:
            reasoners.check_model(settings_for(server, served_token_file=file))
        assert "words" not in str(refused.value)


def test_a_worker_that_asks_a_server_imports_no_torch(served):
    server, _ = served()
    program = (
        "import sys, worker.__main__; from worker.reasoners import *; from worker.settings import ModelSettings;"
        "model = ModelSettings(); check_model(model); reasoner = reasoner_of(model); identity = reasoner.load('auto');"
        "assert devices_of(model) == ('auto',); devices.key_of(identity.device); step_seconds(model, identity);"
        "assert not {'torch', 'transformers', 'qwen_vl_utils'} & set(sys.modules)"
    )
    environment = {
        "PATHLANE_ENGINE": "served", "PATHLANE_SERVED_URL": server.url, "PATHLANE_SERVED_PLAIN_HTTP": "true",
        "PATHLANE_MODEL": MODEL, "PATHLANE_MODEL_LICENSE": LICENSE, "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_unforeseen_error_concerns_one_answer_alone(served, monkeypatch):
    _, reasoner = served()
    monkeypatch.setattr(reasoner._server._client, "stream", lambda *_, **__: 1 / 0)
    assert isinstance(one(reasoner), InternalError)


def test_every_error_of_a_server_is_one_of_ours(served):
    _, reasoner = served()
    assert isinstance(one(reasoner), Completion | PathlaneError)
