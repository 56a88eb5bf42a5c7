"""
Let schemathesis make requests of the API for minutes, to a real control process.

    ./run fuzz-api --minutes 10 --seed 1

Any answer that its description does not have, and any 500, is a failure; the journal of the process
is shown at the end if it has a bug in it. Requests are made with tokens of the operator and at the
rate that the API allows them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from lab import lasting
from lab.twinspan import ROOT

# Not ignored_auth: who sends so many wrong credentials gets 429 in place of 401.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
)
TWINSPAN = (sys.executable, "-m", "gateway")
READY_S = 30


def main() -> int:
    """Run the command; return its exit status."""
    parser = lasting.parser("fuzz-api", __doc__, "what is asked", writes=False)
    asked = lasting.parse(parser, None)
    with tempfile.TemporaryDirectory(prefix="twinspan-fuzz-") as folder:
        return fuzz(Path(folder), asked.minutes * 60, asked.seed)


def fuzz(place: Path, seconds: float, seed: int) -> int:
    """Run a control process in a directory, and schemathesis against it."""
    log = place / "control.log"
    options = ["--store", f"sqlite:{place / 'control.db'}", "--key-file", str(place / "master.key")]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TWINSPAN_RUNTIME_DIR": str(place)}
    subprocess.run([*TWINSPAN, "control", "init", *options], check=True, env=environ)
    words = [*options, "--socket", str(place / "control.sock"), "--listen", "127.0.0.1:0"]
    with log.open("w") as stream:
        process = subprocess.Popen([*TWINSPAN, "control", *words], stderr=stream, env=environ)
    try:
        url = _url(process, log)
        made = [*TWINSPAN, "token", "create", "fuzz", "--scope", "admin", "-o", "json"]
        told = subprocess.run(made, check=True, capture_output=True, text=True, env=environ)
        token = re.search(r'"token": "([^"]+)"', told.stdout)
        assert token is not None
        status = _schemathesis(place, url, token[1], seconds, seed)
    finally:
        process.terminate()
        ended = process.wait(READY_S)
    bugs = [line for line in log.read_text().splitlines() if line.startswith("bug")]
    print("\n".join(bugs[:10]))
    print(f"seed {seed}, {len(bugs)} bugs in the journal, the control process ended with {ended}")
    return 1 if bugs or ended else status


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the process is ready; return where it listens."""
    for _ in range(READY_S * 10):
        found = re.search(r"control ready .*?(127\.0\.0\.1:\d+)", log.read_text())
        if found is not None:
            return f"http://{found[1]}"
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        break
    raise SystemExit(f"the control process does not start:\n{log.read_text()}")


def _schemathesis(place: Path, url: str, token: str, seconds: float, seed: int) -> int:
    words = [
        f"{url}/v1/openapi.json",
        *("--header", f"Authorization: Bearer {token}"),
        *("--checks", ",".join(CHECKS)),
        *("--phases", "examples,coverage,fuzzing,stateful"),
        *("--max-time", str(max(1, round(seconds)))),
        *("--seed", str(seed)),
        *("--warnings", "off"),
        "--continue-on-failure",
    ]
    program = Path(sys.executable).parent / "schemathesis"
    return subprocess.run([program, "run", *words], cwd=place, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
