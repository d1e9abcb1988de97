"""An S3 store on the loopback that answers what no store should: one kind of answer a server, for tests and for store.py."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>%s</Message></Error>"
LIST = b"<?xml version='1.0'?><ListBucketResult><Name>slimline</Name>%s</ListBucketResult>"
ITEM = b"<Contents><Key>%s</Key><Size>%s</Size><LastModified>%s</LastModified></Contents>"
TIME = b"2026-01-01T00:00:00.000Z"
BASE = b"releases/digits"
RELEASE = BASE + b"/" + b"a" * 20 + b"/release.json"
ALIAS = BASE + b"/aliases/latest.json"
TAG = {"ETag": '"1"'}
BOMB = b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "' + b"a" * 64 + b'">%s]><ListBucketResult><Name>&j;</Name></ListBucketResult>'


class Answer(BaseHTTPRequestHandler):
    """One request; what it gets is the server's `answer`."""

    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle_any(self) -> None:
        """Read the request, give the answer, and close."""
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.close_connection = True
        with suppress(OSError):
            self.server.answer(self)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any  # noqa: N815 - http.server asks for these names

    def give(self, status: int, body: bytes = b"", *, length: int | None = None, **headers: str) -> None:
        """Send status, headers and body; `length` is the Content-Length that it claims."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body) if length is None else length), "Connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def listing(*items: tuple[bytes, bytes, bytes], more: bytes = b"") -> bytes:
    """The XML of one page."""
    return LIST % (b"".join(ITEM % item for item in items) + more)


def by_kind(body: Callable[[Answer], bytes] | bytes, found: bytes = ALIAS) -> Callable[[Answer], None]:
    """A store that lists one object and gives `body` for every object that is asked for."""

    def answer(request: Answer) -> None:
        if request.command == "GET" and "list-type=2" in request.path:
            request.give(200, listing((found, b"1", TIME)) if "prefix" in request.path else listing())
        else:
            request.give(200, body(request) if callable(body) else body, **TAG)

    return answer


def _endless(request: Answer) -> None:
    number = request.server.count = getattr(request.server, "count", 0) + 1
    more = b"<IsTruncated>true</IsTruncated><NextContinuationToken>t%d</NextContinuationToken>" % number
    request.give(200, listing((BASE + b"/x%d" % number, b"1", TIME), more=more), **TAG)


def _reset(request: Answer) -> None:
    request.connection.close()


def _half(request: Answer) -> None:
    request.give(200, b'{"schema": 1, ', length=400, **TAG)


def _slow(_request: Answer) -> None:
    time.sleep(60)


def _drip(request: Answer) -> None:
    request.give(200, b"", length=100, **TAG)
    for _ in range(100):
        request.wfile.write(b" ")
        time.sleep(0.05)


def _huge(request: Answer) -> None:
    if "list-type" in request.path:
        by_kind(b"")(request)
        return
    request.give(200, b"", length=50_000_000_000, **TAG)
    if request.command != "HEAD":
        while True:
            request.wfile.write(b"0" * 1_000_000)


def status(code: int, body: bytes = b"", **headers: str) -> Callable[[Answer], None]:
    """The same answer to every request."""
    return lambda request: request.give(code, body, **headers)


def error(code: int, name: bytes, message: bytes = b"said the store") -> Callable[[Answer], None]:
    """An S3 error to every request."""
    return status(code, ERROR % (name, message), Content_Type="application/xml")


ALIAS_BODIES = {
    "a number": b"7",
    "a list": b"[]",
    "null": b"null",
    "not UTF-8": b"\xff\xfe\x00",
    "cut": b'{"schema": 1, "release": "aa',
    "nested": b"[" * 200_000,
    "a path for an id": b'{"schema": 1, "release": "../../../x", "variant": "a", "target": "b", "releases": {}}',
    "an escape for a name": b'{"schema": 1, "release": "%s", "variant": "\\u001b[31mred", "target": "b", "releases": {}}' % (b"a" * 20),
    "an unknown key": b'{"schema": 1, "release": "%s", "variant": "a", "target": "b", "releases": {}, "x": 1}' % (b"a" * 20),
    "gzip": gzip.compress(b"{}"),
    "nothing": b"",
}
EVERYTHING: dict[str, Callable[[Answer], None]] = {
    "redirect 301": status(301, Location="http://elsewhere.invalid/x"),
    "redirect 302": status(302, Location="http://elsewhere.invalid/x"),
    "redirect 307 to itself": lambda request: request.give(307, Location=f"http://127.0.0.1:{request.server.server_port}{request.path}"),
    "redirect 308 to nowhere": status(308),
    "redirect of another region": status(301, ERROR % (b"PermanentRedirect", b"m"), x_amz_bucket_region="eu-west-1"),
    "wrong region": error(400, b"AuthorizationHeaderMalformed", b"the region 'us-east-1' is wrong; expecting 'eu-west-1'"),
    "illegal location": error(400, b"IllegalLocationConstraintException"),
    "a web page": status(200, b"<!doctype html><html><body>Welcome</body></html>", Content_Type="text/html"),
    "a web page that is no XML": status(200, b"<html>&nbsp;<br><p>Hi", Content_Type="text/html"),
    "a web page, 404": status(404, b"<html>Not here</html>", Content_Type="text/html"),
    "a web page, 502": status(502, b"<html>Bad gateway</html>", Content_Type="text/html"),
    "JSON": status(200, b'{"hello": 1}', Content_Type="application/json", **TAG),
    "nothing, 200": status(200),
    "nothing, 200 with a tag": status(200, **TAG),
    "nothing, 204": status(204),
    "no status": lambda request: request.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "status 600": status(600),
    "status 999": status(999, b"x"),
    "a wrong root": status(200, b"<Other/>", **TAG),
    "cut XML": status(200, b"<ListBucketResult><Contents><Key>", **TAG),
    "an XML bomb": status(200, BOMB % b"".join(b'<!ENTITY %c "%s">' % (98 + one, b"&%c;" % (97 + one) * 50) for one in range(9)), **TAG),
    "an outside entity": status(
        200, b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><ListBucketResult><Name>&e;</Name></ListBucketResult>'
    ),
    "no keys": status(200, LIST % b"<Contents></Contents>", **TAG),
    "no time": status(200, LIST % b"<Contents><Key>releases/digits/x</Key><Size>1</Size></Contents>", **TAG),
    "a time that is none": status(200, listing((RELEASE, b"1", b"yesterday")), **TAG),
    "a size that is none": status(200, listing((RELEASE, b"many", TIME)), **TAG),
    "a list that does not end": _endless,
    "500": error(500, b"InternalError"),
    "503": error(503, b"SlowDown"),
    "503 with Retry-After": status(503, Retry_After="100000"),
    "429": status(429, Retry_After="100000"),
    "408": status(408),
    "501": error(501, b"NotImplemented"),
    "403 of the clock": error(403, b"RequestTimeTooSkewed"),
    "403": error(403, b"AccessDenied"),
    "403 with a terminal's escapes": error(403, b"Access\x07Denied", b"\n\n&#27; line\nline two"),
    "400 that says much": error(400, b"Odd", b"x" * 100_000),
    "400 without a code": status(400, b"<Error></Error>"),
    "412 to everything": error(412, b"PreconditionFailed"),
    "409 to everything": error(409, b"Conflict"),
    "404 of the bucket": error(404, b"NoSuchBucket"),
    "404 of the key": error(404, b"NoSuchKey"),
    "416": error(416, b"InvalidRange"),
    "reset": _reset,
    "half a body": _half,
    "silence": _slow,
    "a body in drops": _drip,
    "a huge object": _huge,
    **{f"an alias that is {kind}": by_kind(body) for kind, body in ALIAS_BODIES.items()},
    **{f"a release.json that is {kind}": by_kind(body, RELEASE) for kind, body in ALIAS_BODIES.items()},
    "an alias of an odd name": by_kind(b"{}", BASE + b"/aliases/&#10;x&lt;y.json"),
    "a key with a line break": by_kind(b"{}", BASE + b"/&#10;&#10;/release.json"),
}


class Server(ThreadingHTTPServer):
    """Serves one kind of answer; silent about clients that leave."""

    daemon_threads = True

    def __init__(self, answer: Callable[[Answer], None]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.answer = answer

    def handle_error(self, *_: object) -> None:
        """A client that closes first is no error here."""


@contextmanager
def hostile_store(kind: str) -> Iterator[str]:
    """A server of one kind; its endpoint."""
    server = Server(EVERYTHING[kind])
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
