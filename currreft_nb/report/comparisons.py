"""Which arm is better, in words: comparisons of a report's arms, over seeds and with a second experiment."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from currreft_nb import InputError
from currreft_nb.metrics.comparisons import COLUMNS, between_seeds, compare, holm


def compared(records: Sequence[Mapping], against: str, **options: Any) -> tuple[pd.DataFrame, str]:
    """Return the comparison of all arms with one (`metrics.comparisons.compare`), or an empty one and why."""
    if len({record["arm"] for record in records}) < 2:
        return pd.DataFrame(columns=COLUMNS), "Fewer than two arms were evaluated, so there is nothing to compare."
    try:
        return compare(records, against, **options), ""
    except InputError as error:
        return pd.DataFrame(columns=COLUMNS), f"Not compared: {error}"


def over_trainings(summaries: Sequence[pd.DataFrame]) -> tuple[pd.DataFrame, str]:
    """Return each arm's mean gain on the first one over several trainings (for `views.score_plots.gains`), or why none.

    `summaries`: what `metrics.scores.summarise` returns, of the same arms trained with other seeds. The gain is that of
    right natural open answers on the first arm's answers with the format forced, where there are any.
    """
    arms = [list(dict.fromkeys(summary["arm"])) for summary in summaries]
    if any(found != arms[0] for found in arms) or len(arms[0]) < 2:
        return pd.DataFrame(), "The evaluations do not have the same arms, so nothing is averaged over them."
    mode = "forced" if all("forced" in set(summary["mode"]) for summary in summaries) else "natural"
    try:
        found = between_seeds(summaries, arms[0][0], mode)
    except InputError as error:
        return pd.DataFrame(), f"Nothing is averaged: {error}"
    chosen = (found["mode"] == "natural") & (found["stage"] == "open") & (found["measure"] == "correct")
    return found[chosen], ""


def fairest(comparison: pd.DataFrame) -> pd.DataFrame:
    """Return the rows against answers with the format forced, where there are any: their gains are more than form."""
    forced = comparison[comparison["against_mode"] == "forced"]
    return comparison if forced.empty else forced


def verdict(comparison: pd.DataFrame) -> str:
    """Return a sentence on how many differences hold after the correction."""
    if comparison.empty:
        return ""
    known = comparison[comparison["p_holm"].notna()]
    hold = known[known["p_holm"] < 0.05]
    better = int((hold["difference"] > 0).sum())
    text = f"{len(hold)} of {len(known)} differences hold after the correction (p, Holm below 0.05): {better} upwards,"
    return text + f" {len(hold) - better} downwards. The others are neither shown nor excluded."


def join_experiments(
    records: Sequence[Mapping], others: Sequence[Mapping], names: tuple[str, str]
) -> tuple[list[dict], str, bool]:
    """Return the records of two experiments with labelled arms, a sentence, and whether they can be compared.

    If some questions are the same, by id and content (hash), only the answers to those are returned; otherwise all.
    """
    questions = [{(record["id"], record["hash"]) for record in rows} for rows in (records, others)]
    same = questions[0] & questions[1]
    sizes = [f"the {len(found):,} of {name}" for found, name in zip(questions, names)]
    if same:
        sentence = f"{len(same):,} questions are the same, by id and content, among {' and '.join(sizes)}. Only the"
        sentence += " answers to those are compared."
    else:
        sentence = f"No question is the same, by id and content, among {' and '.join(sizes)}. So the arms are not"
        sentence += " compared: each has its own scores, on its own questions."
    rows = [
        {**record, "arm": f"{record['arm']} · {name}"}
        for found, name in ((records, names[0]), (others, names[1]))
        for record in found
        if not same or (record["id"], record["hash"]) in same
    ]
    return rows, sentence, bool(same)


def compare_experiments(records: Sequence[Mapping], names: tuple[str, str]) -> tuple[pd.DataFrame, str]:
    """Return each arm of the second experiment compared with the same arm of the first, corrected for all of them.

    `records`: what `join_experiments` returned. The second value is the reason why there is no comparison, or "".
    """
    arms = dict.fromkeys(record["arm"] for record in records)
    both = [arm.removesuffix(f" · {names[0]}") for arm in arms if arm.endswith(f" · {names[0]}")]
    both = [arm for arm in both if f"{arm} · {names[1]}" in arms]
    if not both:
        return pd.DataFrame(columns=COLUMNS), "No arm has the same name in both experiments."
    parts = []
    for arm in both:
        pair = [f"{arm} · {name}" for name in names]
        found, reason = compared([record for record in records if record["arm"] in pair], pair[0])
        if reason:
            return found, reason
        parts.append(found)
    table = pd.concat(parts, ignore_index=True)
    return table.assign(p_holm=holm(table["p"].to_numpy())), ""
