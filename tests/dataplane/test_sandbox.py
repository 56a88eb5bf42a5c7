"""What a confined process can still do, and what it cannot: each tried in a process of its own."""

from __future__ import annotations

import platform
import struct
import subprocess
import sys
import textwrap

import pytest

from gateway.dataplane import seccomp

CONFINED = """
import ctypes, mmap, os, socket, threading, time
from gateway.dataplane import sandbox, seccomp
from gateway.dataplane.control import write_memory, read_memory
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
gate = threading.Event()
said = []
def worker():
    gate.wait()
    try:
        open("/etc/hostname")
    except OSError as error:
        said.append(error.errno)
thread = threading.Thread(target=worker)
thread.start()
sandbox.drop_capabilities()
sandbox.close_doors()
assert seccomp.install()
"""


def confined(code: str) -> str:
    """Run code in a confined process and return what it prints."""
    end = "\ngate.set(); thread.join(); os._exit(0)\n"
    program = CONFINED + textwrap.dedent(code) + end
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/hostname')",
        "open('/tmp/twinspan-test', 'w')",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
        "socket.socketpair(socket.AF_INET, socket.SOCK_STREAM)",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.kill(1, 0)",
        "os.unlink('/tmp/twinspan-test')",
        "os.listdir('/')",
        "os.setuid(0)",
        "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
        "threading.Thread(target=print).start()",
    ],
)
def test_the_filter_refuses(attempt: str) -> None:
    code = f"""
    try:
        {attempt}
    except (OSError, RuntimeError) as error:
        os.write(1, type(error).__name__.encode())
    """
    expected = "RuntimeError" if "Thread" in attempt else "PermissionError"
    assert confined(code) == expected


def test_the_filter_leaves_what_the_process_needs() -> None:
    code = """
    a.send(b"x")
    assert b.recv(10) == b"x"
    descriptor = write_memory(b"blob")
    assert read_memory(descriptor) == b"blob"
    os.close(os.dup(descriptor))
    bytearray(32 << 20)
    time.monotonic(), os.getpid(), os.urandom(8)
    for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM):
        end.close()
    os.write(1, b"all right")
    """
    assert confined(code) == "all right"


def test_the_filter_covers_threads_that_ran_before() -> None:
    code = """
    gate.set()
    thread.join()
    os.write(1, repr(said).encode())
    """
    assert confined(code) == "[1]"


def test_a_device_may_be_given_carrier_but_nothing_else() -> None:
    code = """
    import errno, fcntl
    for request in (0x400454E2, 0x400454CA, 0x5413):
        try:
            fcntl.ioctl(0, request, b"\\0" * 40)
        except OSError as error:
            os.write(1, errno.errorcode[error.errno].encode() + b" ")
    """
    # Standard input is no TUN device: its own answer is ENOTTY, the filter's EPERM.
    words = confined(code).split()
    assert words == ["ENOTTY", "EPERM", "EPERM"]


def test_no_jump_of_the_filter_leaves_the_program() -> None:
    for machine in seccomp.MACHINES.values():
        program = seccomp.build_filter(machine)
        count = len(program) // 8
        assert count <= 4096  # BPF_MAXINSNS
        for place in range(count):
            code, if_true, if_false, _ = struct.unpack_from("=HBBI", program, place * 8)
            if code & 7 == 5:
                assert place + 1 + max(if_true, if_false) < count
        assert program[-8:] == seccomp.instruction(seccomp.RETURN, seccomp.DENY)


def test_the_numbers_are_this_machines() -> None:
    """The kernel's own headers are the judge."""
    machine = seccomp.MACHINES.get(platform.machine())
    if machine is None:
        pytest.skip("no list for this machine")
    names = sorted(machine.numbers)
    lines = "\n".join(f"__NR_{name}" for name in ["seccomp", *names])
    source = f"#include <asm/unistd.h>\n{lines}\n"
    out = subprocess.run(
        ["gcc", "-E", "-P", "-x", "c", "-"],
        input=source,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    numbers = [int(word) for word in out.split()]
    assert numbers == [machine.seccomp, *(machine.numbers[name] for name in names)]
