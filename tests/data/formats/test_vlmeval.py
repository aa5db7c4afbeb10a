"""VLMEvalKit's TSV files: pictures in base64 or of another row, options in columns, hints."""

import base64

import pytest

from currreft_nb import InputError
from currreft_nb.data.formats import vlmeval
from tests.helpers.annotated import divide, picture

GAP = "options are not in the order of their letters, or one is missing"
COLUMNS = ("index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "split")
ROW = {
    "question": "What is on the mat?",
    "A": "a cat",
    "B": "a dog",
    "answer": "B",
    "category": "animals",
    "split": "dev",
}


@pytest.fixture
def data(tmp_path):
    return base64.b64encode(picture(tmp_path / "x.png", (300, 200)).read_bytes()).decode()


def bench(root, *rows, columns=COLUMNS):
    lines = ["\t".join(columns)] + ["\t".join(str(row.get(name, "")) for name in columns) for row in rows]
    path = root / "MMBench_DEV_EN.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


def read(path, **options):
    return divide(vlmeval.read(path, extracted=path.parent / "inside", **options))


def test_a_row_is_a_question_with_options(tmp_path, data):
    [sample], rejected = read(bench(tmp_path, ROW | {"index": 241, "image": data, "hint": "Look at it."}))
    assert (sample.question, sample.options, sample.answer) == (
        "Look at it.\nWhat is on the mat?", ["a cat", "a dog"], "B"
    )  # fmt: skip
    assert (sample.id, sample.task, sample.size) == ("vlmeval-MMBench_DEV_EN-241", "general", (300, 200))
    assert sample.extra == {"category": "animals", "split": "dev", "origin": {"file": "MMBench_DEV_EN.tsv", "line": 2}}
    assert not rejected


def test_a_picture_larger_than_a_cell_of_csv(tmp_path):
    noise = picture(tmp_path / "x.bmp", (300, 200)).read_bytes()
    text = base64.b64encode(noise).decode()
    assert len(text) > 131_072
    [sample], rejected = read(bench(tmp_path, ROW | {"index": 1, "image": text}))
    assert sample.size == (300, 200) and not rejected


def test_a_row_may_refer_to_the_picture_of_another_before_or_after_it(tmp_path, data):
    rows = [ROW | {"index": 0, "image": 1}, ROW | {"index": 1, "image": data}, ROW | {"index": 2, "image": 1},
            ROW | {"index": 3, "image": 7}]  # fmt: skip
    samples, [bad] = read(bench(tmp_path, *rows))
    assert [s.id[-1] for s in samples] == ["1", "0", "2"] and len({s.image for s in samples}) == 1
    assert (bad.reason, bad.line) == ("image is neither base64 nor the index of a row with a picture", 5)


@pytest.mark.parametrize(
    ("changes", "answer", "options"),
    [
        ({"A": "", "B": "", "answer": "Yes"}, "Yes", []),  # MME, POPE, HallusionBench
        ({"answer": "a dog"}, "B", ["a cat", "a dog"]),
        ({"C": "a mat", "answer": "C"}, "C", ["a cat", "a dog", "a mat"]),
        ({"A": "B", "B": "A", "answer": "A"}, "A", ["B", "A"]),  # a letter names an option, whatever their texts are
    ],
)
def test_answers(tmp_path, data, changes, answer, options):
    [sample], _ = read(bench(tmp_path, ROW | {"index": 1, "image": data} | changes))
    assert (sample.answer, sample.options) == (answer, options)


@pytest.mark.parametrize(
    ("changes", "reason", "fault"),
    [
        ({"answer": ""}, "question has no answer", False),
        ({"answer": "D"}, "answer is none of the options", True),
        (
            {"B": "", "C": "a mat", "answer": "C"},
            "options are not in the order of their letters, or one is missing",
            True,
        ),
        ({"image": "x" * 80}, "base64 does not hold a picture", True),
        ({"image": "x-" * 80}, "image is not base64", True),
        ({"image": ""}, "row has no image", True),
        ({"image": "['abc', 'def']" + " " * 60}, "image is neither base64 nor the index of a row with a picture", True),
        ({"question": ""}, "row is not a question of VLMEvalKit", True),
    ],
)
def test_rows_that_cannot_be_used(tmp_path, data, changes, reason, fault):
    samples, [bad] = read(
        bench(tmp_path, ROW | {"index": 1, "image": data}, ROW | {"index": 2, "image": data} | changes)
    )
    assert len(samples) == 1 and (bad.reason, bad.fault, bad.line) == (reason, fault, 3)


def test_several_pictures_are_left_out_and_a_list_of_one_is_read(tmp_path, data):
    rows = [ROW | {"index": 1, "image": f"['{data}']"}, ROW | {"index": 2, "image": f"['{data}', '{data}']"}]
    samples, [bad] = read(bench(tmp_path, *rows))
    assert len(samples) == 1 and bad.reason == "row shows several images, and a sample holds one" and not bad.fault


def test_pictures_as_files(tmp_path):
    columns = tuple("image_path" if name == "image" else name for name in COLUMNS)
    picture(tmp_path / "pictures" / "a.png")
    path = bench(tmp_path, ROW | {"index": 1, "image_path": "a.png"}, columns=columns)
    [sample], _ = read(path, images=str(tmp_path / "pictures"))
    assert sample.image == str(tmp_path / "pictures" / "a.png")


def test_tasks(tmp_path, data):
    path = bench(tmp_path, ROW | {"index": 1, "image": data})
    assert {s.task for s in read(path, task="math")[0]} == {"math"}
    assert not list(vlmeval.read(path, ["math"]))
    with pytest.raises(InputError, match="unknown task 'detection'"):
        read(path, task="detection")
