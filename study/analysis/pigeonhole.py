"""The two-way bootstrap on counts: participants and stimuli are both resampled, each answer weighing by their product.

Owen, A. B. (2007), The pigeonhole bootstrap, Annals of Applied Statistics 1, 386-411. It holds its level where people
and images both differ, and is conservative: what is neither a person's nor an image's own counts up to three times.
Nothing is ever concatenated: the table of counts is multiplied by the weights.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]
Codes = npt.NDArray[np.intp]

#: Draws worked on at a time, which bounds the memory.
_AT_A_TIME: Final = 500


def weights(rng: np.random.Generator, units: int, draws: int) -> Weights:
    """(draws, units): how often each unit was drawn when `units` were drawn with replacement."""
    parts = [_weights(rng, units, min(_AT_A_TIME, draws - done)) for done in range(0, draws, _AT_A_TIME)]
    return np.concatenate(parts)


def _weights(rng: np.random.Generator, units: int, draws: int) -> Weights:
    drawn = rng.integers(0, units, (draws, units)) + np.arange(draws)[:, None] * units
    return np.bincount(drawn.ravel(), minlength=draws * units).reshape(draws, units).astype(np.float32)


@dataclass(frozen=True)
class Answers:
    """The answers of N trials in C conditions.

    Attributes:
        participant, stimulus, condition: (N,) integer codes from 0.
        correct: (N,) 0 or 1.
        size: how many participants, stimuli and conditions there are.
    """

    participant: Codes
    stimulus: Codes
    condition: Codes
    correct: Floats
    size: tuple[int, int, int]

    def counts(self) -> tuple[Floats, Floats]:
        """(1, C) trials and (1, C) right answers, as they were given."""
        n, right = (self._sums(answers) for answers in (np.ones_like(self.correct), self.correct))
        return n, right

    def resampled(self, people: Weights, images: Weights) -> tuple[Floats, Floats]:
        """(D, C) trials and right answers under weights (D, participants) and (D, stimuli)."""
        n, right = (self._table(answers) for answers in (np.ones_like(self.correct), self.correct))
        parts = [slice(first, first + _AT_A_TIME) for first in range(0, len(people), _AT_A_TIME)]
        contracted = [[self._contract(table, people[p], images[p]) for p in parts] for table in (n, right)]
        return np.concatenate(contracted[0]), np.concatenate(contracted[1])

    def _sums(self, answers: Floats) -> Floats:
        return np.asarray(np.bincount(self.condition, answers, self.size[2]), dtype=float)[None]

    def _table(self, answers: Floats) -> sparse.csr_array:
        """(conditions x stimuli, participants), whole numbers, which float32 holds exactly up to 2^24."""
        participants, stimuli, conditions = self.size
        rows = self.condition * stimuli + self.stimulus
        shape = (conditions * stimuli, participants)
        return sparse.csr_array((answers.astype(np.float32), (rows, self.participant)), shape=shape)

    def _contract(self, table: sparse.csr_array, people: Weights, images: Weights) -> Floats:
        _, stimuli, conditions = self.size
        by_image = (table @ np.ascontiguousarray(people.T)).reshape(conditions, stimuli, len(people))
        return np.einsum("csd,ds->dc", by_image, images, dtype=float)
