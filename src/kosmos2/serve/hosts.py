"""Whom a request says it is for, and which page it comes from.

A server on this machine alone is still within reach of every page that its user's browser opens: a
page may send requests to it, and a name that the page's owner points at 127.0.0.1 even makes it
read the answers. So only names that mean this machine are heard, and no page of another site.
"""

from __future__ import annotations

import ipaddress
import re

from kosmos2.serve.credentials import Headers, values
from kosmos2.serve.failures import Refused

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{1,5})?")


def is_loopback(host: str) -> bool:
    """Whether a name or an address means this machine, seen from itself."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return address.is_loopback


def check_host(headers: Headers) -> None:
    """Refuse a Host that is no name of this machine; only browsers must send one, and they do.

    Raises:
        Refused: somebody else's name, or more than one.
    """
    hosts = values(headers, b"host")
    if not hosts:
        return
    found = _HOST.fullmatch(hosts[0].decode("latin-1"))
    if len(hosts) > 1 or found is None or not is_loopback(found[1]):
        raise Refused("host_not_allowed")


def check_site(method: str, headers: Headers) -> None:
    """Refuse what a page of another site sends; a link to our page is followed all the same.

    Raises:
        Refused: it comes from another site.
    """
    if b"cross-site" not in values(headers, b"sec-fetch-site"):
        return
    followed = (
        method == "GET"
        and values(headers, b"sec-fetch-mode") == [b"navigate"]
        and values(headers, b"sec-fetch-dest") == [b"document"]
    )
    if not followed:
        raise Refused("cross_site_refused")
