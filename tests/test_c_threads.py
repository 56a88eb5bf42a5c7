"""The packet path's C tests under the thread sanitizer: control acts while workers run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

C_TESTS = Path(__file__).parent / "c"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tsan")
    made = subprocess.run(
        ["make", "-s", f"-j{os.cpu_count() or 1}", "-C", str(C_TESTS), f"OUT={out}", "threads"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return out


@pytest.mark.parametrize(
    "name",
    ["tsan_test_worker", "tsan_test_inbound", "tsan_test_outbound", "tsan_test_resources"],
)
def test_no_data_race(built: Path, name: str) -> None:
    done = subprocess.run(
        [str(built / name)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env=os.environ | {"TSAN_OPTIONS": "halt_on_error=1"},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-8000:]
