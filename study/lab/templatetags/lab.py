"""What templates say of jobs."""

from __future__ import annotations

from django import template

from study.lab import about
from study.lab.models import Job

register = template.Library()


@register.filter
def job_title(job: Job) -> str:
    """What the job does, and to what; it need not have been read with names."""
    named = job if hasattr(job, "dataset_name") else about.with_names(Job.objects.filter(pk=job.pk)).get()
    return about.title(named)


@register.filter
def last_line(text: str) -> str:
    """The last line that says something."""
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")
