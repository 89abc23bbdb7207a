"""What pyproject.toml cannot say: what lies beside maas here, and inside it once installed."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

BESIDE = {"migrations": "maas/migrations", "docs/lam-report": "maas/ui/lam-report"}
LEFT_OUT = shutil.ignore_patterns("__pycache__", "runs", "*.json")


class BuildWithCompanions(build_py):
    """Copies migrations and the report along, unless maas is installed as the checkout itself."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in BESIDE.items():
                shutil.copytree(source, Path(self.build_lib) / target, dirs_exist_ok=True, ignore=LEFT_OUT)


setup(cmdclass={"build_py": BuildWithCompanions})
