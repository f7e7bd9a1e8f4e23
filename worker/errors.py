"""The error tree: what can go wrong, who must act, whether trying again can help.

    PathlaneError
    ├── InputError                 the asker must change something; never retried
    │   ├── InvalidRequest
    │   │   └── NameTaken
    │   ├── BodyTooLarge
    │   ├── UnknownEndpoint
    │   ├── IdempotencyConflict
    │   ├── NotFound
    │   │   └── PatchNotKept
    │   ├── NotEnded
    │   ├── NoReading
    │   ├── EndpointGone
    │   ├── NotAllowed
    │   ├── ScopeMissing
    │   ├── SecretInvalid
    │   ├── SignatureInvalid
    │   ├── MessageRefused
    │   │   ├── MessageUnreadable
    │   │   ├── MessageTooLarge
    │   │   ├── CharactersInvalid
    │   │   ├── CharacterSetUnsupported
    │   │   ├── VersionUnsupported
    │   │   ├── MessageUnsupported
    │   │   ├── FieldMissing
    │   │   └── FieldInvalid
    │   ├── FhirUnreadable
    │   ├── FhirOrderRefused
    │   └── ImageRefused
    │       ├── UnknownScheme
    │       ├── ReferenceForbidden
    │       ├── ImageMissing
    │       ├── ImageUnreadable
    │       ├── ImageTooLarge
    │       ├── UnsupportedImage
    │       │   └── UnsupportedTransferSyntax
    │       ├── RegionOutside
    │       ├── DecodingTooSlow
    │       └── DecodingCrashed
    ├── TransientError             retried, with backoff
    │   ├── QueueFull
    │   ├── RateLimited
    │   ├── TooManyListeners
    │   ├── DiskFull
    │   ├── FetchFailed
    │   ├── SlideIncomplete
    │   ├── DecoderUnavailable
    │   ├── SlotTimeout
    │   ├── GpuOutOfMemory
    │   ├── EngineStopped
    │   ├── PeerUnavailable
    │   │   ├── ServerUnavailable
    │   │   └── FhirUnavailable
    │   ├── StoreUnavailable
    │   └── BrokerUnavailable
    ├── EngineError                the operator must act; not retried
    │   ├── ModelUnavailable
    │   └── PromptUnreadable
    ├── SchemaOutdated             the operator must migrate
    ├── SealBroken                 the operator must give the key back
    ├── FhirRejected               the other side must act, or the operator
    ├── TokenRefused               the operator must give other credentials
    ├── RulesInvalid               the operator must correct the site's rules
    ├── AttemptError               something about this attempt, not about the case
    │   ├── LeaseLost
    │   ├── AttemptsExhausted
    │   └── InternalError
    └── AddressRefused             an outgoing request the operator's list does not allow

A class's docstring is what a caller may see. Nothing raised here ever carries a question, a path, an
image name, or a name of a person: `detail` is for numbers and names of formats.
"""

from __future__ import annotations

import re
from typing import ClassVar


class PathlaneError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """A class's code is its name, in small letters; `docs/reference/errors.md` lists them."""
        super().__init_subclass__()
        if "code" not in vars(cls):
            cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(self, detail: str = "") -> None:
        self.detail = detail
        super().__init__(self.public)

    @property
    def public(self) -> str:
        """One or two sentences that are safe to show to whoever asked."""
        sentence = (type(self).__doc__ or "").strip()
        return f"{sentence} {self.detail}".strip() if self.detail else sentence


class InputError(PathlaneError):
    """The request cannot be carried out as it stands."""


class InvalidRequest(InputError):
    """The request is not valid."""

    def __init__(self, problems: tuple[tuple[str, str], ...]) -> None:
        #: (field, what is wrong with it); never the value that was sent
        self.problems = problems
        super().__init__("; ".join(f"{field}: {reason}" for field, reason in problems))


class NameTaken(InvalidRequest):
    """The name is taken."""


class BodyTooLarge(InputError):
    """The body is larger than this server accepts."""


class UnknownEndpoint(InputError):
    """No such endpoint, or it no longer takes events."""


class IdempotencyConflict(InputError):
    """This idempotency key was used before with another request."""


class NotFound(InputError):
    """There is nothing under this id."""


class PatchNotKept(NotFound):
    """The picture that the model was shown was not kept, or is there no longer."""


class NotEnded(InputError):
    """The job has not ended yet."""


class NoReading(InputError):
    """The job has no reading."""


class EndpointGone(InputError):
    """The endpoint has said that it takes no more events; it must be resumed first."""


class NotAllowed(InputError):
    """A valid API key is needed."""


class ScopeMissing(InputError):
    """The API key does not have the scope that this needs."""


class SecretInvalid(InputError):
    """A webhook secret is `whsec_` and the base64 of 24 to 64 random bytes."""


class SignatureInvalid(InputError):
    """The webhook's signature is missing, malformed, too old, too new, or not made with this secret."""


class FhirUnreadable(InputError):
    """This is not FHIR R4 in JSON."""


class FhirOrderRefused(InputError):
    """The resource lacks something without which it is no order."""


class MessageRefused(InputError):
    """The message was refused."""

    def __init__(self, detail: str = "", *, where: str = "") -> None:
        #: the field of the message that it is about: `MSH-18`
        self.where = where
        super().__init__(detail)


class MessageUnreadable(MessageRefused):
    """The message cannot be read."""


class MessageTooLarge(MessageRefused):
    """The message is longer than this server accepts."""


class CharactersInvalid(MessageRefused):
    """The message holds bytes that its character set does not have."""


class CharacterSetUnsupported(MessageRefused):
    """The message's character set is not supported."""


class VersionUnsupported(MessageRefused):
    """Messages of this version are not supported."""


class MessageUnsupported(MessageRefused):
    """Messages of this kind are not taken from this sender."""


class FieldMissing(MessageRefused):
    """A field of the message that is needed is empty."""


class FieldInvalid(MessageRefused):
    """A field of the message holds what cannot be used."""


class ImageRefused(InputError):
    """The image was refused."""


class UnknownScheme(ImageRefused):
    """Image references of this kind are not supported."""


class ReferenceForbidden(ImageRefused):
    """The image reference points outside what this server may open."""


class ImageMissing(ImageRefused):
    """There is no image under this reference."""


class ImageUnreadable(ImageRefused):
    """The image is damaged or not what it claims to be."""


class ImageTooLarge(ImageRefused):
    """The image has more pixels, frames or bytes than this server accepts."""


class UnsupportedImage(ImageRefused):
    """Images of this format are not supported."""


class UnsupportedTransferSyntax(UnsupportedImage):
    """The DICOM transfer syntax is not supported."""


class RegionOutside(ImageRefused):
    """The requested region or frame lies outside the image."""


class DecodingTooSlow(ImageRefused):
    """Decoding the image took longer than this server allows."""


class DecodingCrashed(ImageRefused):
    """Decoding the image ended the process that was doing it."""


class TransientError(PathlaneError):
    """Something is not available just now; it will be tried again."""

    code = "transient"
    retryable = True
    #: when whoever asked may ask again
    retry_seconds: int = 5

    def __init__(self, detail: str = "", *, retry_seconds: int | None = None) -> None:
        if retry_seconds is not None:
            self.retry_seconds = retry_seconds
        super().__init__(detail)


class QueueFull(TransientError):
    """So many jobs wait that no more of this priority are taken just now."""

    retry_seconds = 60


class RateLimited(TransientError):
    """This API key asks too often."""

    retry_seconds = 1


class TooManyListeners(TransientError):
    """So many listen for events that no more are taken just now."""


class DiskFull(TransientError):
    """There is no room for it on the disk just now."""

    retry_seconds = 60


class FetchFailed(TransientError):
    """The image could not be fetched."""


class SlideIncomplete(TransientError):
    """Parts of the slide are not there yet; it will be tried again."""

    retry_seconds = 60


class DecoderUnavailable(TransientError):
    """No process to decode the image in is available just now."""


class SlotTimeout(TransientError):
    """No slot on the device came free in time."""


class GpuOutOfMemory(TransientError):
    """The device ran out of memory."""


class EngineStopped(TransientError):
    """The engine stopped before it came to an answer."""

    def __init__(self, *, begun: bool = True) -> None:
        #: whether the model had begun to read the case; if not, the case cannot be the reason
        self.begun = begun
        super().__init__()


class PeerUnavailable(TransientError):
    """Another system did not answer as it should; it will be asked again."""

    def __init__(self, reason: str, *, http_status: int | None = None, retry_after: str = "") -> None:
        #: one word: `unreachable`, `timeout`, `busy`, `unreadable` ...
        self.reason = reason
        self.http_status = http_status
        #: the header as it came
        self.retry_after = retry_after
        super().__init__(" ".join(filter(None, (reason, str(http_status or "")))))


class ServerUnavailable(PeerUnavailable):
    """The model's server did not answer as it should; it will be asked again."""


class FhirUnavailable(PeerUnavailable):
    """The FHIR server did not answer as it should; it will be asked again."""


class StoreUnavailable(TransientError):
    """The database did not answer."""


class BrokerUnavailable(TransientError):
    """The message broker did not answer."""


class EngineError(PathlaneError):
    """The model could not be run."""


class ModelUnavailable(EngineError):
    """The model cannot be loaded."""


class PromptUnreadable(EngineError):
    """The model cannot take this question or these images."""


class SchemaOutdated(PathlaneError):
    """The database is not at this version's schema: run `pathlane migrate`."""


class SealBroken(PathlaneError):
    """What was sealed cannot be opened: PATHLANE_SEAL_KEYS lacks the key it was sealed with."""


class RulesInvalid(PathlaneError):
    """The site's rules are not valid."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        #: `file:line: place: what is wrong`; all of them
        self.problems = problems
        super().__init__("; ".join(problems))


class FhirRejected(PathlaneError):
    """The FHIR server did not accept the request."""

    def __init__(self, http_status: int, issues: tuple[str, ...] = ()) -> None:
        self.http_status = http_status
        #: codes of the value set IssueType, and nothing else of the server's OperationOutcome
        self.issues = issues
        super().__init__(" ".join((str(http_status), *issues)))


class TokenRefused(PathlaneError):
    """The authorization server gave no access token."""


class AttemptError(PathlaneError):
    """This attempt came to nothing."""


class LeaseLost(AttemptError):
    """The job was given to another worker in the meantime."""


class AttemptsExhausted(AttemptError):
    """The job was tried as often as is allowed and never came to an end."""


class InternalError(AttemptError):
    """An error inside the worker, which has logged its kind and place."""

    retryable = True


class AddressRefused(PathlaneError):
    """The address is not on the operator's list of allowed hosts and networks."""
