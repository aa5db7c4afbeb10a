"""Judges: how good is an answer, from 0 to 100, and why.

A judge is any callable (sample, completion) -> Verdict. The paper lets GPT-4o give points for accuracy, logical
consistency, format and fluency. The rule judge below gives those that a rule can give and leaves the others empty.
"""

from dataclasses import dataclass

from currreft_nb.boxes import Frame
from currreft_nb.rewards import Rules, score
from currreft_nb.samples import Sample

MISFORMED_CEILING = 84.0  # one below the paper's threshold of 85: what breaks the format is never kept


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one completion: points from 0 to 100, None where it cannot or did not judge, and why."""

    total: float | None
    accuracy: float | None
    consistency: float | None
    format: float | None
    fluency: float | None
    reason: str


def rule_judge(sample: Sample, completion: str, frame: Frame | None = None, rules: Rules = Rules()) -> Verdict:
    """Judge by the verifiable rewards: 100 times the accuracy if the format is right, else that but at most 84.

    `frame`: how the model writes boxes; None means pixels of the stored image. Consistency and fluency are None, as no
    rule can judge them. Without a reference nothing is judged: every number is None, the reason is "no_reference".

    >>> sample = Sample(id="a", task="math", split="pool", source="s", question="6 * 7", answer="42")
    >>> rule_judge(sample, "<think>six sevens</think><answer>42</answer>").total
    100.0
    >>> rule_judge(sample, "<answer>42</answer>")
    Verdict(total=84.0, accuracy=100.0, consistency=None, format=0.0, fluency=None, reason='no_think')
    """
    if sample.answer is None:
        return Verdict(None, None, None, None, None, "no_reference")
    earned = score(sample, completion, frame, rules)
    accuracy = 100 * earned.value
    total = accuracy if earned.format == 1 else min(MISFORMED_CEILING, accuracy)
    return Verdict(total, accuracy, None, 100 * earned.format, None, earned.reason)
