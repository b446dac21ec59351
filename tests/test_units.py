"""Numbers to words and back, against arithmetic by hand."""

import pytest

from ftkit import units
from ftkit.errors import Refusal


@pytest.mark.parametrize(("size_bytes", "words"), [
    (0, "0.00 B"), (512, "512 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1536, "1.50 KiB"), (2**20 - 1, "1.00 MiB"),
    (12 * 2**20, "12.0 MiB"), (24 * 2**30, "24.0 GiB"), (3 * 2**40, "3.00 TiB"), (-2048, "-2.00 KiB"),
    (9.999 * 2**20, "10.0 MiB"), (99.96 * 2**20, "100 MiB"), (1000 * 2**20, "1000 MiB"),
])
def test_a_size_has_three_figures_in_the_unit_that_fits(size_bytes, words):
    assert units.bytes_to_words(size_bytes) == words


@pytest.mark.parametrize(("count", "words"), [
    (950, "950"), (4_330_000, "4.33 M"), (999_999, "1.00 M"), (7.6e9, "7.60 B"), (12_345, "12.3 k")])
def test_a_count_has_three_figures_in_the_unit_that_fits(count, words):
    assert units.count_to_words(count) == words


@pytest.mark.parametrize(("elapsed_s", "words"), [
    (0.5, "0.50 s"), (59.99, "1.00 min"), (90, "1.50 min"), (7200, "2.00 h"), (36 * 3600, "1.50 d"),
    (float("inf"), "inf s"), (float("nan"), "nan s")])
def test_a_time_has_three_figures_in_the_unit_that_fits(elapsed_s, words):
    assert units.seconds_to_words(elapsed_s) == words


def test_words_become_the_number_they_stand_for():
    assert units.words_to_bytes("24 GiB") == 24 * 2**30
    assert units.words_to_bytes(" 500MB ") == 500_000_000
    assert units.words_to_count("7.6 B") == 7_600_000_000
    assert units.words_to_count("12") == 12
    assert units.words_to_seconds("1.5 h") == 5400


@pytest.mark.parametrize("size_bytes", [2**10, 5 * 2**20, 123 * 2**30])
def test_a_round_size_survives_the_way_there_and_back(size_bytes):
    assert units.words_to_bytes(units.bytes_to_words(size_bytes)) == size_bytes


@pytest.mark.parametrize(("parse", "text", "sentence"), [
    (units.words_to_bytes, "24", "size must be a number and one of B, KB, .*TiB, got '24'. Write for example '1.5"),
    (units.words_to_bytes, "24 gigs", "size must be a number and one of .*, got '24 gigs'."),
    (units.words_to_bytes, 24, "size must be a number and one of .*, got 24."),
    (units.words_to_count, "many", "count must be a number and one of k, M, B, got 'many'. Write for example '1.5 B'."),
    (units.words_to_seconds, "-1 s", "duration must be a number and one of s, min, h, d, got '-1 s'."),
    (units.words_to_seconds, "", "duration must be a number and one of s, min, h, d, got ''."),
])
def test_words_that_are_no_number_with_a_unit_are_refused(parse, text, sentence):
    with pytest.raises(Refusal, match=sentence):
        parse(text)
