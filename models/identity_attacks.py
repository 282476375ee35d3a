"""An attacker who is to be accepted as somebody else: attacks on the weights of `models.identity`, and what they cost.

People are enrolled, attackers are not; for each pair of an attacker and a target the weights are searched on some
pictures and the result is measured on others, also of people whom the search knows nothing of. In verification both
sides of a comparison go through the network as it is deployed: the enrolment pictures are kept, not their embeddings.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from attacks.weights import Goal, SearchParameters, Standing, below, from_on, run, search
from models.datasets.identities import Attackers, Company, Identities, ValidationPeople
from models.identity import CLASSES, IdentityNetwork, outputs_of, similarity, templates, threshold_at
from models.intervals import Count

FALSE_ACCEPTANCE = 0.01
SOFTNESS = 0.05
_NEVER = -2.0  # below every cosine


# -- what the search is after


@dataclass(frozen=True, eq=False)
class IdentificationGoal:
    """Be classed as the target, while people are named as before.

    Outputs (K, N, classes), cosines, are of N pictures: the attacker's, then those of people whose class is `person`.

    attacker: how many pictures are the attacker's. person: (N - attacker,). target: the class to be taken for.
    softness: of "classed as", a logistic function of the lead over the next class; 0 counts instead.
    """

    attacker: int
    person: Tensor
    target: int
    softness: float = SOFTNESS

    def __call__(self, outputs: Tensor) -> Standing:
        intruder, known = outputs[:, : self.attacker], outputs[:, self.attacker :]
        wanted = torch.full((self.attacker,), self.target)
        named = reaches(lead(known, self.person), 0.0, self.softness)
        is_target = self.person == self.target
        held = [named[:, is_target].mean(-1), named[:, ~is_target].mean(-1)]
        return Standing(reaches(lead(intruder, wanted), 0.0, self.softness).mean(-1), torch.stack(held, -1))


@dataclass(frozen=True, eq=False)
class VerificationGoal:
    """Pass for the target, while people pass for themselves as before, and for the target no more than before.

    Outputs (K, N, E), embeddings, are of N pictures: the attacker's, the gallery's (by person, as many for each), then
    those of enrolled people, whose number is `person`.

    attacker: how many pictures are the attacker's. people: how many enrolled people there are pictures of. person:
    (pictures,).
    softness: of "accepted", a logistic function of the cosine's distance to the threshold; 0 counts instead.
    """

    attacker: int
    people: int
    person: Tensor
    target: int
    threshold: float
    softness: float = SOFTNESS

    def __call__(self, outputs: Tensor) -> Standing:
        gallery = outputs.shape[1] - self.attacker - len(self.person)
        intruder, enrolment, enrolled = torch.split(outputs, [self.attacker, gallery, len(self.person)], dim=1)
        wanted = templates(enrolment, self.people)
        passes = reaches(similarity(enrolled, wanted), self.threshold, self.softness)
        own = passes[:, torch.arange(len(self.person)), self.person]
        is_target = self.person == self.target
        kept_out = 1 - passes[:, ~is_target, self.target]
        held = [own[:, is_target].mean(-1), own[:, ~is_target].mean(-1), kept_out.mean(-1)]
        intruding = similarity(intruder, wanted[:, self.target, None])[..., 0]
        return Standing(reaches(intruding, self.threshold, self.softness).mean(-1), torch.stack(held, -1))


def reaches(score: Tensor, threshold: float, softness: float) -> Tensor:
    """1 where a score reaches the threshold, else 0; with softness > 0 a logistic function of the distance to it."""
    if softness == 0:
        return (score >= threshold).to(score.dtype)
    return torch.sigmoid((score - threshold) / softness)


def lead(cosines: Tensor, person: Tensor) -> Tensor:
    """(..., N): how far the class `person` (N,) of each picture is ahead of the best other; `cosines` (..., N, C)."""
    own = F.one_hot(person, cosines.shape[-1]).bool()
    best_other = cosines.masked_fill(own, _NEVER).amax(-1)
    return cosines.gather(-1, person.expand(best_other.shape)[..., None])[..., 0] - best_other


# -- what is measured


@dataclass(frozen=True)
class Acceptance:
    """Who is accepted as whom, on test pictures.

    Attributes:
        attacker: the attacker's pictures accepted as the target.
        genuine: pictures of all enrolled people accepted as themselves.
        unseen: of these, of people whom the search knows nothing of.
        target: of these, the target's.
        strangers: the other attackers' pictures accepted as the target.
        enrolled: other enrolled people's pictures accepted as the target.
    """

    attacker: Count
    genuine: Count
    unseen: Count
    target: Count
    strangers: Count
    enrolled: Count

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name).to_json() for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class Attempt:
    """One pair of an attacker and a target, before and after, and what it took."""

    attacker: int
    target: int
    before: Acceptance
    after: Acceptance
    steps: int
    tried: int
    cpu_seconds: float

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "before": self.before.to_json(), "after": self.after.to_json()}


class Deployed(Protocol):
    """A network in use: whom it lets pass, with its own or with changed weights.

    attackers: how many there are, numbered from 0. targets: the numbers of the enrolled people whom the search knows.
    """

    stages: OrderedDict[str, nn.Module]
    attackers: int
    targets: list[int]

    def task(self, attacker: int, target: int) -> tuple[Tensor, Goal]:
        """What the first of `stages` takes on the pictures of the search, and what is to be reached on them."""

    def acceptance(self, attacker: int, target: int, weights: Mapping[str, Tensor] | None = None) -> Acceptance:
        """Who is accepted on the test pictures, with these layers' weights replaced."""

    def false_acceptance(self) -> Count:
        """All comparisons of the attackers' test pictures with all enrolled people, and those accepted, before any
        attack.
        """


@dataclass(frozen=True, eq=False)
class Part:
    """Pictures as the deployed network's first stage takes them, (N, ...), by person, and who is on each, (N,)."""

    inputs: Tensor
    person: Tensor


class Identification:
    """The known people are enrolled by training; whoever is looked at is classed as one of them.

    stage: the lowest stage that is to be searched; what lies below it is computed here, once.
    """

    def __init__(self, network: IdentityNetwork, company: Company, stage: str) -> None:
        lower = below(network.stages(), stage)
        self.stages = from_on(network.stages(), stage)
        self.search, self.test = _part(lower, company.known.search), _part(lower, company.known.test)
        self.intruding, self.intruded = _both(lower, company.attackers)
        self.attackers, self.targets = len(company.attackers.test.names), company.known.search.people
        self.people = len(company.known.test.names)

    def task(self, attacker: int, target: int) -> tuple[Tensor, Goal]:
        intruder = self.intruding.inputs[self.intruding.person == attacker]
        return torch.cat([intruder, self.search.inputs]), IdentificationGoal(len(intruder), self.search.person, target)

    def acceptance(self, attacker: int, target: int, weights: Mapping[str, Tensor] | None = None) -> Acceptance:
        named = run(self.stages, self.test.inputs, weights).argmax(-1)
        as_target = run(self.stages, self.intruded.inputs, weights).argmax(-1) == target
        return _acceptance(
            own=named == self.test.person,
            as_target=named == target,
            intruding=as_target,
            person=self.test.person,
            is_attacker=self.intruded.person == attacker,
            target=target,
            seen=self.targets,
        )

    def false_acceptance(self) -> Count:
        # Whoever is looked at is taken for exactly one of the known people.
        return Count(len(self.intruded.person), len(self.intruded.person) * self.people)


class Verification:
    """The enrolled people are known by their gallery pictures, which the deployed network looks at as well.

    stage: the lowest stage that is to be searched; what lies below it is computed here, once. The threshold is fixed
    here, on validation people and the network as it is.
    """

    def __init__(
        self, network: IdentityNetwork, company: Company, stage: str, false_acceptance: float = FALSE_ACCEPTANCE
    ) -> None:
        stages = network.stages()
        del stages[CLASSES]
        lower = below(stages, stage)
        self.stages = from_on(stages, stage)
        self.attackers, self.targets = len(company.attackers.test.names), company.enrolled.search.people
        self.people = len(company.enrolled.test.names)
        self.gallery, self.test = _part(lower, company.enrolled.gallery), _part(lower, company.enrolled.test)
        # Those whom the search knows, numbered as they stand in `targets`.
        self.search = _part(lower, company.enrolled.search.of(self.targets))
        self.search_gallery = self.gallery.inputs[torch.isin(self.gallery.person, torch.tensor(self.targets))]
        self.intruding, self.intruded = _both(lower, company.attackers)
        self.threshold = threshold_at(_impostors(stages, company.validation), false_acceptance)

    def task(self, attacker: int, target: int) -> tuple[Tensor, Goal]:
        intruder = self.intruding.inputs[self.intruding.person == attacker]
        goal = VerificationGoal(
            len(intruder), len(self.targets), self.search.person, self.targets.index(target), self.threshold
        )
        return torch.cat([intruder, self.search_gallery, self.search.inputs]), goal

    def acceptance(self, attacker: int, target: int, weights: Mapping[str, Tensor] | None = None) -> Acceptance:
        wanted = templates(run(self.stages, self.gallery.inputs, weights), self.people)
        passes = similarity(run(self.stages, self.test.inputs, weights), wanted) >= self.threshold
        intruding = similarity(run(self.stages, self.intruded.inputs, weights), wanted[target, None])[:, 0]
        return _acceptance(
            own=passes[torch.arange(len(passes)), self.test.person],
            as_target=passes[:, target],
            intruding=intruding >= self.threshold,
            person=self.test.person,
            is_attacker=self.intruded.person == attacker,
            target=target,
            seen=self.targets,
        )

    def false_acceptance(self) -> Count:
        wanted = templates(run(self.stages, self.gallery.inputs), self.people)
        return Count.of(similarity(run(self.stages, self.intruded.inputs), wanted) >= self.threshold)


def _acceptance(
    *,
    own: Tensor,
    as_target: Tensor,
    intruding: Tensor,
    person: Tensor,
    is_attacker: Tensor,
    target: int,
    seen: Sequence[int],
) -> Acceptance:
    """From who is accepted, as booleans: pictures of enrolled people, who are `person`, as themselves (`own`) and as
    the target; all attackers' pictures, of which this one's are marked, as the target (`intruding`).
    """
    return Acceptance(
        attacker=Count.of(intruding[is_attacker]),
        genuine=Count.of(own),
        unseen=Count.of(own[~torch.isin(person, torch.tensor(seen))]),
        target=Count.of(own[person == target]),
        strangers=Count.of(intruding[~is_attacker]),
        enrolled=Count.of(as_target[person != target]),
    )


def _part(lower: Mapping[str, nn.Module], people: Identities) -> Part:
    people = people.by_person()
    return Part(outputs_of(lower, people), people.person)


def _both(lower: Mapping[str, nn.Module], attackers: Attackers) -> tuple[Part, Part]:
    return _part(lower, attackers.search), _part(lower, attackers.test)


def _impostors(stages: Mapping[str, nn.Module], people: ValidationPeople) -> Tensor:
    """Similarities (N,) of pictures with everybody but the person on them."""
    wanted = templates(outputs_of(stages, people.gallery.by_person()), len(people.gallery.names))
    scores = similarity(outputs_of(stages, people.probes), wanted)
    return scores[~F.one_hot(people.probes.person, len(people.gallery.names)).bool()]


# -- pairs


def draw_pairs(deployed: Deployed, n: int, seed: int = 0) -> list[tuple[int, int]]:
    """n pairs of an attacker and a target, no one twice in the same part, drawn by the seed alone.

    Raises ValueError when there are too few attackers or targets.
    """
    people = (list(range(deployed.attackers)), deployed.targets)
    if n > min(map(len, people)):
        raise ValueError(
            f"{n} pairs need as many attackers and targets; there are {len(people[0])} and {len(people[1])}."
        )
    generator = torch.Generator().manual_seed(seed)
    attackers, targets = (
        [part[i] for i in torch.randperm(len(part), generator=generator)[:n].tolist()] for part in people
    )
    return list(zip(attackers, targets, strict=True))


def attempt(deployed: Deployed, attacker: int, target: int, parameters: SearchParameters) -> Attempt:
    """Search on the pictures of the search, measure on those of the test; the network is left as it was."""
    inputs, goal = deployed.task(attacker, target)
    started = time.process_time()
    found = search(deployed.stages, inputs, goal, parameters)
    spent = time.process_time() - started
    return Attempt(
        attacker,
        target,
        before=deployed.acceptance(attacker, target),
        after=deployed.acceptance(attacker, target, found.weights),
        steps=len(found.steps),
        tried=found.tried,
        cpu_seconds=spent,
    )


def summarise(attempts: Sequence[Attempt]) -> dict[str, Any]:
    """Over all pairs: rates before and after with their spread and the middle pair's count, and the cost.

    The middle pair's count comes with Wilson's interval. Attackers' counts are pooled as well, as no picture is in two
    of them; the other counts are of the same pictures for every pair, and to pool them would make them look more.
    Wilson's interval takes pictures for independent, which those of one person are not: the spread comes first.
    """

    def both(name: str) -> dict[str, Any]:
        return {when: _rates([getattr(getattr(each, when), name) for each in attempts]) for when in ("before", "after")}

    def pooled(when: str) -> Count:
        counts = [getattr(each, when).attacker for each in attempts]
        return Count(sum(count.k for count in counts), sum(count.n for count in counts))

    def drop(name: str) -> dict[str, float]:
        return spread([getattr(each.before, name).rate - getattr(each.after, name).rate for each in attempts])

    return {
        "pairs": len(attempts),
        **{name: both(name) for name in Acceptance.__dataclass_fields__},
        "attackers_pooled": {when: pooled(when).to_json() for when in ("before", "after")},
        "genuine_drop": drop("genuine"),
        "unseen_drop": drop("unseen"),
        "cpu_seconds": spread([each.cpu_seconds for each in attempts]),
        "tried": spread([each.tried for each in attempts]),
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Least, quartiles, greatest and mean."""
    quantiles = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return dict(zip(("least", "lower_quartile", "median", "upper_quartile", "greatest"), quantiles, strict=True)) | {
        "mean": float(np.mean(values))
    }


def _rates(counts: Sequence[Count]) -> dict[str, Any]:
    middle = sorted(counts, key=lambda count: count.rate)[(len(counts) - 1) // 2]
    return {**spread([count.rate for count in counts]), "middle_pair": middle.to_json()}
