"""Chat: what is said to an OpenAI-compatible server, and what its stream means. Pure: no connection.

In: a prompt; later a status, or the bytes of a stream of server-sent events. Out: the body of a request; an
`Answer` that grows; a typed error. No text of a server gets into an error: it may quote what was asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from worker.engine.models.served_pictures import data_url
from worker.engine.pixels import MAX_IMAGE_TOKENS, share
from worker.engine.prompt import messages
from worker.engine.reasoner import Finish, Prompt
from worker.errors import ModelUnavailable, PathlaneError, PromptUnreadable, ServerUnavailable

Json = dict[str, Any]

#: of one answer: 8192 tokens with their log-probabilities are far below it
ANSWER_BYTES: Final = 32 * 1024 * 1024
#: how Qwen's tokenizer writes a turn, an image or an end, wherever it stands in a text
_CONTROL: Final = re.compile(r"<\|\w+\|>")
#: where servers put what a parser of theirs took for reasoning
_REASONING: Final = ("reasoning_content", "reasoning")
_FINISHES: Final = {"stop": Finish.STOP, "length": Finish.LENGTH}
#: 408 is a request that came too slowly, 409 and 425 one that met another
_BUSY: Final = frozenset({408, 409, 425, 429, 502, 503, 504})


def body(prompt: Prompt, model: str, max_pixels: int, *, max_image_tokens: int = MAX_IMAGE_TOKENS) -> Json:
    """Of /chat/completions: the messages of the local engines, images as data: URLs, a stream with figures.

    Only fields that OpenAI has, as strict servers refuse others; but for measurements, `min_tokens` of vLLM
    and SGLang. Raises PromptUnreadable.
    """
    _refuse_unreadable(prompt)
    sizes = [image.size for image in prompt.images]
    shares = share(sizes, tokens=max_image_tokens, max_pixels=max_pixels)
    chat = messages(
        style=prompt.style,
        question=prompt.question,
        options=prompt.options,
        images=[data_url(image, pixels) for image, pixels in zip(prompt.images, shares, strict=True)],
        legend=prompt.legend,
    )
    chat[1]["content"] = [_part(part) for part in chat[1]["content"]]
    said = {
        "model": model,
        "messages": chat,
        "max_tokens": prompt.max_new_tokens,
        "temperature": prompt.temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if prompt.temperature > 0:
        said |= {"top_p": prompt.top_p, "seed": prompt.seed}
    if prompt.logprobs:
        said["logprobs"] = True
    if prompt.min_new_tokens:
        said["min_tokens"] = prompt.min_new_tokens
    return said


def of_sample(said: Json, number: int) -> Json:
    """The body of one of several samples: each is a request of its own, drawn with its own seed."""
    return said | {"seed": said["seed"] + number} if "seed" in said else said


def refusal(http_status: int, retry_after: str = "") -> PathlaneError:
    """What a status other than 200 means for a case, and for whoever runs the server."""
    if http_status in _BUSY:
        return ServerUnavailable("busy", http_status=http_status, retry_after=retry_after)
    if http_status >= 500:
        return ServerUnavailable("failed", http_status=http_status)
    if http_status in (401, 403):
        return ModelUnavailable("The server refused the token: set PATHLANE_SERVED_TOKEN_FILE.")
    if http_status == 404:
        return ModelUnavailable(
            "The server has no such path or model: PATHLANE_SERVED_URL ends in /v1 as a rule, and "
            "PATHLANE_MODEL is a name that the server lists."
        )
    if http_status < 400:
        return ModelUnavailable("The server points elsewhere: set PATHLANE_SERVED_URL to where it leads.")
    return PromptUnreadable(
        f"The server refused it with status {http_status}. Usual reasons: images, question and "
        "PATHLANE_MAX_NEW_TOKENS are longer than its context, or it takes fewer images in one request."
    )


def events(chunks: Iterable[bytes]) -> Iterator[Json]:
    """The JSON of each `data:` line, up to `[DONE]`. Raises ServerUnavailable."""
    for line in _lines(chunks):
        name, _, value = line.partition(b":")
        if name != b"data" or not value.strip():
            continue  # a comment that keeps the connection alive, or another field
        if value.strip() == b"[DONE]":
            return
        try:
            event = json.loads(value)
        except ValueError:
            raise ServerUnavailable("unreadable") from None
        if not isinstance(event, dict):
            raise ServerUnavailable("unreadable")
        yield event


@dataclass(slots=True, kw_only=True)
class Answer:
    """What has come so far. It is whole once `finish` is there."""

    finish: Finish | None = None
    #: as the server counts; None where it does not say
    prompt_tokens: int | None = None
    used_tokens: int | None = None
    logprobs: list[float] = field(default_factory=list)
    _content: list[str] = field(default_factory=list)
    #: where a server was told to take reasoning out of the text
    _reasoning: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        thought = f"<think>{''.join(self._reasoning)}</think>" if self._reasoning else ""
        return thought + "".join(self._content)

    @property
    def completion_tokens(self) -> int:
        """As the server counts; else one for each piece that it sent, which is a token at most servers."""
        return len(self._content) + len(self._reasoning) if self.used_tokens is None else self.used_tokens

    def take(self, event: Json) -> None:
        """Raises ServerUnavailable, or PromptUnreadable."""
        if error := event.get("error"):
            raise _failure(error)
        try:
            self._count(event.get("usage") or {})
            for choice in event.get("choices") or ():
                self._write(choice)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ServerUnavailable("unreadable") from None

    def _count(self, usage: Json) -> None:
        if usage:
            self.prompt_tokens = int(usage["prompt_tokens"])
            self.used_tokens = int(usage["completion_tokens"])

    def _write(self, choice: Json) -> None:
        delta = choice.get("delta") or {}
        for name, pieces in (("content", self._content), *((name, self._reasoning) for name in _REASONING)):
            if piece := delta.get(name):
                pieces.append(_text(piece))
        tokens = (choice.get("logprobs") or {}).get("content") or ()
        self.logprobs += [float(token["logprob"]) for token in tokens]
        if reason := choice.get("finish_reason"):
            self.finish = _finish(reason)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest, received = b"", 0
    for chunk in chunks:
        received += len(chunk)
        if received > ANSWER_BYTES:
            raise ServerUnavailable("unreadable")
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.rstrip(b"\r") for line in whole)
    yield rest


def _finish(reason: object) -> Finish:
    if reason in ("abort", "error"):
        raise ServerUnavailable("aborted")
    if reason not in _FINISHES:
        raise PromptUnreadable("The server ended it for a reason of its own, such as a content filter.")
    return _FINISHES[str(reason)]


def _failure(error: object) -> PathlaneError:
    """An error within a stream: by its code where it has one that is a status."""
    code = error.get("code") if isinstance(error, dict) else None
    is_status = isinstance(code, int) and 400 <= code <= 599
    return refusal(int(code)) if is_status and code is not None else ServerUnavailable("failed")


def _text(piece: object) -> str:
    if not isinstance(piece, str):
        raise TypeError
    return piece


def _part(part: Json) -> Json:
    return {"type": "image_url", "image_url": {"url": part["image"]}} if part["type"] == "image" else part


def _refuse_unreadable(prompt: Prompt) -> None:
    if any(_CONTROL.search(text) for text in (prompt.question, *prompt.options)):
        raise PromptUnreadable("The question or an option contains a control token of the model.")
    if not prompt.images:
        raise PromptUnreadable("There is no image to look at.")
