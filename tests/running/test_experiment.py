"""An experiment file: read whole, and refused whole, with its line, before anything starts."""

import pytest

from currreft_nb import InputError
from currreft_nb.running.experiment import read_experiment
from tests.helpers.tiny_project import TINY, TRAIN, make_project, write_experiment, write_notebook


@pytest.fixture
def project(tmp_path, monkeypatch):
    root = make_project(tmp_path / "project {braces}")  # Papermill formats paths
    monkeypatch.chdir(root)
    return root


def read(project, text=TINY, changes=()):
    return read_experiment(write_experiment(project, text).relative_to(project), changes)


def test_values_come_from_shared_step_and_default(project):
    data, train = read(project).steps
    assert data.settings == {"seed": 3, "rows": 4, "output": "outputs/tiny/data"}
    assert train.settings["learning_rate"] == 1e-5
    assert train.settings["data"] == "outputs/tiny/data"
    assert (train.settings["seed"], train.settings["steps"]) == (3, 60)
    assert train.needs == ("data",)
    assert train.values() == {
        "seed": 3,
        "data": "outputs/tiny/data",
        "learning_rate": 1e-5,
        "output": "outputs/tiny/train",
    }


def test_a_notebook_may_be_named_by_its_path(project):
    experiment = read(project, TINY.replace("01_data", "notebooks/01_data.ipynb"))
    assert experiment.steps[0].notebook == project / "notebooks" / "01_data.ipynb"


def test_the_file_is_found_from_elsewhere(project, monkeypatch, tmp_path):
    path = write_experiment(project, TINY)
    monkeypatch.chdir(tmp_path)
    assert read_experiment(path).root == project


GRID = (
    TINY
    + """\
    grid: {seed: [0, 1], tasks: [[math], [math, detection]]}
  - name: after
    notebook: 02_train
    params: {tasks: ["@train", "arm=@data/images", "@train-seed-1-tasks-math"], data: "@data"}
"""
)


def test_a_grid_multiplies_its_step_and_its_name_means_all_of_them(project):
    experiment = read(project, GRID)
    names = [step.name for step in experiment.steps]
    assert names[1:3] == ["train-seed-0-tasks-math", "train-seed-0-tasks-math+detection"]
    assert len(names) == 6
    assert experiment.steps[2].settings["tasks"] == ["math", "detection"]
    after = experiment.steps[-1]
    assert after.settings["tasks"] == [
        *(f"outputs/tiny/{name}" for name in names[1:5]),
        "arm=outputs/tiny/data/images",
        "outputs/tiny/train-seed-1-tasks-math",
    ]
    assert set(after.needs) == set(names[:5])
    assert experiment.named(["train"]) == set(names[1:5])


CHAIN = """\
steps:
  - {name: data, notebook: 01_data, grid: &seeds {seed: [0, 1]}}
  - name: first
    notebook: 02_train
    params: {data: "@data"}
    grid: {seed: [0, 1], steps: [20, 40]}
  - {name: second, notebook: 02_train, params: {data: "@data", tasks: ["@first"]}, grid: *seeds}
  - {name: all, notebook: 02_train, params: {data: "@data-seed-0", tasks: ["@second"]}}
"""


def test_a_step_of_a_grid_refers_to_the_steps_that_agree_with_it(project):
    steps = {step.name: step for step in read(project, CHAIN).steps}
    for seed in (0, 1):
        second = steps[f"second-seed-{seed}"]
        assert second.settings["data"] == f"outputs/tiny/data-seed-{seed}"
        assert second.settings["tasks"] == [f"outputs/tiny/first-seed-{seed}-steps-{n}" for n in (20, 40)]
        assert steps[f"first-seed-{seed}-steps-40"].needs == (f"data-seed-{seed}",)
    assert steps["all"].settings["tasks"] == ["outputs/tiny/second-seed-0", "outputs/tiny/second-seed-1"]


def test_a_grid_without_the_wanted_value_is_named(project):
    with pytest.raises(InputError, match="grid @data has no step with seed 2; give both grids the same values"):
        read(project, CHAIN.replace("grid: *seeds", "grid: {seed: [2]}"))


@pytest.mark.parametrize(
    ("changes", "seeds", "steps"),
    [
        ((), (3, 3), 60),
        (("seed=5",), (5, 5), 60),
        (("train.seed=5", "steps=1e1"), (3, 5), 10),
        (("seed=5", "train.seed=6"), (5, 6), 60),
    ],
)
def test_set_overrides_the_file(project, changes, seeds, steps):
    data, train = read(project, changes=changes).steps
    assert (data.settings["seed"], train.settings["seed"], train.settings["steps"]) == (*seeds, steps)


def test_set_takes_lists_text_and_references(project):
    _, train = read(project, changes=["tasks=[math, detection]", "model=", "train.data=@data/x"]).steps
    assert (train.settings["tasks"], train.settings["model"]) == (["math", "detection"], "")
    assert train.settings["data"] == "outputs/tiny/data/x"


BAD_FILES = [
    ("", "tiny.yaml:1: an experiment file has the keys shared and steps"),
    ("- a", "tiny.yaml:1: an experiment file has the keys"),
    ("steps: []", "tiny.yaml:1: no steps"),
    ("shared: {seed: 1}", "tiny.yaml:1: no steps"),
    ("steps: 3", "tiny.yaml:1: steps is 3, but must be a list"),
    ("steps:\n  - data", "tiny.yaml:2: a step has the keys"),
    (TINY.replace("shared", "shard"), "tiny.yaml:1: unknown key 'shard'; did you mean shared?"),
    (TINY.replace("params", "parms"), "tiny.yaml:8: unknown key 'parms'; did you mean params?"),
    (TINY.replace("name: data", "name: 7"), "tiny.yaml:4: name is 7, but must be a text"),
    (TINY.replace("name: data", "name: ../data"), "tiny.yaml:4: step name '../data' may hold only"),
    (TINY.replace("name: train", "name: data"), "tiny.yaml:6: duplicate step name 'data'"),
    (TINY.replace("    notebook: 01_data\n", ""), "tiny.yaml:4: step 1 has no notebook"),
    (TINY.replace("01_data", "01_date"), "tiny.yaml:5: no notebook '01_date' in "),
    (TINY.replace("01_data", "broken"), "tiny.yaml:5: "),
    (TINY.replace("01_data", "silent"), "tiny.yaml:5: silent does not declare the folder"),
    (TINY.replace("seed: 3", "sed: 3"), "tiny.yaml:2: no notebook of this file takes 'sed'; did you mean seed?"),
    (TINY.replace("seed: 3", "seed: x"), "tiny.yaml:2 (step data): seed is 'x', but must be an int"),
    (TINY.replace("seed: 3", "output: x"), "tiny.yaml:2: no notebook of this file takes 'output'"),
    (
        TINY.replace("learning_rate", "learnin_rate"),
        "tiny.yaml:8 (step train): unknown parameter 'learnin_rate'; did you",
    ),
    (TINY.replace("1e-5", "fast"), "tiny.yaml:8 (step train): learning_rate is 'fast', but must be a finite float"),
    (TINY.replace("1e-5", "1e-5, output: x"), "tiny.yaml:8 (step train): output is set by the runner"),
    (TINY.replace("@data", "@date"), "tiny.yaml:8 (step train): @date is not a step of this file; did you mean data?"),
    (TINY.replace("@data", "@train"), "tiny.yaml:8 (step train): @train is not an earlier step"),
    (TINY.replace("02_train", "grpo"), "tiny.yaml:6 (step train): micro_batch"),
    (TINY.replace("02_train", "sft"), "tiny.yaml:6 (step train): micro_batch"),
    (TINY.replace('"@data"', "@data"), "tiny.yaml:8: "),
    (TINY.replace("seed: 3", "seed: 3\n  seed: 4"), "tiny.yaml:3: duplicate key 'seed'"),
    (GRID.replace("[0, 1]", "0"), "tiny.yaml:9: grid value seed is 0, but must be a non-empty list"),
    (GRID.replace("[0, 1]", "[0, 0]"), "duplicate step name 'train-seed-0-tasks-math'"),
    (GRID.replace("{seed", "{learning_rate: [1], seed"), "duplicate learning_rate in params and grid of step train"),
    (GRID.replace("[0, 1]", "[0, a]"), "tiny.yaml:9 (step train-seed-a-tasks-math): seed is 'a', but must be an int"),
    (
        GRID + '  - {name: last, notebook: 02_train, params: {data: "@train"}}',
        "@train is a grid of 4 steps; choose one of @train-",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD_FILES, ids=[message for _, message in BAD_FILES])
def test_a_bad_file_is_refused_with_its_line(project, text, message):
    (project / "notebooks" / "broken.ipynb").write_text("{")
    write_notebook(project / "notebooks", "silent", "seed: int = 0")
    write_notebook(project / "notebooks", "grpo", TRAIN + "\ngroup_size: int = 8\nmicro_batch: int = 7")
    write_notebook(project / "notebooks", "sft", TRAIN + "\nbatch_size: int = 8\nmicro_batch: int = 7")
    by_hand = TRAIN + '\nevaluations: list[str] = ["outputs/notebooks/06_evaluation"]'
    write_notebook(project / "notebooks", "scores", by_hand)
    with pytest.raises(InputError) as caught:
        read(project, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (project / "outputs").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seed", "--set seed: write name=value"),
        ("=3", "--set =3: write name=value"),
        ("sed=3", "--set sed=3: unknown parameter 'sed'; did you mean seed?"),
        ("trian.seed=3", "--set trian.seed=3: no step 'trian'; did you mean train?"),
        ("data.learning_rate=3", "--set data.learning_rate=3: unknown parameter 'learning_rate'"),
        ("output=x", "--set output=x: unknown parameter 'output'"),
        ("seed=x", "--set seed (step data): seed is 'x', but must be an int"),
        ("data=@train", "--set data (step train): @train is not an earlier step"),
    ],
)
def test_a_bad_override_is_refused(project, change, message):
    with pytest.raises(InputError) as caught:
        read(project, changes=[change])
    assert str(caught.value).startswith(message)


def test_an_override_is_named_where_it_does_not_go_with_the_other_values(project):
    write_notebook(project / "notebooks", "sft", TRAIN + "\nbatch_size: int = 8\nmicro_batch: int = 4")
    with pytest.raises(InputError, match=r"\(step train --set micro_batch=7\): micro_batch is 7, but must divide"):
        read(project, TINY.replace("02_train", "sft"), ["micro_batch=7"])


def test_an_override_does_not_fight_a_grid(project):
    with pytest.raises(InputError, match="seed is a grid parameter"):
        read(project, GRID, ["train.seed=3"])
    assert read(project, GRID, ["data.seed=9"]).steps[0].settings["seed"] == 9


class TestModels:
    """Models and adapters with incomplete files are refused, with the line that names them."""

    START = '\nstart_from: str = "base"'
    POINTER = "version https://git-lfs.github.com/spec/v1\nsize 7754000000\n"

    @pytest.fixture
    def model(self, project):
        folder = project / "models" / "mine"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"model_type": "qwen2_vl"}')
        (folder / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
        return folder

    def test_a_whole_model_passes(self, project, model):
        assert read(project, changes=["model=models/mine"]).steps[1].settings["model"] == "models/mine"

    @pytest.mark.parametrize("key", ["model", "teacher"])
    def test_a_pointer_is_refused(self, project, model, key):
        write_notebook(project / "notebooks", "02_train", TRAIN + '\nteacher: str = ""')
        (model / "model.safetensors").write_text(self.POINTER)
        text = TINY.replace("1e-5}", f"1e-5, {key}: models/mine}}")
        with pytest.raises(
            InputError, match=r"tiny\.yaml:8 \(step train\): .*mine/model\.safetensors is only a pointer"
        ):
            read(project, text)

    def test_quantised_weights_are_refused(self, project, model):
        (model / "config.json").write_text('{"quantization_config": {"quant_method": "gptq", "bits": 4}}')
        with pytest.raises(
            InputError, match=r"--set model \(step train\): .*'models/mine' is stored in 4 bit \(gptq\)"
        ):
            read(project, changes=["model=models/mine"])

    @pytest.mark.parametrize("place", ["runs/one/adapter", "runs/one"])
    def test_an_adapter_is_looked_at(self, project, place):
        write_notebook(project / "notebooks", "02_train", TRAIN + self.START)
        (project / place).mkdir(parents=True)
        (project / place / "adapter_model.safetensors").write_text(self.POINTER)
        text = TINY.replace("1e-5}", "1e-5, start_from: runs/one}")
        with pytest.raises(
            InputError, match=r"\(step train\): .*adapter_model\.safetensors is only a pointer of git-lfs"
        ):
            read(project, text)

    def test_arms_are_looked_at_and_a_model_that_only_words_questions_is_not(self, project, model):
        declared = TRAIN + '\narms: list[str] = ["a"]\nstart_from: list[str] = ["base"]'
        write_notebook(project / "notebooks", "02_train", declared)
        (model / "config.json").write_text('{"quantization_config": {"quant_method": "awq", "bits": 4}}')
        served = '1e-5, model: models/mine, start_from: ["http:mine@http://127.0.0.1:8000/v1"]}'
        read(project, TINY.replace("1e-5}", served))
        for given in ('model: models/mine, start_from: ["base"]', 'start_from: ["model:models/mine"]'):
            with pytest.raises(InputError, match=r"is stored in 4 bit \(awq\) already"):
                read(project, TINY.replace("1e-5}", f"1e-5, {given}}}"))

    def test_what_an_earlier_step_makes_again_is_not_looked_at(self, project, model):
        made = project / "outputs" / "tiny" / "export"
        model.rename(made.parent.mkdir(parents=True) or made)
        (made / "model.safetensors").write_text(self.POINTER)
        read(project, changes=["model=outputs/tiny/export"])
