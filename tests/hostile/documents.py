"""JSON as people write it, as other readers take it, and as nobody should.

`broken` is refused by our reader; `whole` is JSON by the standard and passes it, but none of it is
a request. Each is written as Python bytes, since some are no text.
"""

from __future__ import annotations

from collections.abc import Iterator

# A route that is sent something whole but strange says that it is not what it takes.
NOT_FOR_US = frozenset(
    {"invalid_request", "missing_parameter", "unknown_parameter", "too_many", "unsupported_value",
     "image_missing", "invalid_json", "prompt_invalid", "phrase_invalid"}
)  # fmt: skip

_BROKEN = rb"""
{
}
[
]
"
'
:
,
{"a"
{"a":
{"a":1
{"a":1,
{"a":1,}
{"a" 1}
{"a":1 "b":2}
{"a":1,,"b":2}
{,"a":1}
{"a"::1}
{a:1}
{'a':1}
{1:2}
{null:1}
{[]:1}
{"a":1}}
{"a":1}]
{"a":1}{"b":2}
{"a":1} x
{"a":1}#
{"a":1} // so
{"a":1} /* so */
{/* so */"a":1}
{"a":undefined}
{"a":nul}
{"a":True}
{"a":None}
{"a":NULL}
{"a":truefalse}
{"a":TRUE}
[1,]
[,1]
[1,,2]
[1 2]
[1;2]
[1:2]
[}
{]
[[1]
[1]]
(1)
["a
["a"
["a",
["\x"]
["\u"]
["\u12"]
["\u123g"]
["\uD800"]
["\uDFFF"]
["\uD800\uD800"]
["\uDC00\uD800"]
["\uD800\u0041"]
{"\uD800":1}
["\a"]
["\0"]
["\'"]
["\U0001F600"]
["\u{1F600}"]
["\
"]
[NaN]
[-NaN]
[nan]
[Infinity]
[-Infinity]
[+Infinity]
[inf]
[1e400]
[-1e400]
[1e99999]
[01]
[-01]
[00]
[1.]
[.1]
[-.1]
[-]
[+1]
[--1]
[1e]
[1e+]
[1E-]
[1.e1]
[0x1]
[0b1]
[0o1]
[1_0]
[1a]
[1n]
[1.0.0]
[1e1.5]
[- 1]
["a":1]
["a"]["b"]
"a" "b"
{"a":1,"a":2}
{"a":1,"a":1}
{"a":1,"\u0061":2}
{"b":{"a":1,"a":1}}
[{"a":1,"a":1}]
{"messages":[],"messages":[]}
<a/>
a=1&b=2
--- a: 1
1 2
b: 2
hello
*
%7B%22a%22%3A1%7D
eyJhIjoxfQ==
)]}',{"a":1}
while(1);{"a":1}
""".strip(b"\n").split(b"\n")

_BROKEN_BYTES = (
    ("a byte order mark", b'\xef\xbb\xbf{"a":1}'),
    ("two of them", b"\xef\xbb\xbf\xef\xbb\xbf{}"),
    ("utf-16", '{"a":1}'.encode("utf-16")),
    ("utf-16 without a mark", '{"a":1}'.encode("utf-16-le")),
    ("utf-32", '{"a":1}'.encode("utf-32")),
    ("latin-1", '{"a":"é"}'.encode("latin-1")),
    ("a lone continuation", b'["\x80"]'),
    ("a lone beginning", b'["\xc3"]'),
    ("overlong", b'["\xc0\xaf"]'),
    ("an overlong NUL", b'["\xc0\x80"]'),
    ("a surrogate as bytes", b'["\xed\xa0\x80"]'),
    ("a pair as bytes", b'["\xed\xa0\xbd\xed\xb8\x80"]'),
    ("beyond Unicode", b'["\xf4\xbf\xbf\xbf"]'),
    ("five bytes", b'["\xf8\x88\x80\x80\x80"]'),
    ("0xff", b'["\xff"]'),
    ("a raw tab in a text", b'["a\tb"]'),
    ("a raw line break in a text", b'["a\nb"]'),
    ("a raw NUL in a text", b'["a\0b"]'),
    ("a NUL at the end", b'{"a":1}\0'),
    ("a NUL in between", b'{"a":\x001}'),
    ("a NUL alone", b"\0"),
    ("a form feed as a blank", b'\x0c{"a":1}'),
    ("a no-break space as a blank", '\u00a0{"a":1}'.encode()),
    ("a line separator as a blank", '{"a":1}\u2028'.encode()),
    ("blanks alone", b" \t\r\n"),
    ("digits of another script", '["\u0661"]'.encode().replace(b'"', b"")),
    ("65 lists", b"[" * 65 + b"]" * 65),
    ("65 lists and a number", b"[" * 65 + b"1" + b"]" * 65),
    ("65 objects", b'{"a":' * 65 + b"1" + b"}" * 65),
    ("a thousand lists", b"[" * 1000 + b"]" * 1000),
    ("40,000 lists", b"[" * 40_000 + b"]" * 40_000),
    ("100,000 lists", b"[" * 100_000 + b"]" * 100_000),
    ("100,000 lists that do not end", b"[" * 100_000),
    ("16 million lists", b"[" * (16 * 2**20)),
    ("100,000 objects that do not end", b'{"a":' * 100_000),
    ("lists and objects that do not end", b'[{"a":' * 40_000),
    ("a million zeros", b"[" + b"0," * 10**6 + b"0]"),
    ("a million names", b"{" + b",".join(b'"%d":0' % i for i in range(10**6)) + b"}"),
    ("a long number", b"[" + b"1" * 5_000 + b"]"),
    ("a very long number", b"[" + b"1" * 10**6 + b"]"),
    ("a long fraction", b"[0." + b"1" * 10**6 + b"]"),
    ("a long exponent", b"[1e" + b"9" * 10**6 + b"]"),
    ("a text that does not end", b'{"a":"' + b"a" * 2**20),
    ("escapes that do not end", b'{"a":"' + b"\\\\" * 2**19),
    ("quotes that do not end", b'{"a":"' + b'\\"' * 2**19),
    ("many quotes", b'"' * 2**20),
    ("many minuses", b"[" + b"-" * 2**20 + b"]"),
    ("zip", b"PK\x03\x04" + b"\0" * 64),
    ("gzip", b"\x1f\x8b\x08" + b"\0" * 64),
    ("a pickle", b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x05posix\x94."),
)

_WHOLE = rb"""
{}
[]
[[]]
[{}]
null
true
false
0
-0
1
-1
1.5
1e5
1E5
1e+5
1e-5
1e-400
123456789012345678
""
"a"
"\u0000"
"\uD83D\uDE00"
"\ud83d\ude00"
"\\uD800"
"\/\\\"\b\f\n\r\t"
"\u2028\u2029"
"\uFFFF"
"\u0022"
{"":0}
{"a":{}}
{"a":[]}
{"a":null}
{"a":"b"}
{"a":{"a":{"a":{}}}}
{"a":[1,2,{"b":[null,true]}]}
{"\u0000":1}
{"a":1,"A":2}
{"a":1,"\u00e1":2}
{"__proto__":{"a":1}}
{"messages":null}
{"messages":{}}
{"messages":[]}
{"messages":[[]]}
{"messages":[null]}
{"image":null}
{"image":[]}
{"image":{}}
{"image":7}
{"input":null}
{"input":[]}
{"input":{}}
{"image_url":null}
{"image_url":{}}
[1,"a",null,true,{},[]]
""".strip(b"\n").split(b"\n")

_WHOLE_BYTES = (
    ("blanks on both sides", b" {} "),
    ("blanks around", b'\r\n\t {\r\n\t "a"\r\n:\t1 }\n\n'),
    ("letters of all scripts", '{"é":"中😀\u200b\ufeff"}'.encode()),
    ("the last character", '["\U0010ffff"]'.encode()),
    ("a delete", b'["\x7f"]'),
    ("64 lists", b"[" * 64 + b"]" * 64),
    ("64 objects", b'{"a":' * 63 + b"{}" + b"}" * 63),
    ("brackets in a text", b'["' + b"[{" * 10_000 + b'"]'),
    ("a long text", b'["' + b"a" * 2**20 + b'"]'),
    ("a long text of escapes", b'["' + b"\\u0041" * 2**17 + b'"]'),
    ("a long name", b'{"' + b"a" * 2**20 + b'":1}'),
    ("many blanks", b"[" + b" " * 2**20 + b"]"),
    ("10,000 numbers", b"[" + b"0," * 10_000 + b"0]"),
    ("10,000 names", b"{" + b",".join(b'"%d":0' % i for i in range(10_000)) + b"}"),
)


def broken() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of what is refused."""
    for line in _BROKEN:
        yield line.decode()[:40], line
    yield from _BROKEN_BYTES


def whole() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of what is JSON, if nothing that a route could answer."""
    for line in _WHOLE:
        yield line.decode()[:40], line
    yield from _WHOLE_BYTES
