"""What a key may do. Keys there are become keys for inference and their owner's own data; management is given on purpose."""

from django.db import migrations, models

import usage.models.keys


class Migration(migrations.Migration):
    dependencies = [("usage", "0010_team_owner")]
    operations = [
        migrations.AddField(
            model_name="apikey",
            name="scopes",
            field=models.JSONField(
                blank=True,
                default=usage.models.keys.default_scopes,
                help_text="What this key may do; its owner must be allowed to as well.",
            ),
        ),
    ]
