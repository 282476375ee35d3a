from django.db import migrations, models

from study.trials import insert_only

WRITTEN_ONCE = [
    "trials_designversion", "trials_trial", "trials_skippedtrial", "trials_adaptivechoice", "trials_answer",
    "trials_trialtrace", "trials_sessionevent",
]  # fmt: skip


def guard(apps, schema_editor):
    insert_only.guard(schema_editor, WRITTEN_ONCE)


def unguard(apps, schema_editor):
    insert_only.unguard(schema_editor, WRITTEN_ONCE)


class Migration(migrations.Migration):
    dependencies = [
        ("lab", "0006_gross_pairs_and_controls"),
        ("trials", "0004_response_times_and_focus"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="slot",
            index=models.Index(
                fields=["study", "population", "list_number"],
                condition=models.Q(("claimed_at", None)),
                name="free_slots",
            ),
        ),
        migrations.AddIndex(
            model_name="session",
            index=models.Index(
                fields=["study", "population", "seen_at"],
                condition=models.Q(("state", "active")),
                name="sessions_under_way",
            ),
        ),
        migrations.AddConstraint(
            model_name="session",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "complete"), _negated=True), ("completed_at__isnull", False), _connector="OR"
                ),
                name="complete_sessions_say_when",
            ),
        ),
        migrations.AddConstraint(
            model_name="trial",
            constraint=models.UniqueConstraint(fields=("session", "base_image"), name="one_trial_per_base_image"),
        ),
        migrations.AddConstraint(
            model_name="trial",
            constraint=models.CheckConstraint(
                condition=models.Q(("altered_side__in", ["left", "right"])), name="altered_image_has_a_side"
            ),
        ),
        migrations.AddConstraint(
            model_name="answer",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("choice", "none"), ("correct", None), ("side", "")),
                    models.Q(
                        models.Q(("choice", "none"), _negated=True),
                        ("correct__isnull", False),
                        ("side__in", ["left", "right"]),
                    ),
                    _connector="OR",
                ),
                name="answer_is_judged_unless_none",
            ),
        ),
        migrations.AddConstraint(
            model_name="answer",
            constraint=models.CheckConstraint(
                condition=models.Q(("rt_ms__gte", 0)), name="response_time_is_not_negative"
            ),
        ),
        migrations.RunPython(guard, unguard),
    ]
