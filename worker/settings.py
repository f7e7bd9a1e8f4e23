"""Settings: `PATHLANE_*` from the environment, frozen, in sections. Only entrances read them.

In: the environment. Out: frozen values that are passed down. Every field says its meaning, unit and
default; `docs/reference/settings.md` is made from these docstrings.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic import field_validator as check
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

#: sun_path holds 108 bytes on Linux, 104 on macOS
LONGEST_SOCKET_PATH = 100


class SettingsError(ValueError):
    """A PATHLANE_* variable cannot be used; the text names the variable, never its value."""


class _Section(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="PATHLANE_", frozen=True, extra="ignore", use_attribute_docstrings=True
    )


class StoreSettings(_Section):
    database_url: SecretStr = SecretStr("sqlite:///pathlane.db")
    """Where jobs and readings are kept: `postgresql+psycopg://...` or `sqlite:///...`."""
    lease_seconds: Annotated[float, Field(ge=1, le=600)] = 30
    """How long a worker may be silent before its jobs are given to another, in seconds."""
    patience_minutes: Annotated[float, Field(ge=0.1)] = 30
    """How long a routine job waits before it is lifted to urgent, in minutes."""
    queue_limit: Annotated[int, Field(ge=0)] = 100_000
    """Queued jobs at which STAT is refused; urgent at 95 % of it, routine at 80 %. 0 is no limit."""


class QueueSettings(_Section):
    broker_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """The Redis or Valkey that carries the rings: `redis://`, `rediss://`, `redis+socket://`."""
    sweep_seconds: Annotated[float, Field(ge=0.2, le=60)] = 5
    """How often each worker looks for lost leases, lost rings and due deliveries, in seconds."""
    grace_seconds: Annotated[float, Field(ge=0, le=3600)] = 300
    """How long running cases may go on after SIGTERM before they go back to the queue, in seconds."""


class ModelSettings(_Section):
    model: str = "demo"
    """A folder, a hub id such as `WenchuanZhang/Patho-R1-3B`, or `demo`; with `served`, its name there."""
    model_license: str = ""
    """The licence of the model, set by whoever read and accepted it; kept with every reading."""
    engine: Literal["in-flight", "reference", "served"] = "in-flight"
    """`in-flight` writes answers side by side; `reference` one by one; `served` asks a server for them."""
    device: str = "auto"
    """`auto` (the first GPU, else the CPU), `cpu`, or `cuda:N`."""
    slots: Annotated[int, Field(ge=1, le=256)] = 4
    """How many cases one device reads at the same time, over all processes that use it."""
    ahead: Annotated[int, Field(ge=0, le=64)] = 1
    """Cases that a worker makes ready (fetched, decoded, prepared) while its slots are all taken."""
    slots_dir: Path = Path("/run/lock/pathlane")
    """Folder of the slot files; processes and containers that share a GPU must share it."""
    max_pixels: Annotated[int, Field(ge=28 * 28, le=12_845_056)] = 1_003_520
    """Pixels of one image as the model sees it; larger ones are scaled down (28 x 28 a token)."""
    max_image_tokens: Annotated[int, Field(ge=1024, le=131_072)] = 10_240
    """Tokens all images of a question may take; they share them by size, and one alone has its own."""
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 2048
    """Tokens the model may write for one answer."""
    answer_seconds: Annotated[float, Field(ge=1, le=3600)] = 300
    """Time in the engine for a request that names no `timeout` of its own, in seconds."""
    step_seconds: Annotated[float, Field(ge=1, le=86400)] | None = None
    """Seconds of one step after which the worker counts as stuck; by default 60 on a GPU, 900 on the CPU."""
    served_url: str = ""
    """With `served`: the base URL of an OpenAI-compatible server, `https://gpu.example.org:8000/v1`."""
    served_plain_http: bool = False
    """Whether that URL may be `http:`; only for a server on the same machine or a closed network."""
    served_token_file: Path | None = None
    """File with the token that server asks for (`Authorization: Bearer`); without it, none is sent."""
    served_silence_seconds: Annotated[float, Field(ge=1, le=3600)] = 120
    """How long that server may send nothing before a case goes back to the queue, in seconds."""


class ImagingSettings(_Section):
    uploads_dir: Path = Path("uploads")
    """Folder of uploaded images, named by their digest; gateway and workers must share it."""
    uploads_reserve_bytes: Annotated[int, Field(ge=0)] = 256 * 1024 * 1024
    """Uploads are refused when they would leave less than this free on their disk, in bytes."""
    upload_days: Annotated[float, Field(ge=0)] = 30
    """How long an upload is kept after it was last sent or asked about, in days; 0 keeps them for ever."""
    image_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders under which `file:` references may open, separated by `:`; none by default."""
    max_image_bytes: Annotated[int, Field(ge=1024)] = 512 * 1024 * 1024
    """Largest file that is read whole, in bytes."""
    max_slide_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024 * 1024
    """Largest upload, and largest file or DICOM series that is read in pieces, in bytes."""
    max_image_pixels: Annotated[int, Field(ge=1024)] = 100_000_000
    """Largest picture that is decoded, in pixels of one frame."""
    slide_magnification: Annotated[float, Field(gt=0, le=100)] = 10
    """Of the windows chosen on a whole slide, where a request names none; 10 is 1 micron per pixel."""
    decoders: Annotated[int, Field(ge=1, le=64)] = 4
    """How many child processes a worker has at most to decode images in; each starts when it is needed."""
    decoder_memory_bytes: Annotated[int, Field(ge=64 * 1024 * 1024)] = 4 * 1024 * 1024 * 1024
    """Address space one of them may take beyond what it starts with, in bytes."""
    decoder_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 60
    """How long one image may take to decode, without the time its bytes take to come, in seconds."""
    keep_patches: bool = True
    """Whether the exact pictures a model was shown are kept beside the uploads, for whoever reviews it."""
    fetch_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts and networks `https:` references may point to, separated by `,`; none by default."""
    fetch_whole_bytes: Annotated[int, Field(ge=1024)] = 64 * 1024 * 1024
    """A remote file larger than this is read in pieces where its server can do that, in bytes."""
    fetch_pieces_bytes: Annotated[int, Field(ge=1024)] = 1024 * 1024 * 1024
    """Most that is fetched in pieces for one image, in bytes."""
    stores: Annotated[tuple[str, ...], NoDecode] = ()
    """What `s3:`, `gs:` and `abfs:` may name: `s3://bucket/prefix`, separated by `,`; none by default."""
    store_endpoint: str = ""
    """URL of an S3-compatible store that is not Amazon's: `https://minio.example.org:9000`."""
    store_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts and networks of `s3:` stores, separated by `,`: `*.amazonaws.com`; none by default."""
    store_plain_http: bool = False
    """Whether that endpoint may be `http:`; only for a store on the same machine or a closed network."""
    archives: Path | None = None
    """The DICOMweb archives that `dicomweb:` references may name (`docs/how-to/connect-an-archive.md`)."""

    @check("image_roots", mode="before")
    @classmethod
    def _folders(cls, text: object) -> object:
        return tuple(Path(p) for p in text.split(os.pathsep) if p) if isinstance(text, str) else text

    @check("fetch_hosts", "store_hosts", "stores", mode="before")
    @classmethod
    def _hosts(cls, text: object) -> object:
        return _words(text)


class DeliverySettings(_Section):
    webhook_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts and networks webhooks may be sent to (`lis.example.org`, `10.1.0.0/16`); none by default."""
    webhook_plain_http: bool = False
    """Whether a webhook URL may be `http:`; only for receivers on the same machine or a closed network."""
    webhook_seconds: Annotated[float, Field(ge=1, le=60)] = 20
    """Time one attempt may take, in seconds."""
    public_url: str = "http://127.0.0.1:8000"
    """The gateway's address as receivers reach it; result links begin with it."""

    @check("webhook_hosts", mode="before")
    @classmethod
    def _hosts(cls, text: object) -> object:
        return _words(text)


class ApiSettings(_Section):
    api_host: str = "127.0.0.1"
    """Address the gateway listens on."""
    api_port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port the gateway listens on; 0 takes a free one."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 256 * 1024
    """Largest JSON body, in bytes."""
    api_requests_per_second: Annotated[float, Field(ge=0)] = 50
    """Requests one API key may make in the long run, in each gateway process; 0 is no limit."""
    api_burst: Annotated[int, Field(ge=1)] = 200
    """Requests one API key may make at once, when it has made none for a while."""
    api_listeners: Annotated[int, Field(ge=1)] = 1000
    """Open streams of events in each gateway process."""
    api_stream_seconds: Annotated[float, Field(ge=1)] = 600
    """How long one stream of events may last, in seconds; then it is asked for anew, and the key checked."""
    console_hours: Annotated[float, Field(gt=0, le=168)] = 12
    """How long somebody stays signed in to the console, in hours."""


class SignOnSettings(_Section):
    oidc_issuer: str = ""
    """Issuer URL of the OpenID provider at which people sign in to the console; without it, there is none."""
    oidc_client_id: str = ""
    """Our client id there; its redirect URI is `PATHLANE_PUBLIC_URL` and `/v1/session/provider/back`."""
    oidc_secret_file: Path | None = None
    """File with the client secret; without it, we are a public client (PKCE protects both)."""
    oidc_groups: Annotated[tuple[str, ...], NoDecode] = ()
    """Who may do what: `pathologists:read+review,it:read+operate`; `*` is anybody whom the provider knows."""
    oidc_groups_claim: str = "groups"
    """The claim that names a person's groups; a dot leads into a claim (`realm_access.roles`)."""
    oidc_name_claim: str = "preferred_username"
    """The claim that names a person in reviews and in the audit: one that its owner cannot change."""
    oidc_scope: str = "openid profile email"
    """Scopes that are asked for."""
    oidc_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Further hosts and networks of that provider; the issuer's own host is allowed."""
    oidc_plain_http: bool = False
    """Whether the provider may be `http:`; only for one on the same machine or a closed network."""

    @check("oidc_groups", "oidc_hosts", mode="before")
    @classmethod
    def _listed(cls, text: object) -> object:
        return _words(text)


class LisSettings(_Section):
    rules: Path | None = None
    """The site's rules: which event asks which question (`docs/reference/rules.md`)."""
    seal_keys_file: Path | None = None
    """File with the keys that seal messages and names of patients, one a line, the newest first."""
    message_days: Annotated[float, Field(ge=0)] = 30
    """How long the text of a received message, and of a receiver's answer, is kept, in days."""
    hl7_host: str = "127.0.0.1"
    """Address the HL7 listener listens on."""
    hl7_port: Annotated[int, Field(ge=0, le=65535)] = 2575
    """Port of the HL7 listener (MLLP)."""
    hl7_certificate: Path | None = None
    """Certificate chain of the HL7 listener (PEM); with it, connections are encrypted."""
    hl7_key: Path | None = None
    """Private key of that certificate (PEM)."""
    hl7_client_ca: Path | None = None
    """Authorities whose certificates senders must show (PEM); without it, senders show none."""
    hl7_message_bytes: Annotated[int, Field(ge=1024)] = 4 * 1024 * 1024
    """Largest HL7 message, in bytes."""
    hl7_idle_seconds: Annotated[float, Field(ge=1)] = 3600
    """How long an HL7 connection may be silent, in seconds."""
    hl7_application: str = "PATHLANE"
    """Our name in messages we send (MSH-3)."""
    hl7_facility: str = ""
    """Our facility in messages we send (MSH-4)."""
    hl7_results: Literal["ORU^R01", "OUL^R22"] = "ORU^R01"
    """The message that results are sent as."""
    hl7_receiving_application: str = ""
    """Who results are for (MSH-5); without it, whoever sent the order."""
    hl7_receiving_facility: str = ""
    """The facility results are for (MSH-6)."""
    lis_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts and networks of a hospital's systems: results and FHIR go nowhere else; none by default."""
    lis_authorities: Path | None = None
    """Authorities of the systems results are sent to (PEM); without it, the machine's and the public ones."""
    lis_certificate: Path | None = None
    """Our certificate chain for those systems (PEM), where they ask for one."""
    lis_key: Path | None = None
    """Private key of that certificate (PEM)."""
    dicom_host: str = "127.0.0.1"
    """Address the DICOM listener listens on."""
    dicom_port: Annotated[int, Field(ge=0, le=65535)] = 11112
    """Port of the DICOM listener."""
    dicom_title: str = "PATHLANE"
    """Our application entity title."""
    dicom_callers: Annotated[tuple[str, ...], NoDecode] = ()
    """Application entity titles that may send to us, separated by `,`; any when there is none."""
    dicom_quiet_seconds: Annotated[float, Field(ge=1)] = 30
    """How long nothing must come for a DICOM series before it counts as complete, in seconds."""
    lis_archive: str = ""
    """Name of the archive (PATHLANE_ARCHIVES) in which the DICOM lies that orders name and nobody sent us."""

    fhir_url: str = ""
    """Base URL of the FHIR R4 server that orders are read from; without it, none are."""
    fhir_name: str = "FHIR"
    """What the rules call that server (`match: {sender: ...}`)."""
    fhir_owner: str = ""
    """`Device/ID` that Tasks for us are owned by; without it, Tasks are not asked for."""
    fhir_poll_seconds: Annotated[float, Field(ge=1)] = 15
    """How often that server is asked what has changed, in seconds."""
    fhir_token_url: str = ""
    """Where access tokens are asked for (OAuth 2.0 client credentials); without it, none are."""
    fhir_client_id: str = ""
    """Our client id there."""
    fhir_secret_file: Path | None = None
    """File with the client secret."""
    fhir_key_file: Path | None = None
    """File with the private key (PEM) of SMART backend services; instead of a client secret."""
    fhir_key_id: str = ""
    """`kid` of that key."""
    fhir_scope: str = "system/*.rs"
    """Scopes that are asked for."""
    fhir_subscription: str = ""
    """Id of our Subscription; its notifications come to /v1/fhir/notifications."""
    fhir_subscription_secret_file: Path | None = None
    """File with the secrets that a notification may show as `Authorization: Bearer`, one a line."""

    @check("lis_hosts", "dicom_callers", mode="before")
    @classmethod
    def _listed(cls, text: object) -> object:
        return _words(text)


class TelemetrySettings(_Section):
    metrics_port: Annotated[int, Field(ge=0, le=65000)] = 0
    """First of the ports that metrics are answered on (`docs/how-to/monitor.md`); 0 answers on none."""
    metrics_host: str = "127.0.0.1"
    """Address that metrics are answered on, without a key: they say nothing of a case."""
    traces_url: str = ""
    """Where traces go (OTLP over HTTP, `http://127.0.0.1:4318/v1/traces`); without it, there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    store: StoreSettings
    queue: QueueSettings
    model: ModelSettings
    imaging: ImagingSettings
    delivery: DeliverySettings
    api: ApiSettings
    sign_on: SignOnSettings
    lis: LisSettings
    telemetry: TelemetrySettings
    log_level: str = "info"


def _words(text: object) -> object:
    return tuple(word.strip() for word in text.split(",") if word.strip()) if isinstance(text, str) else text


def read_settings(log_level: str | None = None) -> Settings:
    """All sections from the environment. Raises SettingsError that names the variable."""
    try:
        return Settings(
            store=StoreSettings(),
            queue=QueueSettings(),
            model=ModelSettings(),
            imaging=ImagingSettings(),
            delivery=DeliverySettings(),
            api=ApiSettings(),
            sign_on=SignOnSettings(),
            lis=LisSettings(),
            telemetry=TelemetrySettings(),
            log_level=log_level or os.environ.get("PATHLANE_LOG_LEVEL", "info"),  # noqa: TID251
        )
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"PATHLANE_{str(problem['loc'][0]).upper()}: {problem['msg']}"


def embedded_environment(data: Path, given: Mapping[str, str]) -> dict[str, str]:
    """The environment of `pathlane up --data DIR`: everything in one folder, nothing outside it.

    Results go to this machine only, unless `given` says where else.
    """
    loopback = {
        "PATHLANE_WEBHOOK_HOSTS": "127.0.0.0/8,::1",
        "PATHLANE_WEBHOOK_PLAIN_HTTP": "true",
        "PATHLANE_LIS_HOSTS": "127.0.0.0/8,::1",
        "PATHLANE_RULES": str(data / "rules.yaml"),
    }
    own = {
        "PATHLANE_DATABASE_URL": f"sqlite:///{data / 'pathlane.db'}",
        "PATHLANE_BROKER_URL": f"redis+socket://{embedded_socket(data)}",
        "PATHLANE_UPLOADS_DIR": str(data / "uploads"),
        "PATHLANE_SLOTS_DIR": str(data / "slots"),
        "PATHLANE_SEAL_KEYS_FILE": str(data / "seal-keys"),
    }
    return loopback | dict(given) | own


def embedded_socket(data: Path) -> Path:
    """The broker's socket: in the data folder, unless its path is too long for a socket's address."""
    inside = data / "valkey.sock"
    if len(str(inside).encode()) <= LONGEST_SOCKET_PATH:
        return inside
    name = hashlib.sha256(str(data).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"pathlane-{name}.sock"
