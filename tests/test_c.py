"""
The C tests under ASan and UBSan, published vectors in every cipher back end, and a short fuzz run.

Each program is built from `csrc/` into a temporary directory by `tests/c/Makefile`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from gateway.sa import Encr
from tests.support import vectors
from tests.support.vectors import Vector

C_TESTS = Path(__file__).parent / "c"
FUZZ_S = 5
# A vector's file is long; a stuck program must not hold the suite.
TIMEOUT_S = 250

pytestmark = pytest.mark.timeout(300)


def make(out: Path, target: str) -> None:
    jobs = os.cpu_count() or 1
    built = subprocess.run(
        ["make", "-s", f"-j{jobs}", "-C", str(C_TESTS), f"OUT={out}", target],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr


def run(program: Path, *arguments: str, stdin: str = "") -> str:
    done = subprocess.run(
        [str(program), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        cwd=program.parent,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("c")
    make(out, "all")
    return out


@pytest.mark.parametrize("name", sorted(path.stem for path in C_TESTS.glob("test_*.c")))
def test_c_program_passes_under_the_sanitizers(built: Path, name: str) -> None:
    run(built / name)


def check_vectors(built: Path, known: Iterable[Vector], at_least: int) -> None:
    """Run the vectors through each back end of this machine."""
    known = list(known)
    assert len(known) >= at_least
    backends = [int(number) for number in run(built / "aead_vectors", "backends").split()]
    assert 1 in backends  # GW_BACKEND_OPENSSL
    lines = [vector.line(backend) for backend in backends for vector in known]
    assert int(run(built / "aead_vectors", stdin="".join(lines))) == len(lines)


def test_wycheproof_aes_gcm(built: Path) -> None:
    known = list(vectors.wycheproof("aes_gcm_test.json", Encr.AES_GCM_16))
    assert sum(not vector.valid for vector in known) >= 50
    check_vectors(built, known, 150)


def test_wycheproof_chacha20_poly1305(built: Path) -> None:
    known = list(vectors.wycheproof("chacha20_poly1305_test.json", Encr.CHACHA20_POLY1305))
    assert sum(not vector.valid for vector in known) >= 50
    check_vectors(built, known, 250)


@pytest.mark.parametrize("bits", [128, 192, 256])
def test_nist_aes_gcm(built: Path, bits: int) -> None:
    check_vectors(built, vectors.nist_gcm(f"gcmEncryptExtIV{bits}.rsp"), 300)
    opened = list(vectors.nist_gcm(f"gcmDecrypt{bits}.rsp"))
    assert any(not vector.valid for vector in opened)
    check_vectors(built, opened, 300)


@pytest.mark.parametrize("bits", [128, 192, 256])
@pytest.mark.parametrize("kind", ["MMT", "GFSbox", "KeySbox", "VarKey", "VarTxt"])
def test_nist_aes_cbc(built: Path, kind: str, bits: int) -> None:
    check_vectors(built, vectors.nist_cbc(f"CBC{kind}{bits}.rsp"), 10)


@pytest.mark.parametrize("name", ["RFC_3602", "RFC_4868", "RFC_8439"])
def test_rfc_vectors(built: Path, name: str) -> None:
    check_vectors(built, getattr(vectors, name), 1)


def test_a_wrong_vector_is_noticed(built: Path) -> None:
    """The judge itself: a changed known answer must fail, or the tests above say nothing."""
    vector = vectors.RFC_8439[0]
    fields = vector.line(1).split()
    fields[-1] = "00" * 16
    with pytest.raises(AssertionError, match="not so"):
        run(built / "aead_vectors", stdin=" ".join(fields) + "\n")


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in (C_TESTS.parent / "fuzz").glob("*.c"))
)
def test_fuzzer_finds_nothing_in_a_short_run(built: Path, tmp_path: Path, name: str) -> None:
    """
    The same inputs each time, as many as there is time for; others come with `./run fuzz`. What the
    code compares is left out of the search: numbers by chance and addresses are never the same.
    """
    make(built, f"{built}/{name}")
    bounds = ("-seed=1", "-use_cmp=0", f"-max_total_time={FUZZ_S}", "-max_len=4096")
    run(built / name, *bounds, str(tmp_path))
