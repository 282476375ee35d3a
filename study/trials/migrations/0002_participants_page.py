import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models
from django.db.models import F, OuterRef, Subquery


def name_the_base_images(apps, schema_editor):
    """Trials name their base image since the pair of an adaptive one is chosen later."""
    Trial, Pair = apps.get_model("trials", "Trial"), apps.get_model("lab", "Pair")
    its_image = Pair.objects.filter(pk=OuterRef("pair")).values("base_image")[:1]
    Trial.objects.update(base_image=Subquery(its_image))


def count_the_choices(apps, schema_editor):
    """Without "not sure", the side counted is the side chosen."""
    apps.get_model("trials", "Answer").objects.update(side=F("choice"))


def keep_what_was_opened(apps, schema_editor):
    """Studies that were opened before go by what their designs left unsaid, not by the defaults of new ones."""
    opened = apps.get_model("trials", "Study").objects.exclude(state="draft")
    opened.update(practice_correct=0, practice_rounds=1, resume_hours=24 * 14)


class Migration(migrations.Migration):
    dependencies = [
        ("lab", "0001_initial"),
        ("trials", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="answer",
            name="side",
            field=models.CharField(
                blank=True,
                choices=[("left", "left"), ("right", "right")],
                help_text='The side counted as chosen; of "not sure", a coin decides.',
                max_length=5,
            ),
        ),
        migrations.AddField(
            model_name="session",
            name="scale",
            field=models.PositiveIntegerField(
                blank=True, help_text="Device pixels per image pixel, as shown.", null=True
            ),
        ),
        migrations.AddField(
            model_name="session",
            name="seen_at",
            field=models.DateTimeField(default=django.utils.timezone.now, help_text="Last page load or answer."),
        ),
        migrations.AddField(
            model_name="study",
            name="adaptive_minimum",
            field=models.PositiveIntegerField(default=20, help_text="Adaptive studies: the fewest."),
        ),
        migrations.AddField(
            model_name="study",
            name="adaptive_sd",
            field=models.FloatField(
                default=0.0,
                help_text="Adaptive studies: stop when the posterior SD of log2 threshold is below this; 0: never early.",
                validators=[django.core.validators.MinValueValidator(0)],
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="adaptive_trials",
            field=models.PositiveIntegerField(
                default=40,
                help_text="Adaptive studies: the most trials of the attack.",
                validators=[django.core.validators.MinValueValidator(2)],
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="allow_phones",
            field=models.BooleanField(default=True, help_text="Whether phones may be used."),
        ),
        migrations.AddField(
            model_name="study",
            name="allow_tablets",
            field=models.BooleanField(default=True, help_text="Whether tablets may be used."),
        ),
        migrations.AddField(
            model_name="study",
            name="blank_ms",
            field=models.PositiveIntegerField(default=400, help_text="Empty screen after an answer."),
        ),
        migrations.AddField(
            model_name="study",
            name="break_every",
            field=models.PositiveIntegerField(
                default=40,
                help_text="Trials between two breaks.",
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="calibration",
            field=models.CharField(
                choices=[("none", "none"), ("card", "with a bank card")],
                default="none",
                help_text="How the size of a pixel is found.",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="debrief",
            field=models.TextField(blank=True, help_text="What participants learn at the end."),
        ),
        migrations.AddField(
            model_name="study",
            name="distance",
            field=models.CharField(
                choices=[
                    ("none", "not asked for"),
                    ("told", "told by the participant"),
                    ("blind_spot", "measured by the blind spot"),
                ],
                default="none",
                help_text="How the viewing distance is found.",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="eligibility",
            field=models.TextField(blank=True, help_text="Who may take part: statements to confirm, one a line."),
        ),
        migrations.AddField(
            model_name="study",
            name="enable_after_ms",
            field=models.PositiveIntegerField(default=250, help_text="Earlier presses do not count."),
        ),
        migrations.AddField(
            model_name="study",
            name="enlargement",
            field=models.PositiveIntegerField(
                default=1,
                help_text="Smooth enlargement on the server, the same for every image; 1: none.",
                validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(8)],
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="exposure_ms",
            field=models.PositiveIntegerField(blank=True, help_text="Empty: until the answer.", null=True),
        ),
        migrations.AddField(
            model_name="study",
            name="fixation_ms",
            field=models.PositiveIntegerField(default=500, help_text="Cross before the images."),
        ),
        migrations.AddField(
            model_name="study",
            name="flicker_ms",
            field=models.PositiveIntegerField(
                default=500,
                help_text="How long each picture of a flickering place stays. At least 167: three flashes a second at most.",
                validators=[django.core.validators.MinValueValidator(167)],
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="gap_ms",
            field=models.PositiveIntegerField(default=500, help_text="Blank between two intervals."),
        ),
        migrations.AddField(
            model_name="study",
            name="image_degrees",
            field=models.FloatField(
                blank=True,
                help_text="Width of an image in degrees, instead of the scale; screens that cannot come near are refused.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="language",
            field=models.CharField(
                choices=[("en", "English"), ("nl", "Dutch"), ("de", "German")],
                default="en",
                help_text="Of the texts below.",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="mask_ms",
            field=models.PositiveIntegerField(default=0, help_text="After a fixed exposure; 0: no mask."),
        ),
        migrations.AddField(
            model_name="study",
            name="minimum_age",
            field=models.PositiveIntegerField(default=18, help_text="Younger people are turned away; 0: no question."),
        ),
        migrations.AddField(
            model_name="study",
            name="not_sure",
            field=models.BooleanField(default=False, help_text='Offer "not sure", which counts as a guess.'),
        ),
        migrations.AddField(
            model_name="study",
            name="payment",
            field=models.TextField(blank=True, help_text="What is paid, and when; also to those who stop."),
        ),
        migrations.AddField(
            model_name="study",
            name="practice_correct",
            field=models.PositiveIntegerField(
                default=4, help_text="Right answers in a round that are enough to go on; 0: any number."
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="practice_rounds",
            field=models.PositiveIntegerField(
                default=2,
                help_text="Rounds to reach them in; then the session ends kindly.",
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="procedure",
            field=models.CharField(
                choices=[("constant", "constant stimuli"), ("adaptive", "adaptive (QUEST+)")],
                default="constant",
                help_text="Strengths planned beforehand, or chosen from the answers; then the report gives thresholds only.",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="protocol",
            field=models.CharField(
                choices=[
                    ("afc", "two images side by side"),
                    ("ifc", "two intervals, one after the other"),
                    ("flicker", "flicker: one of two places toggles"),
                    ("oddity", "two pairs, one of which differs"),
                    ("yes_no", "one image, yes or no"),
                ],
                default="afc",
                help_text="What a trial shows and asks.",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="recruiter",
            field=models.CharField(
                choices=[("plain", "plain link"), ("prolific", "Prolific"), ("sona", "SONA"), ("custom", "other")],
                default="plain",
                help_text="Whose links participants come by.",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="recruiter_parameters",
            field=models.JSONField(
                blank=True, default=dict, help_text='Other recruiters: {"person": "pid", "submission": ["session"]}.'
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="response_ms",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Time to answer, from the onset or from the end of a fixed exposure. Empty: any time.",
                null=True,
                validators=[django.core.validators.MinValueValidator(500)],
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="resume_hours",
            field=models.PositiveIntegerField(
                default=24,
                help_text="How long a participant may stay away and go on.",
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="return_hosts",
            field=models.JSONField(
                blank=True, default=list, help_text="Hosts that participants may be sent back to, as a list."
            ),
        ),
        migrations.AddField(
            model_name="study",
            name="screened_out_code",
            field=models.CharField(blank=True, help_text="For those who cannot go on; empty: none.", max_length=40),
        ),
        migrations.AddField(
            model_name="study",
            name="screened_out_url",
            field=models.CharField(blank=True, help_text="The same, for those who cannot go on.", max_length=400),
        ),
        migrations.AddField(
            model_name="study",
            name="withdrawal_deadline",
            field=models.CharField(
                blank=True, help_text="Until when answers can be erased on request.", max_length=200
            ),
        ),
        migrations.AddField(
            model_name="trial",
            name="altered_frame",
            field=models.PositiveIntegerField(
                default=0, help_text="Which of two pictures at the altered side is the altered one."
            ),
        ),
        migrations.AddField(
            model_name="trial",
            name="base_image",
            field=models.ForeignKey(
                null=True, on_delete=django.db.models.deletion.PROTECT, related_name="trials", to="lab.baseimage"
            ),
        ),
        migrations.AddField(
            model_name="trial",
            name="candidates",
            field=models.JSONField(default=list, help_text="Pairs that the page loads, one of which is shown."),
        ),
        migrations.AddField(
            model_name="trial",
            name="round",
            field=models.PositiveIntegerField(default=0, help_text="Of practice, from 1."),
        ),
        migrations.AddField(
            model_name="trialtrace",
            name="offset_ms",
            field=models.FloatField(help_text="When they went.", null=True),
        ),
        migrations.AddField(
            model_name="trialtrace",
            name="onset_ms",
            field=models.FloatField(help_text="When the images appeared, by the page's clock.", null=True),
        ),
        migrations.AddField(
            model_name="trialtrace",
            name="pauses",
            field=models.PositiveIntegerField(
                help_text="How often the trial began anew, as the window changed.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="answer",
            name="choice",
            field=models.CharField(
                choices=[("left", "left"), ("right", "right"), ("unsure", "not sure"), ("none", "none in time")],
                help_text="What was answered.",
                max_length=6,
            ),
        ),
        migrations.AlterField(
            model_name="answer",
            name="correct",
            field=models.BooleanField(help_text="Empty where no answer came in time.", null=True),
        ),
        migrations.AlterField(
            model_name="session",
            name="device",
            field=models.JSONField(blank=True, default=dict, help_text="What the screen's set-up found."),
        ),
        migrations.AlterField(
            model_name="session",
            name="px_per_degree",
            field=models.FloatField(blank=True, help_text="Device pixels per degree of visual angle.", null=True),
        ),
        migrations.AlterField(
            model_name="session",
            name="state",
            field=models.CharField(
                choices=[
                    ("active", "active"),
                    ("complete", "complete"),
                    ("withdrawn", "withdrawn"),
                    ("screened_out", "screened out"),
                    ("timed_out", "timed out"),
                ],
                default="active",
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="study",
            name="bound",
            field=models.FloatField(
                choices=[(0.6, ".60"), (0.55, ".55")],
                default=0.6,
                help_text="The proportion correct that claims are tested against.",
            ),
        ),
        migrations.AlterField(
            model_name="study",
            name="catch_trials",
            field=models.PositiveIntegerField(
                default=8,
                help_text="Grossly altered pairs among the main trials.",
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
        migrations.AlterField(
            model_name="study",
            name="completion_code",
            field=models.CharField(blank=True, help_text="Empty: each participant's public code.", max_length=40),
        ),
        migrations.AlterField(
            model_name="study",
            name="consent_version",
            field=models.CharField(default="1", help_text="Shown below the consent form.", max_length=20),
        ),
        migrations.AlterField(
            model_name="study",
            name="contact",
            field=models.CharField(blank=True, help_text="Whom participants may ask; on every page.", max_length=200),
        ),
        migrations.AlterField(
            model_name="study",
            name="ethics_reference",
            field=models.CharField(blank=True, help_text="On every page.", max_length=200),
        ),
        migrations.AlterField(
            model_name="study",
            name="practice_trials",
            field=models.PositiveIntegerField(default=6, help_text="With feedback, in one round."),
        ),
        migrations.AlterField(
            model_name="study",
            name="return_url",
            field=models.CharField(
                blank=True,
                help_text="Where the last page leads; may hold {code}, {person} and parameters.",
                max_length=400,
            ),
        ),
        migrations.AlterField(
            model_name="study",
            name="seed",
            field=models.BigIntegerField(default=1, help_text="Decides which images are used for what."),
        ),
        migrations.AlterField(
            model_name="trial",
            name="pair",
            field=models.ForeignKey(
                help_text="Empty: chosen from the answers before.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="trials",
                to="lab.pair",
            ),
        ),
        migrations.CreateModel(
            name="AdaptiveChoice",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("posterior", models.JSONField(help_text="What was known of the threshold when it was chosen.")),
                ("at", models.DateTimeField(auto_now_add=True)),
                (
                    "pair",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="choices", to="lab.pair"
                    ),
                ),
                (
                    "trial",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="choice", to="trials.trial"
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="SkippedTrial",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("reason", models.CharField(max_length=100)),
                ("at", models.DateTimeField(auto_now_add=True)),
                (
                    "trial",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE, related_name="skipped", to="trials.trial"
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="Translation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "language",
                    models.CharField(choices=[("en", "English"), ("nl", "Dutch"), ("de", "German")], max_length=10),
                ),
                ("title", models.CharField(max_length=200)),
                ("information", models.TextField(help_text="What participants read before they consent.")),
                (
                    "eligibility",
                    models.TextField(blank=True, help_text="Who may take part: statements to confirm, one a line."),
                ),
                ("payment", models.TextField(blank=True)),
                ("withdrawal_deadline", models.CharField(blank=True, max_length=200)),
                ("debrief", models.TextField(blank=True)),
                (
                    "study",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="translations", to="trials.study"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("study", "language"), name="one_translation_per_language")
                ],
            },
        ),
        migrations.RunPython(name_the_base_images, migrations.RunPython.noop),
        migrations.RunPython(count_the_choices, migrations.RunPython.noop),
        migrations.RunPython(keep_what_was_opened, migrations.RunPython.noop),
    ]
