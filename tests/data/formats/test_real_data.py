"""The real sets go in with the counts that their SOURCE.md states; whatever does not is rejected with a reason."""

import json
import pickle
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict

import pytest
from PIL import Image

from currreft_nb.core.samples import TASKS, Sample
from currreft_nb.data.checks import row_problem
from currreft_nb.data.formats import curr_reft, super_clevr, voc
from currreft_nb.data.reading.common import Rejected
from currreft_nb.data.sources import open_source, parse_sources


def read(text, root, extracted=None):
    [source] = parse_sources({"train": [text]}, root)
    return list(open_source(source, TASKS, extracted))


def divide(items):
    return [item for item in items if isinstance(item, Sample)], [item for item in items if isinstance(item, Rejected)]


ONCE = "no category occurs exactly once"  # no fault: nothing can be asked by a category's name
MISSING = "image does not exist"  # the set came without these images
SETS = [  # source, questions by task, rejections by reason, and how the two make up what SOURCE.md states
    ("coco:coco_tiny", {"classification": 36, "detection": 66},
     {"annotation is of a crowd": 5, "image has no annotated object": 2, ONCE: 7}, "36 + 2 = 38 images, 5 crowds"),
    ("curr_reft:curr_reft_official", {}, {MISSING: 200}, "200 rows, images not published"),
    ("curr_reft:super_clevr/derived_counting_official_schema.jsonl", {"math": 10}, {}, "10 images"),
    ("geometry3k:geometry3k_intergps", {"math": 10}, {}, "10 problem folders, 11 to 20"),
    ("math_vision:math_vision", {"math": 304}, {}, "304 rows"),
    ("table:math_vision/testmini.jsonl?task=math&thinking=solution", {"math": 304}, {}, "the same as a plain table"),
    ("table:r1v_prompts/geoqa_test_prompts.jsonl?task=math&image=image_path&answer=ground_truth", {}, {MISSING: 754},
     "754 rows, no images"),
    ("refcoco:refcoco_testA_mini/derived_refer_format/refcoco", {"detection": 26, "classification": 2}, {},
     "26 sentences on 2 images"),
    ("refcoco:refcoco_testA_mini/derived_refer_format/refcoco?by=unc&split=testA&images=refcoco_testA_mini/train2014",
     {"detection": 26, "classification": 2}, {}, "all of them testA"),
    ("table:refcoco_testA_mini/rows.jsonl?task=detection&question=sent&answer=gt_box_xywh&box=xywh", {"detection": 26},
     {MISSING: 24}, "50 rows, 24 with image_present=false"),
    ("super_clevr:super_clevr", {"math": 10}, {}, "10 scenes"),
    ("super_clevr:super_clevr/superCLEVR_questions_5.json", {"math": 45, "general": 158 + 35}, {},
     "238 questions: 45 integer, 158 bool, 35 str"),
    ("super_clevr:super_clevr/superCLEVR_questions_part_5.json", {"general": 225}, {}, "225 part questions"),
    ("voc:voc_bccd/BCCD", {"classification": 159, "detection": 192}, {"box is empty or reversed": 1, ONCE: 7},
     "159 images, one degenerate box"),
    ("voc:voc_bccd/BCCD/ImageSets/Main/val.txt", {"classification": 87, "detection": 108},
     {"box is empty or reversed": 1, ONCE: 2}, "87 of them val"),
    ("voc:voc_bccd/BCCD/ImageSets/Main/test.txt", {"classification": 72, "detection": 84}, {ONCE: 5}, "72 test"),
    ("voc:voc_genuine/VOC2007", {"classification": 4, "detection": 3}, {ONCE: 1}, "4 files: two cars, one horse"),
    ("voc:voc_genuine/VOC2012", {"classification": 2, "detection": 3}, {}, "2 files: dog, chair, person"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "questions", "rejections", "why"), SETS, ids=[case[0] for case in SETS])
def test_every_set_goes_in_with_its_counts(real_data, text, questions, rejections, why):
    samples, rejected = divide(read(text, real_data))
    assert Counter(sample.task for sample in samples) == questions, why
    assert Counter(item.reason for item in rejected) == rejections, why
    assert len({sample.id for sample in samples}) == len(samples)
    assert not any(item.fault for item in rejected if item.reason in (ONCE, "annotation is of a crowd"))
    assert all(str(item).startswith(item.file) and item.reason for item in rejected)
    assert {row_problem(sample, max_pixels=401_408) for sample in samples} <= {None}  # the checks take all of them


# ---- the same numbers, counted by a few lines that share nothing with the readers


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def asked(pictures):
    """Return the questions by task about pictures, each a list of (name, may be asked for, how often it counts)."""
    counts = Counter()
    for objects in pictures:
        number = Counter()
        for name, _, weight in objects:
            number[name] += weight
        counts["classification"] += bool(objects)
        counts["detection"] += sum(fine and number[name] == 1 for name, fine, _ in objects)
    return counts


def count_coco(root):
    by_image = defaultdict(list)
    for file in (root / "coco_tiny" / "annotations").iterdir():
        for found in json.loads(file.read_text())["annotations"]:
            by_image[file, found["image_id"]].append((found["category_id"], not found["iscrowd"], 1 + found["iscrowd"]))
    return asked(by_image.values())


def count_voc(root, *stems):
    pictures = []
    for file in sorted((root / "Annotations").glob("*.xml")):
        objects = []
        for found in ElementTree.parse(file).iterfind("object"):
            x1, y1, x2, y2 = (float(found.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
            fine = x1 < x2 and y1 < y2 and found.findtext("difficult") != "1"
            objects.append((found.findtext("name"), fine, 1))
        if not stems or file.stem in stems:
            pictures.append(objects)
    return asked(pictures)


def count_voc_list(root, name):
    return count_voc(root, *(root / "ImageSets" / "Main" / name).read_text().split())


def count_questions(path):
    answers = [row["answer"] for row in json.loads(path.read_text())["questions"]]
    return Counter("math" if type(answer) is int or str(answer).isdigit() else "general" for answer in answers)


def count_refcoco(root):
    refs = pickle.loads((root / "refcoco_testA_mini/derived_refer_format/refcoco/refs(unc).p").read_bytes())
    return Counter(
        detection=sum(len(ref["sentences"]) for ref in refs), classification=len({ref["image_id"] for ref in refs})
    )


def count_present(root):
    rows = lines_of(root / "refcoco_testA_mini/rows.jsonl")
    return Counter(detection=sum((root / "refcoco_testA_mini" / row["image"]).is_file() for row in rows))


COUNTED = {
    "coco:coco_tiny": count_coco,
    "curr_reft:curr_reft_official": lambda root: Counter(),
    "curr_reft:super_clevr/derived_counting_official_schema.jsonl":
        lambda root: Counter(math=len(lines_of(root / "super_clevr/derived_counting_official_schema.jsonl"))),
    "geometry3k:geometry3k_intergps": lambda root: Counter(math=len([*root.glob("geometry3k_intergps/*/data.json")])),
    "math_vision:math_vision": lambda root: Counter(math=len(lines_of(root / "math_vision/testmini.jsonl"))),
    "table:math_vision": lambda root: Counter(math=len(lines_of(root / "math_vision/testmini.jsonl"))),
    "table:r1v_prompts": lambda root: Counter(),
    "refcoco:": count_refcoco,
    "table:refcoco": count_present,
    "super_clevr:super_clevr/superCLEVR_questions_5": lambda root: count_questions(
        root / "super_clevr/superCLEVR_questions_5.json"),
    "super_clevr:super_clevr/superCLEVR_questions_part_5": lambda root: count_questions(
        root / "super_clevr/superCLEVR_questions_part_5.json"),
    "super_clevr:super_clevr": lambda root: Counter(math=len([*root.glob("super_clevr/scenes/*.json")])),
    "voc:voc_bccd/BCCD/ImageSets/Main/val": lambda root: count_voc_list(root / "voc_bccd/BCCD", "val.txt"),
    "voc:voc_bccd/BCCD/ImageSets/Main/test": lambda root: count_voc_list(root / "voc_bccd/BCCD", "test.txt"),
    "voc:voc_bccd": lambda root: count_voc(root / "voc_bccd/BCCD"),
    "voc:voc_genuine/VOC2007": lambda root: count_voc(root / "voc_genuine/VOC2007"),
    "voc:voc_genuine/VOC2012": lambda root: count_voc(root / "voc_genuine/VOC2012"),
}  # fmt: skip


@pytest.mark.parametrize("text", [case[0] for case in SETS])
def test_every_reader_counts_as_plain_code_does(real_data, text):
    count = COUNTED[max((name for name in COUNTED if text.startswith(name)), key=len)]
    samples, _ = divide(read(text, real_data))
    assert Counter(sample.task for sample in samples) == +count(real_data)


@pytest.mark.parametrize("text", [case[0] for case in SETS if case[0].startswith(("curr", "math_v", "table"))])
def test_every_row_of_a_table_is_a_question_or_a_rejection(real_data, text):
    path = real_data / text.partition(":")[2].partition("?")[0]
    files = [path] if path.is_file() else [*path.glob("*.jsonl")]
    samples, rejected = divide(read(text, real_data))
    assert len(samples) + len(rejected) == sum(len(lines_of(file)) for file in files)


def test_every_set_in_the_folder_is_tried(real_data):
    tried = {text.partition(":")[2].partition("/")[0].partition("?")[0] for text, *_ in SETS}
    assert tried == {path.parent.name for path in real_data.glob("*/SOURCE.md")}


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("voc:voc_bccd/BCCD", {"RBC": 1773, "WBC": 158, "Platelets": 152}),
        ("voc:voc_genuine/VOC2007", {"chair": 5, "car": 2, "horse": 1, "person": 3}),
        ("voc:voc_genuine/VOC2012", {"dog": 1, "chair": 1, "person": 1}),
    ],
)
def test_objects_are_counted_as_the_source_says(real_data, text, objects):
    samples, _ = divide(read(text, real_data))
    counts = (Counter(sample.extra["counts"]) for sample in samples if sample.task == "classification")
    assert sum(counts, Counter()) == objects


def test_all_424_coco_annotations_are_there(real_data):
    samples, _ = divide(read("coco:coco_tiny", real_data))
    labelled = [sample for sample in samples if sample.task == "classification"]
    assert sum(sum(sample.extra["counts"].values()) for sample in labelled) == 288 + 136
    assert {len(sample.extra["categories"]) for sample in labelled} == {80}


def test_voc_with_reordered_and_fractional_coordinates(real_data):
    samples, _ = divide(voc.read(real_data / "voc_genuine" / "VOC2012"))
    person = next(sample for sample in samples if sample.id == "voc-2011_003353-person")
    assert person.answer == [[129, 44.70000076293945, 375, 470]]


def test_math_vision_options_and_placeholders(real_data):
    samples, _ = divide(read("math_vision:math_vision", real_data))
    assert Counter(bool(sample.options) for sample in samples) == {True: 190, False: 114}
    assert not any("<image" in sample.question + "".join(sample.options) for sample in samples)


def test_refcoco_is_the_same_from_the_pickle_and_from_the_rows(real_data):
    pickled, _ = divide(read(SETS[7][0], real_data))
    rows, _ = divide(read(SETS[9][0], real_data))
    assert {(s.question, *s.answer[0]) for s in rows} == {
        (s.question, *s.answer[0]) for s in pickled if s.task == "detection"
    }
    assert {s.extra["split"] for s in pickled if s.task == "detection"} == {"testA"}


def test_difficult_objects_are_there_and_not_asked_for(real_data):
    samples, _ = divide(read("voc:voc_genuine/VOC2007", real_data))
    asked = Counter(s.extra["label"] for s in samples if s.task == "detection")
    texts = [path.read_text() for path in (real_data / "voc_genuine" / "VOC2007" / "Annotations").iterdir()]
    assert sum(text.count("<difficult>1</difficult>") for text in texts) == 2
    assert asked == {"car": 2, "horse": 1}


def test_scenes_count_as_the_derived_rows_do(real_data):
    counted, _ = divide(super_clevr.read(real_data / "super_clevr"))
    derived, _ = divide(curr_reft.read(real_data / "super_clevr" / "derived_counting_official_schema.jsonl"))
    assert [sample.answer for sample in counted] == [sample.answer for sample in derived]


def test_geometry3k_answers_are_the_precise_values(real_data):
    samples, _ = divide(read("geometry3k:geometry3k_intergps", real_data))
    assert [(s.id, s.answer) for s in samples[:3]] == [
        ("geometry3k-11", "D"), ("geometry3k-12", "B"), ("geometry3k-13", "A")
    ]  # fmt: skip
    assert all(len(s.options) == len(s.extra["precise_value"]) == 4 and s.size[0] > 100 for s in samples)


@pytest.mark.parametrize(
    ("folder", "name", "options", "field", "size"),
    [
        ("r1v_prompts", "geoqa_test_prompts.jsonl", "?task=math&image=image_path&answer=ground_truth", "image_path", 8),
        ("refcoco_testA_mini", "rows.jsonl", "?task=detection&question=sent&answer=gt_box_xywh&box=xywh", "image", 640),
    ],
)
def test_with_images_in_their_places_all_rows_go_in(real_data, tmp_path, folder, name, options, field, size):
    path = real_data / folder / name
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        (tmp_path / row[field]).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (size, size)).save(tmp_path / row[field])
    (tmp_path / name).write_bytes(path.read_bytes())
    samples, rejected = divide(read(f"table:{name}{options}", tmp_path))
    assert len(samples) == len(rows) and not rejected
