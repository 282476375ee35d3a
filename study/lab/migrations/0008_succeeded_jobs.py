from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import F, Value
from django.db.models.functions import Greatest

MAX_ATTEMPTS = 3


def rename_done(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    jobs = apps.get_model("lab", "Job").objects.using(schema_editor.connection.alias)
    jobs.filter(state="done").update(state="succeeded")


def count_tries(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """`max_attempts` was the number of the last attempt; it is now how many may be in vain."""
    jobs = apps.get_model("lab", "Job").objects.using(schema_editor.connection.alias)
    jobs.update(
        tries=Greatest(Value(0), F("attempt") + MAX_ATTEMPTS - F("max_attempts")),
        max_attempts=MAX_ATTEMPTS,
    )


def name_done_again(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    jobs = apps.get_model("lab", "Job").objects.using(schema_editor.connection.alias)
    jobs.filter(state="succeeded").update(state="done")


def count_attempts(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    jobs = apps.get_model("lab", "Job").objects.using(schema_editor.connection.alias)
    jobs.update(max_attempts=F("attempt") + F("max_attempts") - F("tries"))


class Migration(migrations.Migration):
    dependencies = [
        ("lab", "0007_job_history"),
    ]

    operations = [
        migrations.RunPython(rename_done, name_done_again),
        migrations.RunPython(count_tries, count_attempts),
    ]
