"""The full-size parameter file: data laid out as its comments say come in, at the shares that it names."""

import json
import pickle
from pathlib import Path

import pyarrow
import pyarrow.parquet

from currreft_nb.data.curate import curate
from currreft_nb.data.folder import checked
from currreft_nb.data.sources import read_mixture
from currreft_nb.running.experiment import read_experiment
from tests.helpers.pictures import photograph, voc_set

FILE = Path(__file__).parents[2] / "params" / "qwen2_5_vl_3b.yaml"
SIZE = (100, 80)
NUMBERS = {"train_questions": 6, "val_questions": 2, "test_questions": 3, "pool_questions": 1000}


def picture(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    photograph(number, SIZE).save(path)
    return path.read_bytes()


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = document if path.suffix == ".jsonl" else [document]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def refer(folder, by, images, start, count=10):
    """Write a set as the refer toolkit has it: a man, and a dog or a cat, in each picture."""
    shown, annotations, refs = [], [], []
    for n in range(start, start + count):
        picture(images / f"{n}.jpg", n)
        shown.append({"id": n, "file_name": f"{n}.jpg", "width": SIZE[0], "height": SIZE[1]})
        for part, text in enumerate((f"man number {n}", f"dog number {n}")):
            ann = {
                "id": 2 * n + part,
                "image_id": n,
                "category_id": (1, 2 + n % 2)[part],
                "bbox": [5 + 45 * part, 9, 30, 40],
            }
            annotations.append(ann)
            sentences = [{"sent_id": 2 * n + part, "sent": text, "raw": text, "tokens": text.split()}]
            refs.append(
                {"ref_id": ann["id"], "ann_id": ann["id"], "image_id": n, "split": "train", "sentences": sentences}
            )
    names = [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "cat"}]
    write(folder / "instances.json", {"images": shown, "annotations": annotations, "categories": names})
    (folder / f"refs({by}).p").write_bytes(pickle.dumps(refs, 2))


def talk(n, image, *, options=True):
    asked = f"<image>\nQuestion: What is angle {n}?" + ("\nChoices:\n(A) 5\n(B) 6" if options else "")
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": "The answer is B." if options else str(n)}]
    return {"id": str(n), "image": image, "conversations": turns}


def lay_out(root):
    """Write a few rows of every set where the comments of the parameter file say that it is expected."""
    refer(root / "refer" / "refcoco", "unc", root / "coco" / "train2014", 0)
    refer(root / "refer" / "refcocog", "umd", root / "coco" / "train2014", 10)
    refer(root / "refgta", "utokyo", root / "refgta" / "gtav_cv_mod_data", 20, 4)
    voc_set(root / "VOC2012", 4, size=SIZE, shade=30)
    for start, path, images in ((100, "MathV360K/train_samples_all_tuning.json", "MathV360K/data_images"),
                                (120, "Geo170K/qa_tuning.json", "Geo170K/images")):  # fmt: skip
        names = {n: f"geo3k/{n}.png" for n in range(start, start + 14)}
        for n, name in names.items():
            picture(root / images / name, n)
        write(root / path, [talk(n, name) for n, name in names.items()])
    scenes = [{"image_filename": f"{n}.png", "objects": [{}] * (n - 136)} for n in range(140, 144)]
    write(root / "Super-CLEVR" / "superCLEVR_scenes.json", {"scenes": scenes})
    for n in range(140, 144):
        picture(root / "Super-CLEVR" / "images" / f"{n}.png", n)
    vision = root / "LLaVA-OneVision-Data"
    for place, name in enumerate(("Geometry3K(MathV360K)", "geomverse(cauldron)", "scienceqa(cauldron,llava_format)",
                                  "scienceqa(nona_context)", "visual7w(cauldron,llava_format)",
                                  "vsr(cauldron,llava_format)")):  # fmt: skip
        numbers = range(150 + 3 * place, 153 + 3 * place) if place else (100, 150, 151)  # one that MathV360K has, too
        rows = [talk(n, {"bytes": picture(root / "any.png", n), "path": None}) for n in numbers]
        (vision / name).mkdir(parents=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), vision / name / "train-00000-of-00001.parquet")
    rows = [talk(n, f"sqa/{n}.png", options=False) for n in range(180, 183)]
    for n in range(180, 183):
        picture(root / "LLaVA-CoT-100k" / "images" / "sqa" / f"{n}.png", n)
    write(root / "LLaVA-CoT-100k" / "train.jsonl", rows)
    for name in ("math", "science"):
        write(root / "sk1_1" / f"{name}.jsonl", [{"question": f"{name} {n}?", "answer": str(n)} for n in range(3)])


def test_data_laid_out_as_the_comments_say_come_in(tmp_path):
    lay_out(tmp_path / "data")
    settings = {step.name: step.settings for step in read_experiment(FILE).steps}["curate"]
    names = ("train_sources", "ood_sources", "pool_sources", "tasks", "on_leak", "on_bad", "max_pixels")
    chosen = {name: settings[name] for name in names}
    result = curate(tmp_path / "made", root=tmp_path / "data", **chosen, **NUMBERS)
    table = checked(tmp_path / "made")
    assert len(table) == 4 + 3 + 10 - 1 and (table["used"] > 0).all(), table.to_string()  # Geo170K is named twice
    assert result["leaks"] == 0 and not result["rejected"]
    for split in ("train", "val", "test_id", "test_ood"):
        assert set(result["questions"][split]) == {"binary", "choice", "open"}
        assert set(result["questions"][split]["open"]) == {"detection", "classification", "math"}
    assert set(result["questions"]["pool"]["open"]) == {"math", "general"}


def test_the_pool_is_composed_as_documented_for_the_paper():
    settings = {step.name: step.settings for step in read_experiment(FILE).steps}["curate"]
    [portions] = read_mixture({"pool": settings["pool_sources"]}).values()
    counts = {task: sum(portion.quota(task) for portion in portions.values()) for task in ("math", "general")}
    assert counts == {"math": 700, "general": 320 + 500}
