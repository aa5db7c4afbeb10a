"""The readers: the meaning of each format, refusals and their reasons, and the counts of the real sets."""

import json
from collections import Counter

import pytest
from PIL import Image

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.data.formats import coco, math_vision, super_clevr, voc
from currreft_nb.data.reading.common import Rejected, fit_box


def picture(path, size=(100, 80), color=(200, 200, 200)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def divide(items):
    """Return samples by id, and rejections as (reason, value) with how often they occur."""
    items = list(items)
    samples = {item.id: item for item in items if isinstance(item, Sample)}
    return samples, Counter((item.reason, item.value) for item in items if isinstance(item, Rejected))


def reasons(items):
    return Counter(item.reason for item in items if isinstance(item, Rejected))


# ---- PASCAL VOC


def voc_object(name, xmin, ymin, xmax, ymax, more=""):
    # reordered on purpose, as in VOC2011
    box = f"<xmax>{xmax}</xmax><xmin>{xmin}</xmin><ymax>{ymax}</ymax><ymin>{ymin}</ymin>"
    return f"<object><bndbox>{box}</bndbox><name>{name}</name>{more}</object>"


def voc_file(root, stem, *objects, size=(100, 80), head=""):
    picture(root / "JPEGImages" / f"{stem}.jpg", size)
    shape = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    text = f"<annotation><filename>{stem}.jpg</filename>{head}{shape}{''.join(objects)}</annotation>"
    (root / "Annotations").mkdir(exist_ok=True)
    (root / "Annotations" / f"{stem}.xml").write_text(text)
    return root


def test_voc_pixels_from_one_become_half_open_boxes_from_zero(tmp_path):
    root = voc_file(tmp_path, "a", voc_object("dog", 1, 1, 100, 80), voc_object("cat", 5, 10.5, 5.5, 20))
    samples, rejected = divide(voc.read(root))
    assert samples["voc-a-dog"].answer == [[0, 0, 100, 80]]  # the whole image, from its first to its last pixel
    assert samples["voc-a-cat"].answer == [[4, 9.5, 5.5, 20]]
    assert (samples["voc-a-dog"].question, samples["voc-a-dog"].size) == ("the dog", (100, 80))
    assert not rejected


def test_voc_asks_for_what_occurs_once_and_lists_the_rest(tmp_path):
    objects = [voc_object("dog", 1, 1, 9, 9), voc_object("cat", 20, 1, 29, 9), voc_object("cat", 40, 1, 49, 9)]
    samples, _ = divide(voc.read(voc_file(tmp_path, "a", *objects)))
    assert set(samples) == {"voc-a-labels", "voc-a-dog"}
    cat = {"label": "cat", "question": None}
    assert samples["voc-a-dog"].extra["others"] == [cat | {"box": [19, 0, 29, 9]}, cat | {"box": [39, 0, 49, 9]}]
    labels = samples["voc-a-labels"]
    assert (labels.answer, labels.extra["counts"]) == (["cat", "dog"], {"cat": 2, "dog": 1})
    assert "aeroplane, bicycle, bird" in labels.question  # VOC's own vocabulary, not only what this file shows


def test_voc_difficult_objects_count_but_are_not_asked_for(tmp_path):
    hard = "<difficult>1</difficult>"
    cats = [voc_object("cat", 1, 1, 9, 9), voc_object("cat", 20, 20, 30, 30, hard)]
    samples, rejected = divide(voc.read(voc_file(tmp_path, "a", voc_object("dog", 1, 1, 9, 9, hard), *cats)))
    assert set(samples) == {"voc-a-labels"} and samples["voc-a-labels"].answer == ["cat", "dog"]
    assert list(rejected) == [("no category occurs exactly once", "")]


def test_voc_takes_only_the_name_of_the_object_itself(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    head = "<owner><name>somebody</name></owner>"
    samples, _ = divide(voc.read(voc_file(tmp_path, "a", voc_object("person", 1, 1, 9, 9, part), head=head)))
    assert samples["voc-a-labels"].answer == ["person"]


@pytest.mark.parametrize(
    ("object", "reason"),
    [
        (voc_object("dog", 5, 5, 5, 5), "box is empty or reversed"),  # a stray click, as in BCCD
        (voc_object("dog", 9, 5, 5, 9), "box is empty or reversed"),
        (voc_object("dog", 1, 1, "nan", 9), "box has a coordinate that is not finite"),
        (voc_object("dog", 1, 1, "", 9), "box has a coordinate that is missing or no number"),
        (voc_object("dog", 1, 1, 120, 9), "box lies outside the image"),
        ("<object><name>dog</name></object>", "box has a coordinate that is missing or no number"),
        (voc_object("", 1, 1, 9, 9), "object has no name"),
    ],
)
def test_voc_rejects_a_bad_object_and_keeps_the_others(tmp_path, object, reason):
    samples, rejected = divide(voc.read(voc_file(tmp_path, "a", object, voc_object("cat", 20, 20, 30, 30))))
    assert list(rejected) == [(reason, f"object 1, {'dog' if 'dog' in object else 'no name'}")]
    # the dog is there all the same, so a second dog would not be the only one
    assert set(samples) == {"voc-a-labels", "voc-a-cat"}
    assert ("dog" in samples["voc-a-labels"].answer) == ("dog" in object)


def test_voc_lists_choose_the_images(tmp_path):
    for stem in "abc":
        voc_file(tmp_path, stem, voc_object("dog", 1, 1, 9, 9))
    listed = tmp_path / "ImageSets" / "Main" / "dog_val.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("a  1\nb -1\n\nmissing  1\n")
    items = list(voc.read(listed, tasks=["detection"]))
    assert [item.id for item in items if isinstance(item, Sample)] == ["voc-a-dog"]
    assert [(item.reason, item.line) for item in items if isinstance(item, Rejected)] == [
        ("annotation does not exist", 4)
    ]


def test_voc_names_what_is_wrong_with_a_file_or_a_folder(tmp_path):
    voc_file(tmp_path, "a", voc_object("dog", 1, 1, 9, 9))
    (tmp_path / "Annotations" / "a.xml").write_text("<annotation><object>")
    assert reasons(voc.read(tmp_path)) == {"file is not an XML annotation": 1}
    with pytest.raises(InputError, match=r"holds no Annotations"):
        list(voc.read(tmp_path / "JPEGImages"))
    with pytest.raises(InputError, match="does not exist"):
        list(voc.read(tmp_path / "nowhere"))


def test_voc_refuses_a_file_name_that_is_another_picture(tmp_path):
    for stem, shade in (("a", 10), ("b", 90)):
        voc_file(tmp_path, stem, voc_object("dog", 1, 1, 9, 9))
        Image.new("RGB", (100, 80), (shade, 0, 0)).save(tmp_path / "JPEGImages" / f"{stem}.jpg")
    path = tmp_path / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace("a.jpg", "b.jpg"))
    good, bad = list(voc.read(tmp_path, ["detection"]))[::-1]
    assert good.image.endswith("b.jpg") and bad.reason == "annotation may be of two images"
    assert "<filename> says b.jpg, the annotation is a.xml" in bad.value and bad.file.endswith("a.xml")
    (tmp_path / "JPEGImages" / "a.jpg").unlink()  # then only one is there
    assert [item.image[-5:] for item in voc.read(tmp_path, ["detection"])] == ["b.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("filename", "files", "expected"),
    [
        ("a.jpg", ["a.jpg", "a.png"], "a.jpg"),  # written out: the other is no candidate
        ("a", ["a.jpg"], "a.jpg"),
        ("", ["a.png"], "a.png"),
        ("gone.jpg", ["a.jpg"], "a.jpg"),  # a file name from before a renaming
        ("a.v2", ["a.v2.jpg"], "a.v2.jpg"),
        ("", ["a.jpg", "a.png"], None),
        ("b", ["a.jpg", "b.png"], None),
        ("b.jpg", ["a.png", "b.jpg"], None),
    ],
)
def test_voc_finds_the_only_picture_or_none(tmp_path, filename, files, expected):
    voc_file(tmp_path, "a", voc_object("dog", 1, 1, 9, 9))
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    for shade, name in enumerate(files):
        Image.new("RGB", (100, 80), (90 * shade, 0, 0)).save(tmp_path / "JPEGImages" / name)
    path = tmp_path / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace(">a.jpg<", f">{filename}<"))
    [item] = voc.read(tmp_path, ["detection"])
    two = ("annotation may be of two images", "image may be one of two files")
    assert item.reason in two if expected is None else item.image.endswith("/" + expected)


@pytest.mark.parametrize(
    ("declared", "encoding", "name"),
    [
        ("gb2312", "gb2312", "狗"),
        ("GB2312", "gbk", "鎔"),  # a character of GBK, which programs mean by gb2312
        ("GBK", "gbk", "狗"),
        ("big5", "big5", "狗"),
        ("shift_jis", "shift_jis", "犬"),
        ("windows-1251", "cp1251", "пёс"),
        ("UTF-8", "utf-8", "狗"),
        ("utf-16", "utf-16", "狗"),
    ],
)
def test_voc_files_in_other_encodings(tmp_path, declared, encoding, name):
    voc_file(tmp_path, "a", voc_object(name, 1, 1, 9, 9))
    path = tmp_path / "Annotations" / "a.xml"
    path.write_bytes(f'<?xml version="1.0" encoding="{declared}"?>{path.read_text()}'.encode(encoding))
    [sample] = voc.read(tmp_path, ["detection"])
    assert sample.question == f"the {name}"


def test_voc_says_which_encoding_a_file_is_not_in(tmp_path):
    voc_file(tmp_path, "a", voc_object("dog", 1, 1, 9, 9))
    path = tmp_path / "Annotations" / "a.xml"
    path.write_bytes(b'<?xml version="1.0" encoding="gb2312"?>' + path.read_bytes().replace(b"dog", b"\xff\xff"))
    [bad] = voc.read(tmp_path, ["detection"])
    assert bad.reason == "file is not an XML annotation"
    assert "it declares the encoding gb2312" in bad.value and "save it as UTF-8" in bad.value


LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "file is empty"),
        ("<a/>", "file is not an XML annotation"),
        (f'<!DOCTYPE x [<!ENTITY a0 "ha">{LAUGHS}]><annotation><filename>&a9;</filename></annotation>',
         "file is not an XML annotation"),
        ('<!DOCTYPE x [<!ENTITY s SYSTEM "file:///etc/passwd">]><annotation><filename>&s;</filename></annotation>',
         "file is not an XML annotation"),
        ("<annotation>" + "<object>" * 50_000, "file is not an XML annotation"),
        ("<annotation>" + "<object>" * 50_000 + "</object>" * 50_000 + "</annotation>", "object has no name"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "file is not an XML annotation"),
        ("<annotation><filename>../../secret.jpg</filename></annotation>", "image does not exist or cannot be read"),
        ("<annotation><filename>/etc/passwd</filename></annotation>", "image does not exist or cannot be read"),
        ("<annotation><filename>link.jpg</filename></annotation>", "image does not exist or cannot be read"),
    ],
)  # fmt: skip
def test_voc_annotations_made_to_harm_are_rejected(tmp_path, text, reason):
    secret = picture(tmp_path / "secret.jpg")
    picture(tmp_path / "set" / "JPEGImages" / "a.jpg")
    (tmp_path / "set" / "JPEGImages" / "link.jpg").symlink_to(secret)
    (tmp_path / "set" / "Annotations").mkdir()
    (tmp_path / "set" / "Annotations" / "a.xml").write_text(text)
    samples, rejected = divide(voc.read(tmp_path / "set"))
    assert not samples and any(found.startswith(reason) for found, _ in rejected)


def test_voc_lists_lead_nowhere_else(tmp_path):
    voc_file(tmp_path / "set", "a", voc_object("dog", 1, 1, 9, 9))
    (tmp_path / "b.xml").write_text("<annotation/>")
    (tmp_path / "set" / "Annotations" / "c.xml").symlink_to(tmp_path / "b.xml")
    listed = tmp_path / "set" / "ImageSets" / "Main" / "val.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("../../b\n/etc/passwd\nc\na\n")
    items = list(voc.read(listed, tasks=["detection"]))
    assert [item.line for item in items if isinstance(item, Rejected)] == [1, 2, 3]
    assert [item.id for item in items if isinstance(item, Sample)] == ["voc-a-dog"]
    listed.write_text("")
    assert reasons(voc.read(listed)) == {"file is empty": 1}
    listed.write_bytes(b"\xff")
    with pytest.raises(InputError, match="byte 0 is not UTF-8"):
        list(voc.read(listed))


# ---- COCO


def coco_file(root, annotations, images=1, name="val", categories=("cat", "dog")):
    entries = []
    for number in range(images):
        picture(root / "images" / name / f"{number}.jpg")
        entries.append({"id": number, "file_name": f"{number}.jpg", "width": 100, "height": 80})
    document = {"images": entries, "categories": [{"id": i, "name": n} for i, n in enumerate(categories, 1)]}
    document["annotations"] = [{"id": i, "image_id": 0, **a} for i, a in enumerate(annotations)]
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(document))
    return root


def test_coco_boxes_are_corner_and_size(tmp_path):
    samples, rejected = divide(coco.read(coco_file(tmp_path, [{"category_id": 2, "bbox": [10.5, 20, 30.25, 40]}])))
    assert samples["coco-0-dog"].answer == [[10.5, 20, 40.75, 60]]
    assert samples["coco-0-labels"].question == "Which of these categories are in the image: cat, dog?"
    assert not rejected


def test_coco_images_may_lie_anywhere_that_is_named(tmp_path):
    root = coco_file(tmp_path, [{"category_id": 2, "bbox": [1, 1, 9, 9]}])
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"none of its images is in .*give their folder by images="):
        list(coco.read(root))
    samples, _ = divide(coco.read(root, images=str(tmp_path / "elsewhere" / "val")))
    assert set(samples) == {"coco-0-dog", "coco-0-labels"}


def test_coco_coordinates_that_json_makes_infinite(tmp_path):
    root = coco_file(tmp_path, [{"category_id": 2, "bbox": [1, 1, 77777, 9]}, {"category_id": 1, "bbox": [1, 1, 9, 9]}])
    path = root / "annotations" / "instances_val.json"
    path.write_text(path.read_text().replace("77777", "1e999"))
    assert reasons(coco.read(root))["box has a coordinate that is not finite"] == 1


def test_coco_images_of_one_id_are_refused(tmp_path):
    root = coco_file(tmp_path, [])
    path = root / "annotations" / "instances_val.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"images": document["images"] * 2}))
    with pytest.raises(InputError, match="two images with id 0"):
        list(coco.read(root))


def test_coco_names_that_the_reward_takes_for_one_are_one_category(tmp_path):
    boxes = [[5, 5, 30, 30], [50, 40, 30, 30], [40, 5, 9, 9]]
    listed = [{"category_id": id, "bbox": box, "iscrowd": 0} for id, box in zip((1, 2, 3), boxes)]
    root = coco_file(tmp_path, listed, categories=("Cat", "cat", "dog"))
    samples, _ = divide(coco.read(root))
    assert {sample.question for sample in samples.values() if sample.task == "detection"} == {"the dog"}
    labels = samples["coco-0-labels"]
    assert (labels.answer, labels.extra["counts"]) == (["Cat", "dog"], {"Cat": 2, "dog": 1})
    assert labels.extra["categories"] == ["Cat", "dog"] and labels.question.endswith("Cat, dog?")


def test_coco_categories_of_one_id_are_refused(tmp_path):
    root = coco_file(tmp_path, [{"category_id": 1, "bbox": [5, 5, 9, 9], "iscrowd": 0}])
    path = root / "annotations" / "instances_val.json"
    document = json.loads(path.read_text())
    document["categories"].append({"id": 1, "name": "cow"})
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="two categories with id 1: cat, cow"):
        list(coco.read(root))


def test_coco_crowds_and_empty_images_are_counted_and_are_no_faults(tmp_path):
    crowd = {"category_id": 1, "iscrowd": 1, "bbox": [0, 0, 50, 50], "segmentation": {"counts": [1], "size": [80, 100]}}
    root = coco_file(tmp_path, [crowd, {"category_id": 2, "bbox": [1, 1, 9, 9]}], images=2)
    items = list(coco.read(root))
    assert reasons(items) == {"annotation is of a crowd": 1, "image has no annotated object": 1}
    assert not any(item.fault for item in items if isinstance(item, Rejected))
    samples, _ = divide(items)
    assert set(samples) == {"coco-0-dog", "coco-0-labels"} and samples["coco-0-labels"].answer == ["cat", "dog"]
    assert samples["coco-0-dog"].extra["others"] == []  # the box around a crowd is no object


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"category_id": 1, "bbox": [1, 1, 0, 5]}, "box is empty or reversed"),
        ({"category_id": 1, "bbox": [1, 1, 5]}, "box has a coordinate that is missing or no number"),
        ({"category_id": 1}, "box has a coordinate that is missing or no number"),
        ({"category_id": 1, "bbox": [90, 1, 20, 5]}, "box lies outside the image"),
        ({"category_id": 1, "bbox": [1, 1, 10**400, 5]}, "box has a coordinate that is not finite"),
        ({"category_id": 1, "bbox": [1, 1, True, 5]}, "box has a coordinate that is missing or no number"),
        ({"category_id": 1, "bbox": [1, 1, "5", 5]}, "box has a coordinate that is missing or no number"),
        ({"category_id": 1, "bbox": [1, 1, 5, 5], "image_id": [0]}, "annotation of an unknown image or category"),
        ({"category_id": 9, "bbox": [1, 1, 5, 5]}, "annotation of an unknown image or category"),
        ({"category_id": 1, "bbox": [1, 1, 5, 5], "image_id": 7}, "annotation of an unknown image or category"),
    ],
)
def test_coco_rejects_a_bad_annotation_by_its_id(tmp_path, annotation, reason):
    _, rejected = divide(coco.read(coco_file(tmp_path, [{"category_id": 2, "bbox": [1, 1, 9, 9]}, annotation])))
    assert rejected[reason, "annotation 1"] == 1


@pytest.mark.parametrize("text", ["[1, 2]", '{"images": []}', "{", '{"images": [NaN]}', "[" * 100_000])
def test_coco_names_a_file_that_is_no_document(tmp_path, text):
    (tmp_path / "instances_val.json").write_text(text)
    with pytest.raises(InputError, match=r"instances_val\.json is not (a COCO instances document|JSON)"):
        list(coco.read(tmp_path / "instances_val.json"))


# ---- mathematics


def lines(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


VISION = {
    "id": "1",
    "question": "How many?\n<image1>",
    "options": [],
    "answer": "6",
    "image": "images/1.jpg",
    "level": 2,
}


@pytest.mark.parametrize(
    ("changes", "question", "options", "answer", "why"),
    [
        ({}, "How many?", [], "6", "the placeholder means the image, which comes first anyway"),
        ({"question": "The ant <image1> meets <image2>."}, "The ant meets.", [], "6", "at any place"),
        ({"options": ["3", "4"], "answer": "B"}, "How many?", ["3", "4"], "B", "with options the answer is a letter"),
        ({"options": ["<image2>", "<image3>"], "answer": "A"}, "How many?", ["A", "B"], "A", "pictures have letters"),
    ],
)
def test_math_vision_rows(tmp_path, changes, question, options, answer, why):
    picture(tmp_path / "images" / "1.jpg")
    [sample] = math_vision.read(lines(tmp_path / "rows.jsonl", VISION | changes))
    assert (sample.question, sample.options, sample.answer) == (question, options, answer), why
    assert sample.size == (100, 80) and sample.extra["origin"] == {"file": "rows.jsonl", "line": 1}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (VISION | {"options": ["3", "4"], "answer": "E"}, "answer is none of the options"),
        (VISION | {"image": "images/2.jpg"}, "image does not exist"),
        (VISION | {"image": "../1.jpg"}, "image path leads out of the image folder"),
        (VISION | {"question": " <image1> "}, "row is not a MATH-Vision question"),
        ({name: VISION[name] for name in VISION if name != "answer"}, "row lacks a field"),
        ("{", "line is not JSON"),
        ("[1]", "line is not a JSON object"),
        ('{"id": NaN}', "line is not JSON"),
        ("[" * 100_000, "line is not JSON"),
    ],
)
def test_math_vision_rejects_by_line(tmp_path, row, reason):
    picture(tmp_path / "images" / "1.jpg")
    good, bad = math_vision.read(lines(tmp_path / "rows.jsonl", VISION, "", row))
    assert isinstance(good, Sample) and (bad.line, bad.reason, bad.fault) == (3, reason, True)


def test_math_vision_asks_which_file_of_several(tmp_path):
    lines(tmp_path / "test.jsonl"), lines(tmp_path / "testmini.jsonl")
    with pytest.raises(InputError, match=r"holds 2 \.jsonl files"):
        list(math_vision.read(tmp_path))


def test_super_clevr_scenes_are_counting_questions(tmp_path):
    picture(tmp_path / "images" / "s.png")
    lines(tmp_path / "scenes" / "s.json", {"image_filename": "s.png", "objects": [{}] * 4})
    lines(tmp_path / "scenes" / "t.json", {"image_filename": "t.png", "objects": []})
    lines(tmp_path / "scenes" / "u.json", [])
    sample, *rejected = super_clevr.read(tmp_path)
    assert (sample.answer, sample.extra["candidates"]) == ("4", ["3", "4", "5", "6", "7", "8", "9", "10"])
    assert [item.reason for item in rejected] == ["image does not exist", "file is not a JSON object"]


@pytest.mark.parametrize(
    ("box", "result"),
    [
        ((0, 0, 100, 80), (0, 0, 100, 80)),
        ((-1, 0, 101, 80), (0, 0, 100, 80)),  # one pixel, as between counting from 0 and from 1, is clipped
        ((-1.01, 0, 100, 80), "outside"),
        ((100, 0, 101, 80), "outside"),  # clipping would leave nothing
        ((5, 5, 5, 9), "empty"),
        ((0, 0, float("inf"), 9), "finite"),
    ],
)
def test_boxes_fit_their_image(box, result):
    if isinstance(result, str):
        with pytest.raises(ValueError, match=result):
            fit_box(box, (100, 80))
    else:
        assert fit_box(box, (100, 80)) == result
