"""Runs in a unit's place, in its sandbox, and writes into its state folder what it was able to do: "ok", an errno's
name, or a value. What it is to try stands in /usr/lib/knoop-probe.json.
"""

import ctypes
import errno
import json
import os
import socket
import stat
import subprocess
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
STATE = Path(os.environ["STATE_DIRECTORY"])
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PROT_RWX, MAP_PRIVATE_ANONYMOUS = 7, 0x22


def call(name, *arguments):
    """A function of the C library; raises OSError."""
    if getattr(LIBC, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def mapped():
    mmap = LIBC.mmap
    mmap.restype = ctypes.c_void_p
    mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
    if mmap(None, 4096, PROT_RWX, MAP_PRIVATE_ANONYMOUS, -1, 0) == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")


def opened(path, flags):
    os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY))


def replaced(path):
    own = f"{path}.own"
    Path(own).touch()
    try:
        Path(own).rename(path)
    finally:
        Path(own).unlink(missing_ok=True)


def made_suid():
    file = STATE / "suid"
    file.touch()
    file.chmod(0o4755)


def node():
    os.mknod(STATE / "node", 0o600 | stat.S_IFCHR, os.makedev(1, 11))


def stranger():
    """Processes of others that can be seen."""
    processes = (path for path in Path("/proc").iterdir() if path.name.isdecimal())
    return sorted(path.name for path in processes if path.stat().st_uid != os.getuid())


def passed():
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return {file.name: file.read_text() for file in sorted(Path(folder).iterdir())} if folder else {}


def connected(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)


def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def interfaces():
    lines = Path("/proc/self/net/dev").read_text().splitlines()
    return sorted(line.partition(":")[0].strip() for line in lines if ":" in line)


WAYS = {
    "read": lambda path: opened(path, os.O_RDONLY),
    "write": lambda path: opened(path, os.O_WRONLY),
    "open": lambda path: opened(path, os.O_RDWR),
    "make": lambda path: opened(path, os.O_CREAT | os.O_WRONLY),
    "remove": os.unlink,
    "replace": replaced,
    "list": lambda path: sorted(file.name for file in Path(path).iterdir()),
    "socket": lambda family: socket.socket(getattr(socket, family)).close(),
    "connect": connected,
    "interfaces": interfaces,
    "status": status,
    "passed": passed,
    "listen names": lambda: os.environ.get("LISTEN_FDNAMES", ""),
    "strangers": stranger,
    "read-only": lambda path: bool(os.statvfs(path).f_flag & os.ST_RDONLY),
    "as another": lambda program: subprocess.check_output([program, "-u"], text=True).strip(),
    "own id": os.getuid,
    "suid": made_suid,
    "mknod": node,
    "user namespace": lambda: call("unshare", CLONE_NEWUSER),
    "network namespace": lambda: call("unshare", CLONE_NEWNET),
    "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "set the clock": lambda: call("settimeofday", (ctypes.c_long * 2)(1, 0), None),
    "set the name": lambda: call("sethostname", b"mallory", 7),
    "restart": lambda: call("reboot", 0),
    "load a module": lambda: call("syscall", 175, b"", 0, b""),
    "bpf": lambda: call("syscall", 321, 0, None, 0),
    "trace": lambda: call("ptrace", 16, 1, None, None),
    "write and execute": mapped,
    "priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
}


def tried(way, *arguments):
    try:
        answer = WAYS[way](*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "ok" if answer is None else answer


asked = json.loads(Path("/usr/lib/knoop-probe.json").read_text())[str(STATE)]
(STATE / "probe.json").write_text(json.dumps({" ".join(attempt): tried(*attempt) for attempt in asked}))
