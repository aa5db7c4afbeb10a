"""Drawn scenes: small pictures of coloured shapes and questions about them, so that everything runs without a download.

    {"id": "scenes-id-train-math-0-7", "task": "math", "question": "How many red objects are there?", "answer": "3",
     "thinking": "[3, 7, 12]=3", "size": [64, 64], "extra": {"look": "id", "candidates": ["0", "1", "2", "3", "4"]}}

There are two looks. In-domain (`id`): plain light background, upright filled shapes. Out-of-domain (`ood`): mid-tone
texture with noise, turned and stretched shapes of unseen sizes, some outlined, and four colour-shape pairs that the
in-domain look never shows. The answer is drawn first, uniformly from `extra["candidates"]`; boxes offered as wrong
answers are placed together with the true one by the same rule, so that neither wording nor options reveal the answer.
"""

import random
from dataclasses import replace
from pathlib import Path

from PIL import Image

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.data.scenes import questions
from currreft_nb.data.scenes.drawing import COLORS, SHAPES, Box, Scene, Thing, draw_scene, pairs, place

LOOKS = ("id", "ood")
TASKS = ("detection", "classification", "math", "general")  # whose questions can be drawn
MATH = ("counting", "listing")  # kinds of drawn math questions; of a list every part must be right
LISTED = 4  # objects whose cells one question asks for
PLACES = 5  # boxes of a detection scene, and sets of cells of a question for them; the others are wrong answers


def draw_question(rng: random.Random, task: str, look: str, math: str = MATH[0]) -> tuple[Sample, Image.Image | None]:
    """Return an open sample without a file, and its picture (None for a general question in words only).

    `math`: the kind of math questions, one of `MATH`.
    """
    if look not in LOOKS:
        raise InputError(f"look is {look!r}; write {' or '.join(LOOKS)}")
    if task == "general" and rng.random() < 0.5:
        return questions.ask_in_words(rng), None
    scene, sample = compose(rng, task, look, math)
    return sample, draw_scene(scene, rng)


def draw_samples(
    folder: str | Path, task: str, count: int, look: str, seed: int, split: str, math: str = MATH[0]
) -> list[Sample]:
    """Write `count` pictures into `folder`/images and return the open samples about them.

    Sample number i depends only on (task, look, seed, split, math, i): a larger `count` keeps the first samples.
    """
    images = Path(folder).resolve() / "images"
    images.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        kind = math if task == "math" and math != MATH[0] else task
        name = f"scenes-{look}-{split}-{kind}-{seed}-{number}"
        sample, image = draw_question(random.Random(name), task, look, math)
        path = str(images / f"{name}.png")
        if image:
            image.save(path)
        made.append(replace(sample, id=name, split=split, image=path if image else None))
    return made


def compose(rng: random.Random, task: str, look: str, math: str = MATH[0]) -> tuple[Scene, Sample]:
    """Return a scene and an open question about it: detection, classification, math, or a general one with a picture.

    The subject of the question is drawn first, uniformly over the possible answers, then the scene around it.
    """
    if task not in _COMPOSERS:
        raise InputError(f"scenes have no {task} questions; read them from your own data by train_sources")
    return (_listing if (task, math) == ("math", "listing") else _COMPOSERS[task])(rng, look)


def _detection(rng: random.Random, look: str) -> tuple[Scene, Sample]:
    boxes = place(rng, PLACES, look)
    subject = rng.choice(pairs(look))
    names = [subject]
    for _ in range(rng.randint(0, 3)):
        # half of the others share colour or shape with the subject, so that the whole question must be read
        others = [pair for pair in pairs(look) if pair != subject]
        related = [pair for pair in others if pair[0] == subject[0] or pair[1] == subject[1]]
        names.append(rng.choice(related if rng.random() < 0.5 else others))
    scene = Scene(_things(names, boxes), look, tuple(boxes[len(names) :]))
    return scene, questions.ask_where(scene, scene.things[0])


def _classification(rng: random.Random, look: str) -> tuple[Scene, Sample]:
    asked = rng.choice(["shape", "color"])
    known = rng.choice(tuple(COLORS) if asked == "shape" else SHAPES)
    subject = rng.choice([pair for pair in pairs(look) if known in pair])
    others = [pair for pair in pairs(look) if known not in pair]
    boxes = place(rng, rng.randint(1, 4), look)
    names = [subject] + [rng.choice(others) for _ in boxes[1:]]
    scene = Scene(_things(names, boxes), look)
    return scene, questions.ask_kind(scene, scene.things[0], asked)


def _counting(rng: random.Random, look: str) -> tuple[Scene, Sample]:
    count, color = rng.randint(0, questions.LARGEST_COUNT), rng.choice(tuple(COLORS))
    palette = rng.sample([other for other in COLORS if other != color], 2)
    total = rng.randint(max(2, count), 6)
    chosen = [color] * count
    while len(chosen) < total:
        # another colour may repeat, too, so that "the most frequent colour" is no shortcut
        chosen.append(rng.choice([other for other in palette if chosen.count(other) < questions.LARGEST_COUNT]))
    boxes = place(rng, total, look)
    names = [rng.choice([pair for pair in pairs(look) if pair[0] == each]) for each in chosen]
    scene = Scene(_things(names, boxes), look)
    return scene, questions.ask_count(scene, color)


def _listing(rng: random.Random, look: str) -> tuple[Scene, Sample]:
    color, total = rng.choice(tuple(COLORS)), rng.randint(LISTED, 6)
    names = [rng.choice([pair for pair in pairs(look) if pair[0] == color]) for _ in range(LISTED)]
    names += [rng.choice([pair for pair in pairs(look) if pair[0] != color]) for _ in range(total - LISTED)]
    shown, *others = (_things(names, place(rng, total, look)) for _ in range(PLACES))
    return (scene := Scene(shown, look)), questions.ask_all(scene, color, [things[:LISTED] for things in others])


def _general(rng: random.Random, look: str) -> tuple[Scene, Sample]:
    colors = rng.sample(tuple(COLORS), rng.randint(2, 3))
    names = [rng.choice([pair for pair in pairs(look) if pair[0] == color]) for color in colors]
    aside = rng.random() < 0.5
    while True:
        scene = Scene(_things(names, place(rng, len(names), look)), look)
        first, second, *_ = scene.things
        if aside and abs(first.middle - second.middle) >= questions.CLEARLY_ASIDE:
            return scene, questions.ask_side(scene, first, second)
        if not aside and questions.has_largest(scene):
            return scene, questions.ask_largest(scene)


def _things(names: list[tuple[str, str]], boxes: list[Box]) -> tuple[Thing, ...]:
    return tuple(Thing(*name, box) for name, box in zip(names, boxes))


_COMPOSERS = {"detection": _detection, "classification": _classification, "math": _counting, "general": _general}
