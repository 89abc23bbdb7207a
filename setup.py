"""What pyproject.toml cannot say: the migrations lie beside maas here, and inside it once installed."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MIGRATIONS = "maas/migrations"


class BuildWithMigrations(build_py):
    """Copies the migrations along, unless maas is installed as the checkout itself."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / MIGRATIONS
            shutil.copytree("migrations", target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


setup(cmdclass={"build_py": BuildWithMigrations})
