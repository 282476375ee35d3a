"""Which task does which kind of job, and which queue it goes through: by name, for who submits need not load it.

`gpu` has what may use an accelerator, `cpu` the rest of the work, `default` the housekeeping.
"""

from typing import Final

#: By the kind of job (`study.lab.models.Job.Kind`).
TASKS: Final = {
    "prepare": "study.lab.tasks.prepare",
    "train": "study.lab.tasks.train",
    "evaluate": "study.lab.tasks.evaluate",
    "pairs": "study.lab.tasks.make_pairs",
    "observe": "study.lab.tasks.observe_pairs",
    "survive": "study.lab.tasks.survive",
    "perturb": "study.lab.tasks.perturb",
    "set_up": "study.lab.tasks.set_up",
    "verify": "study.desk.tasks.verify",
    "plan": "study.desk.tasks.plan",
    "rehearse": "study.desk.tasks.rehearse",
    "analyse": "study.desk.tasks.analyse",
    "erase": "study.desk.tasks.erase",
    "demonstrate": "study.desk.tasks.demonstrate",
}
_GPU: Final = ("train", "evaluate", "survive", "perturb")
#: The tasks of each queue.
QUEUES: Final = {
    "gpu": tuple(TASKS[kind] for kind in _GPU),
    "cpu": tuple(task for kind, task in TASKS.items() if kind not in _GPU),
    "default": ("study.lab.tasks.sweep", "study.lab.tasks.take_up"),
}


def queue_of(kind: str) -> str:
    """The queue that jobs of this kind wait in."""
    return next(queue for queue, tasks in QUEUES.items() if TASKS[kind] in tasks)
