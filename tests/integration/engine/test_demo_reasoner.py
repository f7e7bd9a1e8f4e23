"""The bundled demo reasoner, loaded as any other checkpoint, judged by what it says about pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tests.conftest import missing
from tests.reasoners import read
from worker.engine.models.checkpoint import check
from worker.engine.models.demo import CHECKPOINT
from worker.engine.models.demo.tiles import Stain, draw_tile
from worker.engine.models.in_flight import InFlightReasoner
from worker.engine.models.loading import Source
from worker.engine.models.reference import ReferenceReasoner
from worker.engine.prompt import parse
from worker.engine.reasoner import Completion, Finish, Prompt
from worker.jobs.reading import ReadingOutcome
from worker.jobs.request import Style

FOUR = tuple(stain.value for stain in Stain)
QUESTION = "Which stain is shown?"
ROWS = 16
PHOTOGRAPHS = {
    "stardist_histo/histo.jpg": Stain.HE,
    "tiatoolbox_target/target_image.png": Stain.HE,
    "skimage_ihc/ihc.png": Stain.DAB,
    "histolab_tiles_qc/tissue-level0-4302-10273-4814-10785.png": Stain.HE,
    "histolab_tiles_qc/tissue-level0-7352-11762-7864-12274.png": Stain.HE,
    "histolab_tiles_qc/no-tissue.png": Stain.NONE,
    "histolab_tiles_qc/no-tissue2.png": Stain.NONE,
    "histolab_tiles_qc/almost-white-1.png": Stain.NONE,
}


@pytest.fixture(scope="module", params=["reference", "in-flight"])
def reasoner(request):
    if not (CHECKPOINT / "model.safetensors").is_file():
        missing("the bundled checkpoint")
    check("demo", "")
    source = Source(model="demo", license_accepted="", max_pixels=1_003_520)
    if request.param == "reference":
        reasoner = ReferenceReasoner(source, rows=ROWS)
    else:
        reasoner = InFlightReasoner(source, rows=ROWS, max_new_tokens=2048)
    identity = reasoner.load("cpu")
    assert (identity.model, identity.license, identity.demonstration) == ("demo", "Apache-2.0", True)
    return reasoner


def ask(*images, options=FOUR, style=Style.COT, question=QUESTION):
    return Prompt(images=images, question=question, options=options, style=style, max_new_tokens=160)


def answers(reasoner, prompts):
    """What each prompt was answered, as a stain."""
    said = []
    for prompt, completion in zip(prompts, read(reasoner, prompts), strict=True):
        assert isinstance(completion, Completion)
        said.append(_stain(parse(completion.text, completion.finish, prompt.options), prompt.options))
    return said


def _stain(parsed, options):
    """The stain that an answer names, by its letter where there are options; `unclear` if it names none."""
    assert parsed.outcome is ReadingOutcome.ANSWERED
    assert parsed.reasoning
    if not options:
        return parsed.answer
    return options["ABCD".index(parsed.choice)] if parsed.choice else "unclear"


def tiles(count, *, seed=20_261_123):
    rng = np.random.default_rng(seed)
    return [draw_tile(rng, *((224, 224), (168, 256), (112, 112))[number % 3]) for number in range(count)]


@pytest.fixture(scope="module")
def brown():
    skimage = pytest.importorskip("skimage.data", reason="scikit-image is missing")
    return Image.fromarray(skimage.immunohistochemistry())


def swapped(picture):
    red, green, blue = picture.split()
    return Image.merge("RGB", (blue, green, red))


def jpeg(picture, quality):
    memory = io.BytesIO()
    picture.save(memory, "JPEG", quality=quality)
    return Image.open(memory)


def variants(picture):
    """The same picture in other sizes, cuts and formats; its stain stays what it was."""
    width, height = picture.size
    yield picture
    for scale in (0.25, 0.5, 2.0):
        yield picture.resize((round(width * scale), round(height * scale)))
    yield jpeg(picture, 60)
    yield picture.crop((0, 0, width // 2, height // 2))
    yield picture.crop((width // 2, height // 2, width, height))


@pytest.mark.parametrize("style", Style)
def test_drawn_tiles_are_named_as_multiple_choice_and_as_open_question(reasoner, style):
    drawn = tiles(24)
    prompts = [
        ask(Image.fromarray(tile.pixels), style=style, options=options)
        for tile in drawn
        for options in (FOUR, ())
    ]
    wanted = [tile.stain.value for tile in drawn for _ in range(2)]
    right = sum(said == stain for said, stain in zip(answers(reasoner, prompts), wanted, strict=True))
    assert right >= 46, f"{right} of 48"


def test_the_order_of_the_options_does_not_matter(reasoner, brown):
    orders = [FOUR[start:] + FOUR[:start] for start in range(4)]
    prompts = [ask(brown, options=order) for order in orders]
    assert answers(reasoner, prompts) == [Stain.DAB.value] * 4


def test_a_stain_survives_scaling_cropping_and_compression(reasoner, brown):
    pictures = list(variants(brown))
    assert answers(reasoner, [ask(picture) for picture in pictures]) == [Stain.DAB.value] * len(pictures)


def test_red_and_blue_exchanged_is_another_stain(reasoner, brown):
    said = answers(
        reasoner, [ask(swapped(brown)), ask(swapped(brown), style=Style.COD), ask(swapped(brown), options=())]
    )
    assert said == [Stain.OTHER.value] * 3


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_photograph_is_named_in_every_variant(reasoner, shared_data, name):
    path = shared_data / "histology" / name
    if not path.is_file():
        missing("a photograph of ../shared/data/histology")
    with Image.open(path) as stored:
        picture = stored.convert("RGB")
    cuts = 5 if PHOTOGRAPHS[name] is Stain.NONE else 7  # a corner of a blank tile may hold something
    pictures = list(variants(picture))[:cuts]
    assert answers(reasoner, [ask(each) for each in pictures]) == [PHOTOGRAPHS[name].value] * cuts


def test_a_draft_is_shorter_than_a_chain_of_thought(reasoner, brown):
    thought, draft = read(reasoner, [ask(brown), ask(brown, style=Style.COD)])
    assert draft.completion_tokens < thought.completion_tokens
    assert (thought.finish, draft.finish) == (Finish.STOP, Finish.STOP)


def test_a_batch_says_the_same_as_one_by_one(reasoner, brown):
    prompts = [
        ask(picture, style=style)
        for picture in (*list(variants(brown))[:3], swapped(brown))
        for style in Style
    ]
    together = read(reasoner, prompts)
    assert [c.text for c in together] == [read(reasoner, [prompt])[0].text for prompt in prompts]


def test_several_images_in_one_question_are_all_taken(reasoner, brown):
    [one] = read(reasoner, [ask(brown)])
    [two] = read(reasoner, [ask(brown, brown)])
    assert two.prompt_tokens > one.prompt_tokens


def test_an_answer_that_runs_into_its_limit_is_truncated(reasoner, brown):
    prompt = Prompt(images=(brown,), question=QUESTION, options=FOUR, style=Style.COT, max_new_tokens=5)
    [cut] = read(reasoner, [prompt])
    parsed = parse(cut.text, cut.finish, FOUR)
    assert (parsed.outcome, parsed.answer) == (ReadingOutcome.TRUNCATED, "")
    assert parsed.reasoning
