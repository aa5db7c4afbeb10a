"""What is asked: one module a task, each with the same seven names.

`QUESTION` and `ANSWER` word it, `render` writes a structured value, `parse` reads one, `accuracy` scores it, `same`
says whether two values are equal, and `distractors` makes wrong ones (not for `general`, which is asked openly only).
`samples.VALUES` lists the tasks. What they share, or what is too long for one file, stands beside them: math's
`equality`, `notation` and `verifier`.
"""

from importlib import import_module

from currreft_nb.samples import TASKS

TASK_MODULES = {name: import_module(f"currreft_nb.tasks.{name}") for name in TASKS}
