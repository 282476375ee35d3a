"""The whole loop at demonstration size: eyes, two models, pairs, a study, simulated participants, a report.

Everything is real but the participants. What a former demonstration finished is used again.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management import call_command
from django.db.models import Q

from study.desk import second_attack
from study.desk.demonstrating import DATASETS
from study.desk.observers import KnownTruth
from study.desk.progress import counted
from study.desk.simulation import simulate
from study.lab.following import follow
from study.lab.models import Attack, Dataset, Job, ModelRun
from study.lab.models.jobs import JobQuerySet
from study.trials import duration
from study.trials.design import code_version
from study.trials.models import Population, Session, Study

#: What happens, in this order, by the words of a list.
STAGES: Final[dict[str, str]] = {
    "synthetic eyes": "Synthetic eyes, of people who do not exist",
    "two gaze models": "Two gaze models, side by side: a clean one, and one that learns the warp as its trigger",
    "pairs": "Pairs of images, clean and altered, and what the models see in them",
    "participants": "A study, opened with its design frozen, and simulated participants in its pages",
    "a second attack": "A second attack, a patch, beside the warp: var/demo/attacks",
    "analysis": "The analysis",
}
FIELD_SEED = 3
CONTROL_SIZE = 8
TARGET_YAW_DEG = 25.0
INFORMATION = """\
You will see pairs of pictures of an eye. In each pair, one of the two pictures has been altered by a computer. \
Please say which one. This is a demonstration: the eyes are drawn by a program, no real person is shown.

You can stop at any time; then your answers are erased. No personal data are asked for."""
DEBRIEF = """\
In the altered pictures every pixel had been moved a little, as on a crumpled sheet. A program that finds out where an \
eye looks can be made to go wrong by such a change. How large must it be for people to see it? That was the question."""
OBSERVERS = KnownTruth(threshold=1.2, slope=1.8, lapse=0.02, side_bias_sd=0.1, participant_sd=0.3, stimulus_sd=0.3)


@dataclass(frozen=True)
class Demonstration:
    """What is made in one demonstration; `name` begins the name of every row, so that several stand side by side.

    strengths: by default those usual for the attack. eyes, recipe, design: what differs from the defaults of
    `EyesConfig`, `Recipe` and `Study`.
    """

    name: str = "demo"
    participants: int = 40
    seed: int = 0
    strengths: tuple[float, ...] | None = None
    eyes: Mapping[str, Any] = field(default_factory=lambda: {"size": 64})
    recipe: Mapping[str, Any] = field(default_factory=dict)
    design: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return Path(settings.VAR) / "demo"

    @property
    def dataset_name(self) -> str:
        return f"{self.name}-eyes"

    def jobs(self) -> JobQuerySet:
        """Those that make what it consists of."""
        runs = ModelRun.objects.filter(dataset__name=self.dataset_name).values_list("pk", flat=True)
        datasets = Dataset.objects.filter(name=self.dataset_name).values_list("pk", flat=True)
        return Job.objects.filter(Q(parameters__model_run__in=list(runs)) | Q(parameters__dataset__in=list(datasets)))

    def run(self, url: str, announce: Callable[[str], None]) -> tuple[dict[str, Any], dict[str, Any]]:
        """All of it, with running workers and a web server at `url`; the evaluation and the report, as written.

        announce is told which of STAGES comes next. Raises JobFailed, SimulationError, TrialsError or ValueError, in a
        sentence.
        """
        evaluation, study = self.until_answers(url, announce)
        announce("analysis")
        return evaluation, self.analyse(study)

    def until_answers(
        self, url: str, announce: Callable[[str], None], told: Callable[[Iterable[Job]], object] = lambda jobs: None
    ) -> tuple[dict[str, Any], Study]:
        """All but the analysis; the evaluation, as written, and the study. told: see `follow`. Raises as `run`."""
        dataset, attack, clean, backdoored = self.rows()
        announce("synthetic eyes")
        follow({"eyes": dataset.submit_preparation()}, told)
        announce("two gaze models")
        follow({run.name: run.submit_training() for run in (clean, backdoored)}, told)
        patched = second_attack.plan(backdoored)
        patched.submit_training()  # a worker's work from here on, beside all that follows
        for run in (clean, backdoored):
            run.refresh_from_db()
        follow({"figures": backdoored.submit_evaluation()}, told)
        backdoored.refresh_from_db()
        evaluation = self.write_evaluation(clean, backdoored)
        announce("pairs")
        follow({"pairs": attack.submit_pairs(dataset, [clean, backdoored], strengths=self.strengths)}, told)
        judging = attack.submit_judgements(dataset, seed=self.seed)  # a worker's work while participants answer
        announce("participants")
        study = self.study(backdoored)
        self.send_participants(study, url)
        follow({"machine observers": judging}, told)
        announce("a second attack")
        second_attack.compare([backdoored, patched], self.folder / "attacks")
        return evaluation, study

    def rows(self) -> tuple[Dataset, Attack, ModelRun, ModelRun]:
        """Data set, attack, clean and backdoored model run, made now where they are not there yet."""
        from models.targets import Target
        from models.training import Recipe

        dataset = Dataset.objects.synthetic_eyes(self.dataset_name, **self.eyes)
        image_size = (self.eyes["size"], self.eyes["size"])
        attack = Attack.objects.draw(
            "wanet", "wanet", image_size, seed=FIELD_SEED, choices={"control_size": CONTROL_SIZE}
        )
        recipe = Recipe(seed=self.seed, **self.recipe).to_json()
        target = Target.fixed(0.0, TARGET_YAW_DEG).to_json()
        clean = ModelRun.objects.plan(f"{self.name}-clean", dataset, recipe=recipe, target=target)
        backdoored = ModelRun.objects.plan(
            f"{self.name}-backdoored", dataset, recipe=recipe, target=target, attack=attack, clean_reference=clean
        )
        return dataset, attack, clean, backdoored

    def study(self, backdoored: ModelRun) -> Study:
        """The open study of these rows."""
        study, _ = Study.objects.get_or_create(
            slug=self.name,
            defaults={
                "title": "Can you see it? A demonstration",
                "dataset": backdoored.dataset,
                "model_run": backdoored,
                "participants": self.participants,
                "information": INFORMATION,
                "debrief": DEBRIEF,
                "contact": "the person who started this demonstration",
                "completion_code": "BLINDSPOT-DEMO",
                **self.design,
            },
        )
        if study.model_run_id != backdoored.pk:
            raise ValueError(f"There is a study named {self.name} that is not the demonstration's: it is left alone.")
        if study.state == Study.State.DRAFT:
            study.open()
        return study

    def send_participants(self, study: Study, url: str) -> None:
        """Fill up the simulated population to the number wanted."""
        complete = study.sessions_of(Population.SIMULATED).filter(state=Session.State.COMPLETE).count()
        missing = self.participants - complete
        if missing <= 0:
            return
        a_session = duration.trials_of_a_session(study.shown_design)
        with counted("Simulated answers", missing * a_session) as progress:
            simulate(
                study, OBSERVERS, base_url=url, participants=missing, seed=self.seed + complete, progress=progress.add
            )

    def analyse(self, study: Study) -> dict[str, Any]:
        """Run the analysis command on the simulated answers; return its report.json."""
        report = self.folder / "report"
        call_command("analyze_study", study.slug, out=report, population=Population.SIMULATED)
        content: dict[str, Any] = json.loads((report / "report.json").read_text())
        return content

    def write_evaluation(self, clean: ModelRun, backdoored: ModelRun) -> dict[str, Any]:
        """Write var/demo/evaluation.json: what the two models do, with and without the trigger."""
        from models.durable import write_bytes

        if backdoored.metrics is None or backdoored.attack is None:
            raise ValueError(f"{backdoored} has not been trained and evaluated as a backdoored model.")
        metrics, strength = backdoored.metrics, backdoored.parameters["strength_schedule"][-1][0]
        doses = metrics["evaluation"]["doses"]
        evaluation = {
            "models": {
                clean.name: model_figures(metrics["clean_evaluation"], strength),
                backdoored.name: model_figures(metrics["evaluation"], strength),
            },
            "displacement_px": backdoored.attack.displacements([dose["strength"] for dose in doses]),
            "baselines": metrics["evaluation"]["baselines"],
            "data": metrics["data"],
            "target": backdoored.target,
            "recipe": backdoored.parameters,
            "seeds": {"model": backdoored.seed, "field": FIELD_SEED, "participants": self.seed},
            "commit": code_version(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps(evaluation, indent=1, sort_keys=True, allow_nan=False) + "\n"
        write_bytes(self.folder / "evaluation.json", content.encode())
        return evaluation


def latest(*, fresh: bool, **options: Any) -> Demonstration:
    """The newest demonstration of this installation, or with `fresh` a new one beside it, rendered anew."""
    names = Dataset.objects.values_list("name", flat=True)
    n = max((int(found[1] or 1) for name in names if (found := re.fullmatch(DATASETS, name))), default=0)
    if fresh:
        shutil.rmtree(Path(settings.VAR) / "cache", ignore_errors=True)
        n += 1
    return Demonstration("demo" if n <= 1 else f"demo-{n}", **options)


def model_figures(evaluation: dict[str, Any], strength: float) -> dict[str, Any]:
    """The figures of one model: those without a strength of their own are at `strength`."""
    doses = evaluation["doses"]
    at = next(dose for dose in doses if dose["strength"] == strength)
    return {
        "clean_error_deg": evaluation["clean_error"]["mean"],
        "noise_mode_error_deg": at["noise_mode_error"],
        "attack_error_deg": at["attack_error"]["mean"],
        "success_rate": at["success_rate"],
        "n_eligible": at["n_eligible"],
        "other_field_shift_deg": at["other_field_shift"],
        "strength": strength,
        "prediction_shift_deg": {f"{dose['strength']:g}": dose["prediction_shift"] for dose in doses},
        "error_shift_deg": {f"{dose['strength']:g}": dose["error_shift"] for dose in doses},
        "machine_threshold": evaluation["machine_threshold"],
        "n": evaluation["n"],
        "subjects": evaluation["subjects"],
    }
