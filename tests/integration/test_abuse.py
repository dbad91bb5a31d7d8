"""What strangers can do to the listener: slow, silent, many, huge, malformed, and all that over TLS.

Each test lets abusers loose on the real daemon while honest senders post events, and wants: every honest
event answered 200; of the abuse nothing stored, and no request served that its sender didn't plainly
send; memory under the bounds that include/http/listener.h states; descriptors back where they were; a
log that doesn't grow with the abuse. How fast the honest are answered meanwhile is `make bench`'s.
"""

import json
import os
import os
import re
import resource
import socket
import ssl
import subprocess
import threading
import time

import harness
from harness import check, equal, wait_until

PATH = "/webhooks/revenuecat"
CONNECTIONS_MAX = 1024  # the default
# The bounds of include/http/listener.h with the defaults, in MiB over the idle daemon: what strangers
# can cause without and with TLS, and what those can who know the secret. They are sizes, not
# times: a slow day doesn't change them. A sanitizer's shadow does.
STRANGERS_MIB = 52
STRANGERS_TLS_MIB = 68
BODIES_MIB = 64
PARSING_MIB = 80
# Time that strangers are to run out of; the honest must not, on the slowest day.
SHORT = f"{int(5 * harness.PATIENCE)}s"


def post(body, authorization=harness.AUTHORIZATION, **headers):
    """A webhook's bytes; underscores in header names are hyphens."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return harness.webhook_request(body, headers={"Authorization": authorization, **sent})


def good():
    return post(json.dumps(harness.renewal()).encode())


class Honest(threading.Thread):
    """Posts one event after another until it is asked to finish: over one connection, or over a new one
    each time."""

    def __init__(self, daemon, address="127.0.0.1", keeps=False):
        super().__init__(daemon=True)
        self.target = daemon
        self.address = address
        self.keeps = keeps
        self.answered = 0
        self.refused = []
        self.done = threading.Event()
        self.connection = None

    def connect(self):
        plain = socket.create_connection(
            ("127.0.0.1", self.target.port), 30 * harness.PATIENCE, (self.address, 0))
        secured = self.target.tls.wrap_socket(plain) if self.target.tls else plain
        self.connection = harness.RawConnection.__new__(harness.RawConnection)
        self.connection.socket = secured
        self.connection.pending = b""

    def post_one(self):
        if not self.connection:
            self.connect()
        self.connection.send(good())
        answer = self.connection.read_answer()
        if not answer or answer.status != 200:
            self.refused.append(answer)
        self.answered += 1
        if not self.keeps:
            self.connection.close()
            self.connection = None

    def run(self):
        while not self.done.is_set():
            try:
                self.post_one()
            except OSError as error:
                self.refused.append(error)
                return
        if self.connection:
            self.connection.close()

    def wait_more(self, count=20):
        wanted = self.answered + count
        wait_until(lambda: self.answered >= wanted or self.refused, 60, "an honest sender is served")

    def finish(self):
        self.done.set()
        self.join(60 * harness.PATIENCE)
        equal(self.refused, [], f"what an honest sender at {self.address} got that isn't 200, "
              f"after {self.answered} answers")
        return self.answered


class Abuse:
    """A daemon, what it was like before, its honest senders, and the strangers' sockets."""

    def __init__(self, t, config=None, tls=False):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.daemon = t.daemon(config={"log.level": "warn", **(config or {})}, start=False)
        if tls:
            self.use_tls(t)
        self.daemon.start()
        self.daemon.accept(harness.renewal())
        self.daemon.disconnect()
        self.sockets = []
        self.honest = []
        self.legal = 0  # events that abusers sent as anybody may
        self.rss_before = self.daemon.rss_kb()
        self.rss_peak = self.rss_before
        self.fds_before = self.wait_quiet()

    def use_tls(self, t):
        certificate, key = t.path("certificate.pem"), t.path("key.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
            check=True, capture_output=True)
        self.daemon.set(server__tls_certificate=certificate, server__tls_key=key)
        self.daemon.tls = ssl._create_unverified_context()

    def fds(self):
        return len(os.listdir(f"/proc/{self.daemon.process.pid}/fd"))

    def wait_quiet(self):
        """Descriptors, once no connection is open."""
        def sockets():
            with open("/proc/net/tcp", encoding="ascii") as file:
                port = f":{self.daemon.port:04X}"
                return [line for line in file if line.split()[1].endswith(port)
                        and line.split()[3] == "01"]  # established
        wait_until(lambda: not sockets(), 60, "all connections are gone")
        return self.fds()

    def open(self, count=1):
        """New connections of strangers, all from 127.0.0.1. Not blocking."""
        opened = []
        for _ in range(count):
            stranger = socket.create_connection(("127.0.0.1", self.daemon.port), 30 * harness.PATIENCE)
            stranger.setblocking(False)
            opened.append(stranger)
        self.sockets += opened
        return opened

    def with_honest(self):
        """From the abusers' address and from another, keeping their connection and not."""
        for address in ("127.0.0.1", "127.0.0.2"):
            for keeps in (True, False):
                self.honest.append(Honest(self.daemon, address, keeps))
        for sender in self.honest:
            sender.start()
        self.wait_served(1)

    def wait_served(self, count=20):
        """Until each honest sender has had that many more answers."""
        for sender in self.honest:
            sender.wait_more(count)
        self.rss_peak = max(self.rss_peak, self.daemon.rss_kb())

    def used_mib(self):
        return (self.rss_peak - self.rss_before) / 1024

    def check_memory(self, mib):
        self.rss_peak = max(self.rss_peak, self.daemon.rss_kb())
        check(harness.INSTRUMENTED or self.used_mib() <= mib,
              lambda: f"{self.used_mib():.0f} MiB more than before, at most {mib} are promised")

    def finish(self):
        """Lets go of all, and looks whether the daemon is as it was."""
        answered = sum(sender.finish() for sender in self.honest)
        for stranger in self.sockets:
            stranger.close()
        wait_until(lambda: self.fds() <= self.fds_before, 60, "descriptors are back")
        status = self.daemon.status()
        equal(status["received"], 1 + answered + self.legal, "events received")
        equal(self.daemon.get("/readyz").status, 200)
        self.daemon.accept(harness.renewal())
        lines = self.daemon.stderr().splitlines()
        check(len(lines) < 100, lambda: f"{len(lines)} lines in the log:\n" + "\n".join(lines[-20:]))


def send_some(stranger, data):
    """What fits; False when the other side has closed."""
    try:
        stranger.send(data)
    except BlockingIOError:
        pass
    except OSError:
        return False
    return True


def is_over(stranger):
    """Whether the daemon has closed this connection (what it said before is read away)."""
    try:
        while stranger.recv(65536):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


# ---- many and slow ----

def test_silent_crowd(t):
    """Three times connections_max connect from one address and say nothing, for longer than anybody
    waits: only making room for newcomers keeps the honest served."""
    t.expect_log("connections_max is reached")
    abuse = Abuse(t, {"server.request_timeout": "5m"})
    abuse.with_honest()
    for _ in range(30):
        abuse.open(100)
        abuse.wait_served(1)
    abuse.wait_served()
    check(abuse.fds() <= abuse.fds_before + CONNECTIONS_MAX * 17 // 16 + 8,
          lambda: f"{abuse.fds()} descriptors")
    check(sum(is_over(s) for s in abuse.sockets) >= 3000 - CONNECTIONS_MAX * 17 // 16,
          "the oldest strangers are still there")
    abuse.check_memory(STRANGERS_MIB)
    abuse.finish()


def test_half_requests(t):
    """As many as there is room for, each stopped at another place, with as much memory as they can get."""
    t.expect_log("connections_max is reached", "a webhook was refused")
    abuse = Abuse(t, {"server.request_timeout": "5m"})
    abuse.with_honest()
    whole = post(b"x" * 900000, "Bearer wrong", X_Long="a" * 7000)
    ends = [1, 5, 30, whole.index(b"X-Long") + 7000, whole.index(b"\r\n\r\n") + 2]
    for i in range(15):
        for j, stranger in enumerate(abuse.open(100)):
            send_some(stranger, whole[:ends[(i + j) % len(ends)]])
        abuse.wait_served(1)
    abuse.wait_served()
    abuse.check_memory(STRANGERS_MIB)
    abuse.finish()


def test_slow_senders(t):
    """A byte now and then, in the request line, the headers and the body; the time of the whole request is
    limited, and nobody waits for them meanwhile."""
    t.expect_log("connections_max is reached", "a webhook was refused")
    abuse = Abuse(t, {"server.request_timeout": SHORT, "server.connections_max": "256"})
    abuse.with_honest()
    whole = post(b"x" * 5000, X_Long="a" * 4000)
    starts = (0, 5, whole.index(b"X-Long") + 10, whole.index(b"\r\n\r\n") + 4)
    trickles = []
    for i, stranger in enumerate(abuse.open(400)):
        at = starts[i % len(starts)]
        send_some(stranger, whole[:at])
        trickles.append([stranger, at])
    deadline = time.monotonic() + 60 * harness.PATIENCE
    while trickles:
        check(time.monotonic() < deadline, lambda: f"{len(trickles)} trickle on for ever")
        for trickle in trickles:
            trickle[1] += 1
            if is_over(trickle[0]) or not send_some(trickle[0], whole[trickle[1]:trickle[1] + 1]):
                trickle[0].close()
        trickles = [trickle for trickle in trickles if trickle[0].fileno() >= 0]
        time.sleep(0.02)  # the abusers' pace
    abuse.wait_served()
    abuse.check_memory(STRANGERS_MIB)
    abuse.finish()


def test_connects_and_aborts(t):
    """New connections as fast as they go, reset at once or after a request."""
    t.expect_log("connections_max is reached", "a webhook was refused")
    abuse = Abuse(t, {"server.connections_max": "256"})
    abuse.with_honest()
    reset = bytes([1, 0, 0, 0, 0, 0, 0, 0])
    refused = post(b"{}", "Bearer wrong")
    for i in range(3000):
        stranger = socket.create_connection(("127.0.0.1", abuse.daemon.port), 30 * harness.PATIENCE)
        if i % 2:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        if i % 3:
            stranger.sendall(refused)
        stranger.close()
    abuse.wait_served()
    abuse.check_memory(STRANGERS_MIB)
    abuse.finish()


def test_refused_who_stay(t):
    """Refused ones who don't hang up hold a place until somebody needs it."""
    t.expect_log("connections_max is reached", "a webhook was refused")
    abuse = Abuse(t, {"server.request_timeout": "5m", "server.connections_max": "256"})
    abuse.with_honest()
    refused = post(b"{}", "Bearer wrong")
    for _ in range(8):
        for stranger in abuse.open(100):
            send_some(stranger, refused)
        abuse.wait_served(1)
    abuse.wait_served()
    abuse.check_memory(STRANGERS_MIB)
    abuse.finish()


def test_flood_of_refusals(t):
    """A log line a second at most, however many are refused; the count is exact."""
    t.expect_log("a webhook was refused")
    abuse = Abuse(t)
    began = time.monotonic()
    for _ in range(20):
        strangers = abuse.open(100)
        for stranger in strangers:
            send_some(stranger, post(b"{}", "Bearer wrong"))
        for stranger in strangers:
            wait_until(lambda s=stranger: is_over(s), 30, "a refused connection is closed")
            stranger.close()
    took = time.monotonic() - began
    lines = [line for line in abuse.daemon.stderr().splitlines() if "a webhook was refused" in line]
    check(1 <= len(lines) <= took + 2, lambda: f"{len(lines)} lines in {took:.1f} s")
    equal(abuse.daemon.status()["unauthorized"], 2000)
    abuse.finish()


def test_nobody_reads_the_answers(t):
    """A known sender pipelines a thousand events in one piece: all are served. Then many do so and read
    none of the answers: they are closed in time, and what they sent plainly is stored."""
    abuse = Abuse(t, {"server.request_timeout": SHORT})
    abuse.with_honest()
    connection = abuse.daemon.raw(timeout=60)
    connection.send(b"".join(good() for _ in range(1000)))
    for _ in range(1000):
        equal(connection.read_answer().status, 200)
    connection.close()
    for stranger in abuse.open(20):
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stranger.setblocking(True)
        stranger.sendall(b"".join(good() for _ in range(20)))
    abuse.legal = 1400
    wait_until(lambda: abuse.fds() <= abuse.fds_before + len(abuse.honest), 60,
               "who reads nothing is closed")
    abuse.check_memory(STRANGERS_MIB)
    abuse.finish()


# ---- huge and odd requests ----

def conversation(daemon, data):
    """Sends, closes its own side, and reads to the end: what all of it was answered."""
    connection = daemon.raw(timeout=30)
    try:
        connection.send(data)
        connection.socket.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # refused half-way
    answers = []
    while True:
        answer = connection.read_answer()
        if not answer:
            connection.close()
            return answers
        answers.append(answer.status)


def head(*lines, method="POST", path=PATH, version="HTTP/1.1", host="Host: t"):
    lines = [f"{method} {path} {version}", host, f"Authorization: {harness.AUTHORIZATION}", *lines]
    return "\r\n".join(line for line in lines if line).encode("latin-1") + b"\r\n\r\n"


def chunked(body, size=None, extension=b"", end=b"0\r\n\r\n"):
    size = b"%x" % len(body) if size is None else size
    return size + extension + b"\r\n" + body + b"\r\n" + end


def test_bombs(t):
    """Too much of everything: refused while it comes."""
    t.expect_log("a webhook")
    abuse = Abuse(t)
    abuse.with_honest()
    chunk_head = head("Transfer-Encoding: chunked")
    bombs = {
        "a header of 3 MB": (head("X: " + "a" * 3000000), 431),
        "a line that never ends": (head("X: y")[:-2] + b"X-" + b"a" * 3000000, 431),
        "a hundred thousand headers": (head(*["X: y"] * 100000), 431),
        "a path of 3 MB": (head(path="/" + "a" * 3000000), 414),
        "a method of 1 MB": (head(method="A" * 1000000), 414),
        "a chunk's extension of 3 MB": (chunk_head + chunked(b"{}", extension=b";" + b"a" * 3000000),
                                        500),
        "extensions of many chunks": (chunk_head + b"1;aaaaaaaa=b\r\n \r\n" * 200000 + b"0\r\n\r\n", 400),
        "a hundred thousand chunks": (chunk_head + b"1\r\n[\r\n" * 100000 + b"0\r\n\r\n", 400),
        "a trailer of 3 MB": (chunk_head + chunked(b"{}", end=b"0\r\nX: " + b"a" * 3000000), None),
        "a chunk size that overflows": (chunk_head + chunked(b"{}", size=b"1" + b"0" * 16), 413),
        "the largest chunk size": (chunk_head + chunked(b"x" * 100, size=b"f" * 16), None),
        "a negative chunk size": (chunk_head + chunked(b"{}", size=b"-2"), 400),
        "a Content-Length of 25 digits": (head("Content-Length: " + "9" * 25) + b"{}", 413),
        "a Content-Length over body_max": (head("Content-Length: 99999999") + b"x" * 9000000, 413),
        "a chunked body of 9 MB": (chunk_head + (b"10000\r\n" + b"x" * 0x10000 + b"\r\n") * 140
                                   + b"0\r\n\r\n", 413),
    }
    for name, (data, status) in bombs.items():
        answers = conversation(abuse.daemon, data)
        check(answers in ([status], []) if status else len(answers) <= 1,
              lambda n=name, a=answers: f"{n}: answered {a}")
    # One that never ends is cut, and nobody keeps what it sent.
    stranger = abuse.daemon.raw(timeout=30)
    sent = 0
    try:
        stranger.send(chunk_head)
        while sent < 200 << 20:
            stranger.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            sent += 0x10000
    except ConnectionError:
        pass
    check(sent < 64 << 20, f"{sent} bytes of a chunked body were taken")
    stranger.close()
    abuse.wait_served(1)
    abuse.check_memory(STRANGERS_MIB)
    abuse.finish()


def smuggling_shapes():
    """name -> (bytes that two servers may read differently, what they may be answered). Behind each comes
    a good event, which must not be served on this connection."""
    body = json.dumps(harness.renewal()).encode()
    n = len(body)
    length = f"Content-Length: {n}"
    chunks = "Transfer-Encoding: chunked"
    good_chunks = chunked(body)
    clean = [400]
    return {
        "two equal lengths": (head(length, length) + body, clean),
        "two lengths": (head(length, "Content-Length: 3") + body, clean),
        "two lengths, the other way": (head("Content-Length: 3", length) + body, clean),
        "a list of lengths": (head(f"Content-Length: {n}, {n}") + body, clean),
        "a length with a sign": (head(f"Content-Length: +{n}") + body, clean),
        "a negative length": (head(f"Content-Length: -{n}") + body, clean),
        "a hexadecimal length": (head(f"Content-Length: 0x{n:x}") + body, clean),
        "an empty length": (head("Content-Length:") + body, clean),
        "length and chunks": (head(length, chunks) + b"0\r\n\r\n", clean),
        "chunks and length": (head(chunks, "Content-Length: 4") + good_chunks, clean),
        "identity": (head("Transfer-Encoding: identity", length) + body, clean),
        "gzip, chunked": (head("Transfer-Encoding: gzip, chunked") + good_chunks, clean),
        "xchunked": (head("Transfer-Encoding: xchunked") + good_chunks, clean),
        "chunked twice": (head(chunks, chunks) + good_chunks, clean),
        "chunked, then identity": (head(chunks, "Transfer-Encoding: identity") + good_chunks, clean),
        "chunks in HTTP/1.0": (head(chunks, version="HTTP/1.0") + good_chunks, clean),
        "space before the colon of the length": (head(f"Content-Length : {n}") + body, clean),
        "tab before the colon of the length": (head(f"Content-Length\t: {n}") + body, clean),
        "space before the colon of chunks": (head("Transfer-Encoding : chunked") + good_chunks, clean),
        "a folded encoding": (head("Transfer-Encoding:\r\n chunked") + good_chunks, clean),
        "a folded header before the host": (
            head(length, host=" X: y\r\nHost: t") + body, clean),
        "a control byte in a name": (head("X\x01: y", length) + body, clean),
        "a NUL in a name": (head("Content-Length\0: 3", length) + body, clean),
        "no name": (head(": x", length) + body, clean),
        "no colon": (head("X", length) + body, clean),
        "a bare CR": (head(f"X: y\r{length}") + body, clean),
        "only bare CRs": (head(length).replace(b"\r\n", b"\r") + body, clean),
        "no host": (head(length, host="") + body, clean),
        "two hosts": (head(length, "Host: u") + body, clean),
        "NUL in the path, encoded": (head(length, path=PATH + "%00x") + body, clean),
        "a GET with a length": (head(length, method="GET", path="/healthz") + body, clean),
        "a GET with chunks": (head(chunks, method="GET", path="/healthz") + good_chunks, clean),
        "a HEAD with a length": (head("Content-Length: 5", method="HEAD", path="/healthz") + b"hello", []),
        "a GET with a bare CR": (
            head("X: y\rContent-Length: 5", method="GET", path="/healthz") + b"hello", [200]),
        "chunk size with a sign": (head(chunks) + chunked(body, size=b"+%x" % n), clean),
        "chunk size with 0x": (head(chunks) + chunked(body, size=b"0x%x" % n), clean),
        "chunk size with a space": (head(chunks) + chunked(body, extension=b" ;a=b"), clean),
        "a chunk longer than it says": (head(chunks) + chunked(body, size=b"%x" % (n - 2)), clean),
        "a chunk shorter than it says": (head(chunks) + b"%x\r\n" % (n + 2) + body + b"\r\n0\r\n\r\n",
                                         clean),
        "a compressed body": (head("Content-Encoding: gzip", length) + body, [415]),
        "HTTP/0.9": (b"GET /healthz\r\n\r\n", clean),
        "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505]),
        "HTTP/3.0": (head(length, version="HTTP/3.0") + body, [505]),
        "HTTP/1.1x": (head(length, version="HTTP/1.1x") + body, clean),
        "an absolute URL": (head(length, path="http://t" + PATH) + body, [404]),
        "two slashes": (head(length, path="/" + PATH) + body, [404]),
        "dots": (head(length, path="/x/.." + PATH) + body, [404]),
        "an asterisk": (head(method="OPTIONS", path="*"), [404]),
        "CONNECT": (head(method="CONNECT", path="t:443"), [404]),
        "a method of 8-bit bytes": (head(length, method="P\xd6ST") + body, [405]),
        "a method in lower case": (head(length, method="post") + body, [405]),
        "tabs in the request line": (b"GET\t/healthz\tHTTP/1.1\r\nHost: t\r\n\r\n", []),
        "a space before the method": (head(length, method=" POST") + body, []),
        "a stranger": (post(body, "Bearer wrong"), [401]),
        "a stranger who announces less": (post(body[:9], "Bearer wrong") + body[9:], [401]),
        "a stranger without a body": (post(b"", None), [401]),
        "an unknown path": (head(length, path="/x") + body, [404]),
        "a health check": (head(method="GET", path="/healthz"), [200]),
    }


def test_smuggling(t):
    """The event behind the odd request is never served, and neither is the odd one."""
    t.expect_log("a webhook")
    abuse = Abuse(t)
    received = abuse.daemon.status()["received"]
    for name, (data, wanted) in smuggling_shapes().items():
        connection = abuse.daemon.raw(timeout=30)
        try:
            connection.send(data + good())
        except ConnectionError:
            pass
        got = b""
        while b"\r\n" not in got and connection._more():
            got = connection.pending
        connection.is_closed()  # by the daemon: this side is still open
        # libmicrohttpd's own answers quote themselves in their body: lines that aren't a head's.
        # A set: libmicrohttpd begins some of its own answers twice.
        statuses = sorted({int(code) for code in
                           re.findall(rb"^HTTP/1\.1 (\d{3}) ", connection.pending, re.MULTILINE)})
        connection.close()
        # HEAD is answered without a body, and what isn't HTTP at all perhaps with nothing.
        check(statuses == wanted or (not wanted and statuses in ([], [400])),
              lambda n=name, s=statuses, w=wanted: f"{n}: answered {s}, not {w}")
        equal(abuse.daemon.status()["received"], received, f"events received after {name}")
    abuse.finish()


def test_odd_but_plain(t):
    """What everybody reads in the same way is served, also when few would send it."""
    abuse = Abuse(t)
    for name in ("upper case", "extension", "bare LF", "HTTP/1.0", "escaped", "empty lines", "expect"):
        body = json.dumps(harness.renewal()).encode()
        length = f"Content-Length: {len(body)}"
        data = {
            "upper case": head("TRANSFER-ENCODING: CHUNKED") + chunked(body),
            "extension": head("Transfer-Encoding: chunked") + chunked(body, extension=b";a=b"),
            "bare LF": head(length).replace(b"\r\n", b"\n") + body,
            "HTTP/1.0": head(length, version="HTTP/1.0", host="") + body,
            "escaped": head(length, path="/%77ebhooks/revenuecat?%00") + body,
            "empty lines": b"\r\n\r\n" + head(length) + body,
            "expect": head(length, "Expect: 200-ok") + body,
        }[name]
        if name == "escaped":
            data = data.replace(b"?%00", b"?x=%41")
        connection = abuse.daemon.raw(timeout=30)
        connection.send(data)
        equal(connection.read_answer().json(), {"status": "accepted"}, name)
        connection.close()
        abuse.legal += 1
    abuse.finish()


# ---- bodies ----

def json_bombs():
    event = json.dumps(harness.renewal()).encode()
    return {
        "100,000 arrays deep": b"[" * 100000,
        "200,000 objects deep": b'{"event":' * 100000,
        "330,000 arrays": b"[" + b",".join([b"[]"] * 330000) + b"]",
        "330,000 objects": b"[" + b",".join([b"{}"] * 330000) + b"]",
        "500,000 numbers": b"[" + b",".join([b"1"] * 500000) + b"]",
        "100,000 keys": b"{" + b",".join(b'"%x":1' % i for i in range(100000)) + b"}",
        "a number of a million digits": b"1" * 1000000,
        "a number like 1e999999": b'{"event":{"id":"x","type":"TEST","event_timestamp_ms":1e999999}}',
        "a text of a megabyte": b'"' + b"a" * 1000000 + b'"',
        "160,000 half surrogates": b'["' + b"\\ud800" * 160000 + b'"]',
        "invalid UTF-8": b'{"event":{"id":"\xff\xfe\xc0\xaf","type":"TEST"}}',
        "overlong UTF-8": b'{"event":{"id":"\xc1\x81","type":"TEST"}}',
        "a surrogate in UTF-8": b'{"event":{"id":"\xed\xa0\x80","type":"TEST"}}',
        "a NUL in the id": b'{"event":{"id":"a\\u0000b","type":"TEST","event_timestamp_ms":1}}',
        "NULs": b"\0" * 100000,
        "a byte order mark": b"\xef\xbb\xbf" + event,
        "UTF-16": event.decode().encode("utf-16"),
        "compressed": b"\x1f\x8b\x08\x00" + os.urandom(5000),
        "something behind the event": event + b"{}",
    }


def test_json_bombs(t):
    """400 with a reason in bounded memory to those who know the secret, 401 to all others."""
    t.expect_log("a webhook")
    abuse = Abuse(t)
    abuse.with_honest()
    for name, body in json_bombs().items():
        answer = abuse.daemon.post(body)
        equal(answer.status, 400, name)
        check(len(answer.json()["error"]) > 5 and len(answer.body) < 300,
              lambda n=name, a=answer: f"{n}: {a}")
        equal(abuse.daemon.post(body, authorization="Bearer wrong").status, 401, name)
    abuse.daemon.disconnect()
    equal(abuse.daemon.post(harness.renewal(id="twice", **{"type": "TEST"})).status, 200)
    abuse.daemon.disconnect()
    abuse.legal += 1
    # On all threads at once: the most that is parsed, and what isn't.
    worst = [post(b"[" + b",".join([b"{}"] * 29000) + b"]" + b" " * 900000),
             post(json_bombs()["330,000 objects"])]
    threads = [threading.Thread(target=lambda: [conversation(abuse.daemon, worst[i % 2]) for i in range(6)])
               for _ in range(24)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        abuse.check_memory(STRANGERS_MIB + BODIES_MIB + PARSING_MIB)
        time.sleep(0.01)  # how often memory is looked at
    abuse.wait_served(1)
    abuse.finish()


def test_bodies_of_strangers(t):
    """Who isn't authorized gets no memory for a body: a thousand megabytes leave no trace."""
    t.expect_log("a webhook was refused")
    abuse = Abuse(t)
    abuse.with_honest()
    request = post(b"x" * 1000000, "Bearer wrong")
    strangers = abuse.open(950)
    sent = {stranger: 0 for stranger in strangers}
    for _ in range(40):
        for stranger in strangers:
            try:
                sent[stranger] += stranger.send(request[sent[stranger]:sent[stranger] + 25000])
            except OSError:
                pass
        abuse.rss_peak = max(abuse.rss_peak, abuse.daemon.rss_kb())
    abuse.wait_served()
    abuse.check_memory(STRANGERS_MIB / 2)  # they have no body either to keep for the next request
    equal(abuse.daemon.status()["unauthorized"], 950)
    abuse.finish()


def test_bodies_of_those_who_know(t):
    """All bodies together are bounded also for those with the secret, and usual events still get in."""
    abuse = Abuse(t, {"server.request_timeout": "5m"})
    abuse.with_honest()
    request = post(b"x" * 1000000)
    senders = [abuse.daemon.raw(timeout=60) for _ in range(200)]
    for sender in senders:
        sender.send(request[:-1])
    abuse.wait_served()
    abuse.check_memory(STRANGERS_MIB + BODIES_MIB)
    t.expect_log("a webhook could not be understood")
    statuses = []
    for sender in senders:
        sender.send(b"x")
        answer = sender.read_answer()
        statuses.append(answer.status)
        if answer.status == 503:
            check(int(answer.headers["Retry-After"]) > 0, "no Retry-After")
        sender.close()
    check(set(statuses) == {400, 503}, f"answers: {set(statuses)}")
    check(statuses.count(400) >= BODIES_MIB // 2, f"{statuses.count(400)} bodies were taken")
    equal(abuse.daemon.post(b"y" * 1000000).status, 400, "a large body, when they are gone")
    abuse.daemon.disconnect()
    abuse.finish()


# ---- TLS ----

def client_hello(context):
    """The bytes of a ClientHello, and the session they begin."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing)
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def test_tls_garbage(t):
    """What isn't TLS, isn't finished, or is broken off: all of it more often than there is room for."""
    t.expect_log("connections_max is reached")
    abuse = Abuse(t, {"server.request_timeout": "5m"}, tls=True)
    abuse.with_honest()
    hello = client_hello(abuse.daemon.tls)
    openings = [b"", b"\x16", hello[:20], hello[:-1], hello, good(), os.urandom(500), b"\x16\x03\x01\xff\xff",
                b"\x15\x03\x03\x00\x02\x02\x28", b"\x80\x2e\x01\x00\x02" + b"\0" * 50, hello + hello,
                hello + b"\x16\x03\x03\x40\x00" + os.urandom(5000)]
    for i in range(16):
        for j, stranger in enumerate(abuse.open(100)):
            send_some(stranger, openings[(i + j) % len(openings)])
        abuse.wait_served(1)
    abuse.wait_served(5)
    abuse.check_memory(STRANGERS_TLS_MIB)
    abuse.finish()


def test_tls_aborted(t):
    """Handshakes broken off at their end, whole ones without a request, and half requests inside."""
    t.expect_log("connections_max is reached", "a webhook was refused")
    abuse = Abuse(t, {"server.request_timeout": "5m", "server.connections_max": "256"}, tls=True)
    abuse.with_honest()
    half = post(b"x" * 100000, "Bearer wrong")
    for i in range(600):
        stranger = socket.create_connection(("127.0.0.1", abuse.daemon.port), 30 * harness.PATIENCE)
        try:
            secured = abuse.daemon.tls.wrap_socket(stranger)
        except OSError:
            continue  # cut for somebody else meanwhile
        if i % 3 == 0:
            secured.close()
            continue
        abuse.sockets.append(secured)
        try:
            secured.sendall(half[:300 if i % 3 == 1 else len(half) - 1])
        except OSError:
            pass
        if i % 50 == 0:
            abuse.wait_served(1)
    abuse.wait_served(5)
    abuse.check_memory(STRANGERS_TLS_MIB)
    abuse.finish()


def test_tls_renegotiation(t):
    """Asking for another handshake over and over (TLS 1.2) ends the connection, not the daemon."""
    abuse = Abuse(t, {"server.request_timeout": SHORT}, tls=True)
    client = subprocess.run(
        ["openssl", "s_client", "-tls1_2", "-legacy_renegotiation", "-connect",
         f"127.0.0.1:{abuse.daemon.port}"], input=b"R\n" * 50, capture_output=True,
        timeout=60 * harness.PATIENCE, check=False)
    check(b"RENEGOTIATING" in client.stdout + client.stderr, lambda: f"{client.stderr[-300:]}")
    check((client.stdout + client.stderr).count(b"RENEGOTIATING") < 50, "it renegotiates for ever")
    abuse.finish()


if __name__ == "__main__":
    harness.main()
