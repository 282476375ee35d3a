from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class DeskConfig(AppConfig):
    name = "study.desk"

    def ready(self) -> None:
        from study.desk import audit_check, retention, study_jobs
        from study.lab import about, sweeping, verification
        from study.trials.models import Study

        about.refer_to("study", Study, "title")
        about.VISIBLE.append(study_jobs.visible_to)
        about.CHANGEABLE.append(study_jobs.changeable_by)
        sweeping.MORE.append(retention.submit_due)
        verification.MORE_CHECKS.append(audit_check.checks)


class AdminConfig(admin_apps.AdminConfig):
    """Django's admin on the desk's own site."""

    default = False  # `study.desk` alone means the app above
    default_site = "study.desk.site.DeskSite"
