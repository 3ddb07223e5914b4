"""What answers on this machine, asked as a stranger asks: without a certificate."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ringfort.audit.doctor.kit import read_json
from ringfort.audit.finding import Finding, Severity

__all__ = ["answers_stranger", "check_dashboard", "check_ports", "listeners"]

_WAIT_S: Final = 3.0
_ASK: Final = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def check_ports(kit: Path) -> Iterator[Finding]:
    """The ports of a server's kit: do they turn strangers away, and is the operator's only on loopback?"""
    said = read_json(kit / "startup" / "fed_server.json")
    if said is None:
        return
    for server in said.get("servers", []):
        _, _, port = str(server.get("service", {}).get("target", "")).rpartition(":")
        ports = {"clients": int(port) if port.isdigit() else 0, "operator": int(server.get("admin_port") or 0)}
        for whose, number in ports.items():
            yield from _port(kit, whose, number)


def _port(kit: Path, whose: str, port: int) -> Iterator[Finding]:
    where = f"{kit.name}, port {port}"
    bound = listeners(port)
    if not bound:
        yield Finding(
            "port",
            Severity.INFO,
            f"nobody listens on the {whose}' port on this machine."
            if whose == "clients"
            else "nobody listens on the operator's port on this machine.",
            "It could not be asked.",
            "Run this again while the server runs, on its machine.",
            where,
        )
        return
    if whose == "operator" and any(not ipaddress.ip_address(address).is_loopback for address in bound):
        yield Finding(
            "operator's port",
            Severity.HIGH,
            f"it listens on {', '.join(sorted(bound))}.",
            "Everybody who reaches this machine can try certificates at the port that stops and submits jobs.",
            "Bind it to loopback, and let operators come over SSH.",
            where,
        )
    address = sorted(bound, key=lambda name: not ipaddress.ip_address(name).is_loopback)[0]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104 - asked, not bound
    served = answers_stranger(reachable, port)
    if served:
        yield Finding(
            "stranger served",
            Severity.HIGH,
            f"a connection without a certificate got an answer {served}.",
            "Strangers speak to the server before it knows who they are.",
            'Demand mutual TLS: connection_security "mtls".',
            where,
        )


def answers_stranger(host: str, port: int) -> str:
    """How a port served somebody without a certificate: `in clear`, `over TLS`, or not at all (empty).

    A TLS 1.3 handshake may seem complete to the client before the server has looked for its certificate, so what counts
    is whether a single byte of an answer comes.
    """
    for secure in (False, True):
        with contextlib.suppress(OSError), socket.create_connection((host, port), _WAIT_S) as plain:
            plain.settimeout(_WAIT_S)
            if not secure:
                plain.sendall(_ASK)
                got = plain.recv(64)
                if got and got[:1] not in (b"\x15", b"\x16"):  # a TLS alert is a refusal
                    return "in clear"
                continue
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with context.wrap_socket(plain) as wrapped:
                wrapped.sendall(_ASK)
                if wrapped.recv(64):
                    return "over TLS"
    return ""


def listeners(port: int) -> set[str]:
    """The addresses on which somebody listens at a port of this machine."""
    found = set()
    for name, length in (("tcp", 4), ("tcp6", 16)):
        try:
            lines = Path(f"/proc/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            local, state = line.split()[1], line.split()[3]
            raw, _, number = local.partition(":")
            if state == "0A" and int(number, 16) == port:
                words = bytes.fromhex(raw)
                packed = b"".join(words[i : i + 4][::-1] for i in range(0, length, 4))
                address = ipaddress.ip_address(packed)
                mapped = getattr(address, "ipv4_mapped", None)
                found.add(str(mapped or address))
    return found


def check_dashboard() -> Iterator[Finding]:
    """Whether NVFlare's dashboard runs here: its worst advisories were about it, and Ringfort never needs it."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "nvflare.dashboard" in command or "nvflare dashboard" in command:
            yield Finding(
                "dashboard",
                Severity.HIGH,
                f"process {pid} is NVFlare's dashboard.",
                "It signs certificates over the network, and its advisories are the gravest.",
                "Stop it; provision on a machine that is not reachable.",
            )
