"""An error rate over a sequence of tests that has no end."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from scipy.stats import binomtest

from assay.stats.exact import sign_tail
from assay.stats.spending import evidence_needed, level_of


def test_the_levels_of_all_tests_add_up_to_the_error_and_never_beyond() -> None:
    spent = sum(Fraction(1, j * (j + 1)) for j in range(1, 10_001))
    assert spent == 1 - Fraction(1, 10_001)
    assert sum(level_of(j, 0.05) for j in range(1, 10_001)) == pytest.approx(0.05 * float(spent))
    assert all(level_of(j, 0.05) > level_of(j + 1, 0.05) for j in range(1, 100))


def test_a_choice_among_hypotheses_shares_the_level() -> None:
    assert level_of(3, 0.05, among=4) == pytest.approx(level_of(3, 0.05) / 4)
    assert evidence_needed(100, 0.05) == pytest.approx(math.log(100 * 101 / 0.05))


@pytest.mark.parametrize(("number", "level", "among"), [(0, 0.05, 1), (1, 0.0, 1), (1, 1.0, 1), (1, 0.05, 0)])
def test_what_is_no_test_and_no_level_is_refused(number: int, level: float, among: int) -> None:
    with pytest.raises(ValueError, match=r"counted from 1|strictly between"):
        level_of(number, level, among)


def test_the_sign_test_is_exact() -> None:
    for up, down in ((0, 0), (5, 0), (12, 3), (7, 9), (60, 20)):
        exact = binomtest(up, up + down, 0.5, alternative="greater").pvalue if up + down else 1.0
        assert sign_tail(up, down) == pytest.approx(exact, rel=1e-9)
    with pytest.raises(ValueError, match="from 0"):
        sign_tail(-1, 2)
