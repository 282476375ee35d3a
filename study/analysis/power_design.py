"""What a plan is asked for: a design, and the truth it is tried on. Light, so that forms can check what they get."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

Claim = Literal["below the bound", "detectable"]
BELOW: Final = "below the bound"
DETECTABLE: Final = "detectable"
CLAIMS: Final[tuple[Claim, ...]] = (BELOW, DETECTABLE)
#: Powers that a design is looked for with.
WANTED: Final = (0.8, 0.9)
#: The proportions correct that a claim can be tested against.
BOUNDS: Final = (0.60, 0.55)
DEFAULT_BOUND: Final = 0.60
#: An identity control has nothing to detect: it is called off chance at this level only, and is then a fault.
CONTROL_ALPHA: Final = 0.01


@dataclass(frozen=True)
class Design:
    """What is planned, and the truth it is tried on.

    Attributes:
        bound: the PC that claims are tested against, .60 or .55.
        participants, trials: people; trials of each in one condition.
        stimuli: base images that a condition is shown on.
        conditions: strengths above 0, the family of Holm's adjustment.
        participant_sd, stimulus_sd: SD of people and of images on the logit scale.
        pc: true PC for the claim below the bound.
        detectable_pc: true PC for the claim of being detectable; None: the bound, the least that matters.
        grid_participants, grid_trials: what else to try; the design's own are added.
        studies: simulated for each entry of the grid.
        seed: of the simulation.
    """

    bound: float = DEFAULT_BOUND
    participants: int = 40
    trials: int = 8
    stimuli: int = 60
    conditions: int = 4
    participant_sd: float = 0.2
    stimulus_sd: float = 0.2
    pc: float = 0.5
    detectable_pc: float | None = None
    grid_participants: tuple[int, ...] = (10, 20, 30, 40, 50, 60, 80, 100, 120, 160)
    grid_trials: tuple[int, ...] = (4, 6, 8, 10, 12, 16, 20, 30)
    studies: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        for _, sentence in faults(self):
            raise ValueError(sentence)

    @property
    def truly_detectable(self) -> float:
        return self.bound if self.detectable_pc is None else self.detectable_pc

    def sizes(self) -> list[tuple[int, int]]:
        """(participants, trials) of every entry of the grid, trials that the stimuli suffice for."""
        people = sorted({*self.grid_participants, self.participants})
        trials = sorted(n for n in {*self.grid_trials, self.trials} if n <= self.stimuli)
        return [(p, n) for p in people for n in trials]

    def claimed(self, claim: Claim) -> str:
        """The claim with its bound and the truth that it is tried on, in words."""
        if claim == BELOW:
            return f"claimed below {_share(self.bound)} at a true PC of {_share(self.pc)}"
        return f"claimed detectable at a true PC of {_share(self.truly_detectable)}"


def faults(design: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with something that has a `Design`'s attributes: the attribute, and a sentence about it."""
    if design.bound not in BOUNDS:
        yield "bound", f"The bound is {design.bound}; it must be one of {', '.join(map(str, BOUNDS))}."
    fewest, shortest = min(design.grid_participants, default=2), min(design.grid_trials, default=1)
    detectable = design.bound if design.detectable_pc is None else design.detectable_pc
    few, sd, share = "2 or more", "between 0 and 3", "between .01 and .99"
    wrong = [
        (design.participants < 2, "participants", "number of participants", design.participants, few),
        (design.trials < 1, "trials", "number of trials per person and condition", design.trials, "1 or more"),
        (design.stimuli < 2, "stimuli", "number of stimuli", design.stimuli, few),
        (design.conditions < 1, "conditions", "number of conditions", design.conditions, "1 or more"),
        (design.studies < 100, "studies", "number of simulated studies", design.studies, "100 or more"),
        (not 0 <= design.participant_sd <= 3, "participant_sd", "SD between participants", design.participant_sd, sd),
        (not 0 <= design.stimulus_sd <= 3, "stimulus_sd", "SD between stimuli", design.stimulus_sd, sd),
        (not 0.01 <= design.pc <= 0.99, "pc", "true proportion correct", design.pc, share),
        (not 0.01 <= detectable <= 0.99, "detectable_pc", "true proportion correct", detectable, share),
        (fewest < 2, "grid_participants", "fewest participants to try", fewest, few),
        (shortest < 1, "grid_trials", "fewest trials to try", shortest, "1 or more"),
    ]
    for refused, name, what, value, demand in wrong:
        if refused:
            yield name, f"The {what} is {value}; it must be {demand}."
    if design.trials > design.stimuli:
        yield (
            "trials",
            f"{design.trials} trials per person and condition need as many stimuli, not {design.stimuli}:"
            " nobody sees an image twice; plan fewer trials or more stimuli.",
        )


def _share(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")
