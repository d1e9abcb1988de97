"""The watch over sockets of tests/pipeline/sockets.py sees those that lead outside, and only those of its process."""

import socket
import subprocess
import sys

import pytest

from tests.pipeline.sockets import Watch, leads_outside
from tests.waiting import eventually

CONNECTED = """import socket, sys
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
link.connect(("192.0.2.1", 9))
sys.stdin.read()
"""
"""Of UDP: no packet is sent for it."""


@pytest.mark.parametrize(
    ("remote", "outside"),
    [("0100007F:1F90", False), ("00000000:0000", False), ("08080808:01BB", True), (f"{'0' * 16}FFFF00000100007F:1", False)],
)
def test_a_socket_that_leads_outside_is_known(remote: str, outside: bool) -> None:
    assert leads_outside(remote) == outside


def has_route() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        return link.connect_ex(("192.0.2.1", 9)) == 0


@pytest.mark.skipif(not has_route(), reason="this machine has no route to any other")
def test_a_socket_of_the_process_is_seen_and_not_that_of_another() -> None:
    command = [sys.executable, "-c", CONNECTED]
    pipes = {"stdin": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as watched, subprocess.Popen([sys.executable, "-c", "input()"], **pipes) as other:
        watches = Watch(watched), Watch(other)
        assert eventually(lambda: watches[0].seen)
        assert [watch.end() for watch in watches] == [{"192.0.2.1"}, set()]
        watched.communicate()
        other.communicate("\n")
