"""Cards of questions and answers: static HTML for JupyterLab, Papermill, untrusted notebooks and exported pages.

It uses only tags and inline styles that JupyterLab's sanitiser keeps: no script, no style sheet, no outside address.
Boxes are drawn into the pixels. Text of a model or a data file is escaped, cut to a readable length, and put in
`<pre>`, where no formula is typeset. Every function returns text for `IPython.display.HTML`.

An answer is an evaluation record, or a row like it: `id`, `completion`, its score (`value`, `format`, `reason`), and
for detection `boxes`, in pixels of the stored image. With a `style` the question is shown as the model gets it; without
one in plain words, with boxes in pixels of the stored image.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from currreft_nb.core.answers import parse_completion
from currreft_nb.core.samples import LETTERS, VALUES, Sample
from currreft_nb.method.prompts import Style, render_answer, render_question
from currreft_nb.tasks import TASK_MODULES
from currreft_nb.views import html_parts as html


def some_of_each(samples: Iterable[Sample], count: int) -> list[Sample]:
    """Return the first `count` samples of each task and stage, in the order in which those first occur."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.task, sample.stage), []).append(sample)
    return [sample for group in groups.values() for sample in group[:count]]


def questions(samples: Iterable[Sample], style: Style | None = None) -> str:
    """Return one card a sample: image, question, gold."""
    return html.row([card(sample, style) for sample in samples])


def answers(records: Sequence[Mapping], samples: Iterable[Sample], count: int, style: Style | None = None) -> str:
    """Return cards of `count` evaluation records, shuffled by hash, alternating between tasks."""
    by_id = {sample.id: sample for sample in samples}
    drawn = html.in_turns(records, lambda record: record["id"], lambda record: record["task"])
    return html.row([card(by_id[record["id"]], style, record) for record in drawn[:count] if record["id"] in by_id])


def changes(
    records: Iterable[Mapping],
    samples: Iterable[Sample],
    before: str,
    after: str,
    count: int,
    style: Style | None = None,
) -> str:
    """Return up to `count` questions of each kind of `changed` between two arms, with both answers to each.

    The rule: natural answers to questions that both arms answered and whose sample is given, shuffled by the SHA-256 of
    the question's id, alternating between tasks and stages.
    """
    by_id = {sample.id: sample for sample in samples}
    pairs = [pair for pair in answer_pairs(records, before, after) if pair[0]["id"] in by_id]
    if not pairs:
        return html.heading("no answers to show", "no question whose sample is here was answered by two arms")
    parts = []
    for name, chosen in changed(pairs).items():
        shown = f", {min(count, len(chosen))} shown" if chosen else ""
        parts.append(html.heading(f"{name}: {len(chosen)} of {len(pairs)}{shown}", f"first {before}, then {after}"))
        both = [[card(by_id[answer["id"]], style, answer) for answer in pair] for pair in chosen[:count]]
        parts.append(html.row([html.together(cards) for cards in both]))
    return "".join(parts)


def answer_pairs(records: Iterable[Mapping], before: str, after: str) -> list[tuple[Mapping, Mapping]]:
    """Return the natural records of the questions that both arms answered, shuffled by hash."""
    found: dict[str, dict[str, Mapping]] = {before: {}, after: {}}
    for record in records:
        if record["arm"] in found and record["mode"] == "natural":
            found[record["arm"]][record["id"]] = record
    both = [(found[before][name], found[after][name]) for name in found[before].keys() & found[after]]
    return html.in_turns(both, lambda pair: pair[0]["id"], lambda pair: (pair[0]["task"], pair[0]["stage"]))


def changed(pairs: Iterable[tuple[Mapping, Mapping]]) -> dict[str, list[tuple[Mapping, Mapping]]]:
    """Sort pairs of records into improved, worse, and unchanged, right or wrong, by whether they are correct."""
    groups: dict[str, list] = {"improved": [], "worse": [], "unchanged, wrong": [], "unchanged, right": []}
    for old, new in pairs:
        name = "unchanged, right" if new["correct"] == 1 else "unchanged, wrong"
        if old["correct"] != new["correct"]:
            name = "improved" if old["correct"] < new["correct"] else "worse"
        groups[name].append((old, new))
    return groups


def scored(sample: Sample, texts: Sequence[str], scores: Sequence[Any], picture: bool = True) -> str:
    """Return one question with a table of completions and their scores (`method.rewards.Score`)."""
    rows = [
        {"completion": text, "accuracy": float(score.value), "format": int(score.format), "reason": score.reason}
        for text, score in zip(texts, scores, strict=True)
    ]
    return _asked(sample, picture) + html.table(pd.DataFrame(rows), digits=2)


def judged(sample: Sample, texts: Sequence[str], verdicts: Sequence[Any], picture: bool = True) -> str:
    """Return one question with a table of completions and their verdicts (`rejection.judges.Verdict`); a dash: none."""
    names = ("total", "accuracy", "consistency", "format", "fluency", "reason")
    rows = [
        {"completion": text} | {name: vars(verdict)[name] for name in names}
        for text, verdict in zip(texts, verdicts, strict=True)
    ]
    return _asked(sample, picture) + html.table(pd.DataFrame(rows), digits=0)


def _asked(sample: Sample, with_picture: bool) -> str:
    image = html.image_tag(sample.image, html.question_marks(sample)) if with_picture and sample.image else ""
    return html.heading(sample.question, f"gold: {_gold(sample, None)}") + image


def kept_and_rejected(samples: Iterable[Sample], rows: Sequence[Mapping], count: int) -> str:
    """Return `count` questions with all their answers, points and outcomes; those with a kept answer first."""
    by_id = {sample.id: sample for sample in samples}
    groups: dict[str, list[Mapping]] = {}
    for answer in rows:
        groups.setdefault(answer["id"], []).append(answer)
    names = html.in_turns(groups, str, lambda name: by_id[name].task)
    names.sort(key=lambda name: not any(answer["kept"] for answer in groups[name]))
    parts = []
    for name in names[:count]:
        frame = pd.DataFrame(groups[name])
        shown = frame[[column for column in ("completion", "total", "reason", "outcome", "why") if column in frame]]
        parts.append(_asked(by_id[name], with_picture=True) + html.table(shown, digits=0))
    return "".join(parts)


def card(sample: Sample, style: Style | None = None, answer: Mapping | None = None) -> str:
    """Return the card of one question, and of one answer to it."""
    arm = [str(answer[name]) for name in ("arm", "mode") if name in answer] if answer else []
    origin = (*arm, sample.task, sample.stage, sample.split, sample.source)
    marks = html.question_marks(sample, answer)
    if answer is None:
        return card_of(sample, style, origin, marks)
    return card_of(sample, style, origin, marks, _answer_lines(answer), html.details(answer["completion"]))


def card_of(
    sample: Sample,
    style: Style | None,
    origin: Iterable[str],
    marks: Sequence[html.Mark],
    pairs: Iterable[tuple[str, str]] = (),
    below: str = "",
) -> str:
    """Return a card: a question with origin, picture, prompt and gold, more (name, text) pairs, and HTML below."""
    parts = [html.name_line(sample.id, " · ".join(origin))]
    if sample.image:
        parts.append(html.image_tag(sample.image, marks))
    parts.append(html.preformatted(_question(sample, style), "prompt"))
    parts.append(html.pairs_table([("gold", _gold(sample, style)), *pairs]))
    return html.framed([*parts, below])


def _question(sample: Sample, style: Style | None) -> str:
    if style is not None:
        return render_question(sample, style)
    options = [f"{letter}. {_plain(sample, option)}" for letter, option in zip(LETTERS, sample.options)]
    claim = [f"{_plain(sample, sample.claim)}?"] if sample.stage == "binary" else []
    return "\n".join([sample.question, *claim, *options])


def _gold(sample: Sample, style: Style | None) -> str:
    if sample.answer is None:
        return "no reference"
    if style is not None or sample.stage != "open":
        return render_answer(sample, style or Style())
    return _plain(sample, sample.answer)


def _plain(sample: Sample, value: Any) -> str:
    if VALUES[sample.task] == "boxes":
        value = [[round(v) for v in box] for box in value]
    return TASK_MODULES[sample.task].render(value)


def _answer_lines(answer: Mapping) -> list[tuple[str, str]]:
    parsed = parse_completion(answer["completion"])
    answered = f"none read ({parsed.reason})" if parsed.answer is None else parsed.answer
    reward = f"accuracy {answer['value']:.2f}, format {int(answer['format'])}: {answer['reason']}"
    return [("answer", answered), ("reward", reward)]
