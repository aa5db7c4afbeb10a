"""The tasks: how a question is asked and posed, an answer read and scored. Each is a module with the same names.

- `QUESTION`, `ANSWER`: the wording of the question, and of the request how to answer.
- `render(value)`: a structured value as text. `parse(text, sample)`: the value in a text; raises `Unreadable`.
- `accuracy(value, sample, rules)`: the reward of an open answer in [0, 1], and a code of `method.rewards.REASONS`.
- `same(a, b)`: whether two values are equal.
- `MEASURES`: the task's own scores of open answers, each in [0, 1]. Where there are some, `measures(value, sample)`
  returns them and further fields for the evaluation records; `value` is None for an unreadable answer.
- `DENSE`: the setting, as a line of YAML, that pays nearly right open answers in parts; "" where there is none, or
  where they are paid in parts anyway.
- `SEVERAL`: whether several options of a choice may be right. Such a task has values that are lists of items, options
  of one item each, and `normalise(item)`, the name under which two items are the same.
- `other_forms(value)`: the value in forms of other answers than `render`'s. Curation rejects a question whose answer
  does not earn the reward in each. Without it, only that of `render` is tried.
- `thought(text, sample)`: the value with which a think block ends; raises `Unreadable`. Stricter than `parse`, because
  a think block may be prose (`method.thinking`). Without it, think blocks are not compared with answers.

For yes/no and multiple choice, so not for `general`, which is asked at the open stage only:

- `OPTIONS`: how many options a choice offers.
- `distractors(sample, rng, alike)`: wrong values, best first. `alike`: the answers to questions of the same kind, as
  `method.vocabulary` returns them. `curriculum` calls it where the sample has neither options nor candidates.
- `false_claim(sample, wrong, rng)`: the fields of a yes/no question with a false claim; `wrong` holds a value or more.

`core.samples.VALUES` lists the tasks with the kind of their values. Boxes are converted, checked, resized and drawn for
every task whose values they are; a task whose answer may be null is not trained with rewards. So a new task is a
module here and a line there. The files `math_*` are parts of math.
"""

from importlib import import_module

from currreft_nb.core.samples import TASKS

TASK_MODULES = {name: import_module(f"currreft_nb.tasks.{name}") for name in TASKS}
