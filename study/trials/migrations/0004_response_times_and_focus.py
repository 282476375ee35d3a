import django.core.validators
from django.db import migrations, models


def keep_what_was_opened(apps, schema_editor):
    """Studies that were opened before declared no such rules: they leave nobody out."""
    opened = apps.get_model("trials", "Study").objects.exclude(state="draft")
    opened.update(median_rt_below_ms=0, fast_above_share=1.0, focus_above_share=1.0)


class Migration(migrations.Migration):
    dependencies = [("trials", "0003_trials_have_a_base_image")]

    operations = [
        migrations.AddField(
            model_name="study",
            name="median_rt_below_ms",
            field=models.PositiveIntegerField(
                default=300, help_text="Whoever has a median response time below this is left out; 0: nobody."
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="fast_above_share",
            field=models.FloatField(
                default=0.2,
                help_text="Whoever gives a larger share of the answers than this within 200 ms is left out; 1: nobody.",
                validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="focus_above_share",
            field=models.FloatField(
                default=0.1,
                help_text="Whoever leaves the page on a larger share of the trials than this is left out; 1: nobody.",
                validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(1)],
            ),
        ),
        migrations.RunPython(keep_what_was_opened, migrations.RunPython.noop),
    ]
