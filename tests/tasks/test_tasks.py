"""Tasks: how each one reads, scores and compares answers, and the wrong answers it makes."""

import ast
import hashlib
import random
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currreft_nb import tasks
from currreft_nb.core.answers import Unreadable
from currreft_nb.core.boxes import iou
from currreft_nb.core.samples import TRAINED_TASKS, Sample, value_problem
from currreft_nb.method.rewards import Rules
from currreft_nb.method.vocabulary import Vocabulary
from currreft_nb.tasks import TASK_MODULES, classification, detection, general, math, math_equality

HARD, SOFT, ABOVE = Rules(), Rules(detection="soft"), Rules(detection="soft_above_threshold")


def make(task, answer, **more):
    more = {"id": "s", "split": "train", "source": "demo", "question": "?"} | more
    if task == "detection":
        more = {"image": "/x.png", "size": (640, 480)} | more
    return Sample(task=task, answer=answer, **more)


NAMES = {"QUESTION", "ANSWER", "MEASURES", "DENSE", "SEVERAL", "render", "parse", "accuracy", "same"}
POSED = {"OPTIONS", "distractors", "false_claim"}  # at the closed stages


@pytest.mark.parametrize("name", TASK_MODULES)
def test_every_task_has_the_same_names(name):
    task = TASK_MODULES[name]
    wanted = NAMES | (POSED if name in TRAINED_TASKS else set())
    wanted |= ({"measures"} if task.MEASURES else set()) | ({"normalise"} if task.SEVERAL else set())
    assert wanted <= set(dir(task))
    assert all(f"`{word}" in tasks.__doc__ for word in wanted), "tasks/__init__.py describes each name"
    assert "{question}" in task.QUESTION
    assert "<answer></answer>" in task.ANSWER


NAMING_TASKS = {
    "core/samples.py": "lists the tasks",
    "data/formats/*": "readers make samples of a task; curr_reft names the tasks of the official files",
    "data/reading/common.py": "makes samples of the tasks that several readers have",
    "data/scenes/*": "draw the questions of a task",
    "data/sources.py": "an option of drawn scenes has the name of the task whose questions it chooses",
    "memory/measure.py": "makes up questions of a task",
    "pocket/*": "teach the pocket model the tasks of the scenes",
    "training/settings.py": "Rules.detection is a field of that name",
    "views/group_tables.py": "Rules.detection is a field of that name",
}


def test_no_module_outside_tasks_asks_for_the_name_of_a_task():
    """A module that compares task names must be changed for each new task; `tasks` says what to ask instead."""
    package, found = Path(tasks.__file__).parent.parent, set()
    for path in package.rglob("*.py"):
        name = path.relative_to(package).as_posix()
        constants = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        if not name.startswith("tasks/") and any(node.value in TASK_MODULES for node in constants):
            found.add(name)
    allowed = {name for name in found for pattern in NAMING_TASKS if fnmatch(name, pattern)}
    assert found == allowed
    assert all(any(fnmatch(name, pattern) for name in found) for pattern in NAMING_TASKS), "an entry is no longer used"


# classification

LABELS = [
    ("dog", "dog", True, "as it is"),
    ("dog", "Dog", True, "case"),
    ("dog", "dog.", True, "a period"),
    ("dog", '"dog"', True, "quotes"),
    ("dog", "a dog", True, "an article"),
    ("dog", "the Dogs", True, "a plural that COCO knows"),
    ("traffic light", "Traffic light.", True, "a name of two words"),
    ("traffic light", "traffic_light", True, "underscores"),
    ("airplane", "aeroplane", True, "the name in VOC"),
    ("couch", "sofa", True, "the name in VOC"),
    ("tv", "tvmonitor", True, "the name in VOC"),
    ("dining table", "diningtable", True, "the name in VOC"),
    ("motorcycle", "Motorbikes", True, "the plural of a name in VOC"),
    ("person", "people", True, "an irregular plural"),
    ("person", "persons", True, "a regular plural"),
    ("bus", "buses", True, "a plural with es"),
    ("couch", "couches", True, "a plural with es"),
    ("skis", "skis", True, "a name that ends in s is no plural"),
    ("sheep", "sheep", True, "the same in both"),
    ("potted plant", "pottedplants", True, "the plural of a name in VOC"),
    ("bicycle", "bikes", True, "the plural of a synonym"),
    ("motorcycle", "motor-bike", True, "a hyphen"),
    ("mouse", "computer mouse", True, "what COCO means by it"),
    ("mouse", "mice", True, "an irregular plural"),
    ("knife", "Knives", True, "an irregular plural"),
    ("bus", "busses", True, "a second plural"),
    ("sandwich", "sandwiches", True, "a plural with es"),
    ("toothbrush", "toothbrushes", True, "a plural with es"),
    ("hot dog", "hotdogs", True, "two words as one, in the plural"),
    ("cell phone", "mobile phone", True, "another word for it"),
    ("tv", "television set", True, "another word for it"),
    ("hair drier", "hair dryer", True, "another spelling"),
    ("tennis racket", "tennis racquet", True, "another spelling"),
    ("donut", "doughnuts", True, "another spelling, in the plural"),
    ("RBC", "rbc", True, "a label of the user's own data"),
    ("RBC", "RBCs", False, "of which no table knows the plural"),
    ("cell phone", "phone", False, "a phone may have a cord"),
    ("sports ball", "ball", False, "nor is every ball for sports"),
    ("potted plant", "plant", False, "nor every plant in a pot"),
    ("cow", "cattle", False, "nor every head of cattle a cow"),
    ("bird", "duck", False, "a kind is not the whole"),
    ("car", "taxi", False, "a kind is not the whole"),
    ("dog", "hot dog", False, "another thing"),
    ("traffic light", "traffic cone", False, "one word in common is nothing in common"),
    ("bear", "teddy bear", False, "another thing"),
    ("cup", "glass", False, "no synonym that is in no table"),
    ("person", "man", False, "a guess at more than the label says"),
]
OVERLAPS = [
    (["dog", "cat"], ["cat", "dog"], 1, "ok", "order does not matter"),
    (["dog"], ["dog", "dog"], 1, "ok", "repetition does not matter"),
    (["dog", "cat"], ["dog"], 1 / 2, "partial", "one of two"),
    (["dog"], ["dog", "cat", "bird"], 1 / 3, "partial", "two too many"),
    (["dog"], ["cat"], 0, "wrong", "nothing in common"),
    (["dog"], classification._NAMES, 1 / 80, "partial", "naming everything does not pay"),
    (["dog"], ["The image contains a dog"], 0, "wrong", "a sentence is no label"),
]


@pytest.mark.parametrize(("label", "written", "equal", "why"), LABELS)
def test_label_names(label, written, equal, why):
    assert classification.same([label], [written]) is equal, why


@pytest.mark.parametrize(("truth", "written", "overlap", "reason", "why"), OVERLAPS)
def test_label_overlap(truth, written, overlap, reason, why):
    assert classification.accuracy(written, make("classification", truth), HARD) == (overlap, reason), why


VOC = """
aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep sofa
train tvmonitor
"""
VOC = VOC.split()


def test_the_label_table_is_complete_and_maps_to_its_own_names():
    assert len(classification._NAMES) == len(set(classification._NAMES)) == 80
    assert set(classification._CANONICAL.values()) == set(classification._NAMES)
    names = [name for name in classification._NAMES if classification.normalise(name) != name]
    assert not names, "a name that is another's plural or synonym would be lost"
    assert len(VOC) == len({classification.normalise(name) for name in VOC} & set(classification._NAMES)) == 20


@pytest.mark.parametrize("name", [*classification._NAMES, *VOC])
def test_every_name_is_known_in_every_writing(name):
    same = classification.normalise(name)
    plural = {"person": "people", "mouse": "mice", "knife": "knives"}.get(name, classification._plural(name))
    for writing in (name.upper(), f"a {name}.", plural, f"the {plural.title()}", name.replace(" ", "_"), f'"{name}"'):
        assert classification.normalise(writing) == same, writing
    assert classification.normalise(name.replace(" ", "")) == same


def test_no_spelling_means_two_names():
    tables = classification.SYNONYMS + classification.PLURALS
    words = [word for line in tables.strip().splitlines() for word in line.replace(":", "").split()[1:]]
    assert len(words) == len(set(words))
    assert not {word.replace("_", " ") for word in words} & set(classification._NAMES)


def test_another_table_has_another_version():
    """Scores depend on it and runs record it: raise LABELS_VERSION with every change, and put the new digest here."""
    digest = hashlib.sha256(repr(sorted(classification._CANONICAL.items())).encode()).hexdigest()
    assert (classification.LABELS_VERSION, digest[:8]) == (2, "094efb69")


@given(st.lists(st.sampled_from(classification._NAMES), min_size=1), st.lists(st.sampled_from(classification._NAMES)))
def test_overlap_is_symmetric_and_bounded(a, b):
    assert 0 <= classification.jaccard(a, b) == classification.jaccard(b, a) <= 1
    assert classification.jaccard(a, a) == 1


def test_wrong_labels_are_absent_and_swap_one():
    samples = [make("classification", ["dog", "cat"]), make("classification", ["dog", "sofa"])]
    samples += [make("classification", ["bird"])] * 3
    alike = Vocabulary(samples).like(samples[0])
    sample = make("classification", ["dog", "couch"], extra={"others": [{"label": "bird", "box": [0, 0, 1, 1]}]})
    wrong = classification.distractors(sample, random.Random(0), alike)
    assert [sorted(set(value) - {"dog", "couch"}) for value in wrong] == [["cat"]], "sofa is couch, bird is there too"
    assert all(len(value) == 2 and len({"dog", "couch"} & set(value)) == 1 for value in wrong)


def test_labels_are_drawn_as_often_as_they_are_right_and_more_often_if_they_stand_together():
    alike = {"dog": {"dog": 9, "cat": 9}, "cat": {"dog": 9, "cat": 9}, "bus": {"bus": 9}, "car": {"car": 18}}
    dog = make("classification", ["dog"])
    firsts = [classification.distractors(dog, random.Random(seed), alike)[0] for seed in range(900)]
    shares = [firsts.count([label]) / 900 for label in ("cat", "bus", "car")]
    assert shares == pytest.approx([18 / 45, 9 / 45, 18 / 45], abs=0.07)  # 4 standard errors


def test_no_vocabulary_makes_no_wrong_labels():
    assert classification.distractors(make("classification", ["dog"]), random.Random(0)) == []


LABEL_ANSWERS = [
    (["dog", "traffic light"], "dog and traffic light", ["dog", "traffic light"], "joined by a word"),
    (["dog", "cat"], "a dog, a cat, and a bird", ["a dog", "a cat", "a bird"], "the Oxford comma"),
    (["dog", "cat"], "dog & cat", ["dog", "cat"], "an ampersand"),
    (["salt and pepper"], "salt and pepper", ["salt and pepper"], "a right label that has the word in it"),
    (["dog"], "dog or cat", ["dog or cat"], "a hedge is no list"),
    (["dog"], "dog and maybe a cat", ["dog and maybe a cat"], "nor is a doubt"),
    (["dog"], "neither a cat and a dog", ["neither a cat and a dog"], "nor a denial"),
    (["dog"], "I see a cat and a dog", ["I see a cat and a dog"], "nor a sentence"),
]


@pytest.mark.parametrize(("gold", "text", "labels", "why"), LABEL_ANSWERS)
def test_labels_of_an_answer(gold, text, labels, why):
    assert classification.parse(text, make("classification", gold)) == labels, why


UNSEEN = [
    ("classification", ["dog\u200b"], "dog", "no width"),
    ("classification", ["\ufeffdog"], "dog", "a byte order mark"),
    ("classification", ["cafe\u0301"], "caf\u00e9", "an accent apart from its letter"),
    ("classification", ["ｃａｔ"], "cat", "full-width letters"),
    ("classification", ["traffic\u00adlight"], "traffic light", "a soft hyphen"),
    ("classification", ["traffic\u00a0light"], "traffic light", "a fixed blank"),
    ("classification", ["women’s shoes"], "women's shoes", "a typographic apostrophe"),
    ("math", "5\u200b", "5", "no width"),
    ("math", "\u200e5", "5", "a mark of direction"),
    ("math", "5\u00a0cm", "5 cm", "a fixed blank"),
    ("math", "12\x00", "12", "a control character"),
    ("math", "e\u0301", "\u00e9", "an accent apart from its letter"),
    ("general", "Zu\u0308rich", "Z\u00fcrich", "an accent apart from its letter"),
    ("general", "Paris\u200b", "Paris", "no width"),
    ("general", "it’s", "it's", "a typographic apostrophe"),
    ("general", "New\u00adYork", "NewYork", "a soft hyphen"),
]


@pytest.mark.parametrize(("task", "gold", "text", "why"), UNSEEN)
def test_what_nobody_sees_makes_no_difference(task, gold, text, why):
    module, sample = TASK_MODULES[task], make(task, gold)
    assert module.accuracy(module.parse(text, sample), sample, HARD) == (1, "ok"), why
    other = make(task, [text] if task == "classification" else text)
    seen = gold[0] if task == "classification" else gold
    assert module.accuracy(module.parse(seen, other), other, HARD) == (1, "ok"), f"{why}, in the answer"


# detection

TRUTH = [100.0, 100.0, 200.0, 200.0]
DETECTIONS = [
    ([TRUTH], HARD, 1, "ok", "the box itself"),
    ([[100, 100, 200, 150]], HARD, 0, "iou_too_low", "an IoU of exactly one half is not above it"),
    ([[100, 100, 200, 151]], HARD, 1, "ok", "just above"),
    ([[100, 100, 200, 150]], SOFT, 0.5, "iou_too_low", "soft pays the IoU"),
    ([[100, 100, 200, 180]], SOFT, 0.8, "ok", "soft pays the IoU"),
    ([[100, 100, 200, 180]], ABOVE, 0.8, "ok", "above the threshold it pays the IoU"),
    ([[100, 100, 200, 140]], ABOVE, 0, "iou_too_low", "below it nothing"),
    ([[100, 100, 200, 140]], Rules(threshold=0.3), 1, "ok", "another threshold"),
    ([[100, 100, 200, 151], [0, 0, 9, 9]], HARD, 0.5, "partial", "one too many"),
    ([[300, 300, 400, 400]], HARD, 0, "no_overlap", "elsewhere"),
    ([[300, 300, 400, 400]], SOFT, 0, "no_overlap", "elsewhere"),
]


@pytest.mark.parametrize(("boxes", "rules", "value", "reason", "why"), DETECTIONS)
def test_one_box(boxes, rules, value, reason, why):
    assert detection.accuracy(boxes, make("detection", [TRUTH]), rules) == (pytest.approx(value), reason), why


def test_several_boxes_are_matched_one_to_one():
    truth = [[0, 0, 10, 10], [20, 0, 30, 10]]
    sample = make("detection", truth)
    assert detection.accuracy(truth[::-1], sample, HARD)[0] == 1, "in any order"
    assert detection.accuracy(truth[:1], sample, HARD)[0] == 0.5, "one is missing"
    assert detection.accuracy([*truth, [50, 50, 60, 60]], sample, HARD)[0] == pytest.approx(2 / 3), "one too many"
    assert detection.accuracy([truth[0]] * 2, sample, HARD)[0] == 0.5, "one box cannot meet two truths"


def test_a_second_box_is_no_second_guess():
    with pytest.raises(Unreadable, match="two_boxes"):
        detection.parse("[1, 2, 3, 4]; [5, 6, 7, 8]", make("detection", [TRUTH]))
    assert len(detection.parse("[1, 2, 3, 4]; [5, 6, 7, 8]", make("detection", [TRUTH, TRUTH]))) == 2


def test_hundreds_of_boxes_are_too_complex():
    with pytest.raises(Unreadable, match="too_complex"):
        detection.parse("[1, 2, 3, 4];" * 101, make("detection", [TRUTH, TRUTH]))


def others(count, rng):
    for _ in range(count):
        x, y, w, h = rng.uniform(0, 500), rng.uniform(0, 350), rng.uniform(20, 140), rng.uniform(20, 130)
        yield {"label": rng.choice(["dog", "cat"]), "question": None, "box": [x, y, x + w, y + h]}


@pytest.mark.parametrize("count", [0, 1, 3, 12])
def test_wrong_boxes_are_honest(count):
    for seed in range(40):
        rng = random.Random(seed)
        sample = make("detection", [TRUTH], extra={"others": list(others(count, rng)), "label": "dog"})
        wrong = detection.distractors(sample, rng)
        assert len(wrong) >= 3, "enough for four options"
        for place, value in enumerate(wrong):
            assert value_problem("detection", value) is None
            (box,) = value
            assert box[0] >= 0 and box[1] >= 0 and box[2] <= 640 and box[3] <= 480
            assert iou(box, TRUTH) < 0.4
            assert not detection.same(value, [TRUTH])
            assert all(iou(box, other[0]) < 0.7 for other in wrong[:place])


def test_other_objects_come_first_and_those_alike_before_the_rest():
    known = [{"label": label, "question": None, "box": [x, 0, x + 40, 40]} for x, label in ((0, "cat"), (300, "dog"))]
    sample = make("detection", [TRUTH], extra={"others": known, "label": "dog"})
    assert detection.distractors(sample, random.Random(0))[:2] == [[[300, 0, 340, 40]], [[0, 0, 40, 40]]]


def test_another_object_at_the_same_place_is_no_wrong_answer():
    sample = make("detection", [TRUTH], extra={"others": [{"label": "hat", "question": None, "box": TRUTH}]})
    assert [TRUTH] not in detection.distractors(sample, random.Random(0))


def test_the_true_box_is_not_the_one_the_others_gather_around():
    """Without other objects, a guesser who picks the box with most overlap to the rest must not find the truth."""
    hits = 0
    for seed in range(400):
        wrong = detection.distractors(make("detection", [TRUTH]), random.Random(seed))[:3]
        boxes = [TRUTH, *(value[0] for value in wrong)]
        overlap = [sum(iou(a, b) for b in boxes if b is not a) for a in boxes]
        hits += max(range(4), key=overlap.__getitem__) == 0
    assert hits / 400 < 0.6, "chance is 0.25; two pairs of neighbours make 0.5"


@pytest.mark.parametrize("box", [[0, 0, 640, 480], [0, 0, 2, 2], [0, 479, 640, 480], [639, 0, 640, 480]])
def test_extreme_boxes_end_and_stay_honest(box):
    wrong = detection.distractors(make("detection", [box]), random.Random(0))
    assert all(value_problem("detection", value) is None and iou(value[0], box) < 0.4 for value in wrong)


def test_a_false_claim_asks_for_no_object_whose_name_another_shares_that_is_near():
    """Two are "the sofa": the claimed box, which is the dog's, would be a right answer for the one that is near."""
    others = [{"question": "the sofa", "box": box} for box in ([300, 300, 400, 400], [100, 100, 200, 180])]
    sample = make("detection", [TRUTH], question="the dog", extra={"others": others})
    wrong = [[[300, 300, 400, 400]]]
    assert all("question" not in detection.false_claim(sample, wrong, random.Random(seed)) for seed in range(50))


def test_no_wrong_answers_for_several_true_boxes():
    assert detection.distractors(make("detection", [TRUTH, [0, 0, 9, 9]]), random.Random(0)) == []


# general

GENERAL = [
    ("Jupiter", "jupiter.", 1, "ok", "case and period"),
    ("The Nile", "nile", 1, "ok", "an article"),
    ("red  wine", "Red wine", 1, "ok", "blanks"),
    ("Jupiter", "It is Jupiter", 0, "wrong", "a sentence"),
    ("Jupiter", "Saturn", 0, "wrong", "another one"),
    (None, "anything", 0, "no_reference", "nothing to compare with"),
]


@pytest.mark.parametrize(("reference", "written", "value", "reason", "why"), GENERAL)
def test_general(reference, written, value, reason, why):
    assert general.accuracy(written, make("general", reference), HARD) == (value, reason), why


# math: equality is tested in test_math_equality.py

OPTIONS = [
    ("B", ["3", "4", "5"], "B", 1, "ok", "the letter"),
    ("B", ["3", "4", "5"], "b", 0, "not_an_option", "lower case is no letter"),
    ("B", ["3", "4", "5"], "(B)", 1, "ok", "in brackets"),
    ("B", ["3", "4", "5"], "A", 0, "wrong", "another letter"),
    ("B", ["3", "4", "5"], "4", 1, "ok", "the option's text"),
    ("B", ["3", "4", "5"], "4.0", 1, "ok", "the option's value"),
    ("B", ["3", "4", "5"], "5", 0, "wrong", "another option's text"),
    ("B", ["3", "4", "5"], "7", 0, "not_an_option", "no option's text"),
    ("B", ["3", "4", "5"], "B. 4", 1, "ok", "letter and text"),
    ("B", ["3", "4", "5"], "B) 4", 1, "ok", "letter and text"),
    ("B", ["3", "4", "5"], "B. 5", 0, "letter_and_text_differ", "letter and text of two options"),
    ("B", ["3", "4", "5"], "A B C", 0, "several_letters", "all of them"),
    ("B", ["3", "4", "5"], "D", 0, "letter_out_of_range", "beyond the options"),
    ("B", ["3", "4", "5"], "it is B", 0, "not_an_option", "a sentence"),
    ("A", ["5-4-3-2-1", "1-2-3-4-5"], "5-4-3-2-1", 1, "ok", "written alike before equal in value"),
    ("A", ["3,1,2", "1,2,3"], "3,1,2", 1, "ok", "lists in their order"),
    ("A", ["$\\sqrt{12}$", "$4$"], "2√3", 1, "ok", "an equal value in another form"),
    ("B", ["3", "4", "5"], "\\boxed{B}", 1, "ok", "a letter in a box"),
    ("B", ["3", "4", "5"], "\\text{B}", 1, "ok", "a letter as text"),
    ("B", ["3", "4", "5"], "**B. 4**", 1, "ok", "bold"),
    ("B", ["3", "4", "5"], "\\boxed{B. 4}", 1, "ok", "letter and text in a box"),
    ("B", ["3", "4", "5"], "Ｂ", 1, "ok", "a full-width letter"),
    ("B", ["3", "4", "5"], "\\boxed{4}", 1, "ok", "the text in a box"),
    ("B", ["3", "4", "5"], "\\boxed{A}", 0, "wrong", "another letter in a box"),
    ("B", ["3", "4", "5"], "\\boxed{B}\\boxed{C}", 0, "several_letters", "two boxes"),
    ("B", ["3", "4", "5"], "\\boxed{B} or \\boxed{C}", 0, "not_an_option", "a hedge"),
    ("B", ["3", "4", "5"], "\\boxed{B. 5}", 0, "letter_and_text_differ", "letter and text of two options in a box"),
    ("B", ["3", "4", "5"], "**B. 4 or 5**", 0, "letter_and_text_differ", "two texts"),
    ("B", ["3", "4", "5"], "B. 4, C. 5", 0, "several_letters", "two with their texts"),
    ("B", ["none of them", "Not enough data"], "not enough data.", 1, "ok", "words"),
    ("C", ["A", "B", "C"], "C", 1, "ok", "options that only name letters in the picture"),
    ("4", ["3", "4"], "B", 1, "ok", "a gold that is an option's text"),
    ("6", ["3", "4"], "6", 1, "ok", "a gold that no option shows"),
    ("7", ["9^9^9^9", "4", "5", "6"], "A", 0, "too_complex", "an option that cannot be compared earns nothing"),
    ("7", ["9^9^9^9", "4", "5", "6"], "7", 1, "ok", "and hinders no other answer"),
    ("9^9^9^9", ["9^9^9^9", "4"], "A", 1, "ok", "unless it is the gold word for word"),
]


@pytest.mark.parametrize(("gold", "options", "written", "value", "reason", "why"), OPTIONS)
def test_math_options(gold, options, written, value, reason, why):
    sample = make("math", gold, options=options)
    assert math.accuracy(written, sample, HARD) == (value, reason), why


SLOW = "(10^{999})^{(10^{999})}"


def test_a_comparison_that_takes_too_long_ends_the_question(monkeypatch):
    """The other options would take as long, and the reason says why nothing was earned."""
    asked = []

    def verify(gold, answer):
        asked.append(gold)
        return "verifier_timeout"

    monkeypatch.setattr(math_equality, "verify", verify)
    sample = make("math", "B", options=[f"\\sqrt{{x+{n}}}" for n in range(5)])
    assert math.accuracy(SLOW, sample, HARD) == (0, "verifier_timeout") and len(asked) == 1
    assert math.accuracy(f"B. {SLOW}", sample, HARD) == (0, "verifier_timeout")
    assert math.accuracy("B", sample, HARD) == (1, "ok"), "a letter needs no comparison"
    assert math.accuracy(SLOW, make("math", "\\sqrt{3}, \\sqrt{5}"), HARD) == (0, "wrong")


def test_what_is_too_complex_to_compare_is_right_word_for_word():
    sample = make("math", "2^{2005}")
    assert math.accuracy(math.parse("$2^{2005}$", sample), sample, HARD) == (1, "ok")
    for text in ("2^{2006}", "2^{2005} or 1", "2^{2005}" * 100):
        with pytest.raises(Unreadable, match="too_complex"):
            math.parse(text, sample)


def test_the_question_may_ask_for_a_rounding():
    sample = make("math", "4√2", question="What is x? Round to the nearest tenth.")
    assert math.accuracy("5.7", sample, HARD) == (1, "ok")
    assert math.accuracy("5.6", sample, HARD) == (0, "wrong")


GOLDS = ["42", "140°", "8cm", "2.4", "\\frac{3}{4}", "1/2", "2√{3}", "\\frac{√{2}}{2}", "π", "240πcm^{2}", "(3,-4)"]


@pytest.mark.parametrize("gold", [*GOLDS, "-2", "0", "1", "100000", "x^2+1", "\\frac{10√{3}}{3}m", "50\\%", "3:2"])
def test_wrong_results_are_refused_by_the_verifier_and_differ(gold):
    for seed in range(5):
        wrong = math.distractors(make("math", gold), random.Random(seed))
        assert len(wrong) >= 3, wrong
        for place, value in enumerate(wrong):
            assert math.accuracy(value, make("math", gold), HARD)[0] == 0
            assert not any(math.same(value, other) for other in wrong[:place])


def test_wrong_results_keep_unit_and_kind():
    for gold, pattern in (("140°", "°"), ("8cm", "cm"), ("\\frac{3}{4}", "\\frac{"), ("2√{3}", "√{")):
        assert all(pattern in value for value in math.distractors(make("math", gold), random.Random(0)))
    assert all("." in value for value in math.distractors(make("math", "2.4"), random.Random(0)))


def test_the_true_number_is_not_always_in_the_middle():
    """Sorted by size, every place is as likely: were the truth amid the others, no question would be needed."""
    places = []
    for seed in range(400):
        wrong = math.distractors(make("math", "60"), random.Random(seed))[:3]
        places.append(sorted([60, *map(int, wrong)]).index(60))
    assert all(60 < places.count(place) < 140 for place in range(4)), [places.count(p) for p in range(4)]


ROUNDED = ["6.2832", "0.3333", "1.7321", "18.8496", "3.14", "0.25", "12.5", "0.06283", "99.99", "x = 6.2832", "1024"]


@pytest.mark.parametrize("gold", ROUNDED)
def test_wrong_numbers_are_no_other_rounding(gold):
    for seed in range(40):
        for value in math.distractors(make("math", gold), random.Random(seed)):
            right, wrong = (float(text.removeprefix("x = ")) for text in (gold, value))
            assert abs(wrong - right) > 0.0095 * right, (gold, value)


def test_words_have_no_wrong_results():
    assert math.distractors(make("math", "Not enough data"), random.Random(0)) == []


@pytest.mark.parametrize("gold", ["C", " O "])
def test_the_name_of_a_point_has_no_multiples(gold):
    assert math.distractors(make("math", gold), random.Random(0)) == []
    assert math.distractors(make("math", "x"), random.Random(0))


def test_tasks_read_whatever_has_the_fields():
    row = SimpleNamespace(answer="42", options=[])
    assert math.accuracy("42", row, HARD) == (1.0, "ok")


@pytest.mark.parametrize(
    ("name", "gold", "value"), [("detection", [TRUTH], [TRUTH]), ("classification", ["dog"], ["dogs"])]
)
def test_measures_of_a_right_and_of_an_unreadable_answer(name, gold, value):
    task, sample = TASK_MODULES[name], make(name, gold)
    assert [task.measures(value, sample)[measure] for measure in task.MEASURES] == [1.0] * len(task.MEASURES)
    assert [task.measures(None, sample)[measure] for measure in task.MEASURES] == [0.0] * len(task.MEASURES)
