from django.apps import AppConfig


class TrialsConfig(AppConfig):
    name = "study.trials"

    def ready(self) -> None:
        from study.trials.redaction import redact_tokens

        redact_tokens()
