"""The completions of a training by group: those to one question, and the reward of each by several rules.

A group's picture is shown once. Gold boxes are green. Answered boxes are red and carry the numbers of their rows in the
table. Every number comes from `method.rewards.score` and `metrics.scores.advantages`, as in training. Static HTML like
that of `cards`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from currreft_nb.core.answers import parse_completion
from currreft_nb.core.samples import VALUES, Sample
from currreft_nb.core.stored_answers import grouped
from currreft_nb.method.prompts import Style
from currreft_nb.method.rewards import REASONS, Rules, answered_boxes, score
from currreft_nb.metrics.scores import advantages
from currreft_nb.views import html_parts as html
from currreft_nb.views.cards import card_of

SHORT = 120  # characters of a completion that is shown without a click
COLUMNS = ("", "reward", "advantage", "accuracy", "format", "reason", "tokens", "completion")
SIDES = ["right"] * 5 + ["left"] * 3  # alignment of the columns
VARIED = ("detection", "threshold", "partial", "partial_reward")  # the rules that a reader may change
FORMAT_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0)
TENTHS = tuple(step / 10 for step in range(11))
WINNER = "★"

Paid = tuple[Rules, float]  # the rules of accuracy, and the weight of the format


def groups(rows: Sequence[Mapping], samples: Iterable[Sample], style: Style, count: int = 4) -> str:
    """Return up to `count` groups of a step's completions, shuffled by hash, alternating between tasks.

    `rows`: what `Run.completions` returns, filtered there; `samples`: the questions that were trained on.
    """
    by_id = {sample.id: sample for sample in samples}
    found = [group for group in grouped(rows).values() if group[0]["id"] in by_id]
    if not found:
        return html.heading("no such groups")
    chosen = _shuffled(found)[:count]
    steps = sorted({group[0]["step"] for group in found})
    title = f"step {', '.join(map(str, steps))}: {len(chosen)} of {len(found)} groups"
    shown = [html.side_by_side(asked(by_id[group[0]["id"]], group, style), _table(group)) for group in chosen]
    reasons = dict.fromkeys(answer["reason"] for group in chosen for answer in group)
    meanings = "; ".join(f"{name}: {REASONS.get(name, 'unknown')}" for name in reasons)
    return html.heading(title) + "".join(shown) + f'<div style="{html.MUTED}">{html.escaped(meanings, "prompt")}</div>'


def _shuffled(found: Iterable[Sequence[Mapping]]) -> list[Sequence[Mapping]]:
    return html.in_turns(found, lambda group: group[0]["id"], lambda group: (group[0]["task"], group[0]["stage"]))


def asked(sample: Sample, group: Sequence[Mapping], style: Style) -> str:
    """Return the card of a group's question: picture with all answered boxes, prompt, gold."""
    marks = group_marks(sample, group, style) if sample.image else []
    return card_of(sample, style, (sample.task, sample.stage, sample.source), marks)


def group_marks(sample: Sample, group: Sequence[Mapping], style: Style) -> list[html.Mark]:
    """Return the boxes of a detection group: claim, options and gold, and each answered box once, with its rows."""
    rows: dict[tuple, list[str]] = {}
    for number, answer in enumerate(group, 1):
        for box in answered_boxes(sample, answer["completion"], style.frame):
            rows.setdefault(tuple(box), []).append(str(number))
    return html.question_marks(sample) + [(box, html.PREDICTED, ",".join(numbers)) for box, numbers in rows.items()]


def _table(group: Sequence[Mapping]) -> str:
    rows: list[list] = [[f"<b>{name}</b>" for name in COLUMNS]]
    for number, answer in enumerate(group, 1):
        earned = (f"{answer['reward']:.2f}", f"{answer['advantage']:+.2f}")
        parts = (f"{answer['accuracy']:.2f}", f"{answer['format']:.2f}", html.escaped(answer["reason"]))
        length = f"{answer['length']}{', cut off' if answer['truncated'] else ''}"
        rows.append([number, *earned, *parts, length, completion_text(answer["completion"])])
    return html.html_table(rows, SIDES)


def completion_text(text: str) -> str:
    """Return a short completion as it is; a long one folded, below its answer."""
    if len(text) <= SHORT:
        return html.preformatted(text, "completion")
    answer = parse_completion(text).answer
    return ("" if answer is None else html.preformatted(answer, "answer")) + html.details(text)


def repay(sample: Sample, group: Sequence[Mapping], style: Style, rules: Rules, format_weight: float) -> list[dict]:
    """Return a row for each completion of a group by these rules: accuracy, format, reason, reward, advantage, wins.

    `wins` marks the highest reward; a group whose rewards are all equal has no winner.
    """
    scores = [score(sample, row["completion"], style.frame, rules) for row in group]
    totals = [result.value + format_weight * result.format for result in scores]
    best, silent = max(totals), max(totals) == min(totals)
    return [
        {"accuracy": result.value, "format": result.format, "reason": result.reason, "reward": total}
        | {"advantage": float(advantage), "wins": total == best and not silent}
        for result, total, advantage in zip(scores, totals, advantages(totals, len(totals)))
    ]


def variants(sample: Sample, rules: Rules, format_weight: float) -> dict[str, Paid]:
    """Return ways of paying a question's answers, by name: "as trained", and others without duplicates of it."""
    trained = (rules, format_weight)
    found: dict[str, Paid] = {}
    if sample.stage == "open" and VALUES[sample.task] == "boxes":
        found["hard: 1 above an IoU of 0.5"] = (Rules(detection="hard"), format_weight)
        found["soft: the IoU"] = (Rules(detection="soft"), format_weight)
    if sample.stage == "choice" and len(sample.answer) > 1:
        found["no partial credit"] = (Rules(partial="none"), format_weight)
        found["any right letter pays 0.2"] = (Rules(partial="overlap"), format_weight)
    found["format not paid"] = (rules, 0.0)
    found["format pays 2"] = (rules, 2.0)
    return {"as trained": trained} | {name: paid for name, paid in found.items() if paid != trained}


def choosable(samples: Iterable[Sample], rules: Rules, format_weight: float) -> dict[str, tuple[list, Any]]:
    """Return the options and the present value of each rule that affects some of the samples."""
    samples = list(samples)
    found: dict[str, tuple[Sequence, Any]] = {"format_weight": (FORMAT_WEIGHTS, format_weight)}
    if any(sample.stage == "open" and VALUES[sample.task] == "boxes" for sample in samples):
        found["detection"] = (("hard", "soft", "soft_above_threshold"), rules.detection)
        found["threshold"] = (TENTHS, rules.threshold)
    if any(sample.stage == "choice" and len(sample.answer) > 1 for sample in samples):
        found["partial"] = (("subset", "overlap", "none"), rules.partial)
        found["partial_reward"] = (TENTHS, rules.partial_reward)
    return {
        name: (list(options) if isinstance(value, str) else sorted({*options, value}), value)
        for name, (options, value) in found.items()
    }


def most_informative_group(
    found: Iterable[Sequence[Mapping]], by_id: Mapping[str, Sample], style: Style, rules: Rules, format_weight: float
) -> int:
    """Return the number of the group whose winners change most with the rules, then of one that has a winner.

    Ties go by hash order.
    """

    def stake(group: Sequence[Mapping]) -> int:
        sample = by_id[group[0]["id"]]
        paid = [repay(sample, group, style, *way) for way in variants(sample, rules, format_weight).values()]
        winners = {tuple(row["wins"] for row in rows) for rows in paid}
        return 2 * len(winners) + any(row["wins"] for row in paid[0])

    return max(_shuffled(found), key=stake)[0]["group"]


def by_rules(sample: Sample, group: Sequence[Mapping], style: Style, ways: Mapping[str, Paid]) -> str:
    """Return one question with its completions and the reward of each in each way of paying; winners are bold."""
    paid = {name: repay(sample, group, style, *way) for name, way in ways.items()}
    notes = {name: "" if any(row["wins"] for row in rows) else "silent: teaches nothing" for name, rows in paid.items()}
    heads = ["", *(f'<b>{html.escaped(name)}</b><div style="{html.MUTED}">{notes[name]}</div>' for name in paid)]
    last = list(paid.values())[-1]
    body: list[list] = [[*heads, "<b>reason</b>", "<b>completion</b>"]]
    for place, row in enumerate(group):
        earned = [_earned(rows[place], weight) for rows, (_, weight) in zip(paid.values(), ways.values())]
        body.append([place + 1, *earned, html.escaped(last[place]["reason"]), completion_text(row["completion"])])
    table = html.html_table(body, ["left"] * len(body[0]))
    note = f"accuracy + weight × format = reward; {WINNER} wins the group: the highest reward"
    return html.heading("who wins the group?", note) + html.side_by_side(asked(sample, group, style), table)


def _earned(row: Mapping, weight: float) -> str:
    total = f"{row['reward']:.2f}"
    total = f"<b>{total} {WINNER}</b>" if row["wins"] else total
    parts = f"{row['accuracy']:.2f} + {weight:g} × {row['format']:g} = "
    sum_line = f'<div style="white-space:nowrap">{parts}{total}</div>'
    return f'{sum_line}<div style="{html.MUTED}">advantage {row["advantage"]:+.2f}</div>'
