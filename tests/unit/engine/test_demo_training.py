"""What training learns from, and that it computes the loss that the model itself would."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from worker.engine.models.demo.batches import IGNORED, Batches, Plan  # noqa: E402
from worker.engine.models.demo.network import build_model, build_processor  # noqa: E402
from worker.engine.models.demo.train import Recipe, _sentences, _speaking_loss, train  # noqa: E402

PLAN = Plan(seed=3, steps=4, images=3, questions=2)


@pytest.fixture(scope="module")
def processor():
    return build_processor(_sentences(3))


@pytest.fixture(scope="module")
def model(processor):
    return build_model(3, processor.tokenizer)


def test_the_same_step_of_the_same_seed_is_the_same_batch(processor):
    first, second = Batches(PLAN, processor)[1], Batches(PLAN, processor)[1]
    assert torch.equal(first.input_ids, second.input_ids)
    assert torch.equal(first.pixel_values, second.pixel_values)
    assert not torch.equal(first.pixel_values, Batches(PLAN, processor)[2].pixel_values)


def test_only_the_reply_is_learned(processor):
    batch = Batches(PLAN, processor)[0]
    for ids, labels in zip(batch.input_ids, batch.labels, strict=True):
        learned = processor.tokenizer.decode(ids[labels != IGNORED])
        assert learned.startswith("<think>")
        assert learned.endswith("</answer><|im_end|>")


def test_the_loss_is_the_one_that_the_model_computes_itself(processor, model):
    batch = Batches(PLAN, processor)[0]
    with torch.no_grad():
        seen = model.model.get_image_features(batch.pixel_values, batch.image_grid_thw).pooler_output
        ours = _speaking_loss(model, seen, batch)
        theirs = model(
            input_ids=batch.input_ids,
            attention_mask=(batch.input_ids != processor.tokenizer.pad_token_id).long(),
            labels=batch.labels,
            mm_token_type_ids=batch.mm_token_type_ids,
            pixel_values=torch.cat(
                [part for part in batch.pixel_values.split(_patches(batch)) for _ in range(PLAN.questions)]
            ),
            image_grid_thw=batch.image_grid_thw.repeat_interleave(PLAN.questions, dim=0),
        ).loss
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-4)


def _patches(batch):
    return batch.image_grid_thw.prod(dim=1).tolist()


def test_any_picture_is_brought_within_the_same_pixels(processor):
    from PIL import Image

    for size in ((8, 8), (900, 80), (512, 512), (100, 700)):
        grid = processor.image_processor(images=[Image.new("RGB", size)], return_tensors="pt")[
            "image_grid_thw"
        ]
        assert int(grid.prod()) <= 64


def test_a_run_leaves_a_checkpoint_and_its_recipe(tmp_path, capsys):
    recipe = Recipe(seed=1, steps=3, images=2, looking_share=0.4, practice_steps=1, practice_images=2)
    train(recipe, tmp_path)
    assert {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"} <= {
        path.name for path in tmp_path.iterdir()
    }
    recipe = json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))
    assert (recipe["seed"], recipe["steps"]) == (1, 3)
    assert recipe["cpu_seconds"] >= 0
    assert "step     4/4" in capsys.readouterr().out
