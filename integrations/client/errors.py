"""What can go wrong for a caller.

    PathlaneError
    ├── Refused           asking the same again would be answered the same: something must change
    ├── Unavailable       not now: it was tried again, and a later call may succeed
    ├── WaitTimeout       the job has not ended yet; it goes on
    └── WebhookRefused    what came to the receiver was not sent by Pathlane, or not just now

No text of an error holds a question, a key, or anything else that was sent.
"""

from __future__ import annotations

from collections.abc import Sequence


class PathlaneError(Exception):
    """`code`: of docs/reference/errors.md; or no_answer, unreadable, http_NNN: of something on the way."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        status: int | None = None,
        retry_after: float | None = None,
        problems: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.code = code
        self.detail = detail
        #: of HTTP; None where there was no answer
        self.status = status
        #: seconds after which it may be tried again, where the gateway said so
        self.retry_after = retry_after
        #: (field, what is wrong with it), of a request that is not valid
        self.problems = tuple(problems)
        super().__init__(f"{code}: {detail}" if detail else code)


class Refused(PathlaneError):
    pass


class Unavailable(PathlaneError):
    pass


class WaitTimeout(PathlaneError):
    def __init__(self, job_id: str, status: str) -> None:
        self.job_id = job_id
        super().__init__("wait_timeout", f"{job_id} is {status}.")


class WebhookRefused(PathlaneError):
    def __init__(self, detail: str) -> None:
        super().__init__("webhook_refused", detail)
