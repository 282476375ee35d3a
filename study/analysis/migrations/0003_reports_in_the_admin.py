import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("analysis", "0002_exploratory"),
        ("lab", "0009_more_kinds_of_job"),
    ]

    operations = [
        migrations.AlterModelOptions(name="analysis", options={"ordering": ["-created_at"], "verbose_name": "report"}),
        migrations.AddField(
            model_name="analysis",
            name="folder",
            field=models.CharField(
                blank=True, db_default="", help_text="Of its files, where they can be read here.", max_length=200
            ),
        ),
        migrations.AddField(
            model_name="analysis",
            name="files",
            field=models.JSONField(blank=True, help_text="SHA-256 of each file by its name in the folder.", null=True),
        ),
        migrations.AddField(
            model_name="analysis",
            name="job",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="analyses",
                to="lab.job",
            ),
        ),
    ]
