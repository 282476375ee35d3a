"""The researcher's view of what workers make, one module a room."""

from study.lab.admin import attacks, datasets, jobs, pairs, runs

__all__ = ["attacks", "datasets", "jobs", "pairs", "runs"]
