"""Ports for servers that are told theirs are free, and no two servers are told the same."""

import socket
from contextlib import ExitStack

import loopback
import pytest

FEW = loopback.PORTS[-40:]


def test_ports_are_different_and_can_all_be_listened_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "PORTS", FEW)
    with ExitStack() as stack:
        [taken] = loopback.free_ports(1)
        stack.enter_context(socket.create_server(("127.0.0.1", taken)))
        ports = loopback.free_ports(30)
        assert len(set(ports) - {taken}) == 30
        assert set(ports) <= set(FEW)
        for port in ports:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
