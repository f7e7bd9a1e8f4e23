"""The error tree: what can go wrong, who must act, whether trying again can help.

    PathlaneError
    ├── InputError                 the asker must change something; never retried
    │   ├── InvalidRequest
    │   ├── BodyTooLarge
    │   ├── UnknownEndpoint
    │   ├── IdempotencyConflict
    │   ├── NotFound
    │   ├── NotAllowed
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
    │       └── RegionOutside
    ├── TransientError             retried, with backoff
    │   ├── FetchFailed
    │   ├── SlotTimeout
    │   ├── GpuOutOfMemory
    │   ├── EngineStopped
    │   ├── FhirUnavailable
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

from typing import ClassVar


class PathlaneError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

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

    code = "input_error"


class InvalidRequest(InputError):
    """The request is not valid."""

    code = "invalid_request"

    def __init__(self, problems: tuple[tuple[str, str], ...]) -> None:
        #: (field, what is wrong with it); never the value that was sent
        self.problems = problems
        super().__init__("; ".join(f"{field}: {reason}" for field, reason in problems))


class BodyTooLarge(InputError):
    """The body is larger than this server accepts."""

    code = "body_too_large"


class UnknownEndpoint(InputError):
    """No such endpoint, or it no longer takes events."""

    code = "unknown_endpoint"


class IdempotencyConflict(InputError):
    """This idempotency key was used before with another request."""

    code = "idempotency_conflict"


class NotFound(InputError):
    """There is nothing under this id."""

    code = "not_found"


class NotAllowed(InputError):
    """A valid API key is needed."""

    code = "not_allowed"


class SecretInvalid(InputError):
    """A webhook secret is `whsec_` and the base64 of 24 to 64 random bytes."""

    code = "secret_invalid"


class SignatureInvalid(InputError):
    """The webhook's signature is missing, malformed, too old, too new, or not made with this secret."""

    code = "signature_invalid"


class FhirUnreadable(InputError):
    """This is not FHIR R4 in JSON."""

    code = "fhir_unreadable"


class FhirOrderRefused(InputError):
    """The resource lacks something without which it is no order."""

    code = "fhir_order_refused"


class MessageRefused(InputError):
    """The message was refused."""

    code = "message_refused"

    def __init__(self, detail: str = "", *, where: str = "") -> None:
        #: the field of the message that it is about: `MSH-18`
        self.where = where
        super().__init__(detail)


class MessageUnreadable(MessageRefused):
    """The message cannot be read."""

    code = "message_unreadable"


class MessageTooLarge(MessageRefused):
    """The message is longer than this server accepts."""

    code = "message_too_large"


class CharactersInvalid(MessageRefused):
    """The message holds bytes that its character set does not have."""

    code = "characters_invalid"


class CharacterSetUnsupported(MessageRefused):
    """The message's character set is not supported."""

    code = "character_set_unsupported"


class VersionUnsupported(MessageRefused):
    """Messages of this version are not supported."""

    code = "version_unsupported"


class MessageUnsupported(MessageRefused):
    """Messages of this kind are not taken from this sender."""

    code = "message_unsupported"


class FieldMissing(MessageRefused):
    """A field of the message that is needed is empty."""

    code = "field_missing"


class FieldInvalid(MessageRefused):
    """A field of the message holds what cannot be used."""

    code = "field_invalid"


class ImageRefused(InputError):
    """The image was refused."""

    code = "image_refused"


class UnknownScheme(ImageRefused):
    """Image references of this kind are not supported."""

    code = "unknown_scheme"


class ReferenceForbidden(ImageRefused):
    """The image reference points outside what this server may open."""

    code = "reference_forbidden"


class ImageMissing(ImageRefused):
    """There is no image under this reference."""

    code = "image_missing"


class ImageUnreadable(ImageRefused):
    """The image is damaged or not what it claims to be."""

    code = "image_unreadable"


class ImageTooLarge(ImageRefused):
    """The image has more pixels, frames or bytes than this server accepts."""

    code = "image_too_large"


class UnsupportedImage(ImageRefused):
    """Images of this format are not supported."""

    code = "unsupported_image"


class UnsupportedTransferSyntax(UnsupportedImage):
    """The DICOM transfer syntax is not supported."""

    code = "unsupported_transfer_syntax"


class RegionOutside(ImageRefused):
    """The requested region or frame lies outside the image."""

    code = "region_outside"


class TransientError(PathlaneError):
    """Something is not available just now; it will be tried again."""

    code = "transient"
    retryable = True


class FetchFailed(TransientError):
    """The image could not be fetched."""

    code = "fetch_failed"


class SlotTimeout(TransientError):
    """No slot on the device came free in time."""

    code = "slot_timeout"


class GpuOutOfMemory(TransientError):
    """The device ran out of memory."""

    code = "gpu_out_of_memory"


class EngineStopped(TransientError):
    """The engine stopped before it came to an answer."""

    code = "engine_stopped"


class FhirUnavailable(TransientError):
    """The FHIR server did not answer as it should; it will be asked again."""

    code = "fhir_unavailable"

    def __init__(self, reason: str, *, http_status: int | None = None, retry_after: str = "") -> None:
        #: one word: `timeout`, `busy`, `unreadable` ...
        self.reason = reason
        self.http_status = http_status
        #: the header as it came
        self.retry_after = retry_after
        super().__init__(" ".join(filter(None, (reason, str(http_status or "")))))


class StoreUnavailable(TransientError):
    """The database did not answer."""

    code = "store_unavailable"


class BrokerUnavailable(TransientError):
    """The message broker did not answer."""

    code = "broker_unavailable"


class EngineError(PathlaneError):
    """The model could not be run."""

    code = "engine_error"


class ModelUnavailable(EngineError):
    """The model cannot be loaded."""

    code = "model_unavailable"


class PromptUnreadable(EngineError):
    """The model cannot take this question or these images."""

    code = "prompt_unreadable"


class SchemaOutdated(PathlaneError):
    """The database is not at this version's schema: run `pathlane migrate`."""

    code = "schema_outdated"


class SealBroken(PathlaneError):
    """What was sealed cannot be opened: PATHLANE_SEAL_KEYS lacks the key it was sealed with."""

    code = "seal_broken"


class RulesInvalid(PathlaneError):
    """The site's rules are not valid."""

    code = "rules_invalid"

    def __init__(self, problems: tuple[str, ...]) -> None:
        #: `file:line: place: what is wrong`; all of them
        self.problems = problems
        super().__init__("; ".join(problems))


class FhirRejected(PathlaneError):
    """The FHIR server did not accept the request."""

    code = "fhir_rejected"

    def __init__(self, http_status: int, issues: tuple[str, ...] = ()) -> None:
        self.http_status = http_status
        #: codes of the value set IssueType, and nothing else of the server's OperationOutcome
        self.issues = issues
        super().__init__(" ".join((str(http_status), *issues)))


class TokenRefused(PathlaneError):
    """The authorization server gave no access token."""

    code = "token_refused"


class AttemptError(PathlaneError):
    """This attempt came to nothing."""

    code = "attempt_error"


class LeaseLost(AttemptError):
    """The job was given to another worker in the meantime."""

    code = "lease_lost"


class AttemptsExhausted(AttemptError):
    """The job was tried as often as is allowed and never came to an end."""

    code = "attempts_exhausted"


class InternalError(AttemptError):
    """An error inside the worker, which has logged its kind and place."""

    code = "internal_error"
    retryable = True


class AddressRefused(PathlaneError):
    """The address is not on the operator's list of allowed hosts and networks."""

    code = "address_refused"
