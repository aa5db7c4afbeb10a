"""What is asked: one module a task, each with the same six names.

`QUESTION` and `ANSWER` word it, `render` writes a structured value, `parse` reads one, `accuracy` scores it, `same`
says whether two values are equal, and `distractors` makes wrong ones (not for `general`, which is asked openly only).
"""

from currreft_nb.tasks import classification, detection, general, math

TASK_MODULES = {"detection": detection, "classification": classification, "math": math, "general": general}
