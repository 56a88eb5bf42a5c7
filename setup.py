"""Builds the distribution; everything but the C extension is declared in pyproject.toml."""

import os
import sys
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
os.chdir(ROOT)
sys.path.insert(0, str(ROOT))

from gateway.dataplane.build import BUILD, InstallAtOnce, build_lock, extension  # noqa: E402

with build_lock(BUILD):
    setup(
        ext_modules=[extension()],
        cmdclass={"build_ext": InstallAtOnce},
        options={"bdist_wheel": {"py_limited_api": "cp311"}},
    )
