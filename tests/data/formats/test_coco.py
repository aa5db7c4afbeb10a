"""COCO instances: which categories a question names."""

import json

import pytest
from PIL import Image

from currreft_nb.core.samples import Sample
from currreft_nb.data.formats import coco


def read_labels(folder, categories, marked):
    """Return the classification questions of one picture per marked category id."""
    pictures = [{"id": n, "file_name": f"{n}.png", "width": 40, "height": 30} for n, _ in enumerate(marked)]
    annotations = [{"id": n, "image_id": n, "category_id": id, "bbox": [5, 5, 9, 9]} for n, id in enumerate(marked)]
    for entry in pictures:
        Image.new("RGB", (40, 30)).save(folder / entry["file_name"])
    entries = [{"id": id, "name": name, "supercategory": above} for id, name, above in categories]
    document = {"images": pictures, "annotations": annotations, "categories": entries}
    (folder / "a.json").write_text(json.dumps(document))
    return [item for item in coco.read(folder / "a.json", ["classification"]) if isinstance(item, Sample)]


@pytest.mark.parametrize(
    ("categories", "marked", "named", "why"),
    [
        ([(0, "cells", "none"), (1, "rbc", "cells"), (2, "wbc", "cells")], (1, 2), "rbc, wbc", "Roboflow's group"),
        ([(0, "_background_", ""), (1, "rbc", ""), (2, "wbc", "")], (1, 2), "rbc, wbc", "labelme2coco's ground"),
        (
            [(0, "__ignore__", None), (1, "Background", None), (2, "wbc", None)],
            (2,),
            "wbc",
            "the same otherwise written",
        ),
        ([(1, "person", "person"), (2, "wbc", "person")], (1, 2), "person, wbc", "COCO's person is marked"),
        ([(1, "person", "person"), (2, "dog", "animal")], (2,), "person, dog", "a name for itself is no group"),
        ([(0, "cells", "none"), (1, "rbc", "cells")], (0, 1), "cells, rbc", "a group that is marked is a category"),
        ([(1, "rbc", "none"), (2, "wbc", "none")], (1, 1), "rbc, wbc", "a category without annotations is one"),
    ],
)
def test_groups_and_grounds_that_nothing_is_marked_with_are_not_asked_for(tmp_path, categories, marked, named, why):
    for sample in read_labels(tmp_path, categories, marked):
        assert sample.question == f"Which of these categories are in the image: {named}?", why
        assert sample.extra["categories"] == named.split(", ")
