"""Reasoners: which one the settings ask for, and what the worker must know of it before it runs.

In: the section `model` of the settings. Out: a Reasoner, not yet loaded; whether it could be; on which
devices; how long a step of it may take. It imports no torch: a worker that only asks a server needs none.
"""

from __future__ import annotations

from worker.engine import devices
from worker.engine.models.checkpoint import check
from worker.engine.models.in_flight import InFlightReasoner
from worker.engine.models.loading import Source
from worker.engine.models.reference import ReferenceReasoner
from worker.engine.models.served import Served, ServedReasoner, listed
from worker.engine.models.served_call import PATIENCE_SECONDS
from worker.engine.models.served_server import Server
from worker.engine.reasoner import Identity, Reasoner
from worker.settings import ModelSettings, SettingsError

#: limits of one step of the model: a prefill of several large images takes long on the CPU
STEP_SECONDS, STEP_SECONDS_ON_CPU = 60.0, 900.0


def reasoner_of(model: ModelSettings) -> Reasoner:
    """Raises SettingsError, and ModelUnavailable for a server's URL that is none."""
    if model.engine == "served":
        return ServedReasoner(_served(model), _server(model), rows=model.slots)
    source = Source(
        model=model.model,
        license_accepted=model.model_license,
        max_pixels=model.max_pixels,
        max_image_tokens=model.max_image_tokens,
    )
    if model.engine == "reference":
        return ReferenceReasoner(source)
    return InFlightReasoner(source, rows=model.slots, max_new_tokens=model.max_new_tokens)


def check_model(model: ModelSettings) -> None:
    """Raise ModelUnavailable unless the model is on this machine, or its server lists it.

    Also SettingsError, and ServerUnavailable where there is no server just now.
    """
    if model.engine == "served":
        listed(_server(model), _served(model))
    else:
        check(model.model, model.model_license)


def devices_of(model: ModelSettings) -> tuple[str, ...]:
    """Those worth a worker each. A server has devices of its own: one worker asks it."""
    return ("auto",) if model.engine == "served" else devices.visible()


def step_seconds(model: ModelSettings, identity: Identity) -> float:
    """How long nothing may move before the worker counts as stuck."""
    if model.engine == "served":  # which gives a silent server up by itself: the watchdog comes second
        return model.served_silence_seconds + PATIENCE_SECONDS + STEP_SECONDS
    return STEP_SECONDS_ON_CPU if identity.device == "cpu" else STEP_SECONDS


def _served(model: ModelSettings) -> Served:
    return Served(
        model=model.model,
        license_accepted=model.model_license,
        max_pixels=model.max_pixels,
        max_new_tokens=model.max_new_tokens,
        max_image_tokens=model.max_image_tokens,
    )


def _server(model: ModelSettings) -> Server:
    return Server(
        url=model.served_url,
        token=_token(model),
        plain_http=model.served_plain_http,
        silence_seconds=model.served_silence_seconds,
    )


def _token(model: ModelSettings) -> str:
    """One word that can stand in a header. Raises SettingsError, which does not quote it."""
    if model.served_token_file is None:
        return ""
    try:
        token = model.served_token_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError):
        raise SettingsError("PATHLANE_SERVED_TOKEN_FILE: the file cannot be read") from None
    if not token or not token.isprintable() or " " in token:
        raise SettingsError("PATHLANE_SERVED_TOKEN_FILE: the file must hold one token and nothing else")
    return token
