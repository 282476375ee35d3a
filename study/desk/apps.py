from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps
from django.db.models.signals import pre_delete


class DeskConfig(AppConfig):
    name = "study.desk"

    def ready(self) -> None:
        from study.accounts import deletion
        from study.desk import analysing, audit_check, members, planning, retention, study_jobs
        from study.lab import about, orphans, sweeping, verification
        from study.trials.models import Member, Study

        about.refer_to("study", Study, "title")
        about.VISIBLE.append(study_jobs.visible_to)
        about.CHANGEABLE.append(study_jobs.changeable_by)
        sweeping.MORE.append(retention.submit_due)
        orphans.SHELVES += [analysing.SHELF, planning.SHELF]
        deletion.OBSTACLES.append(members.ownerless_without)
        pre_delete.connect(members.record_removal, sender=Member)
        verification.MORE_CHECKS.append(audit_check.checks)


class AdminConfig(admin_apps.AdminConfig):
    """Django's admin on the desk's own site."""

    default = False  # `study.desk` alone means the app above
    default_site = "study.desk.site.DeskSite"
