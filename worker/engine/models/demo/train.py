"""Train: from a seed to a checkpoint that loads like any other Qwen2.5-VL.

In: a `Recipe` and an empty folder. Out: the checkpoint in that folder, with `training.json`, and
progress on standard output. Nothing but drawn tiles is learned from.
"""

from __future__ import annotations

import json
import math
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from worker.engine.models.demo.batches import IGNORED, Batch, Batches, Plan
from worker.engine.models.demo.network import build_model, build_processor
from worker.engine.models.demo.questions import Form, ask
from worker.engine.models.demo.tiles import Stain
from worker.engine.prompt import SYSTEM_PROMPTS, user_text
from worker.jobs.request import Style

#: what separates the tokenizer's sentences from everything else that is drawn from the same seed
_STREAM: Final = 2
_SENTENCES: Final = 4000
#: how much a letter counts against another token of a reply
_STRESS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that a checkpoint depends on."""

    seed: int = 0
    steps: int = 4200
    images: int = 32
    questions: int = 2
    looking_rate: float = 1.5e-3
    speaking_rate: float = 2e-3
    #: share of the steps in which it only looks: what a stain looks like is learned before words are
    looking_share: float = 0.82
    #: steps at the end in which only words learn: which letter goes with which option comes last
    practice_steps: int = 420
    practice_images: int = 16
    practice_questions: int = 5
    practice_rate: float = 1.2e-3

    @property
    def looking_steps(self) -> int:
        return int(self.steps * self.looking_share)


def train(recipe: Recipe, folder: Path) -> None:
    """Train and save. Progress is printed once every 25 steps."""
    started = time.monotonic()
    processor = build_processor(_sentences(recipe.seed))
    model = build_model(recipe.seed, processor.tokenizer)
    print(
        f"{sum(p.numel() for p in model.parameters()):,} weights, {len(processor.tokenizer):,} tokens",
        flush=True,
    )
    _run(recipe, model, processor, started)
    _practise(recipe, model, processor, started)
    _save(recipe, model, processor, folder, time.monotonic() - started)


def _sentences(seed: int) -> list[str]:
    rng = np.random.default_rng([seed, _STREAM])
    sentences = ["system user assistant"] * _SENTENCES
    for number in range(_SENTENCES):
        style = (Style.COT, Style.COD)[number % 2]
        exchange = ask(rng, list(Stain)[number % 4], list(Form)[number // 4 % 4], style)
        sentences += [SYSTEM_PROMPTS[style], user_text(exchange.question, exchange.options), exchange.reply]
    return sentences


def _run(
    recipe: Recipe, model: Qwen2_5_VLForConditionalGeneration, processor: Qwen2_5_VLProcessor, started: float
) -> None:
    plan = Plan(
        seed=recipe.seed,
        steps=recipe.steps,
        images=recipe.images,
        questions=recipe.questions,
    )
    # Other processes draw the next tiles while this one learns from the last.
    loader = DataLoader(Batches(plan, processor), batch_size=None, num_workers=2, prefetch_factor=6)
    # Thrown away after training: it reads the stain from the image tokens, before any word is said.
    glance = torch.nn.Linear(model.lm_head.in_features, len(Stain))
    weights = [*model.parameters(), *glance.parameters()]
    optimiser, schedule = _optimiser(recipe, model, glance)
    model.train()
    for step, batch in enumerate(loader, start=1):
        seen = model.model.get_image_features(batch.pixel_values, batch.image_grid_thw).pooler_output
        looking = _looking_loss(glance, seen, batch)
        loss = looking + _speaking_loss(model, seen, batch) if step > recipe.looking_steps else looking
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        if step % 25 == 0 or step == recipe.steps:
            _report(step, recipe.steps, looking.item(), loss.item(), time.monotonic() - started)


def _practise(
    recipe: Recipe, model: Qwen2_5_VLForConditionalGeneration, processor: Qwen2_5_VLProcessor, started: float
) -> None:
    """What is seen stays as it is; the words practise, four options most of all."""
    # Rounded as a checkpoint is, so that practice can be repeated from a saved one.
    model.half().float()  # type: ignore[no-untyped-call]
    plan = Plan(
        seed=recipe.seed,
        steps=recipe.practice_steps,
        images=recipe.practice_images,
        questions=recipe.practice_questions,
        forms=(*Form, Form.THREE, Form.FOUR, Form.FOUR),
        first=recipe.steps,
    )
    loader = DataLoader(Batches(plan, processor), batch_size=None, num_workers=1, prefetch_factor=6)
    words = [*model.model.language_model.parameters()]
    optimiser = torch.optim.AdamW(words, lr=recipe.practice_rate, weight_decay=0.02, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, plan.steps))
    answer = processor.tokenizer.convert_tokens_to_ids("<answer>")
    for step, batch in enumerate(loader, start=1):
        with torch.no_grad():
            seen = model.model.get_image_features(batch.pixel_values, batch.image_grid_thw).pooler_output
        loss = _speaking_loss(model, seen, batch, stressed=answer)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(words, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        if step % 25 == 0 or step == plan.steps:
            _report(
                recipe.steps + step, recipe.steps + plan.steps, 0.0, loss.item(), time.monotonic() - started
            )


def _optimiser(
    recipe: Recipe, model: Qwen2_5_VLForConditionalGeneration, glance: torch.nn.Linear
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Eyes learn over the whole run; words start from their own full rate once there is something to see."""
    eyes = [*model.model.visual.parameters(), *glance.parameters()]
    words = [*model.model.language_model.parameters()]
    groups = [{"params": eyes, "lr": recipe.looking_rate}, {"params": words, "lr": recipe.speaking_rate}]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.02, betas=(0.9, 0.98))
    first = recipe.looking_steps
    rates = [
        lambda step: _rate(step, recipe.steps),
        lambda step: _rate(step - first, recipe.steps - first) if step >= first else 0.0,
    ]
    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, rates)


def _rate(step: int, steps: int) -> float:
    """Up for a twentieth of the run, then down along a cosine."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) + 0.005


def _looking_loss(glance: torch.nn.Linear, seen: Sequence[torch.Tensor], batch: Batch) -> torch.Tensor:
    """How well the stain can be read from the mean of an image's tokens."""
    return cross_entropy(glance(torch.stack([part.mean(dim=0) for part in seen])), batch.stains)


def _speaking_loss(
    model: Qwen2_5_VLForConditionalGeneration,
    seen: Sequence[torch.Tensor],
    batch: Batch,
    stressed: int | None = None,
) -> torch.Tensor:
    """Mean loss over the replies. Each image is looked at once, however many questions are about it.

    What follows the token `stressed` (a letter, after `<answer>`) counts more than the rest.
    """
    inner = model.model
    each = batch.input_ids.shape[0] // batch.image_grid_thw.shape[0]
    images = torch.cat([part for part in seen for _ in range(each)])
    embedded = inner.get_input_embeddings()(batch.input_ids)
    embedded = embedded.masked_scatter(batch.mm_token_type_ids.bool()[..., None], images)
    grids = batch.image_grid_thw.repeat_interleave(each, dim=0)
    positions, _ = inner.get_rope_index(batch.input_ids, batch.mm_token_type_ids, image_grid_thw=grids)
    # Padding stands at the end of a row, where nothing that counts can see it: no mask is needed.
    hidden = inner.language_model(
        inputs_embeds=embedded, position_ids=positions, use_cache=False
    ).last_hidden_state
    wanted = batch.labels[:, 1:]
    learned = wanted != IGNORED
    losses = cross_entropy(model.lm_head(hidden[:, :-1][learned]), wanted[learned], reduction="none")
    weights = (
        1 + (_STRESS - 1) * (batch.input_ids[:, :-1] == stressed)[learned] if stressed else torch.ones(())
    )
    return (losses * weights).sum() / weights.expand(losses.shape).sum()


def _report(step: int, steps: int, looking: float, loss: float, elapsed: float) -> None:
    remaining = elapsed / step * (steps - step)
    print(
        f"step {step:>5}/{steps}  loss {loss:.4f} (looking {looking:.4f})"
        f"  elapsed {elapsed:5.0f} s  remaining {remaining:5.0f} s",
        flush=True,
    )


def _save(
    recipe: Recipe,
    model: Qwen2_5_VLForConditionalGeneration,
    processor: Qwen2_5_VLProcessor,
    folder: Path,
    elapsed: float,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)  # type: ignore[no-untyped-call]
    processor.save_pretrained(folder)
    cpu = sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )
    figures = {**asdict(recipe), "elapsed_seconds": round(elapsed), "cpu_seconds": round(cpu)}
    (folder / "training.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"saved in {folder}; {elapsed / 60:.1f} minutes, {cpu / 60:.1f} CPU minutes")
