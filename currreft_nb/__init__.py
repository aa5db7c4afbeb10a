"""Curr-ReFT for one person: curriculum reinforcement fine-tuning of small vision-language models, from notebooks.

Read the package from the ground up: `samples`, `boxes`, `answers` are the words; `tasks`, `curriculum`, `prompts`,
`rewards` and `metrics` the ideas (none of them needs torch); `models`, `training`, `rejection` and `evaluation` the
learning; `plots` and `gallery` the views; `parameters`, `runs`, `experiment`, `report` and `cli` make it run.
"""

__version__ = "0.1.0"


class InputError(ValueError):
    """What the user gave cannot be used; the message is one sentence that names what, where and the remedy."""
