"""What is said where Open3D cannot start."""

import sys

import pytest

from occflow.errors import InputError
from occflow.viewing.headless import load_open3d


class BrokenOpen3d:
    """An importer that finds open3d and fails as it does without its system libraries."""

    def find_spec(self, name, path=None, target=None):
        if name == "open3d":
            raise OSError("libEGL.so.1: cannot open shared object file: No such file or directory")


def test_missing_package_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(InputError, match=r"pip install .occflow\[viewing\]"):
        load_open3d()


def test_missing_system_library_names_the_debian_packages(monkeypatch):
    monkeypatch.delitem(sys.modules, "open3d", raising=False)
    monkeypatch.setattr(sys, "meta_path", [BrokenOpen3d(), *sys.meta_path])
    with pytest.raises(InputError, match=r"libEGL\.so\.1.*libegl1 libgl1 libgomp1 libusb-1\.0-0"):
        load_open3d()
