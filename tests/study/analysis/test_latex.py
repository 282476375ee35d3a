import re

import pytest

from study.analysis import latex
from study.analysis.paper.blocks import Code, Small, Strong, Table

TABLE = Table(
    "conditions",
    "PC at 95 %, d′ = √2 z(PC).",
    ("attack", "s", "verdict"),
    [["wa_net", "0.5", (Strong("below"), Small("50 % & more"))], ["x", "[0, 1]", "−1"]],
    note="A note with #.",
    prose=frozenset({"verdict"}),
)


def unescaped(text: str, sign: str) -> list[str]:
    return re.findall(rf"(?<!\\){re.escape(sign)}", text)


def test_a_table_has_a_row_per_row_with_all_its_cells() -> None:
    made = latex.table(TABLE)
    rows = [line for line in made.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 3
    assert all(len(unescaped(row, "&")) == 2 for row in rows)


def test_a_table_has_rules_caption_and_label() -> None:
    made = latex.table(TABLE)
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\label{tab:conditions}", r"\caption{PC at 95 \%,"):
        assert part in made
    assert made.count(r"\begin{") == made.count(r"\end{")


def test_braces_are_balanced_in_every_table_of_a_report(published: dict[str, bytes]) -> None:
    tables = {name: content.decode() for name, content in published.items() if name.startswith("tables/")}
    assert len(tables) > 10
    for name, text in tables.items():
        assert len(unescaped(text, "{")) == len(unescaped(text, "}")), name
        assert len(unescaped(text, "$")) % 2 == 0, name


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("50 % & more", r"50 \% \& more"),
        ("a_b^c", r"a\_b\textasciicircum{}c"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("−1 ≤ ρ", r"$-$1 $\leq$ $\rho$"),
        ("two\nlines", "two lines"),
    ],
)
def test_nothing_in_a_text_is_read_as_a_command(text: str, escaped: str) -> None:
    assert latex.escaped(text) == escaped


def test_a_row_that_begins_with_a_bracket_is_no_argument_of_the_line_before() -> None:
    made = latex.table(Table("t", "c", ("a",), [["x"], ["[0, 1]"]]))
    assert "\n{}[0, 1]" in made


def test_what_no_reader_may_overlook_is_in_the_caption() -> None:
    assert r"\caption{\textbf{SIMULATED.} PC" in latex.table(TABLE, ("SIMULATED",))


def test_code_is_set_in_typewriter() -> None:
    assert r"\texttt{a\_b}" in latex.table(Table("t", "c", ("a",), [[(Code("a_b"),)]]))
