"""Files are replaced all together or not at all, and their secrets are not shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.write import Change, NotWritten, without_secrets, write_all
from tests.cli.test_link import held


@pytest.mark.parametrize(
    "text",
    [
        'psk = "abcd"',
        "  psk='abcd' # why",
        '"psk" = "ab\\"abcd"',
        'tunnel = [ { psk = "abcd", inner_cidr = "169.254.10.0/30" } ]',
        'bgp_password = "abcd"',
        'psk = """\nabcd"""',
        "psk = '''\nabcd\n'''",
    ],
)
def test_secrets_are_not_shown_however_they_are_written(text: str) -> None:
    shown = without_secrets(f"a = 1\n{text}\nb = 2\n")
    assert "abcd" not in shown
    assert "(not shown)" in shown
    assert shown.startswith("a = 1\n")
    assert shown.endswith("b = 2\n")


def test_a_key_file_and_other_keys_are_shown() -> None:
    text = 'psk_file = "office.psk"\nallow_weak_psk = true\n'
    assert without_secrets(text) == text


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("as it was")
    second.write_text("changed by another")
    changes = [Change(file, "as it was", "new", file) for file in (first, second)]
    with pytest.raises(NotWritten, match="second: has changed since it was read"):
        write_all(changes)
    assert held(first) == {first: b"as it was", second: b"changed by another"}


WRITE = """
import sys
from pathlib import Path
from gateway.cli.write import Change, write_all
first, second, new = map(Path, sys.argv[1:])
changes = [Change(new, None, "new", first)]
changes += [Change(file, "as it was", "new", file) for file in (first, second)]
write_all(changes)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file")
def test_when_one_file_can_not_be_replaced_none_is(tmp_path: Path) -> None:
    """A file that is a mount, as containers have it, can be read and written but not replaced."""
    first, second, new = (tmp_path / name for name in ("first", "second", "new"))
    first.write_text("as it was")
    first.chmod(0o640)
    second.write_text("as it was")
    mount = f'mount --bind {second} {second} && exec "$@"'
    program = [sys.executable, "-c", WRITE, str(first), str(second), str(new)]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", *program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert f"NotWritten: {second}: can not be written: device or resource busy" in done.stderr
    assert held(first) == {first: b"as it was", second: b"as it was"}
    assert first.stat().st_mode & 0o777 == 0o640
