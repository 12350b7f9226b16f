"""How often a call had the provider run tools that it bills by the call.

Both columns can be added without rewriting the ledger: older lines told no number. Sums by card hold older lines only.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("usage", "0005_half_hours_and_cards")]

    operations = [
        migrations.AddField(
            model_name="ledgerentry",
            name="provider_tool_calls",
            field=models.BigIntegerField(
                help_text="Calls of tools the provider ran itself, which it bills by the call; empty: it told none.", null=True
            ),
        ),
        migrations.AddField(model_name="usagebycard", name="provider_tool_calls", field=models.BigIntegerField(db_default=0)),
    ]
