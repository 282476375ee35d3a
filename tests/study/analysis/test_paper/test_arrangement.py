from study.analysis.paper.arrangement import arranged
from study.analysis.paper.blocks import Section, Table, paragraph


def of(table: Table) -> Table:
    (found,) = arranged(Section("s", "S", (table,))).blocks
    assert isinstance(found, Table)
    return found


def test_a_column_that_says_nothing_is_left_out_and_the_first_never() -> None:
    found = of(Table("t", "c", ("a", "b", "d"), [["–", "–", "1"], ["–", "", "2"]]))
    assert (list(found.head), [list(row) for row in found.rows]) == (["a", "d"], [["–", "1"], ["–", "2"]])


def test_a_table_without_rows_keeps_its_head() -> None:
    assert list(of(Table("t", "c", ("a", "b"), [])).head) == ["a", "b"]


def test_remarks_become_letters_with_the_words_below() -> None:
    rows = [["x", "too few"], ["y", ""], ["z", "Outside."], ["w", "too few"]]
    found = of(Table("t", "c", ("a", "note"), rows, note="First."))
    assert [list(row) for row in found.rows] == [["x", "a"], ["y", ""], ["z", "b"], ["w", "a"]]
    assert found.note == "First. a: Too few. b: Outside."


def test_a_remark_on_every_row_stands_below_once() -> None:
    found = of(Table("t", "c", ("a", "note"), [["x", "too few"], ["y", "too few"]]))
    assert (list(found.head), found.note) == (["a"], "Too few.")


def test_columns_with_letters_are_words_and_the_others_numbers() -> None:
    table = Table("t", "c", ("a", "b", "d"), [["x", "−1", "y"]], prose=frozenset({"d"}))
    assert table.manners == ["words", "numbers", "prose"]


def test_what_is_no_table_stays_as_it_is() -> None:
    block = paragraph("text", "", " and more")
    assert arranged(Section("s", "S", (block,))).blocks == (block,)
    assert block.text == ("text", " and more")
