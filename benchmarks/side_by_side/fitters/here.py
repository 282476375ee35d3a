"""What runs in our own environment, our models and statsmodels': `... glmm|gee|statsmodels_gee|curves FILE`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from benchmarks.side_by_side.costs import of_call

if TYPE_CHECKING:
    import pandas as pd

Figures = dict[str, float]
#: Fits, and returns what came out by name. What is imported or got ready before is not counted.
Work = Callable[[], Figures]


def glmm(main: pd.DataFrame, catch: pd.DataFrame) -> Work:
    """The report's companion: crossed people and images, logit above a guess rate of .5."""
    from study.analysis import crossed

    def fit() -> Figures:
        found = crossed.Study(main, catch).fit(crossed.COMPANION).fit
        if not found.converged:
            raise SystemExit(f"The crossed model was not fitted: {found.reason}.")
        return {
            **dict(zip(found.names, found.coefficients.tolist(), strict=True)),
            **{f"SE {name}": se for name, se in zip(found.names, found.se.tolist(), strict=True)},
            **{f"SD {factor}": sd for factor, sd in found.sds.items()},
            "log likelihood": float(found.log_likelihood or 0.0),
        }

    return fit


def gee(main: pd.DataFrame, catch: pd.DataFrame) -> Work:
    """The report's marginal model with its robust covariance."""
    from study.analysis import mixed

    def fit() -> Figures:
        found = mixed.gee(main)
        if not found["converged"]:
            raise SystemExit(f"The GEE was not fitted: {found['reason']}.")
        rows: Mapping[str, Mapping[str, float]] = found["coefficients"]
        return {name: row["estimate"] for name, row in rows.items()} | {
            f"SE {name}": row["se"] for name, row in rows.items()
        }

    return fit


def statsmodels_gee(main: pd.DataFrame, catch: pd.DataFrame) -> Work:
    """The same as statsmodels' documentation has it, with its defaults."""
    from statsmodels.genmod.cov_struct import Exchangeable
    from statsmodels.genmod.families import Binomial
    from statsmodels.genmod.generalized_estimating_equations import GEE

    def fit() -> Figures:
        found = GEE.from_formula(
            "correct ~ strength + attack", "participant", main, family=Binomial(), cov_struct=Exchangeable()
        ).fit()
        return {**found.params.to_dict(), **{f"SE {name}": se for name, se in found.bse.items()}}

    return fit


def curves(main: pd.DataFrame, catch: pd.DataFrame) -> Work:
    """The Weibull function of each attack with its interval, fitted to it alone and the catch trials."""
    from study.analysis import psychometric

    rows = {str(attack): rows for attack, rows in main[main["strength"] > 0].groupby("attack")}

    def fit() -> Figures:
        figures: Figures = {}
        for attack, shown in rows.items():
            curve = psychometric.fit(shown, catch).curve
            if curve is None:
                raise SystemExit(f"{attack} has no curve.")
            figures |= {attack: curve.midpoint, f"lapse {attack}": curve.lapse}
        return figures

    fit()  # what is loaded at first use is no part of a curve
    return fit


FITTERS = {each.__name__: each for each in (glmm, gee, statsmodels_gee, curves)}


def main(name: str, path: str) -> None:
    from study.analysis import frames

    table = frames.read_csv(path)
    catch = frames.catch_trials(table)
    # The crossed companion takes lapses for impossible, and needs no catch trials.
    work = FITTERS[name](frames.main_trials(table), catch.iloc[:0] if name == "glmm" else catch)
    figures: Figures = {}
    cost = of_call(lambda: figures.update(work()))
    print(json.dumps({"figures": figures, **asdict(cost)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
