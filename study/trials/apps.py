from django.apps import AppConfig


class TrialsConfig(AppConfig):
    name = "study.trials"

    def ready(self) -> None:
        from study.lab import verification
        from study.trials.models import DesignVersion

        verification.MORE_CHECKS.append(DesignVersion.checks)
