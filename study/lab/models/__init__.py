"""What workers make: data sets, attacks, model runs, image pairs, predictions, and the jobs that make them."""

from study.lab.models.attacks import ON_WEIGHTS, PX_PER_DEGREE, SCREEN_PX_PER_DEGREE, Attack
from study.lab.models.datasets import Dataset
from study.lab.models.job_events import JobEvent
from study.lab.models.jobs import Job, Swept
from study.lab.models.naming import NameTaken, canonical_json, sha256_of
from study.lab.models.pairs import BaseImage, Pair, PairJudgement, Prediction, StoredImage
from study.lab.models.runs import ModelRun, with_references
from study.lab.models.sweeper import Sweeper

__all__ = [
    "ON_WEIGHTS", "PX_PER_DEGREE", "SCREEN_PX_PER_DEGREE", "Attack", "BaseImage", "Dataset", "Job", "JobEvent",
    "ModelRun", "NameTaken", "Pair", "PairJudgement", "Prediction", "StoredImage", "Sweeper", "Swept", "canonical_json",
    "sha256_of", "with_references",
]  # fmt: skip
