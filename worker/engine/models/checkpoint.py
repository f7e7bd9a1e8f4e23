"""Checkpoint: where a model's files are, whether its licence was accepted, and what its weights hash to.

In: the settings `model` and `model_license`. Out: a `Checkpoint`, or ModelUnavailable with one sentence
that says what to do. It loads no weights and knows neither torch nor prompts.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from worker.engine.models.demo import CHECKPOINT, LICENSE
from worker.errors import ModelUnavailable

DEMO: Final = "demo"
ARCHITECTURE: Final = "qwen2_5_vl"
#: What the model cards say, as the hint for whoever has to accept it.
KNOWN_LICENSES: Final = {
    "WenchuanZhang/Patho-R1-3B": "CC-BY-NC-ND-4.0",
    "WenchuanZhang/Patho-R1-7B": "CC-BY-NC-ND-4.0",
}

_HUB_ID: Final = re.compile(r"^[\w.-]+/[\w.-]+$", re.ASCII)
_FILES: Final = ("*.safetensors", "*.json", "*.jinja", "*.txt")
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A complete Qwen2.5-VL checkpoint on this machine, and the right to use it."""

    #: what a reading names: `demo`, the hub id, or the name of the folder without its path
    name: str
    folder: Path
    license: str
    demonstration: bool


def check(model: str, license_accepted: str) -> None:
    """Raise ModelUnavailable unless the model is on this machine and its licence accepted."""
    find(model, license_accepted, download=False)


def find(model: str, license_accepted: str, *, download: bool) -> Checkpoint:
    """The checkpoint; one that is named by its hub id is fetched if `download` says so."""
    if model == DEMO:
        _must_be_complete(CHECKPOINT, "The bundled demonstration model: install Pathlane again.")
        return Checkpoint(name=DEMO, folder=CHECKPOINT, license=LICENSE, demonstration=True)
    if not license_accepted.strip():
        raise ModelUnavailable(_license_hint(model))
    folder = Path(model)
    if folder.is_dir():
        _must_be_complete(folder, "Set PATHLANE_MODEL to a folder that holds all files of one.")
        name = folder.resolve().name
    elif _HUB_ID.match(model):
        folder, name = _in_hub_cache(model, download=download), model
        _must_be_complete(folder, "Fetch it from the hub again, or set PATHLANE_MODEL to a local folder.")
    else:
        raise ModelUnavailable(
            "Set PATHLANE_MODEL to a folder on this machine, a hub id (owner/name) or `demo`."
        )
    return Checkpoint(name=name, folder=folder, license=license_accepted.strip(), demonstration=False)


def weights_digest(folder: Path) -> str:
    """`sha256:` over name, length and content of each safetensors file, in the order of their names."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors"), key=lambda path: path.relative_to(folder).as_posix()):
        total.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                total.update(block)
    return f"sha256:{total.hexdigest()}"


def _license_hint(model: str) -> str:
    known = KNOWN_LICENSES.get(model)
    value = f"`{known}`" if known else "the name of that licence"
    return f"Read the licence on its model card and set PATHLANE_MODEL_LICENSE to {value} if you accept it."


def _must_be_complete(folder: Path, advice: str) -> None:
    config = _json(folder / "config.json")
    weights = set(_json(folder / "model.safetensors.index.json").get("weight_map", {}).values())
    needed = weights or {"model.safetensors"}
    if config.get("model_type") != ARCHITECTURE or not all((folder / name).is_file() for name in needed):
        raise ModelUnavailable(
            f"There is no complete Qwen2.5-VL checkpoint with safetensors weights. {advice}"
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _in_hub_cache(model: str, *, download: bool) -> Path:
    """The folder of a snapshot; what is complete here already is used without asking the hub."""
    from huggingface_hub import constants, snapshot_download  # noqa: PLC0415  it is slow to import
    from huggingface_hub.utils.tqdm import disable_progress_bars  # noqa: PLC0415

    constants.HF_HUB_DISABLE_TELEMETRY = True
    disable_progress_bars()
    for local_only in (True, False) if download else (True,):
        try:
            return Path(snapshot_download(model, allow_patterns=list(_FILES), local_files_only=local_only))
        except Exception as error:  # noqa: BLE001  its own, httpx's and the system's errors alike
            failure = error
    raise ModelUnavailable(_hub_hint(model, failure))


def _hub_hint(model: str, failure: Exception) -> str:
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError  # noqa: PLC0415

    if isinstance(failure, GatedRepoError | RepositoryNotFoundError):
        return (
            f"The hub refused {model}: accept its licence on its page there and set HF_TOKEN to a token of "
            "that account, or set PATHLANE_MODEL to a local folder."
        )
    if isinstance(failure, HfHubHTTPError):
        return f"The hub could not give {model}: try later, or set PATHLANE_MODEL to a local folder."
    return (
        f"{model} is not on this machine: accept its licence on the hub, set HF_TOKEN and start a worker "
        "with access to the hub once, or set PATHLANE_MODEL to a local folder."
    )
