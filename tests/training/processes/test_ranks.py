"""What processes exchange; `test_launch` tests it with two real ones."""

import pytest

from currreft_nb.training.processes import ranks


def test_a_process_alone_gets_back_what_it_gave():
    assert (ranks.rank(), ranks.count(), ranks.is_first()) == (0, 1, True)
    assert ranks.from_first(lambda: {"step": 3}) == {"step": 3}
    assert ranks.from_all((1, 2)) == ranks.share((1, 2)) == [1, 2]


@pytest.mark.parametrize("rows, count", [(7, 3), (6, 3), (1, 3), (0, 2), (5, 1)])
def test_shares_are_even_and_make_up_the_whole_in_order(monkeypatch, rows, count):
    monkeypatch.setattr(ranks, "count", lambda: count)
    parts = []
    for number in range(count):
        monkeypatch.setattr(ranks, "rank", lambda number=number: number)
        parts.append(ranks.share(range(rows)))
    assert [row for part in parts for row in part] == list(range(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
