"""Curr-ReFT for one person: curriculum reinforcement fine-tuning of small vision-language models, from notebooks.

The method: every question is asked in three forms of rising difficulty (yes/no, multiple choice, open). At each form
the model answers several times, a rule rewards right answers, and answers above their group's mean become likelier.
Then the model learns from its own best answers. Read the packages from the ground up, in this order:

1. words: `core`
2. ideas, none of which needs torch: `tasks`, `method`, `data`, `metrics`
3. learning: `models`, `endpoints`, `generation`, `rejection`, `training`, `evaluation`, `memory`, `pocket`
4. figures and pages: `views`, `report`
5. running: `running`, `cli`

README.md in this folder lists every module, and which package may import which.
"""

import logging

__version__ = "0.1.0"

# When bitsandbytes is imported, it reports an absent optional kernel; `models.quiet` may be imported too late for that.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


class InputError(ValueError):
    """An input that cannot be used; the message is one sentence that names the value, its place and the remedy."""
