from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from catalyst_ml.store import migrations


def test_the_constant_names_the_newest_migration_of_one_unbroken_line() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)

    # Without this a new migration would never reach a database that is at the one before.
    assert scripts.get_heads() == [migrations.HEAD]
    assert len(list(scripts.walk_revisions())) == int(migrations.HEAD)
