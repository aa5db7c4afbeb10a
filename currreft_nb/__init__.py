"""Curr-ReFT for one person: curriculum reinforcement fine-tuning of small vision-language models, from notebooks.

The method: every question is asked in three forms of rising difficulty (is it this, which of these, what is it); at
each form the model answers several times, a rule pays what is right, and what was paid better than its group becomes
likelier; at last the model learns from its own best answers. Read the package from the ground up, in this order:

1. words: `samples`, `boxes`, `answers`, `journal`
2. ideas, none of which needs torch: `tasks`, `curriculum`, `prompts`, `rewards`, `metrics`; `formats`, `scenes`,
   `curation` bring the questions
3. learning: `models`, `pocket`, `memory`, `generation`, `training`, `judges`, `rejection`, `evaluation`
4. views: `plots`, `gallery`, `tables`
5. running: `parameters`, `records`, `runs`, `experiment`, `runner`, `report`, `cli`

Where a name has parts (`training.trainers`), the one without them comes first and says what it is all for.
"""

__version__ = "0.1.0"


class InputError(ValueError):
    """What the user gave cannot be used; the message is one sentence that names what, where and the remedy."""
