"""Tables as aligned text."""

from ftkit.tables import aligned, width


def test_columns_line_up_by_display_width_not_by_length():
    lines = aligned(["name", "n"], [["发烧", 1], ["cold", 22]]).splitlines()
    assert [width(line[:line.rindex(" ")]) for line in lines] == [5, 5, 5]


def test_an_empty_cell_is_shown_as_nothing_and_no_line_ends_in_blanks():
    assert aligned(["a", "b"], [[None, 1], ["x", None]]).splitlines() == ["a  b", "   1", "x"]
