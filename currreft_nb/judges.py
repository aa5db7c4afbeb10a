"""Judges: how good is an answer, from 0 to 100, and why.

    rule                                  the verifiable rewards; needs a reference, costs nothing
    http:gpt-4o@https://api.openai.com/v1 | dollars_in 2.5, dollars_out 10        a model at an endpoint (`judges_http`)
    recorded:outputs/pocket/reject/verdicts-gpt-4o-1f0c2a.jsonl                   what such a model said earlier

A judge is any callable from (sample, completion) pairs to verdicts, one each. The paper lets GPT-4o give points for
accuracy, logical consistency, format and fluency. The rule judge gives those that a rule can give and leaves the
others empty.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from currreft_nb import InputError
from currreft_nb.boxes import Frame
from currreft_nb.endpoint import Endpoint, read_endpoint
from currreft_nb.journal import read_journal
from currreft_nb.rewards import Rules, score
from currreft_nb.samples import Sample

MISFORMED_CEILING = 84.0  # one below the paper's threshold of 85: what breaks the format is never kept
KINDS = ("rule", "http", "recorded")

Pair = tuple[Sample, str]
Judge = Callable[[Sequence[Pair]], list["Verdict"]]


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one completion: points from 0 to 100, None where it cannot or did not judge, and why."""

    total: float | None
    accuracy: float | None
    consistency: float | None
    format: float | None
    fluency: float | None
    reason: str


def no_verdict(reason: str) -> Verdict:
    """Return the verdict of a judge that gives no points."""
    return Verdict(None, None, None, None, None, reason)


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
        return no_verdict("no_reference")
    earned = score(sample, completion, frame, rules)
    accuracy = 100 * earned.value
    total = accuracy if earned.format == 1 else min(MISFORMED_CEILING, accuracy)
    return Verdict(total, accuracy, None, 100 * earned.format, None, earned.reason)


@dataclass(frozen=True)
class JudgeName:
    """A judge as a parameter names it: `kind` out of rule, http and recorded, and what belongs to it."""

    kind: str
    text: str
    endpoint: Endpoint | None = None

    @property
    def name(self) -> str:
        """What tables and records call it."""
        return self.endpoint.name if self.endpoint else self.text


def read_judges(texts: Sequence[str]) -> list[JudgeName]:
    """Return the judges that a parameter names; the first is the one that decides.

    Raises `InputError` for none, for one that stands twice, and for what is no judge.

    >>> [judge.name for judge in read_judges(["rule", "http:org/judge@http://127.0.0.1:8000/v1 | concurrency 4"])]
    ['rule', 'org/judge@http://127.0.0.1:8000/v1']
    """
    found = [_read_judge(text) for text in texts]
    names = [judge.name for judge in found]
    if not found:
        raise InputError("judges is empty; name at least one, such as rule")
    if len(set(names)) < len(names):
        raise InputError(f"judges names {max(names, key=names.count)!r} twice; name each judge once")
    return found


def _read_judge(text: str) -> JudgeName:
    kind, _, rest = text.strip().partition(":")
    if kind == "rule" and not rest:
        return JudgeName("rule", "rule")
    if kind == "http" and rest:
        return JudgeName("http", text, read_endpoint(rest))
    if kind == "recorded" and rest:
        return JudgeName("recorded", text.strip())
    raise InputError(f"judge {kind!r} is unknown or incomplete; write rule, http:MODEL@ADDRESS or recorded:FILE")


def content_hash(sample: Sample, completion: str) -> str:
    """Return a hash of all that a verdict is about: what was asked, what is right, the image's pixels, the answer.

    >>> content_hash(Sample(id="a", task="math", split="pool", source="s", question="6 * 7", answer="42"), "42")
    'e9afa5e1a08fde1b74b9d805'
    """
    image = hashlib.sha256(Path(sample.image).read_bytes()).hexdigest() if sample.image else None
    parts = [sample.task, sample.stage, sample.question, sample.claim, sample.options, sample.answer, image, completion]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def recorded_judge(path: str | os.PathLike) -> Judge:
    """Return a judge that repeats what a file holds (`judges_http` writes it); nothing is sent anywhere.

    A completion that the file does not judge has no points, and "not_recorded" for a reason. Raises `InputError` for a
    file that is absent, holds no verdicts, or holds those of several judges.
    """
    rows = read_journal(path)
    if not rows:
        raise InputError(f"{path} holds no recorded verdict; give the verdicts-*.jsonl of a run of notebook 05")
    if lacking := [row for row in rows if "about" not in row or "judge" not in row]:
        raise InputError(f"{path} is no file of verdicts: a row has only {', '.join(lacking[0])}")
    if len(judges := {row["judge"] for row in rows}) > 1:
        raise InputError(
            f"{path} holds verdicts of {len(judges)} judges ({', '.join(sorted(judges))}); keep those of one"
        )
    known = {row["about"]: verdict_of(row) for row in rows}
    return lambda pairs: [known.get(content_hash(*pair), no_verdict("not_recorded")) for pair in pairs]


def verdict_of(row: dict) -> Verdict:
    """Return the verdict in a row of a file."""
    return Verdict(**{item.name: row[item.name] for item in fields(Verdict)})
