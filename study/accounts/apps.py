from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    name = "study.accounts"

    def ready(self) -> None:
        from study.accounts.groups import make_researchers

        # This one comes after ours: by then all permissions are there.
        post_migrate.connect(make_researchers, sender=apps.get_app_config("contenttypes"))
