from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class DeskConfig(AppConfig):
    name = "study.desk"

    def ready(self) -> None:
        from study.desk import analysing, audit_check, planning, retention, study_jobs
        from study.lab import about, orphans, sweeping, verification
        from study.trials.models import Study

        about.refer_to("study", Study, "title")
        about.VISIBLE.append(study_jobs.visible_to)
        about.CHANGEABLE.append(study_jobs.changeable_by)
        sweeping.MORE.append(retention.submit_due)
        orphans.SHELVES += [analysing.SHELF, planning.SHELF]
        verification.MORE_CHECKS.append(audit_check.checks)


class AdminConfig(admin_apps.AdminConfig):
    """Django's admin on the desk's own site."""

    default = False  # `study.desk` alone means the app above
    default_site = "study.desk.site.DeskSite"
