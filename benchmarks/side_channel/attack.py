"""Whether a table of features tells a label: two classifiers, validated across sessions, tested by permutation.

All permutations are fitted at once, as columns of one label matrix: a classifier takes (rows, features) and
(rows, columns) and gives scores (rows, columns). That makes thousands of cross-validated fits a matter of seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import rankdata

FOLDS = 5
THRESHOLDS = 7
Array = np.ndarray
Classifier = Callable[[Array, Array, Array], Array]


@dataclass(frozen=True)
class Single:
    """A feature on its own: the AUC of its values, turned so that it is at least .5, and p over all features."""

    feature: str
    auc: float
    p: float


@dataclass(frozen=True)
class Finding:
    """What the attacker made of one table.

    auc: share of (positive, negative) rows of one session that the better classifier puts in the right order, from
    scores for sessions that it was not trained on; .5 is chance. p: share of label permutations within sessions that
    do as well with their better classifier. strongest: the best feature alone, p corrected for their number.
    """

    auc: float
    p: float
    rows: int
    positives: int
    sessions: int
    features: int
    permutations: int
    classifiers: dict[str, dict[str, float]]
    strongest: Single | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def attack(table: pd.DataFrame, labels: Array, sessions: Array, *, permutations: int = 2000, seed: int = 0) -> Finding:
    """Try to tell `labels` (rows,) bool from the numeric columns of `table`; `sessions` (rows,) names the groups.

    Columns that do not vary within any session tell nothing and are left out. Raises ValueError when there are fewer
    than two sessions, or a label is the same in all rows of every session.
    """
    labels, sessions = np.asarray(labels, dtype=bool), pd.factorize(np.asarray(sessions))[0]
    if len(np.unique(sessions)) < 2:
        raise ValueError("The attacker needs at least two sessions: it is trained on some and tested on the others.")
    rng = np.random.default_rng(seed)
    features = centred(table, sessions)
    columns = permuted(labels, sessions, permutations, rng)
    if not comparisons(labels[:, None], sessions).sum():
        raise ValueError("Every session has one label only: there is nothing to tell apart.")
    found: dict[str, Array] = {}
    for name, classifier in CLASSIFIERS.items():
        scores = out_of_fold(classifier, features.to_numpy(), columns, folds_of(sessions, rng))
        found[name] = within_session_auc(scores, columns, sessions)
    best = np.max(list(found.values()), axis=0)
    return Finding(
        auc=float(best[0]),
        p=p_value(best),
        rows=len(labels),
        positives=int(labels.sum()),
        sessions=int(sessions.max()) + 1,
        features=features.shape[1],
        permutations=permutations,
        classifiers={name: {"auc": float(auc[0]), "p": p_value(auc)} for name, auc in found.items()},
        strongest=strongest(features, columns, sessions),
    )


def p_value(statistics: Array) -> float:
    """Of the first of (1 + permutations,) statistics, larger being more extreme; never 0."""
    return float((statistics >= statistics[0]).mean())


def centred(table: pd.DataFrame, sessions: Array) -> pd.DataFrame:
    """The columns that vary within sessions, with mean 0 in every session and SD 1 over all rows; 0 where missing."""
    values = table.astype(np.float64)
    within = values - values.groupby(sessions).transform("mean")
    spread = within.std(ddof=0)
    varies = spread > 1e-9 * (1 + values.abs().max())
    return within.loc[:, varies].div(spread[varies]).fillna(0.0)


def permuted(labels: Array, sessions: Array, permutations: int, rng: np.random.Generator) -> Array:
    """(rows, 1 + permutations) float32: the labels, then permutations of them within sessions."""
    columns = np.repeat(labels[:, None].astype(np.float32), 1 + permutations, axis=1)
    for rows in _rows_of(sessions):
        columns[rows, 1:] = rng.permuted(columns[rows, 1:], axis=0)
    return columns


def folds_of(sessions: Array, rng: np.random.Generator) -> Array:
    """(rows,) fold numbers; a session is in one fold."""
    names = rng.permutation(int(sessions.max()) + 1)
    return names.argsort()[sessions] % min(FOLDS, len(names))


def out_of_fold(classifier: Classifier, features: Array, columns: Array, folds: Array) -> Array:
    """(rows, columns) scores, each from a fit on the other folds."""
    scores = np.zeros(columns.shape, dtype=np.float32)
    if not features.shape[1]:
        return scores
    for fold in np.unique(folds):
        test = folds == fold
        scores[test] = classifier(features[~test], columns[~test], features[test])
    return scores


# --- classifiers


def logistic_regression(train: Array, labels: Array, test: Array, *, ridge: float = 0.05, steps: int = 25) -> Array:
    """Scores (test rows, columns) of L2-penalised logistic regressions, `ridge` per row of training.

    Newton steps with the curvature's bound X'X / 4 (Böhning & Lindsay 1988), each of which descends. In the basis of
    the principal components that bound is diagonal.
    """
    mean = train.mean(axis=0)
    left, spread, axes = np.linalg.svd(train - mean, full_matrices=False)
    train, test = _with_intercept(left * spread), _with_intercept((test - mean) @ axes.T)
    penalty = np.append(0.0, np.full(len(spread), ridge * len(train)))[:, None].astype(np.float32)
    bound = (np.append(len(train), spread**2) / 4)[:, None].astype(np.float32) + penalty
    weights = np.zeros((train.shape[1], labels.shape[1]), dtype=np.float32)
    for _ in range(steps):
        step = (train.T @ (expit(train @ weights) - labels) + penalty * weights) / bound
        weights -= step
        if np.abs(step).max() < 0.01 * np.abs(weights).max():
            break
    return test @ weights


def boosted_stumps(train: Array, labels: Array, test: Array, *, rounds: int = 40, rate: float = 0.25) -> Array:
    """Scores (test rows, columns) of L2 boosting with decision stumps: any function of each feature, added up.

    The stumps cut features at quantiles of the training rows. Residual correlations (columns, stumps) are kept up to
    date by the stumps' Gram matrix (matching pursuit), so a round costs no pass over the rows.
    """
    cuts = np.quantile(train, np.arange(1, THRESHOLDS + 1) / (THRESHOLDS + 1), axis=0)
    stumps = _stumps(train, cuts)
    _, kept = np.unique(stumps, axis=1, return_index=True)  # features with two values have one stump
    mean, spread = stumps[:, kept].mean(axis=0), stumps[:, kept].std(axis=0)
    kept, mean, spread = kept[spread > 0], mean[spread > 0], spread[spread > 0]
    if not len(kept):
        return np.zeros((len(test), labels.shape[1]), dtype=np.float32)
    stumps = (stumps[:, kept] - mean) / spread
    gram = stumps.T @ stumps / len(train)
    correlation = (labels - labels.mean(axis=0)).T @ stumps / len(train)
    weights = np.zeros_like(correlation)
    columns = np.arange(len(correlation))
    for _ in range(rounds):
        chosen = np.abs(correlation).argmax(axis=1)
        step = rate * correlation[columns, chosen]
        weights[columns, chosen] += step
        correlation -= gram[chosen] * step[:, None]
    return (_stumps(test, cuts)[:, kept] - mean) / spread @ weights.T


CLASSIFIERS: Mapping[str, Classifier] = {
    "logistic regression": logistic_regression,
    "boosted stumps": boosted_stumps,
}


def _with_intercept(features: Array) -> Array:
    return np.hstack([np.ones((len(features), 1)), features]).astype(np.float32)


def _stumps(features: Array, cuts: Array) -> Array:
    """(rows, thresholds x features) float32: whether each feature is above each cut (thresholds, features)."""
    return (features[:, None, :] > cuts[None]).reshape(len(features), -1).astype(np.float32)


# --- AUC


def within_session_auc(scores: Array, columns: Array, sessions: Array) -> Array:
    """(columns,) share of comparisons within sessions that are in the right order; ties count half."""
    right = np.zeros(columns.shape[1])
    for rows in _rows_of(sessions):
        positive = columns[rows]
        n = positive.sum(axis=0)
        right += (rankdata(scores[rows], axis=0) * positive).sum(axis=0) - n * (n + 1) / 2
    return np.asarray(right / comparisons(columns, sessions).sum(axis=0))


def comparisons(columns: Array, sessions: Array) -> Array:
    """(sessions, columns) number of (positive, negative) rows that can be compared."""
    counts = [(columns[rows].sum(axis=0), (1 - columns[rows].astype(float)).sum(axis=0)) for rows in _rows_of(sessions)]
    return np.array([positive * negative for positive, negative in counts])


def strongest(features: pd.DataFrame, columns: Array, sessions: Array) -> Single | None:
    """The feature with the AUC furthest from .5, with p from the maximum over all features."""
    if features.empty:
        return None
    ranks = np.zeros(features.shape, dtype=np.float32)
    values = features.to_numpy()
    for rows in _rows_of(sessions):
        ranks[rows] = rankdata(values[rows], axis=0) - (len(rows) + 1) / 2
    distances = np.abs(ranks.T @ columns) / comparisons(columns, sessions).sum(axis=0)  # |AUC - .5|
    best = int(distances[:, 0].argmax())
    return Single(str(features.columns[best]), float(0.5 + distances[best, 0]), p_value(distances.max(axis=0)))


def _rows_of(sessions: Array) -> list[Array]:
    return [np.flatnonzero(sessions == session) for session in np.unique(sessions)]
