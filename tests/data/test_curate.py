"""Curation: nothing is lost without a count, no image is in two splits, and the same input gives the same bytes."""

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from currreft_nb import InputError
from currreft_nb.core.samples import SPLITS, STAGES
from currreft_nb.data.curate import curate
from currreft_nb.data.folder import checked, data_summary, left_out, load_samples, read_manifest
from currreft_nb.data.formats import coco, math_vision, voc
from tests.helpers.pictures import NO_DRAWN, contents, photograph, voc_set

DRAWN = {"train_questions": 8, "val_questions": 3, "test_questions": 4, "pool_questions": 6}


def draw(folder, **changes):
    return curate(folder, **(DRAWN | changes))


def read(folder, split, stage):
    return load_samples(folder, split, stage)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    return folder, draw(folder)


# ---- contents


def test_every_split_has_what_was_asked_for_at_every_stage(drawn):
    folder, result = drawn
    for split, number in {"train": 8, "val": 3, "test_id": 4, "test_ood": 4}.items():
        for stage in STAGES:
            expected = {"detection": number, "classification": number, "math": number}
            assert Counter(s.task for s in read(folder, split, stage)) == expected == result["questions"][split][stage]
            assert {(s.split, s.stage) for s in read(folder, split, stage)} == {(split, stage)}
    assert Counter(s.task for s in read(folder, "pool", "open")) == {"general": 6}


def test_drawn_math_can_ask_for_lists_instead_of_counts(tmp_path):
    lists = {name: ["scenes?math=listing"] for name in ("train_sources", "ood_sources")}
    draw(tmp_path, tasks=["math"], pool_questions=4, **lists)
    for split in ("train", "test_ood"):
        for sample in read(tmp_path, split, "choice"):
            assert sample.question.startswith("Where are the ")
            assert len(sample.options) == 4 and len(set(sample.options)) == 4
    with pytest.raises(InputError, match=r"unknown kind of drawn math questions .listings.; did you mean listing"):
        draw(tmp_path / "no", train_sources=["scenes?math=listings"])


def test_all_stages_of_a_question_are_in_one_split(drawn):
    folder, _ = drawn
    for split in SPLITS[:4]:
        parents = {s.id for s in read(folder, split, "open")}
        for stage in STAGES[:2]:
            assert {s.parent for s in read(folder, split, stage)} <= parents


def test_no_two_splits_share_an_image(drawn):
    images = [
        {Path(s.image).read_bytes() for s in read(drawn[0], split, "open") if s.image is not None} for split in SPLITS
    ]
    assert len(set.union(*images)) == sum(map(len, images)) == len(list((drawn[0] / "images").iterdir()))


def test_the_same_input_and_seed_give_the_same_bytes(drawn, tmp_path):
    draw(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(drawn[0])
    draw(tmp_path / "other", seed=1)
    assert contents(tmp_path / "other")["train-open.jsonl"] != contents(drawn[0])["train-open.jsonl"]


def test_a_run_into_an_old_folder_leaves_nothing_of_the_old_run(drawn, tmp_path):
    draw(tmp_path, seed=1, tasks=["math"])
    (tmp_path / "notes.txt").write_text("mine")
    draw(tmp_path)
    assert contents(tmp_path) == contents(drawn[0]) | {"notes.txt": b"mine"}


def test_an_interrupted_run_is_not_taken_for_data(tmp_path, monkeypatch):
    def crash(*_):
        raise OSError("No space left on device")

    draw(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr("currreft_nb.data.curate.move_folder", crash)
        draw(tmp_path, seed=1)
    assert read(tmp_path, "train", "open")  # the finished folder was not touched
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(InputError, match="not a finished data folder; run notebook 01_data_curation"):
        read(tmp_path, "train", "open")
    draw(tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_the_summary_shows_what_was_asked_for_and_found(drawn):
    table = data_summary(drawn[0])
    assert list(table.columns) == ["split", "task", "asked", "binary", "choice", "open"]
    assert table[table.split == "train"][["asked", "binary", "choice", "open"]].eq(8).all(axis=None)
    assert len(table) == 4 * 3 + 1


def test_general_questions_are_asked_openly_where_forgetting_is_measured(tmp_path):
    result = draw(tmp_path, tasks=["math", "general"])["questions"]
    assert all("general" not in result[split].get(stage, {}) for split in SPLITS for stage in STAGES[:2])
    assert {split for split in SPLITS if "general" in result[split].get("open", {})} == {"test_id", "test_ood", "pool"}


# ---- images


def test_boxes_move_with_a_resized_image(tmp_path):
    source = voc_set(tmp_path / "voc", 3)
    numbers = {"train_questions": 2, "val_questions": 0, "test_questions": 0}
    curate(tmp_path / "data", train_sources=[source], tasks=["detection"], max_pixels=2000, **numbers, **NO_DRAWN)
    for sample in read(tmp_path / "data", "train", "choice"):
        with Image.open(sample.image) as image:
            assert image.size == sample.size == (50, 40) and sample.extra["original_size"] == [100, 80]
            dog = [box for [box] in sample.options if image.getpixel((int(box[0]) + 2, int(box[1]) + 2))[0] > 250]
        boxes = [box for [box] in sample.options] + [other["box"] for other in sample.extra["others"]]
        assert [10, 5, 30, 20] in boxes and [10, 5, 30, 20] in dog
        assert all(0 <= x1 < x2 <= 50 and 0 <= y1 < y2 <= 40 for x1, y1, x2, y2 in boxes)


def test_ids_stay_unique_when_two_sources_name_alike(tmp_path):
    sources = [voc_set(tmp_path / "a", 3), voc_set(tmp_path / "b", 3, shade=50)]
    numbers = {"train_questions": 6, "val_questions": 0, "test_questions": 0}
    curate(tmp_path / "data", train_sources=sources, tasks=["detection"], **numbers, **NO_DRAWN)
    assert len({s.id for s in read(tmp_path / "data", "train", "open")}) == 6


# ---- bad rows


def bad_set(root):
    """Return a source of six pictures of which one has a reversed box, one is cut short and one is of another size."""
    source = voc_set(root, 6, bad=[1])
    cut = root / "JPEGImages" / "p2.png"
    cut.write_bytes(cut.read_bytes()[:60])
    Image.new("RGB", (90, 80)).save(root / "JPEGImages" / "p3.png")
    (root / "JPEGImages" / "p4.png").unlink()
    return source


def test_a_bad_row_stops_the_run_and_is_named(tmp_path):
    with pytest.raises(InputError, match=r"p1\.xml: box is empty or reversed \(object 2, bird\); .*on_bad to 'skip'"):
        curate(tmp_path / "data", train_sources=[bad_set(tmp_path / "voc")], **NO_DRAWN)
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_skipped_rows_are_listed_with_their_reasons_and_all_is_accounted_for(tmp_path):
    source = bad_set(tmp_path / "voc")
    numbers = {"train_questions": 3, "val_questions": 0, "test_questions": 0}
    tasks = ["detection", "classification"]
    result = curate(tmp_path / "data", train_sources=[source], tasks=tasks, on_bad="skip", **numbers, **NO_DRAWN)
    rows = [json.loads(line) for line in (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()]
    assert Counter((row["file"], row["reason"]) for row in rows) == {
        ("Annotations/p1.xml", "box is empty or reversed"): 1,
        ("JPEGImages/p2.png", "image cannot be read"): 3,  # a dog, a cat and the labels
        ("JPEGImages/p3.png", "image size differs from the recorded size"): 3,
        ("JPEGImages/p4.png", "image does not exist"): 3,
    }
    chosen = sum(result["questions"]["train"]["open"].values())
    left = sum(number for reason, number in result["left_out"].items() if ": " not in reason)
    assert chosen + left == len(list(voc.read(tmp_path / "voc")))
    assert dict(left_out(tmp_path / "data").values) == result["left_out"]


def test_a_duplicate_question_is_rejected_under_any_picture_file_name(tmp_path):
    source = voc_set(tmp_path / "voc", 4)
    pictures = tmp_path / "voc" / "JPEGImages"
    with Image.open(pictures / "p0.png") as image:
        image.save(pictures / "p2.png", compress_level=0)  # the same pixels, other bytes
    numbers = {"train_questions": 9, "val_questions": 0, "test_questions": 0}
    settings = {"train_sources": [source], "tasks": ["detection"], **numbers, **NO_DRAWN}
    with pytest.raises(InputError, match=r"p2\.xml: duplicate question \(voc-p2-dog, first as voc-p0-dog\)"):
        curate(tmp_path / "data", **settings)
    result = curate(tmp_path / "data", **settings, on_bad="skip")
    assert result["rejected"] == {"duplicate question": 2}  # the dog and the cat
    assert result["questions"]["train"]["open"] == {"detection": 6}


def table_of(folder, rows, header="image,question,answer"):
    """Write a table about made-up pictures and return its folder."""
    folder.mkdir(exist_ok=True)
    for name in {row[0] for row in rows if row[0]}:
        photograph(int(name.removesuffix(".png")), (60, 50)).save(folder / name)
    lines = [header, *(",".join(row) for row in rows)]
    (folder / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


def curate_table(folder, task="math", options="", **changes):
    numbers = {"train_questions": 20, "val_questions": 0, "test_questions": 0}
    settings = {"train_sources": [f"table:rows.csv?task={task}{options}"], "tasks": [task], "root": folder}
    return curate(folder / "data", **(settings | numbers | NO_DRAWN | changes))


def test_two_answers_to_one_question_about_one_picture_are_refused(tmp_path):
    rows = [(f"{n}.png", "How many?", str(n)) for n in range(4)]
    more = [
        ("0.png", "how  MANY?", "7"),
        ("1.png", "How many?", "1.0"),
        ("2.png", "How much?", "9"),
        ("0.png", "How many?", "0"),
    ]
    folder = table_of(tmp_path, rows + more)
    other = (
        r"rows.csv:2: the same question about the same picture has another answer \(rows-2: 0; rows.csv:6:rows-6 7\)"
    )
    with pytest.raises(InputError, match=other):
        curate_table(folder)
    result = curate_table(folder, on_bad="skip")
    assert result["rejected"] == {
        "the same question about the same picture has another answer": 3
    }  # also the repetition
    kept = {(s.question, s.answer) for s in read(folder / "data", "train", "open")}
    assert kept == {
        ("How many?", "1"),
        ("How many?", "1.0"),
        ("How many?", "2"),
        ("How much?", "9"),
        ("How many?", "3"),
    }


def test_two_answers_are_found_in_words_and_across_sources(tmp_path):
    rows = [(f"{n}.png", "How many?", str(n)) for n in range(3)] + [("", "6 * 7?", "42"), ("", "6 * 7?", "41")]
    for name, changed in (
        ("a", rows),
        ("b", [("0.png", "How many?", "8"), ("", "6 * 8?", "48"), ("", "6 * 9?", "54")]),
    ):
        table_of(tmp_path / name, changed)
    one, other = (f"table:{name}/rows.csv?task=math" for name in "ab")
    result = curate_table(tmp_path, on_bad="skip", train_sources=[one, other])
    rejected = [json.loads(line) for line in (tmp_path / "data" / "rejected.jsonl").read_text().splitlines()]
    assert len(rejected) == sum(result["rejected"].values()) == 4
    assert {row["line"] for row in rejected if row["source"] == one} == {2, 5, 6}
    with pytest.raises(InputError, match="would be learnt from and tested on"):  # for other splits it is a leak
        curate_table(tmp_path, on_bad="skip", test_questions=2, train_sources=[one], ood_sources=[other])


def test_many_answers_to_one_question_are_compared_in_no_time(tmp_path):
    rows = [("0.png", "How many?", str(n)) for n in range(3000)] + [("1.png", "How many?", "1")]
    assert sum(curate_table(table_of(tmp_path, rows), on_bad="skip", max_pixels=0)["rejected"].values()) == 3000


def test_texts_are_tidied_and_counted_or_rejected_with_their_row(tmp_path):
    rows = [
        ("0.png", "What?", "dog\u200b", "<think>a dog</think>"),
        ("1.png", "What?", "cat", "a cat"),
        ("2.png", "What is <|image_pad|>?", "cow", ""),
        ("3.png", "What?", "cow", "a <answer>cow</answer>"),
        ("4.png", "What?", "\u200b", ""),
    ]
    folder = table_of(tmp_path, rows, "image,question,answer,why")
    with pytest.raises(InputError, match=r"rows.csv:4: text has a chat token, .* \(rows-4: <\|image_pad\|>\)"):
        curate_table(folder, "classification", "&thinking=why")
    result = curate_table(folder, "classification", "&thinking=why", on_bad="skip")
    assert result["rejected"] == {
        "text has a chat token, which a model takes for one of its own": 1,
        "reasoning has <think> or <answer> tags inside": 1,
        "answer cannot be read (empty_answer)": 1,
    }
    assert result["mended"] == {"think tags around the reasoning removed": 1}  # labels are tidied where they are read
    assert {(*s.answer, s.thinking) for s in read(folder / "data", "train", "open")} == {
        ("dog", "a dog"),
        ("cat", "a cat"),
    }


def test_thin_pictures_are_refused_at_the_size_at_which_they_are_stored(tmp_path):
    folder = table_of(tmp_path, [(f"{n}.png", "How many?", str(n)) for n in range(3)])
    Image.new("RGB", (9990, 50), "red").save(folder / "0.png")
    result = curate_table(folder, on_bad="skip", max_pixels=50_000)
    assert result["rejected"] == {"aspect ratio is above 200": 1}
    curate_table(folder, max_pixels=0)


# ---- mixtures


def used(folder):
    return checked(folder).set_index("source")["used"].to_dict()


@pytest.mark.parametrize(
    ("terms", "asked", "expected", "why"),
    [
        (("", ""), 24, [12, 12], "all that there is"),
        ((" | detection 4", ""), 24, [4, 12], "a quota holds"),
        ((" | detection 4", " | detection 6"), 24, [4, 6], "quotas of all are what is asked for"),
        ((" | weight 1", " | weight 3"), 16, [4, 12], "one to three"),
        ((" | weight 3", ""), 16, [12, 4], "who has no weight has the weight 1"),
        ((" | weight 1", " | weight 9"), 16, [4, 12], "what one cannot give, the other fills up"),
        ((" | weight 3, detection 2", ""), 16, [2, 12], "a quota limits a share"),
    ],
)
def test_sources_give_what_was_written_behind_them(tmp_path, terms, asked, expected, why):
    sources = [
        voc_set(tmp_path / name, 6, shade=100 * place) for place, name in enumerate("ab")
    ]  # a dog, a cat in each
    numbers = {"train_questions": asked, "val_questions": 0, "test_questions": 0}
    texts = [source + term for source, term in zip(sources, terms)]
    curate(tmp_path / "data", train_sources=texts, tasks=["detection"], **numbers, **NO_DRAWN)
    assert [used(tmp_path / "data")[source] for source in sources] == expected, why


def test_scenes_fill_what_quotas_leave_open(tmp_path):
    source = voc_set(tmp_path / "a", 6)
    numbers = {"train_questions": 10, "val_questions": 0, "test_questions": 0}
    texts = [f"{source} | detection 4", "scenes"]
    curate(tmp_path / "data", train_sources=texts, tasks=["detection"], **numbers, **NO_DRAWN)
    assert used(tmp_path / "data") == {source: 4, "scenes": 6}


def test_a_split_with_fewer_questions_than_asked_for_is_told(tmp_path, capsys):
    numbers = {"train_questions": 50, "val_questions": 2, "test_questions": 0}
    curate(tmp_path / "data", train_sources=[voc_set(tmp_path / "a", 6)], tasks=["detection"], **numbers, **NO_DRAWN)
    short = [line for line in capsys.readouterr().out.splitlines() if "instead of" in line]
    assert short == ["train: 10 detection questions instead of 50: the sources have no more"]


# ---- refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"on_bad": "ignore"}, r"on_bad is 'ignore', but must be one of stop, skip"),
        ({"on_leak": "no"}, r"on_leak is 'no', but must be one of stop, skip, allow"),
        ({"tasks": ["detecton"]}, "tasks contains the unknown 'detecton'"),
        ({"tasks": []}, "tasks is empty; name at least one"),
        ({"val_questions": -1}, "a number of questions is negative"),
        ({"train_sources": ["vok:data"]}, "unknown kind 'vok'; did you mean voc"),
        ({"train_sources": ["voc"]}, "write voc:PLACE, with a place"),
        ({"train_sources": ["scenes:data"]}, "write 'scenes' alone"),
        ({"train_sources": ["voc:nowhere"]}, "nowhere does not exist"),
        ({"train_sources": ["voc:same"], "ood_sources": ["voc:same"]}, "train_sources and ood_sources"),
    ],
)
def test_unusable_settings_are_named_with_a_remedy(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        draw(tmp_path, **changes)


def test_an_empty_split_is_named_with_task_and_remedy(tmp_path):
    one = voc_set(tmp_path / "voc", 1)
    with pytest.raises(
        InputError, match=r"split 'val' has no detection question from train_sources .*remove 'detection' from tasks"
    ):
        curate(tmp_path / "data", train_sources=[one], tasks=["detection"], **NO_DRAWN)
    with pytest.raises(InputError, match=r"gave no question of math \(its format has none\)"):
        curate(tmp_path / "data", train_sources=[one], tasks=["math"], **NO_DRAWN)


def test_a_stage_that_stays_empty_is_named_with_its_reason(tmp_path):
    # every picture shows all labels that are known, so no label can be called absent
    source, numbers = voc_set(tmp_path / "voc", 4, labels=("RBC", "WBC")), {"val_questions": 0, "test_questions": 0}
    with pytest.raises(
        InputError,
        match=r"'train' has no classification question at the binary stage .*known to be absent.*"
        r"; add a source whose classification questions have this form, or remove 'classification' from tasks$",
    ):
        curate(tmp_path / "data", train_sources=[source], tasks=["classification"], **numbers, **NO_DRAWN)


def edit(folder, change):
    manifest = read_manifest(folder)
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_folder_with_a_test_image_in_training_is_refused(tmp_path):
    draw(tmp_path)
    read(tmp_path, "train", "open")
    images = read_manifest(tmp_path)["images"]
    leaked = tmp_path / "images" / "copy.png"  # the same bytes under another name
    leaked.write_bytes((tmp_path / "images" / images["test_id"][0]).read_bytes())

    def add(manifest):
        manifest["images"]["train"].append("copy.png")
        manifest["files"]["images/copy.png"] = manifest["files"][f"images/{images['test_id'][0]}"]

    edit(tmp_path, add)
    with pytest.raises(InputError, match=r"of 'test_id' is also in 'train' \(as copy"):
        read(tmp_path, "train", "open")


@pytest.mark.parametrize("name", ["train-open.jsonl", "images"])
def test_a_changed_file_is_refused(tmp_path, name):
    draw(tmp_path)
    path = next((tmp_path / name).iterdir()) if name == "images" else tmp_path / name
    read(tmp_path, "train", "open")
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(InputError, match="was changed after it was made"):
        read(tmp_path, "train", "open")
    path.unlink()
    with pytest.raises(InputError, match="is missing"):
        read(tmp_path, "train", "open")


def test_what_a_folder_does_not_hold_is_named(drawn):
    with pytest.raises(InputError, match=r"has no pool-binary\.jsonl, only pool-open"):
        read(drawn[0], "pool", "binary")


# ---- official rows at closed stages, and real data


def test_rows_that_come_posed_go_to_their_stage(tmp_path):
    for stage, problem, answer in (("open", "?", "3"), ("judge", "It is 3.", "yes"), ("choice", "? A. 3 B. 4", "A")):
        rows = [{"task": "math", "problem": f"Number {i}: {problem}", "solution": answer} for i in range(3)]
        path = tmp_path / "rows" / f"{stage}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    numbers = {"train_questions": 3, "val_questions": 0, "test_questions": 0}
    source = f"curr_reft:{tmp_path / 'rows'}"
    curate(tmp_path / "data", train_sources=[source], tasks=["math"], **numbers, **NO_DRAWN)
    for stage in STAGES:
        samples = read(tmp_path / "data", "train", stage)
        assert len(samples) == 3 and all(s.parent is None for s in samples)


def test_real_sets_come_in_with_every_row_accounted_for(real_data, tmp_path):
    sources = ["voc:voc_bccd/BCCD", "coco:coco_tiny", "math_vision:math_vision"]
    result = curate(
        tmp_path, train_sources=sources, ood_sources=["voc:voc_genuine", "super_clevr:super_clevr"], pool_sources=[],
        train_questions=60, val_questions=5, test_questions=6, max_pixels=65_536, on_bad="skip", root=real_data,
    )  # fmt: skip
    read_items = [item for module, name in ((voc, "voc_bccd/BCCD"), (coco, "coco_tiny"), (voc, "voc_genuine"))
                  for item in module.read(real_data / name)]  # fmt: skip
    total = len(read_items) + len(list(math_vision.read(real_data / "math_vision"))) + 10
    chosen = sum(sum(stages["open"].values()) for stages in result["questions"].values())
    left = sum(number for reason, number in result["left_out"].items() if not reason.startswith(("binary", "choice")))
    assert chosen + left == total
    assert result["left_out"]["box is empty or reversed"] == 1 and result["left_out"]["annotation is of a crowd"] == 5
    with Image.open(read(tmp_path, "test_ood", "open")[0].image) as image:
        assert image.width * image.height <= 65_536
