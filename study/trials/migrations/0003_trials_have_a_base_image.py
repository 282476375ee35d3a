import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """After the rows were filled in: PostgreSQL does not alter a table with changes under way."""

    dependencies = [("lab", "0001_initial"), ("trials", "0002_participants_page")]

    operations = [
        migrations.AlterField(
            model_name="trial",
            name="base_image",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="trials", to="lab.baseimage"
            ),
        ),
    ]
