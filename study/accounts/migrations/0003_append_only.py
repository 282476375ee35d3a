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
        migrations.AlterModelOptions(
            name="auditentry",
            options={"ordering": ["-n"], "verbose_name": "audit entry", "verbose_name_plural": "audit entries"},
        ),
        migrations.RunPython(guard, unguard),
    ]
