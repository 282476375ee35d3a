from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

#: By family, as far as there were any: what their triggers can have. Attacks on the weights have no trigger.
CONTROLS = {
    "wanet": ["resampled", "other_field"],
    "patch": ["other_field"],
    "blended": ["other_field"],
    "sinusoidal": ["other_field"],
    "reflection": ["other_field"],
}


def add_controls(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    attacks = apps.get_model("lab", "Attack").objects.using(schema_editor.connection.alias)
    for family, controls in CONTROLS.items():
        attacks.filter(family=family).update(controls=controls)


class Migration(migrations.Migration):
    dependencies = [
        ("lab", "0005_perturb_jobs"),
    ]

    operations = [
        migrations.AddField(
            model_name="attack",
            name="controls",
            field=models.JSONField(
                default=list,
                editable=False,
                help_text="Kinds of control pairs that its trigger can have, beside identity.",
            ),
        ),
        migrations.RunPython(add_controls, migrations.RunPython.noop),
        migrations.RemoveConstraint(
            model_name="pair",
            name="one_pair_per_condition",
        ),
        migrations.AddConstraint(
            model_name="pair",
            constraint=models.UniqueConstraint(
                fields=("base_image", "attack", "strength", "control", "gross"), name="one_pair_per_condition"
            ),
        ),
    ]
