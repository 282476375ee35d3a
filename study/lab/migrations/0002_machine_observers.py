import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("lab", "0001_initial"),
    ]

    operations = [
        migrations.AlterField(
            model_name="job",
            name="kind",
            field=models.CharField(
                choices=[
                    ("train", "train a model"),
                    ("prepare", "prepare data"),
                    ("evaluate", "evaluate a model"),
                    ("pairs", "make pairs"),
                    ("observe", "let machines judge pairs"),
                ],
                max_length=20,
            ),
        ),
        migrations.CreateModel(
            name="PairJudgement",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("observer", models.CharField(max_length=80)),
                (
                    "chooses",
                    models.BooleanField(
                        help_text="Whether it says which picture is altered; else it says how different."
                    ),
                ),
                (
                    "value",
                    models.FloatField(
                        help_text="Evidence for the altered picture: above 0 right, 0 a tie. Of one that does not choose: a distance."
                    ),
                ),
                (
                    "pair",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="judgements", to="lab.pair"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("pair", "observer"), name="one_judgement_per_pair_and_observer")
                ],
            },
        ),
    ]
