"""The pool takes all that its sources have; sources are read only for tasks that their splits can use."""

import json

import pytest

from currreft_nb import InputError
from currreft_nb.data.curate import curate
from currreft_nb.data.folder import data_summary

FEW = {"train_questions": 4, "val_questions": 0, "test_questions": 0, "pool_questions": 6, "ood_sources": []}


def draw(folder, **changes):
    return curate(folder, **(FEW | changes))


def pool_table(folder, task, count=5, start=0):
    """Write a table of questions in words, and return the source."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{task}.jsonl"
    rows = [
        {"question": f"What is {n} times {n}, as {task}?", "answer": str(n * n)} for n in range(start, start + count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"table:{path}?task={task}"


@pytest.mark.parametrize(
    ("sources", "tasks", "expected", "why"),
    [
        (["general"], ["math"], {"general": 5}, "general questions need not be named among the tasks"),
        (["math"], ["math"], {"math": 5}, "a pool may hold none"),
        (["math"], ["detection", "math"], {"math": 5}, "nor every task"),
        (["general", "math"], ["math"], {"general": 5, "math": 5}, "each gives what it has"),
        (["math", "scenes"], ["math"], {"general": 6, "math": 5}, "scenes give general ones only"),
        (["scenes"], ["math"], {"general": 6}, "also alone"),
    ],
)
def test_the_pool_takes_what_its_sources_bring(tmp_path, sources, tasks, expected, why):
    texts = [pool_table(tmp_path / "pool", name) if name != "scenes" else name for name in sources]
    result = draw(tmp_path / "data", tasks=tasks, pool_sources=texts)
    assert result["questions"]["pool"] == {"open": expected}, why
    table = data_summary(tmp_path / "data")
    assert dict(table[table.split == "pool"][["task", "open"]].values) == expected


def test_school_questions_alone_fill_the_pool(tmp_path):
    problem = {"question": "Which is north?", "choices": ["Ohio", "Utah"], "answer": 0, "hint": "", "split": "train"}
    problems = {str(n): problem | {"question": f"Which is {n} north?"} for n in range(3)}
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    result = draw(tmp_path / "data", tasks=["math"], pool_sources=[f"science_qa:{tmp_path}"])
    assert result["questions"]["pool"] == {"open": {"general": 3}}


def test_a_source_is_asked_for_what_its_splits_can_use(tmp_path):
    train, pool = pool_table(tmp_path / "a", "general"), pool_table(tmp_path / "b", "general", start=50)
    with pytest.raises(InputError, match=r"source .*a/general.jsonl.* gave no question of math"):
        draw(tmp_path / "data", tasks=["math"], train_sources=[train, "scenes"], pool_sources=[pool])
    assert draw(tmp_path / "data", tasks=["math"], pool_sources=["voc:absent"], pool_questions=0)
