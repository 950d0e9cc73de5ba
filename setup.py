"""What pyproject.toml cannot say: a wheel takes the top-level folders of configurations and weights into the package,
where occflow/resources.py looks for them."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = {"configs": "*.yaml", "pretrained": "*.safetensors"}


class BuildWithData(build_py):
    def run(self) -> None:
        package = Path(self.build_lib) / "occflow"
        if not self.editable_mode:
            shutil.rmtree(package, ignore_errors=True)  # of an earlier build: modules that are no more
        super().run()
        if not self.editable_mode:  # an editable installation reads them where they are
            for folder, pattern in FOLDERS.items():
                for path in sorted(Path(folder).rglob(pattern)):
                    target = package / "_data" / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, target)


setup(cmdclass={"build_py": BuildWithData})
