"""Which addresses pictures may be fetched from: names that the operator listed, machines in public.

An address is read by one strict pattern, and what is asked for is put together anew from its parts:
no second reader sees the caller's spelling, so no two can differ about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from kosmos2.errors import ConfigError

HTTPS_PORT = 443
_LONGEST = 2048  # characters of an address

# No user, no backslash, no letter beyond ASCII, nothing that does not print.
_HTTPS = re.compile(
    r"https://"
    r"(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/[a-z0-9._~!$&'()*+,;=:@%/-]*)?"
    r"(?P<query>\?[a-z0-9._~!$&'()*+,;=:@%/?-]*)?"
    r"(?:\#[!-~]*)?",  # never sent
    re.IGNORECASE | re.ASCII,
)
_LISTED = re.compile(
    r"(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?",
    re.IGNORECASE | re.ASCII,
)

_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked of whom."""

    host: str  # in small letters, a version 6 address without its brackets
    port: int
    path: str  # with the query

    @property
    def authority(self) -> str:
        """The host as a request names it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == HTTPS_PORT else f"{host}:{self.port}"


class Allowed:
    """The hosts that an operator listed, each with its port."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self._listed = {_listed(host) for host in hosts}

    def __bool__(self) -> bool:
        return bool(self._listed)

    def target(self, url: str) -> Target | None:
        """Where an address leads, if it is on the list."""
        if not self._listed or len(url) > _LONGEST:
            return None
        found = _HTTPS.fullmatch(url)
        if found is None:
            return None
        host, port = _host_and_port(found)
        if (host, port) not in self._listed:
            return None
        return Target(host, port, (found["path"] or "/") + (found["query"] or ""))


def is_public(address: str) -> bool:
    """Whether a machine stands on the open internet, for all that its number says or hides."""
    try:
        number = ip_address(address)
    except ValueError:
        return False
    if isinstance(number, IPv4Address):
        return number.is_global and not number.is_multicast
    if number in _NAT64 or number.ipv4_mapped is not None:
        return is_public(str(IPv4Address(int(number) & 0xFFFF_FFFF)))
    if number.sixtofour is not None and not is_public(str(number.sixtofour)):
        return False
    return _is_public_6(number)


def _is_public_6(number: IPv6Address) -> bool:
    plain = number.scope_id is None
    return plain and number in _UNICAST and number.is_global and not number.is_multicast


def _listed(text: str) -> tuple[str, int]:
    found = _LISTED.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"pictures cannot be fetched from {text!r}; give a host, or host:port, such as "
            "images.example.org"
        )
    return _host_and_port(found)


def _host_and_port(found: re.Match[str]) -> tuple[str, int]:
    return found["host"].lower().strip("[]"), int(found["port"] or HTTPS_PORT)
