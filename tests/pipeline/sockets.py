"""Every address outside this machine that a process or one of its children has a TCP or UDP socket to."""

import functools
import ipaddress
import subprocess
import threading
from pathlib import Path

import psutil

TABLES = ("tcp", "tcp6", "udp", "udp6")
REMOTE, INODE = 2, 9
"""Columns of such a table."""
LOOK_S = 0.1


class Watch:
    """Follows a process and its children; `end` gives what was seen.

    The kernel's tables of all sockets are read often, and the processes are asked, which takes long, only when a socket appears there
    that leads outside: whether it is theirs.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.seen: set[str] = set()
        self._root, self._stop = psutil.Process(process.pid), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        known: set[str] = set()
        while not self._stop.wait(LOOK_S):
            sockets = [line.split() for table in TABLES for line in Path("/proc/net", table).read_text().splitlines()[1:]]
            outside = {socket[INODE] for socket in sockets if leads_outside(socket[REMOTE])}
            if outside - known:
                self._ask()
            known |= outside

    def _ask(self) -> None:
        for one in [self._root, *self._children()]:
            try:
                self.seen |= {link.raddr.ip for link in one.net_connections(kind="inet") if link.raddr and is_outside(link.raddr.ip)}
            except psutil.Error:
                continue

    def _children(self) -> list[psutil.Process]:
        try:
            return self._root.children(recursive=True)
        except psutil.Error:
            return []

    def end(self) -> set[str]:
        """The addresses seen until now; it looks no more."""
        self._stop.set()
        self._thread.join()
        return self.seen


@functools.cache
def leads_outside(remote: str) -> bool:
    """Whether a remote address as the kernel's tables write it (`0100007F:1F90`) is another machine's."""
    digits = remote.partition(":")[0]
    words = [bytes.fromhex(digits[start : start + 8])[::-1] for start in range(0, len(digits), 8)]
    return is_outside(str(ipaddress.ip_address(b"".join(words))))


def is_outside(address: str) -> bool:
    """Whether an address is none of this machine's, nor the one that stands for none."""
    found = ipaddress.ip_address(address)
    found = getattr(found, "ipv4_mapped", None) or found
    return not (found.is_loopback or found.is_unspecified)
