"""What a check may be made of."""

import pytest

from ftkit.course.cases import Case, Check
from ftkit.errors import Refusal


@pytest.mark.parametrize("difficulty", [0, 6, 2.5, "2"])
def test_a_difficulty_is_a_whole_number_from_1_to_5(difficulty):
    with pytest.raises(Refusal, match="difficulty of 'Area' must be a whole number from 1 to 5, got"):
        Check("area", "Area", difficulty, 2, list)
    assert Check("area", "Area", 5, 2, list).difficulty == 5


def test_an_exercise_takes_a_minute_or_more():
    with pytest.raises(Refusal, match="minutes of 'Area' must be 1 or more, got 0"):
        Check("area", "Area", 1, 0, list)


@pytest.mark.parametrize("tolerance", [-1e-6, float("nan")])
def test_a_tolerance_is_0_or_more(tolerance):
    with pytest.raises(Refusal, match="tolerance of 'a square' must be 0 or more, got"):
        Case("a square", lambda area: area(2), 4, tolerance=tolerance)
