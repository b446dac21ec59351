"""Intervals beside scipy's."""

import math

import numpy as np
import pytest
from scipy import stats

from ftkit.errors import Refusal
from ftkit.evaluate.intervals import Estimate, bootstrap_interval, mean, paired_difference, student_mean

VALUES = np.random.default_rng(0).exponential(2.0, size=80).tolist()


def test_the_bootstrap_agrees_with_scipys():
    ours = bootstrap_interval(VALUES, seed=1)
    theirs = stats.bootstrap([VALUES], np.mean, n_resamples=20000, method="percentile", rng=2).confidence_interval
    assert ours.value == pytest.approx(np.mean(VALUES), rel=1e-12)
    spread = np.std(VALUES) / math.sqrt(80)
    # the edges of 2,000 resamples scatter by about 0.06 of a standard error
    assert ours.low == pytest.approx(theirs.low, abs=0.2 * spread)
    assert ours.high == pytest.approx(theirs.high, abs=0.2 * spread)


def test_weights_count_an_item_as_that_many():
    ours = bootstrap_interval([1.0, 4.0], weights=[3, 1])
    assert ours.value == np.average([1.0, 4.0], weights=[3, 1])
    assert 1 <= ours.low <= ours.high <= 4


def test_the_seed_decides_the_interval():
    assert bootstrap_interval(VALUES, seed=3) == bootstrap_interval(VALUES, seed=3)
    assert bootstrap_interval(VALUES, seed=3) != bootstrap_interval(VALUES, seed=4)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (7, 10), (10, 10), (181, 300)])
def test_a_share_has_wilsons_interval(right, n):
    ours = mean([1.0] * right + [0.0] * (n - right))
    theirs = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert (ours.value, ours.low, ours.high) == pytest.approx((right / n, theirs.low, theirs.high), abs=1e-12)


def test_a_mean_of_anything_else_has_the_bootstraps():
    assert mean(VALUES, seed=5) == bootstrap_interval(VALUES, seed=5)


def test_pairing_sees_a_change_that_two_intervals_side_by_side_do_not():
    after = [value + 0.1 + 0.01 * (place % 3) for place, value in enumerate(VALUES)]
    difference = paired_difference(VALUES, after)
    assert difference.low > 0 and difference.value == pytest.approx(np.mean(after) - np.mean(VALUES))
    assert bootstrap_interval(VALUES).high > bootstrap_interval(after).low
    assert paired_difference(after, VALUES).high < 0


@pytest.mark.parametrize("n", [2, 3, 5, 80])
def test_the_mean_of_a_few_has_students_interval(n):
    ours = student_mean(VALUES[:n], level=0.9)
    low, high = stats.t.interval(0.9, n - 1, loc=np.mean(VALUES[:n]), scale=stats.sem(VALUES[:n]))
    assert (ours.low, ours.high, ours.n) == (pytest.approx(low, rel=1e-6), pytest.approx(high, rel=1e-6), n)


@pytest.mark.parametrize("estimate", [mean([1]), bootstrap_interval([2.5]), paired_difference([1.0], [3.0]),
                                      student_mean([1.5])])
def test_one_item_has_no_interval(estimate):
    assert math.isnan(estimate.low) and math.isnan(estimate.high)
    assert str(estimate).endswith("(n=1, no interval)")


def test_an_estimate_reads_as_value_and_interval():
    assert str(Estimate(12.3456, 11.0, 13.5, 200)) == "12.35 [11, 13.5] (n=200)"


@pytest.mark.parametrize(("call", "words"), [
    (lambda: mean([]), r"values must be a list of at least one finite number, got \[\]"),
    (lambda: bootstrap_interval([1.0, math.nan]), "values must be a list of at least one finite number"),
    (lambda: bootstrap_interval([[1.0]]), "values must be a list of at least one finite number"),
    (lambda: bootstrap_interval([1.0, 2.0], weights=[1.0]), "weights must be 2 numbers, 0 or more and not all 0"),
    (lambda: bootstrap_interval([1.0, 2.0], weights=[1, -1]), "weights must be 2 numbers, 0 or more and not all 0"),
    (lambda: student_mean([0.1, math.inf]), "values must be a list of at least one finite number"),
    (lambda: student_mean([0.1, 0.2], level=95), "level must be a share between 0 and 1, got 95. Take 0.95"),
    (lambda: paired_difference([1.0], [1.0, 2.0]), r"after must be as long as before \(1 items\), got 2. Score the"),
])
def test_bad_input_is_refused_in_a_sentence(call, words):
    with pytest.raises(Refusal, match=words):
        call()
