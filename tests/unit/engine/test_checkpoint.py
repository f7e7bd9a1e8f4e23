"""Where a checkpoint is, and whether it may be used: every refusal says in one sentence what to do."""

from __future__ import annotations

import json

import pytest

from worker.engine.models import checkpoint
from worker.engine.models.checkpoint import KNOWN_LICENSES, check, find, weights_digest
from worker.errors import ModelUnavailable

PATHO_R1 = "WenchuanZhang/Patho-R1-3B"


@pytest.fixture
def folder(tmp_path):
    """What looks complete from outside: a configuration and a file of weights."""
    path = tmp_path / "secret-ward" / "Some-Model"
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"}))
    (path / "model.safetensors").write_bytes(b"weights")
    return path


def refusal(model, license_accepted="CC-BY-4.0"):
    with pytest.raises(ModelUnavailable) as raised:
        check(str(model), license_accepted)
    assert "secret-ward" not in raised.value.public
    return raised.value.detail


def test_a_folder_is_found_under_its_name_without_its_path(folder):
    found = find(str(folder), " CC-BY-4.0 ", download=False)
    assert (found.name, found.folder, found.license, found.demonstration) == (
        "Some-Model",
        folder,
        "CC-BY-4.0",
        False,
    )


def test_the_demonstration_needs_no_licence(folder, monkeypatch):
    monkeypatch.setattr(checkpoint, "CHECKPOINT", folder)
    found = find("demo", "", download=False)
    assert (found.name, found.license, found.demonstration) == ("demo", "Apache-2.0", True)


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_model_without_an_accepted_licence_is_refused(folder, blank):
    assert "PATHLANE_MODEL_LICENSE" in refusal(folder, blank)


@pytest.mark.parametrize("model", KNOWN_LICENSES)
def test_the_refusal_names_the_licence_of_a_known_model(model):
    assert "`CC-BY-NC-ND-4.0`" in refusal(model, "")


def test_a_known_model_that_is_not_here_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    detail = refusal(PATHO_R1, KNOWN_LICENSES[PATHO_R1])
    assert all(word in detail for word in ("licence", "HF_TOKEN", "PATHLANE_MODEL"))


def test_a_name_that_is_neither_folder_nor_hub_id_is_refused():
    assert "PATHLANE_MODEL" in refusal("/secret-ward/none")


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    assert "safetensors" in refusal(folder)


def test_a_folder_that_lacks_one_of_its_shards_is_refused(folder):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "complete" in refusal(folder)
    (folder / "model-2.safetensors").write_bytes(b"more")
    check(str(folder), "CC-BY-4.0")


@pytest.mark.parametrize("config", ['{"model_type": "llama"}', "not json", "[]"])
def test_another_architecture_is_refused(folder, config):
    (folder / "config.json").write_text(config)
    assert "Qwen2.5-VL" in refusal(folder)


def test_the_digest_follows_names_and_contents_of_the_weights_alone(folder):
    first = weights_digest(folder)
    assert first.startswith("sha256:")
    (folder / "README.md").write_text("no weights")
    assert weights_digest(folder) == first
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert weights_digest(folder) != first


def test_bytes_that_move_from_one_file_to_the_next_change_the_digest(folder):
    (folder / "n.safetensors").write_bytes(b"")
    first = weights_digest(folder)
    (folder / "model.safetensors").write_bytes(b"weight")
    (folder / "n.safetensors").write_bytes(b"s")
    assert weights_digest(folder) != first
