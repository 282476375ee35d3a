"""The report's tables for a paper: LaTeX with booktabs, ready to be \\input."""

from collections.abc import Iterator, Sequence
from typing import Final

from study.analysis.paper.blocks import Cite, Code, Small, Strong, Table

PREAMBLE: Final = "% Needs \\usepackage{booktabs} and \\usepackage{graphicx}.\n"

_ESCAPED: Final = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "\n": " ",
        # Letters that LaTeX knows in formulae only.
        "−": "$-$",
        "′": "$'$",
        "√": r"$\surd$",
        "≠": r"$\neq$",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "λ": r"$\lambda$",
        "ρ": r"$\rho$",
        "ψ": r"$\psi$",
        "Φ": r"$\Phi$",
        "δ": r"$\delta$",
        "σ": r"$\sigma$",
        "χ": r"$\chi$",
        "₂": "$_2$",
        "→": r"$\rightarrow$",
    }
)


def table(of: Table, banners: Sequence[str] = ()) -> str:
    """A floating table with caption, label `tab:<name>` and, in its caption, what no reader may overlook."""
    return PREAMBLE + "\n".join(_lines(of, banners)) + "\n"


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return text.translate(_ESCAPED)


def _lines(of: Table, banners: Sequence[str]) -> Iterator[str]:
    marks = "".join(f"\\textbf{{{escaped(banner.removesuffix('.'))}.}} " for banner in banners)
    alignments = {"prose": "p{.3\\linewidth}", "words": "l", "numbers": "r"}
    columns = "".join(alignments[manner] for manner in of.manners)
    yield "\\begin{table}"
    yield f"\\caption{{{marks}{escaped(of.caption)}}}"
    yield f"\\label{{tab:{of.name}}}"
    # Only a table wider than the text is made smaller.
    yield "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%"
    yield f"\\begin{{tabular}}{{@{{}}{columns}@{{}}}}"
    yield "\\toprule"
    yield _row(of.head)
    yield "\\midrule"
    yield from (_row(row) for row in of.rows)
    yield "\\bottomrule"
    yield "\\end{tabular}}"
    if of.note:
        yield f"\\par\\smallskip {{\\footnotesize {escaped(of.note)}}}"
    yield "\\end{table}"


def _row(cells: Sequence[tuple[str, ...] | str]) -> str:
    return " & ".join(_cell(cell) for cell in cells) + r" \\"


def _cell(cell: tuple[str, ...] | str) -> str:
    parts = (cell,) if isinstance(cell, str) else cell
    # A row that began with a bracket would be read as an argument of the line break before it.
    return "{}" + "".join(map(_part, parts)) if str(parts[0]).startswith("[") else "".join(map(_part, parts))


def _part(part: str) -> str:
    match part:
        case Strong():
            return f"\\textbf{{{escaped(part)}}}"
        case Code():
            return f"\\texttt{{{escaped(part)}}}"
        case Small():
            return f" {{\\footnotesize {escaped(part)}}}"
        case Cite():
            return f"\\cite{{{','.join(part.keys)}}}"
    return escaped(part)
