from django.db import migrations

from study.accounts import guards


def guard(apps, schema_editor):
    guards.guard(schema_editor)


def unguard(apps, schema_editor):
    guards.unguard(schema_editor)


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_audit_log"),
    ]

    operations = [
        migrations.RunPython(guard, unguard),
    ]
