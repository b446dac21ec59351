"""Figures on a page come from the cards."""

import pytest

from ftkit.cards import Card
from ftkit.course import page, recorded
from ftkit.errors import Refusal

PAGE = """Text before.

<!-- cards first
score: clinic after, share right
-->
{table}<!-- end of cards -->

Text after.
"""
TABLE = """| measured | mean | lowest | highest | seeds |
|---|---|---|---|---|
| clinic after, share right | 0.85 | 0.8 | 0.9 | 3 |
"""


@pytest.fixture
def folder(tmp_path):
    cards = [Card("first", {}, seed, "2026-01-01", status="done", metrics={"score": score})
             for seed, score in enumerate([0.8, 0.85, 0.9])]
    recorded.ship("98_shapes", "first", cards, tmp_path / "cards")
    return tmp_path / "cards"


@pytest.mark.parametrize("table", ["", "| old |\n", TABLE])
def test_the_table_is_the_cards_whatever_stood_there(folder, table):
    path = folder.parent / "98_shapes.md"
    path.write_text(PAGE.format(table=table))
    assert page.refresh(path, folder, check=True) == (table != TABLE)
    assert path.read_text() == PAGE.format(table=table)
    assert page.refresh(path, folder) == (table != TABLE)
    assert path.read_text() == PAGE.format(table=TABLE) and not page.refresh(path, folder)


@pytest.mark.parametrize(("line", "words"), [
    ("score", "98_shapes.md: cards first must be lines of the form `metric: words`, got 'score'"),
    ("scroe: x", "Did you mean score"),
])
def test_a_line_that_names_no_metric_is_refused(folder, line, words):
    path = folder.parent / "98_shapes.md"
    path.write_text(PAGE.format(table="").replace("score: clinic after, share right", line))
    with pytest.raises(Refusal, match=words):
        page.refresh(path, folder)


def test_a_page_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(Refusal, match="page must be an existing file, got '98_shapes.md'"):
        page.refresh(tmp_path / "98_shapes.md")


def test_a_table_by_setting_has_a_row_for_each(tmp_path):
    cards = [Card("try", {"method": method, "rate": rate}, seed, "2026-01-01", status="done",
                  metrics={"loss": seed + offset})
             for method, rate, offset in (("lora", 2e-4, 1), ("full", 1e-5, 5)) for seed in range(3)]
    recorded.ship("98_shapes", "try", cards, tmp_path)
    path = tmp_path / "98_shapes.md"
    path.write_text("<!-- cards try by method, rate\nloss: the loss\n-->\n<!-- end of cards -->\n")
    assert page.refresh(path, tmp_path)
    assert path.read_text().splitlines()[3:-1] == [
        "| method | rate | the loss | seeds |", "|---|---|---|---|",
        "| full | 1e-05 | 6 (5 to 7) | 3 |", "| lora | 0.0002 | 2 (1 to 3) | 3 |"]


def test_the_evidence_of_a_claim_is_put_into_its_row_alone(tmp_path):
    path = tmp_path / "claims.md"
    path.write_text("| C01 | small | a lesson | old | *holds* |\n| C02 | zero | a lesson | old | *fails* |\n")
    assert page.refresh_claims(path, {"C02": "3 seeds: 1.0"}, check=True)
    assert page.refresh_claims(path, {"C02": "3 seeds: 1.0"})
    assert path.read_text() == ("| C01 | small | a lesson | old | *holds* |\n"
                                "| C02 | zero | a lesson | 3 seeds: 1.0 | *fails* |\n")
    assert not page.refresh_claims(path, {"C02": "3 seeds: 1.0"})
    with pytest.raises(Refusal, match="claim C99 must be a row of claims.md, got 'none'"):
        page.refresh_claims(path, {"C99": "none"})


def test_tables_are_put_between_their_comments_and_one_without_a_place_is_refused():
    text = "before\n<!-- one -->\nold\n<!-- end of one -->\nafter\n"
    assert page.filled(text, {"one": "| new |"}) == "before\n<!-- one -->\n| new |\n<!-- end of one -->\nafter\n"
    with pytest.raises(Refusal, match="table two must be between its two comments on the page, got 'none'"):
        page.filled(text, {"two": "| new |"})
