"""Find held-out questions among those that a model learns from: by pixels, by looks and by words."""

from collections.abc import Mapping
from itertools import combinations

from currreft_nb import InputError
from currreft_nb.core.samples import SPLITS
from currreft_nb.data.index import Index
from currreft_nb.data.splits import ELSEWHERE, HELD_OUT, LEARNT, Quotas, Row, allocate

KINDS = {
    "same picture": "SELECT split, content AS x, id FROM rows WHERE split IS NOT NULL AND image IS NOT NULL",
    "same looks": "SELECT split, look_alike_group AS x, id FROM rows JOIN look_alikes USING (content) "
    "WHERE split IS NOT NULL",
    "same words, no picture": "SELECT split, words AS x, id FROM rows WHERE split IS NOT NULL AND image IS NULL",
    "same words": "SELECT split, words AS x, id FROM rows WHERE split IS NOT NULL AND image IS NOT NULL",
}
HARMLESS = "same words"  # about other pictures: "the dog", "how many are there?"
REMEDY = (
    "remove one of them, or set on_leak to 'skip' (each picture stays in one split) or to 'allow' (for comparison "
    "with work that did the same)"
)


def assign_splits(index: Index, quotas: Quotas, splits: Mapping[str, tuple[str, ...]], on_leak: str) -> None:
    """Give each row a split, or the reason why it has none; `splits`: where each source may go.

    Raises `InputError` for a picture that two sources bring, one for learning and one for testing, unless `on_leak` is
    "skip" (the rows of one of them are left out) or "allow" (each source goes where it may).
    """
    parts = {source: " ".join(where) if on_leak == "allow" else "" for source, where in splits.items()}
    index.add_function("part", parts)
    query = """SELECT * FROM (SELECT number, task, stage, look || part(source), source,
        MAX(split) OVER (PARTITION BY look || part(source)), split, reason, shuffled(look) AS place FROM
        (SELECT rows.*, COALESCE(look_alike_group, content) AS look FROM rows LEFT JOIN look_alikes USING (content)))
        WHERE split IS NULL AND reason IS NOT 'rejected' ORDER BY place, 4, number"""
    rows = (
        Row(number=number, task=task, stage=stage, group=group, splits=splits[source], source=source, owner=owner)
        for number, task, stage, group, source, owner, *_ in index.run(query)
    )
    together = {split: {other for where in splits.values() if split in where for other in where} for split in SPLITS}
    for row, owner, reason in allocate(rows, quotas):
        # Where it ends up depends on the seed; that it could be in both does not.
        if owner and reason == ELSEWHERE and on_leak == "stop" and _crosses(*together[owner], *row.splits):
            _refuse(index, row)
        split = None if reason else owner
        index.run("UPDATE rows SET split = ?, reason = ? WHERE number = ?", split, reason or None, row.number)


def _crosses(*splits: str) -> bool:
    """Return whether some of the splits are for learning and some are held out."""
    return not set(splits).isdisjoint(LEARNT) and not set(splits).isdisjoint(HELD_OUT)


def _refuse(index: Index, row: Row) -> None:
    query = """SELECT id, source, image FROM rows LEFT JOIN look_alikes USING (content)
        WHERE COALESCE(look_alike_group, content) = ? AND source {} ? ORDER BY number LIMIT 1"""
    ours, theirs = (index.run(query.format(sign), row.group, row.source).fetchone() for sign in ("=", "!="))
    both = f"{ours[0]} of {ours[1]!r} and {theirs[0]} of {theirs[1]!r}"
    what = f"the pictures {ours[2]} and {theirs[2]} show the same" if ours[2] else "both ask the same in words only"
    raise InputError(f"{both} would be learnt from and tested on: {what}; {REMEDY}")


def find_leaks(index: Index) -> list[dict]:
    """Return a row for each pair of splits: how much they share, by kind, and the ids of one example."""
    found: dict[tuple[str, str], dict] = {pair: dict.fromkeys(KINDS, 0) for pair in combinations(SPLITS, 2)}
    for kind, query in KINDS.items():
        join = f"""WITH seen AS (SELECT split, x, MIN(id) AS id FROM ({query}) GROUP BY split, x)
            SELECT one.split, other.split, COUNT(*), MIN(one.id || ' / ' || other.id) FROM seen AS one
            JOIN seen AS other USING (x) WHERE one.split != other.split GROUP BY 1, 2"""
        for one, other, number, example in index.run(join):
            if (one, other) in found:
                found[one, other] |= {kind: number, "example": found[one, other].get("example", example)}
    serious = [kind for kind in KINDS if kind != HARMLESS]
    leaks = (_crosses(*pair) and any(counts[kind] for kind in serious) for pair, counts in found.items())
    return [{"splits": " / ".join(pair), "leak": leak, **found[pair]} for pair, leak in zip(found, leaks)]
