"""Random failures of two of our gateways, half a minute of them; `./run chaos` goes on longer."""

from __future__ import annotations

import os

import pytest

from lab import chaos

pytestmark = pytest.mark.system


def test_all_is_right_again_after_random_failures(capsys: pytest.CaptureFixture[str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: makes network namespaces")
    status = chaos.main(["--minutes", "0.5", "--seed", "4"])
    output = capsys.readouterr()
    assert status == 0, output.err
    assert "chaos: seed 4" in output.out
    assert "nothing leaked" in output.out


def test_no_time_at_all_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        chaos.main(["--minutes", "0"])
    assert ended.value.code == 2
    assert "--minutes: more than 0, not 0.0" in capsys.readouterr().err
