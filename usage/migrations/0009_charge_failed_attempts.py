"""Whether a budget charges attempts that failed. Budgets there are go on charging them."""

from django.db import migrations, models

FIELD = models.BooleanField(
    db_default=True,
    default=True,
    help_text="Off: what a provider bills for an attempt that failed is given back to this budget at once, by an entry on record.",
)


class Migration(migrations.Migration):
    dependencies = [("usage", "0008_recompute_cost")]
    operations = [
        migrations.AddField(model_name="budget", name="charge_failed_attempts", field=FIELD.clone()),
        migrations.AddField(model_name="tierlimit", name="charge_failed_attempts", field=FIELD.clone()),
    ]
