"""docs/calibration.md, written from calibration.json: no figure in it is typed by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

Row = Mapping[str, Any]

#: What a rate is, by the question of its scenario.
_RATES: Final = {
    "difference": "type-I error",
    "contrast": "type-I error",
    "below": "claims at the bound",
    "hidden": "claims that hide people",
    "threshold": "coverage",
    "shift": "type-I error",
}

_HEAD: Final = """# Calibration: do the tests keep their promise?

Thousands of studies are simulated whose truth is known, and every method has to say what it finds in them. A test at
.05 should reject a true null in 5 % of studies, a claim "below the bound" should be made in at most 5 % of studies
whose truth lies at the bound, and an interval of 95 % should cover the truth in 95 %.

```
make calibrate                                   # everything; what was done before is kept
make calibrate CALIBRATE="--quick"               # few studies, a minute; this page is left as it is
make calibrate CALIBRATE="--only threshold --seed 1"
```

It writes `var/calibration.json` (the figures below), `var/calibration.csv` (one row for each scenario, method and
study: estimate, interval, p, decision) and this page, and exits with 1 when a bar is missed. Another seed draws other
studies.

**Reading it.** A cell is the rate over all studies with its 95 % Wilson interval. In bold: the interval lies above .07,
so that the method is wrong more often than it says. Studies in which a method gives no answer are counted apart.
{facts}
"""

_INTRODUCTIONS: Final = {
    "difference": """## Type-I error: PC is .5, how often is it called different?

40 people (unless said) with 60 trials each in one condition, 30 images; nominal .05. *Pooled* takes trials as
independent: it is the counter-example, not a method of the report. Its error grows with the number of trials per
person, and no number of people mends it. The *two-way t* is the test of the report.""",
    "contrast": """## Type-I error of a difference between two attacks

Each attack has images of its own; both are at PC .5. Images that differ make attacks look different to all methods
that take images as fixed.""",
    "below": """## At the bound: PC is .60, how often is "below .60" claimed?

The nominal rate is .05. The *verdict* of the report asks for the two one-sided tests and for people who differ no more
than chance allows; people who truly differ hardly ever get past the second.""",
    "hidden": """## People who see it and name the wrong image

Of 40 people, 5 are right in 90 % of trials and 5 in 10 %; all others guess. The mean is .5, so tests of the mean call
it below the bound. Only the test of spread stands between such a group and a false claim.""",
    "threshold": """## Coverage of thresholds

40 people with 6 trials at each of 5 strengths of 2 attacks and 4 catch trials; Weibull detection, people, images, lapse
rates and side preferences that differ. The mixed models are judged by the strength at which the *median person*
detects half the time beyond chance; the pooled curve by the strength at which all people together are right in three of
four trials. The headline's rows are those of the report; each other model departs from it in one thing. *Bias* is the
mean distance of the estimates from the truth in octaves, factors of 2 in strength; *SD* is that of the estimates.""",
    "shift": """## Error shift that does nothing

Detection depends on strength alone; the model's error shift grows with strength as measured (.1 to 4), and differs
between images (log SD .25) and by noise (SD .35 deg) beyond that. What is not adjusted for strength must find an
association, which is no error of the method but of whoever takes it for an effect; what is adjusted should find nothing
in 95 % of studies. A straight line in strength, as is often fitted, cannot take out a curved effect of strength; the
report takes out every condition's own level instead.""",
}  # fmt: skip

_TAIL: Final = """## What this does not show

Layouts are balanced, people and images normal on the logit or Weibull scale; with fewer than about 10 of either nothing
was tried. Intervals hold for the models that were attacked, not for others trained alike. The spread of error shifts
between images is assumed, their mean was measured on one network.
"""


def render(content: Mapping[str, Any]) -> str:
    """The whole page as Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    facts = f"\nThis run: seed {content['seed']}, commit {content['commit']}, {versions}."
    bars = ["## Bars", _bars(content["results"]), *missed(content)]
    return "\n\n".join([_HEAD.format(facts=facts).strip(), *bars, tables(content), _TAIL])


def tables(content: Mapping[str, Any]) -> str:
    """One section for each question that the run asked."""
    sections = []
    for question, introduction in _INTRODUCTIONS.items():
        rows = [row for row in content["results"] if row["question"] == question]
        if rows:
            meaning = f"Rate: {content['questions'][question]}."
            table = _list(rows) if question in {"threshold", "shift"} else _crossed(rows)
            sections += [introduction, meaning, table]
    return "\n\n".join(sections)


def missed(content: Mapping[str, Any]) -> list[str]:
    """One sentence for each bar that does not hold."""
    return [
        f"Missed: {row['title']}: {row['method']}: {_RATES[row['question']]} {_rate(row)}, wanted {row['bar']}."
        for row in content["results"]
        if row["holds"] is False
    ]


def _bars(rows: Iterable[Row]) -> str:
    cells = [
        [
            row["title"],
            row["method"],
            _RATES[row["question"]],
            _rate(row),
            row["bar"],
            "yes" if row["holds"] else "**no**",
        ]
        for row in rows
        if row["bar"]
    ]
    return _table(["scenario", "method", "rate of", "rate", "bar", "holds"], cells)


def _crossed(rows: list[Row]) -> str:
    """Scenarios down, methods across."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    titles = list(dict.fromkeys(row["title"] for row in rows))
    found = {(row["title"], row["method"]): row for row in rows}
    cells = [[title, *(_marked(found.get((title, method))) for method in methods)] for title in titles]
    studies = {method: max(row["studies"] for row in rows if row["method"] == method) for method in methods}
    last = ["*studies*", *(f"{studies[method]:,}" for method in methods)]
    return _table(["scenario", *methods], [*cells, last])


def _list(rows: list[Row]) -> str:
    """One row for each method; where the truth is known, how far the estimates lie from it."""
    head = ["method", "rate", "studies", "without an answer"]
    cells = [[row["method"], _rate(row), f"{row['studies']:,}", f"{row['without_answer']:,}"] for row in rows]
    if all(row["bias"] is not None for row in rows):
        head += ["bias, octaves", "SD"]
        cells = [[*line, f"{row['bias']:+.3f}", f"{row['sd']:.3f}"] for line, row in zip(cells, rows, strict=True)]
    return _table(head, cells)


def _marked(row: Row | None) -> str:
    if row is None:
        return ""
    words = _rate(row) + (f" ({row['without_answer']} without an answer)" if row["without_answer"] else "")
    return f"**{words}**" if row["low"] is not None and row["low"] > 0.07 else words


def _rate(row: Row) -> str:
    if row["rate"] is None:
        return "no answer"
    return f"{_share(row['rate'])} [{_share(row['low'])}, {_share(row['high'])}]"


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
