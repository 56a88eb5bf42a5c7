"""The header, the binding, its types and Python's own numbers say the same."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import gateway._native as native
from gateway._native import ffi, lib
from gateway.dataplane import codec, control
from gateway.dataplane.build import CSRC, ROOT, declarations, has_ipsecmb
from gateway.dataplane.interface import EncapKind, PuntType
from gateway.ike.context import FIRST_SPI, OWN_SPI
from gateway.sa import Encr, Integ

HEADER = (CSRC / "gw_dp.h").read_text()
ABI = re.sub(r"/\*.*?\*/", "", declarations(HEADER), flags=re.DOTALL)
FUNCTIONS = set(re.findall(r"\b(gw_\w+)\(", ABI))
CONSTANTS = set(re.findall(r"#define (GW_\w+)", ABI)) | set(re.findall(r"\b(GW_\w+) = ", ABI))


def test_the_binding_has_exactly_the_functions_and_constants_of_the_header() -> None:
    assert len(FUNCTIONS) > 35
    assert {name for name in dir(lib) if name.startswith("gw_")} == FUNCTIONS
    assert {name for name in dir(lib) if name.startswith("GW_")} == CONSTANTS


def test_the_types_for_mypy_name_exactly_what_the_header_has() -> None:
    stub = (ROOT / "gateway" / "_native.pyi").read_text()
    assert set(re.findall(r"def (gw_\w+)\(", stub)) == FUNCTIONS
    assert set(re.findall(r"^    (GW_\w+): Final\[int\]", stub, re.MULTILINE)) == CONSTANTS


def test_the_types_for_mypy_have_as_many_parameters_as_the_header() -> None:
    stub = (ROOT / "gateway" / "_native.pyi").read_text()
    for name, parameters in re.findall(r"def (gw_\w+)\(\s*self,?(.*?)\) ->", stub, re.DOTALL):
        typed = [word for word in re.split(r",", parameters) if word.strip() not in ("", "/")]
        assert len(typed) == len(ffi.typeof(getattr(lib, name)).args), name


def test_the_shared_object_exports_its_init_function_only() -> None:
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", str(native.__file__)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert [line.split()[-1] for line in listing.splitlines()] == ["PyInit__native"]


def test_the_shared_object_serves_every_later_python() -> None:
    assert str(native.__file__).endswith(".abi3.so")


@pytest.mark.parametrize(
    ("numbers", "prefix", "names"),
    [
        (Encr, "GW_ENCR_", {}),
        (Integ, "GW_INTEG_", {"HMAC_SHA2": "SHA2"}),
        (EncapKind, "GW_ENCAP_", {}),
        (PuntType, "GW_PUNT_", {}),
    ],
)
def test_pythons_numbers_are_the_headers(
    numbers: type[Encr] | type[Integ] | type[EncapKind] | type[PuntType],
    prefix: str,
    names: dict[str, str],
) -> None:
    expected = {name: getattr(lib, name) for name in CONSTANTS if name.startswith(prefix)}
    expected.pop("GW_PUNT_REPLY", None)
    expected.pop("GW_PUNT_DATA_MAX", None)
    found = {}
    for number in numbers:
        name = number.name
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        found[prefix + name] = int(number)
    assert found == expected


def test_every_struct_that_is_sent_is_compared_in_hello() -> None:
    structs = set(re.findall(r"^struct gw_\w+(?= \{)", ABI, re.MULTILINE))
    # The configuration is given on the command line and never sent.
    assert set(control.STRUCTS) == structs - {"struct gw_dp_config"}
    version, *sizes = control.HELLO.unpack(control.hello())
    assert version == lib.GW_ABI_VERSION
    assert sizes == [ffi.sizeof(name) for name in control.STRUCTS]


def test_the_sizes_of_what_crosses_the_socket() -> None:
    # 6 bytes of numbers and two addresses, without a hole.
    assert ffi.sizeof("struct gw_path") == 38
    assert ffi.sizeof("struct gw_selector") == 38
    assert ffi.sizeof("struct gw_punt") == 56
    assert ffi.sizeof("struct gw_sa") <= 4096


def test_spis_are_made_as_the_data_plane_shares_them() -> None:
    assert FIRST_SPI == 1 << lib.GW_SPI_SLOT_BITS
    assert OWN_SPI == lib.GW_SPI_OWN


def test_worker_counters_are_the_structs_fields() -> None:
    fields = [name for name, _ in ffi.typeof("struct gw_worker_stats").fields]
    assert fields == [*codec.WORKER_COUNTERS, "drops"]


def test_every_drop_reason_has_a_name_of_its_own() -> None:
    names = codec.drop_names()
    assert 20 < len(names) == len(set(names)) <= lib.GW_DROPS_MAX
    assert {"replay", "icv", "unknown_spi", "punt_full"} <= set(names)
    assert lib.gw_drop_name(len(names)) == ffi.NULL


@pytest.mark.parametrize("backend", ["GW_BACKEND_OPENSSL", "GW_BACKEND_IPSECMB"])
def test_each_back_end_that_was_built_takes_the_default_suite(backend: str) -> None:
    name = lib.gw_backend_name(Encr.AES_GCM_16, Integ.NONE, 36, getattr(lib, backend))
    expected = {"GW_BACKEND_OPENSSL": b"openssl", "GW_BACKEND_IPSECMB": b"ipsecmb"}[backend]
    built = backend == "GW_BACKEND_OPENSSL" or has_ipsecmb()
    assert (name != ffi.NULL and ffi.string(name) == expected) is built


def test_declarations_drop_only_the_attribute() -> None:
    header = "x /* cffi: begin */ GW_MUST_CHECK int f(void); int GW_MUST_CHECKED; /* cffi: end */ y"
    assert declarations(header).split() == ["int", "f(void);", "int", "GW_MUST_CHECKED;"]


def test_every_c_source_is_in_the_tree_that_is_built() -> None:
    assert sorted(Path(CSRC).glob("*.c"))
