"""The table of assignments against brute force over all orderings, closed formulas, and the declared topologies."""

import itertools
from math import factorial

import numpy as np
import pytest

from hhh_coffea.topology.assignments import Pattern, assignments, patterns, split
from hhh_coffea.topology.topology import Topology, bundled_names

HT, LT, H = Pattern.of(3, (1, 2)), Pattern.of(1), Pattern.of(2, (0, 1))
SWAP = ((0, 1), (1, 0))


def brute_force(targets, n_objects, event_group=()):
    """First of each class of equal assignments, by looking at all orderings and all symmetries."""
    total = sum(target.degree for target in targets)
    groups = list(itertools.product(*(target.group for target in targets)))
    seen, rows = set(), []
    for row in itertools.permutations(range(n_objects), total):
        if row in seen:
            continue
        rows.append(row)
        parts = [tuple(int(x) for x in part) for part in split(np.array(row), targets)]
        for order in event_group or [tuple(range(len(targets)))]:
            for group in groups:
                moved = [tuple(parts[order[t]][i] for i in g) for t, g in enumerate(group)]
                seen.add(tuple(itertools.chain(*moved)))
    return rows


@pytest.mark.parametrize(
    ("targets", "n_objects", "event_group"),
    [
        ((HT, LT), 4, ()),
        ((HT, LT), 6, ()),
        ((HT, LT, H), 7, ()),
        ((H, H), 6, SWAP),
        ((H, H, H), 7, tuple(itertools.permutations(range(3)))),
        ((HT, HT), 7, SWAP),
        ((Pattern(3, ((0, 1, 2), (1, 2, 0), (2, 0, 1))), LT), 6, ()),
        ((Pattern(4, ((0, 1, 2, 3), (2, 3, 0, 1))),), 6, ()),
    ],
)
def test_equals_brute_force(targets, n_objects, event_group):
    table = assignments(targets, n_objects, event_group)
    assert table.objects.tolist() == [list(row) for row in brute_force(targets, n_objects, event_group)]


@pytest.mark.parametrize("n", range(4, 11))
def test_numbers_of_assignments(n):
    assert len(assignments((HT, LT), n).rows) == factorial(n) // (2 * factorial(n - 4))
    if n >= 6:
        assert len(assignments((HT, LT, H), n).rows) == factorial(n) // (4 * factorial(n - 6))


def test_rows_are_sums_of_choices():
    table = assignments((HT, LT, H), 7)
    joined = [some[table.rows[:, t]] for t, some in enumerate(table.choices)]
    assert np.array_equal(np.concatenate(joined, axis=1), table.objects)
    assert [len(some) for some in table.choices] == [105, 7, 21]
    assert all(len(set(row)) == 6 for row in table.objects.tolist())


def test_too_few_objects_and_one_table_for_all():
    assert assignments((HT, LT), 3).rows.shape == (0, 2)
    assert assignments((HT, LT), 0).objects.shape == (0, 4)
    assert assignments((HT, LT), 5) is assignments((HT, LT), 5)
    with pytest.raises(ValueError, match="read-only"):
        assignments((HT, LT), 5).rows[0] = 1
    with pytest.raises(ValueError, match="not alike"):
        assignments((HT, LT), 5, SWAP)


def test_declared_topologies():
    """The patterns of an event YAML; daughters named in it keep their symmetries."""
    assert patterns(Topology.bundled("semi_leptonic_ttH")) == (LT, HT, H)
    assert "hhh" in bundled_names()
    assert Pattern.of(4, (0, 1), (2, 3)).group == ((0, 1, 2, 3), (0, 1, 3, 2), (1, 0, 2, 3), (1, 0, 3, 2))
