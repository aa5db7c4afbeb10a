"""The audit: it finds what gives an answer away without the picture, and nothing where nothing does."""

import random
import time
from itertools import count

import pytest

from currreft_nb import InputError
from currreft_nb.core.samples import LETTERS, Sample
from currreft_nb.data import audit as audits
from currreft_nb.data.audit import audit, sentence
from currreft_nb.data.curate import curate
from currreft_nb.data.folder import read_manifest
from tests.helpers.pictures import NO_DRAWN, voc_set

SIZE = (200, 100)
NUMBERS = count()
COLOURS, SHAPES = ("red", "blue", "teal", "pink"), ("circle", "star", "square", "moon")


def make(task, stage, answer, question="What is asked?", picture=None, **fields):
    number = next(NUMBERS)
    common = {"split": "train", "source": "s", "question": question, "size": SIZE}
    image = f"/{number if picture is None else picture}.png"
    return Sample(id=f"{number}", task=task, stage=stage, answer=answer, image=image, **common, **fields)


def verdicts(rng, number, claim_of):
    """Return yes/no questions; `claim_of(verdict)` makes the claim."""
    answers = [rng.random() < 0.5 for _ in range(number)]
    return [make("classification", "binary", answer, claim=[claim_of(answer)]) for answer in answers]


def boxes(rng, number, wrong):
    """Return yes/no questions about boxes of one kind; `wrong(box)` makes a false one."""
    made = []
    for _ in range(number):
        x, y, verdict = rng.uniform(20, 120), rng.uniform(20, 50), rng.random() < 0.5
        box = [x, y, x + 40, y + 25]
        made.append(make("detection", "binary", verdict, claim=[box if verdict else wrong(box)]))
    return made


def choices(rng, number, right=lambda rng, options: rng.randrange(4), options=lambda rng: rng.sample(COLOURS, 4)):
    made = []
    for _ in range(number):
        shown = options(rng)
        place = right(rng, shown)
        shown = [[label] for label in shown]
        made.append(make("classification", "choice", [LETTERS[place]], options=shown))
    return made


def of_two_kinds(rng):
    """Return choices in which one option is a colour, as asked, and three are shapes."""
    made = []
    for asked, right, wrong in rng.choices(
        [("What colour?", COLOURS, SHAPES), ("What shape?", SHAPES, COLOURS)], k=150
    ):
        shown, place = [[label] for label in rng.sample(wrong, 3)], rng.randrange(4)
        shown.insert(place, [rng.choice(right)])
        made.append(make("classification", "choice", [LETTERS[place]], asked, options=shown))
    return made


def at_the_left_edge(box):
    return [0, *box[1:]]


def smaller(box):
    return [*box[:2], box[0] + 20, box[1] + 12]


GIVEN_AWAY = [
    ("words", "green is never right", lambda rng: verdicts(rng, 200, ["green", "red"].__getitem__), "green"),
    ("words", "wrong options of another kind", of_two_kinds, "…, says"),
    ("geometry", "the edge", lambda rng: boxes(rng, 200, at_the_left_edge), "touches"),
    ("geometry", "the size", lambda rng: boxes(rng, 200, smaller), "share"),
    ("geometry", "the place", lambda rng: choices(rng, 200, lambda rng, shown: rng.choice([1, 1, 1, 2])), "is option"),
    ("geometry", "the longest", lambda rng: choices(rng, 200, lambda rng, shown: shown.index("green"),
                                                    lambda rng: rng.sample(["red", "sky", "tea", "green"], 4)), "char"),
]  # fmt: skip


@pytest.mark.parametrize(("guesser", "why", "build", "token"), GIVEN_AWAY, ids=[case[1] for case in GIVEN_AWAY])
def test_what_gives_the_answer_away_is_found_and_named(guesser, why, build, token):
    [row] = [row for row in audit(build(random.Random(0)), 0.1) if row["guesser"] == guesser]
    assert row["giveaway"] and row["low"] > row["chance"] + 0.1 and row["right"] <= 1
    assert token in sentence(row) and len(row["telling"]) == 3


@pytest.mark.parametrize(
    ("why", "build"),
    [
        ("verdicts by lot", lambda rng: verdicts(rng, 400, lambda yes: rng.choice(COLOURS))),
        ("options by lot", lambda rng: choices(rng, 400)),
    ],
)
def test_where_nothing_gives_it_away_all_guessers_are_at_chance(why, build):
    for seed in range(4):
        for row in audit(build(random.Random(seed)), 0.0):
            assert row["low"] <= row["chance"] + 0.02, row  # one interval of 40 lies above chance by luck
            assert abs(row["right"] - row["chance"]) < 0.09


def test_a_guesser_learns_from_other_pictures_only():
    """Each picture has one colour, asked for ten times: to know it from the same picture would be right always."""
    rng = random.Random(0)
    colours = [rng.choice(["red", "blue"]) for _ in range(60)]
    asked = [
        make("classification", "binary", yes, f"picture {n}?", picture=n, claim=[colours[n]])
        for n in range(60)
        for yes in [rng.random() < 0.5] * 5
    ]
    assert all(row["right"] < 0.65 for row in audit(asked, 0.1))


def test_open_questions_are_guessed_by_their_words_and_never_judged():
    rng = random.Random(0)
    kinds = [("What colour?", "red"), ("What shape?", "star"), ("How many?", "3")]
    asked = [make("classification", "open", [answer], question) for question, answer in rng.choices(kinds, k=90)]
    asked += [make("detection", "open", [[9, 9, 60, 60] if name == "cow" else [110, 30, 190, 90]], f"the {name}")
              for name in rng.choices(["cow", "fox"], k=90)]  # fmt: skip
    rows = audit(asked, 0.1)
    assert [(row["task"], row["guesser"], row["right"], row["giveaway"]) for row in rows] == [
        ("detection", "words", 1.0, False),
        ("classification", "words", 1.0, False),
    ]
    assert all(row["chance"] < 0.6 for row in rows)


def test_few_questions_or_pictures_are_not_audited():
    rng = random.Random(0)
    assert audit(choices(rng, 29), 0.1) == []
    assert (
        audit([make("classification", "binary", n % 2 == 0, picture=n % 9, claim=["red"]) for n in range(90)], 0.1)
        == []
    )


def test_verdicts_that_are_all_the_same_are_reported():
    rows = audit([make("classification", "binary", True, claim=["red"]) for _ in range(60)], 0.1)
    assert [(row["giveaway"], row["right"], row["telling"]) for row in rows] == [(True, 1.0, [])] * 2


def test_it_takes_seconds_and_gives_the_same_again():
    asked = choices(random.Random(0), audits.MOST) + boxes(random.Random(1), audits.MOST, smaller)
    start = time.process_time()
    rows = audit(asked, 0.1)
    assert time.process_time() - start < 20
    assert rows == audit(asked, 0.1) and {row["questions"] for row in rows} == {audits.MOST}


# ---- within curation


def lopsided(root):
    """Return a VOC source whose dogs are always at one place: a box elsewhere is wrong."""
    numbers = {"train_questions": 60, "val_questions": 0, "test_questions": 0, "tasks": ["detection"]}
    return {"train_sources": [voc_set(root, 40)], **numbers, **NO_DRAWN}


def test_a_giveaway_is_printed_and_recorded(tmp_path, capsys):
    curate(tmp_path / "data", **lopsided(tmp_path / "voc"))
    rows = read_manifest(tmp_path / "data")["audit"]
    assert any(row["giveaway"] for row in rows)
    assert "give-away: detection, binary: by " in capsys.readouterr().out


def test_a_giveaway_stops_the_run_on_request(tmp_path):
    with pytest.raises(InputError, match=r"detection, binary: by .* give themselves away: .*on_giveaway to 'warn'"):
        curate(tmp_path / "data", **lopsided(tmp_path / "voc"), on_giveaway="stop")
    assert not (tmp_path / "data" / "manifest.json").exists()
    curate(tmp_path / "data", **lopsided(tmp_path / "voc"), on_giveaway="stop", giveaway_margin=0.9)


@pytest.mark.parametrize("setting", [{"on_giveaway": "halt"}, {"giveaway_margin": 1.5}])
def test_other_values_are_refused(tmp_path, setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        curate(tmp_path / "data", **setting)
