"""Addresses of pictures that lead to this machine, to a neighbour, to a file, or to nowhere.

Those that could arrive anywhere all mean a canary's port, so that whoever is let through is seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

REFUSED = (
    {400},
    # The last two: no address at all, and an asset that NVIDIA's route would have had uploaded.
    {"image_url_not_allowed", "image_url_invalid", "invalid_json"}
    | {"invalid_request", "asset_not_supported"},
)
PORT = 20_000 + os.getpid() % 10_000  # where the canary listens: one for each process

_HERE = """
127.0.0.1 127.0.0.9 127.1 127.0.1 0 0.0.0.0 2130706433 0x7f000001 0x7f.0.0.1 0x7F.1 017700000001
0177.0.0.1 0177.1 00000000000000000177.0.0.1 127.0.0.1. 127.000.000.001 127.0.0.1%00 127.0.0.1%2e
localhost LOCALHOST localhost. lOcAlHoSt localhost.localdomain ip6-localhost loopback
[::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:ffff:127.0.0.1]
[::127.0.0.1] [64:ff9b::127.0.0.1] [2002:7f00:1::] [::1%25lo] [::1%lo] [fe80::1] [fc00::1]
127.0.0.1.nip.io localtest.me 127-0-0-1.sslip.io spoofed.burpcollaborator.net
①②⑦.⓪.⓪.① １２７.０.０.１ 127。0。0。1 ⑯⑨。②⑤④。⑯⑨｡②⑤④ ⓛⓞⓒⓐⓛⓗⓞⓢⓣ ʟᴏᴄᴀʟʜᴏsᴛ locaｌhost
"""

_NEAR = """
169.254.169.254 169.254.169.254. 2852039166 0xA9FEA9FE 0xa9.0xfe.0xa9.0xfe 0251.0376.0251.0376
[::ffff:169.254.169.254] [::ffff:a9fe:a9fe] [fd00:ec2::254] metadata.google.internal metadata
169.254.170.2 100.100.100.200 192.0.0.192 10.0.0.1 172.16.0.1 192.168.0.1 192.168.1.254 100.64.0.1
198.18.0.1 203.0.113.7 224.0.0.1 255.255.255.255 240.0.0.1 kubernetes.default.svc
host.docker.internal
"""

# {} is the canary, as host and port.
_TRICKS = r"""
http://good.example\@{}/ http://good.example@{}/ http://{}#@good.example/ http://{}?@good.example/
http://{}\.good.example/ http://good.example:80@{}/ http://good.example%40{}/ http://a:b@{}/
http:{}/ http:/{}/ http:///{}/ http:\\{}\ \\{}\share //{}/ ///{}/x.png {} {}/x.png
HTTP://{}/ hTTpS://{}/ https://{}/ https://{}/x.png?y=data:image/png;base64, http://{}/%2e%2e/
https://user@{}/ https://{}:443/ https://{}:0/ https://{}:99999/ https://{}:-1/ https://{}:8a/
https://[{}]/ https://[::1/ https://]/ https:// http://? https://%6c%6f%63alhost/ http://.{}/
url:http://{}/ jar:http://{}/ view-source:http://{}/ feed:http://{}/ data:http://{}/
ftp://{}/x.png ftps://{}/ sftp://{}/ tftp://{}/x gopher://{}/_GET%20/ dict://{}/d:x ldap://{}/
ldaps://{}/ smb://{}/x nfs://{}/x ws://{}/ wss://{}/ telnet://{}/ ssh://{}/ rtsp://{}/ mailto:a@b
s3://bucket/key gs://bucket/key hf://a/b git://{}/x svn://{}/x redis://{}/ unix:///run/x.sock
file:///etc/passwd file://localhost/etc/passwd file:/etc/passwd file:///proc/self/environ
file:///dev/zero file:///dev/stdin FILE:///etc/passwd file://///etc/passwd
file:///C:/windows/win.ini
/etc/passwd ../../../../etc/passwd ..%2f..%2fetc%2fpasswd ~/.ssh/id_rsa C:\windows\win.ini
\\{}\c$\x.png snowman.jpg ./snowman.jpg /dev/zero /proc/self/mem . / |id `id` $(id) -
expect://id php://filter/resource=x phar://x zip://x.zip#y concat:x|y glob://* compress.zlib://x
javascript:alert(1) vbscript:x about:blank blob:http://{}/x chrome://x resource://x cid:x
"""

_SPOILT = (
    ("a line break", "https://good.example\r\nHost: {}/"),
    ("a line break at the start", "\nhttp://{}/"),
    ("a tab in the scheme", "ht\ttp://{}/"),
    ("a blank in front", " http://{}/"),
    ("a NUL", "https://{}\0.good.example/"),
    ("a NUL in front", "\0http://{}/"),
    ("a soft hyphen", "https://local\u00adhost/"),
    ("a zero width joiner", "https://local\u200dhost/"),
    ("written from the right", "https://\u202e{}/"),
    ("a blank in the host", "https://good.example {}/"),
    ("half a pair", "https://{}/\ud800"),
    ("nothing", ""),
    ("blanks", "   "),
    ("very long", "https://" + "a" * 100_000 + "/"),
    ("many labels", "https://" + "a." * 5_000 + "example/"),
    ("an endless path", "https://{}/" + "../" * 10_000),
    ("a redirect", "https://{}/redirect?to=http://169.254.169.254/latest/meta-data/"),
)

# `data:` addresses that hold no picture, or not in the one form that is read.
_DATA = r"""
data: data:, data:image/png data:image/png;base64 data:image/png;base64, data:image/png,%89PNG
data:image/png;base64,%%%% data:image/png;base64,iVBORw0KGgo*=== data:;base64,iVBORw0KGgo=
data:image/png;charset=utf-8;base64,iVBORw0KGgo= data:text/html;base64,PGgxPg==
data:text/html,<h1> data:image/svg+xml,<svg/> data:image/svg+xml;base64,PHN2Zy8+
data:application/octet-stream;base64,AA== data:image/png;base64;base64,AA==
data:image/png;BASE65,AA== data:image/png;base64,A data:image/png;base64,=
data:image/png;base64,AAAA=AAA data:image/png;base64,AA==AA== data:image/png;base64,-_-_
data:image/png;asset_id,1 data:image/png;base64,data:image/png;base64,AAAA
data:image/../png;base64,AAAA data:image/*;base64,AAAA data:image/png;base64,AAAA,BBBB
data:base64,AAAA data:image;base64,AAAA data/image/png;base64,AAAA
"""


def everything() -> Iterator[tuple[str, str]]:
    """Name and address of each."""
    for host in _HERE.split():
        yield f"http {host}", f"http://{host}:{PORT}/x.png"
        yield f"https {host}", f"https://{host}:{PORT}/x.png"
    for host in _NEAR.split():
        yield f"http {host}", f"http://{host}/latest/meta-data/"
    canary = f"127.0.0.9:{PORT}"
    for trick in _TRICKS.split():
        yield trick[:40], trick.replace("{}", canary)
    for name, trick in _SPOILT:
        yield name, trick.replace("{}", canary)
    for address in _DATA.split():
        yield address[:40], address
