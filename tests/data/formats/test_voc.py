"""PASCAL VOC in folders that are named otherwise: found by what they hold, or by options."""

import pytest

from currreft_nb import InputError
from currreft_nb.data.formats import voc
from tests.helpers.annotated import boxes, divide, picture, write

XML = """<annotation><filename>{name}</filename><size><width>100</width><height>80</height></size><object>
<name>fox</name><bndbox><xmin>11</xmin><ymin>21</ymin><xmax>40</xmax><ymax>60</ymax></bndbox></object></annotation>"""


def lay_out(root, annotations, images, name="1"):
    picture(root / images / f"{name}.png")
    write(root / annotations / f"{name}.xml", XML.format(name=f"{name}.png"))
    return root


@pytest.mark.parametrize(
    ("annotations", "images"),
    [
        ("Annotations", "JPEGImages"),
        ("annotations", "images"),  # raccoon_dataset
        ("annots", "images"),  # kangaroo
        ("annots", "pictures"),
        (".", "."),  # LabelImg
        ("train", "train"),  # Roboflow
        ("Annotations", "Annotations"),
    ],
)
def test_folders_are_found_by_what_they_hold(tmp_path, annotations, images):
    samples, rejected = divide(voc.read(lay_out(tmp_path, annotations, images)))
    assert boxes(samples) == {"fox": [10, 20, 40, 60]} and not rejected
    assert samples[0].image == str(tmp_path / images / "1.png")


def test_roboflow_splits_are_all_read(tmp_path):
    for number, split in enumerate(("train", "valid", "test")):
        lay_out(tmp_path, split, split, str(number))
    assert len(list(voc.read(tmp_path, ["detection"]))) == 3
    assert len(list(voc.read(tmp_path / "valid", ["detection"]))) == 1


def test_folders_can_be_named(tmp_path):
    for name in ("old", "new"):
        lay_out(tmp_path, f"xml/{name}", f"pictures/{name}", name)
    with pytest.raises(InputError, match=r"XML files in new, old; .*or write annotations="):
        list(voc.read(tmp_path / "xml"))
    options = {"annotations": str(tmp_path / "xml" / "new"), "images": str(tmp_path / "pictures" / "new")}
    samples, rejected = divide(voc.read(tmp_path, **options))
    assert {s.id for s in samples} == {"voc-new-labels", "voc-new-fox"} and not rejected
    listed = write(tmp_path / "lists" / "val.txt", "new\n")
    assert divide(voc.read(listed, **options))[0] == samples


def test_what_is_there_is_said(tmp_path):
    with pytest.raises(
        InputError, match=r"no Annotations folder, but no XML files; .* write annotations=FOLDER .*it is empty"
    ):
        list(voc.read(tmp_path))
    lay_out(tmp_path, "a", "one")
    lay_out(tmp_path, "a", "two")
    with pytest.raises(InputError, match="its pictures may be in one, two; choose one by images=FOLDER"):
        list(voc.read(tmp_path))
    with pytest.raises(InputError, match=r"write annotations=FOLDER .*it holds 1 \.png"):
        list(voc.read(tmp_path / "one"))
    (tmp_path / "one" / "1.png").unlink()
    (tmp_path / "two" / "1.png").unlink()
    missing = {sample.image for sample in voc.read(tmp_path)}  # which the check of pictures reports
    assert missing == {str(tmp_path / "a" / "1.png")}
