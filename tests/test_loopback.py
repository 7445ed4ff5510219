"""Ports given to servers are free, and no two servers get the same."""

import socket
from contextlib import ExitStack

import loopback
import pytest

FEW = loopback.PORTS[-40:]


def test_ports_are_distinct_and_can_all_be_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "PORTS", FEW)
    with ExitStack() as stack:
        [taken] = loopback.free_ports(1)
        stack.enter_context(socket.create_server(("127.0.0.1", taken)))
        ports = loopback.free_ports(30)
        assert len(set(ports) - {taken}) == 30
        assert set(ports) <= set(FEW)
        for port in ports:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
