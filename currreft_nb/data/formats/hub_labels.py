"""Classification sets as the Hugging Face hub has them: a picture and its label in each row.

    {"image": {"bytes": ..., "path": ...}, "label": 3}        of beans, food101, cifar10, ...; Parquet
    {"file_name": "cats/1.jpg", "label": "cat"}               metadata.jsonl or metadata.csv beside the pictures

Labels are texts, or numbers of a ClassLabel, whose names are inside Parquet and Arrow files, or of `names`; a list of
labels is allowed. A row whose label is -1, as in test splits without answers, makes no question.
"""

from collections.abc import Collection, Iterator
from functools import cache, partial
from pathlib import Path

from currreft_nb.core.samples import Sample
from currreft_nb.data.images import BadRow
from currreft_nb.data.reading import common, objects, picture_cells, tables

LABELS = ("label", "labels", "fine_label", "category", "class")


def read(
    path: Path | str,
    tasks: Collection[str] = ("classification",),
    *,
    label: str = "",
    image: str = "",
    names: str = "",
    question: str = "",
    images: str = "",
    files: str = "",
    extracted: Path | None = None,
) -> common.Items:
    """Yield a classification question for each row of a table, a folder of tables, or a saved or hub dataset.

    `label`, `image`: the columns; default: the first of `label`, `labels`, `fine_label`, `category`, `class`, and of
    `image`, `file_name`, `img`, `image_path`, `image_file_name`. `names`: the labels by number, with commas between
    them, or a file with one a line. `question`: the text to ask; default: which of the labels are in the image, with
    all of them. `images`: the folder that image paths start from; default: that of the table. `files`: a pattern for
    the files of a folder. Images inside the table are written to the folder `extracted`. Raises `InputError`.
    """
    if "classification" not in tasks:
        return
    columns = {"label": (label,) if label else LABELS, "image": (image,) if image else picture_cells.IMAGES}
    given, names_in = objects.name_list(names) if names else [], cache(tables.class_names)

    def labels_of(row: dict, file: Path) -> list[str]:
        column = next(name for name in columns["label"] if name in row)
        known = given or names_in(file).get(column, [])
        values = row[column] if isinstance(row[column], list) else [row[column]]
        if values in ([], [-1], ["-1"], [None]):
            raise BadRow("row has no label", str(row[column]), fault=False)
        named = (objects.class_name(value, known) for value in values)
        return sorted({other.get(name, name) for name in named})

    def note(row: dict, file: Path, line: int | None) -> common.Items:
        listed.update(labels_of(row, file))
        yield from ()

    listed, other = set[str](), dict[str, str]()
    only_labels = partial(tables.read_columns, path, files, {"label": columns["label"]})
    for _ in common.read_rows(only_labels(), note, ""):
        pass  # rejections are yielded below
    other |= common.other_spellings(tuple(sorted(listed)))  # names that the reward takes for one
    listed -= other.keys()
    folder = common.image_folder(path, images)
    find = partial(picture_cells.need_image, folder=folder, extracted=extracted)

    def sample(row: dict, file: Path, line: int | None) -> Iterator[Sample]:
        yield Sample(
            id=f"hub_labels-{file.stem}-{line}",
            task="classification",
            split="train",
            source="hub_labels",
            question=question or common.category_question(sorted(listed)),
            answer=labels_of(row, file),
            extra={"categories": sorted(listed)} | common.origin(file, line),
            **common.shown(find(picture_cells.cell_of(row, columns["image"]))),
        )

    yield from common.read_rows(tables.read_columns(path, files, columns), sample, "a picture with a label")
