"""Every row of the HTTP table in the contract, and what strangers may send instead of a webhook."""

import json
import random
import select
import sqlite3
import time

import harness
from harness import check, equal, wait_until

PATH = "/webhooks/revenuecat"


def dry(t, **config):
    """A daemon that needs no Intercom."""
    return t.daemon(config={name.replace("__", "."): value for name, value in config.items()})


def stored(daemon):
    return daemon.cli_json("events")


def test_accepted_and_duplicate(t):
    daemon = dry(t)
    event = harness.initial_purchase()
    answer = daemon.post(event)
    equal((answer.status, answer.json()), (200, {"status": "accepted"}))
    equal(answer.headers.get_content_type(), "application/json")
    answer = daemon.post(event)
    equal((answer.status, answer.json()), (200, {"status": "duplicate"}))
    equal(len(stored(daemon)), 1)


def test_ignored(t):
    daemon = dry(t)
    events = [
        harness.dashboard_test(),
        harness.initial_purchase(environment="SANDBOX"),
        harness.event("SOMETHING_NEW_IN_2031"),
        harness.event("INVOICE_ISSUANCE"),
        harness.event("RENEWAL", paywall_id="pw1"),
        harness.uncancellation(),  # its name is off by default, see [event_names]
    ]
    for event in events[:5]:
        answer = daemon.post(event)
        equal(answer.status, 200)
        equal(answer.json()["status"], "ignored", event["event"]["type"])
        check(answer.json()["reason"], "no reason")
    equal(daemon.post(events[0]).json(), {"status": "duplicate"})
    equal(len(stored(daemon)), 5)
    equal({e["state"] for e in stored(daemon)}, {"ignored"})
    equal(daemon.post(events[5]).json()["status"], "accepted", "its attributes are sent all the same")


def test_unauthorized(t):
    t.expect_log("level=warn")
    daemon = dry(t)
    body = harness.initial_purchase()
    for authorization in (None, "", "Bearer wrong", harness.AUTHORIZATION + "x",
                          harness.AUTHORIZATION[:-1], harness.AUTHORIZATION.lower(),
                          " " * 4000, "Basic dGVzdDp0ZXN0"):
        answer = daemon.post(body, authorization=authorization)
        equal(answer.status, 401, f"answer to {authorization!r}")
        equal(daemon.post(b"not even JSON", authorization=authorization).status, 401)
    equal(stored(daemon), [])
    equal(daemon.post(body).json(), {"status": "accepted"})


def wrapped(**fields):
    return json.dumps({"api_version": "1.0", "event": fields}).encode()


def good_body():
    return json.dumps(harness.renewal()).encode()


MALFORMED = [
    b"", b" ", b"\n\n", b"{", b"}", b"[", b"]", b"null", b"true", b"17", b'"text"', b"[]", b"{}",
    b'{"event":null}', b'{"event":[]}', b'{"event":"RENEWAL"}', b'{"event":{}}', b'{"event":7}',
    wrapped(type="RENEWAL"), wrapped(id="only-an-id"), wrapped(type=5, id="x", event_timestamp_ms=1),
    wrapped(type="RENEWAL", id=""), wrapped(type="RENEWAL", id=None), wrapped(type="RENEWAL", id=[]),
    b"{'event':{}}", b'{"event":{"type":"RENEWAL",}}', b'{"event":{"id":"\xff\xfe"}}',
    b'{"event":{"id":"\\ud800"}}', b'{"event":{"id":"a\nb"}}', b'{"event":{"id":NaN}}',
    b"[" * 50000, b'{"event":' * 3000, b"\0" * 100, b"<html></html>", b"a=b&c=d",
    b'{"event":{"id":"x"}} {"event":{}}', b"\x1f\x8b\x08\x00garbage",
]


def test_malformed_bodies(t):
    t.expect_log("level=warn")
    daemon = dry(t)
    truncated = [good_body()[:n] for n in (1, 100, len(good_body()) - 1)]
    for body in MALFORMED + truncated + [good_body() + b"x", good_body() * 2]:
        answer = daemon.post(body)
        equal(answer.status, 400, f"answer to {body[:60]!r}")
        words = answer.json()
        check(any(isinstance(v, str) and len(v) > 5 for v in words.values()),
              lambda words=words: f"says not what is wrong: {words}")
    equal(stored(daemon), [])
    daemon.accept(harness.initial_purchase())


def test_odd_but_usable_bodies(t):
    daemon = dry(t)
    odd = [
        harness.renewal(unknown={"deep": [1, {"x": None}]}, price="free", tax_percentage=None),
        harness.renewal(store="A_STORE_OF_2031", period_type="WEEKLY_TREAT"),
        harness.renewal(user="a/b?c#d %$RCAnonymousID:é\u2028\U0001f600" + "x" * 80),
        harness.renewal(expiration_at_ms=None, entitlement_ids=None, product_id=None),
        harness.renewal(aliases=None, subscriber_attributes=None, original_app_user_id=...),
        harness.event("RENEWAL", metadata={"a": "b"}, entitlement_ids=["x"] * 500),
    ]
    for event in odd:
        equal(daemon.post(event).status, 200, f"answer to {str(event)[:80]}")
    spaced = json.dumps(harness.renewal(), indent=8).encode()
    equal(daemon.post(b" \r\n\t" + spaced + b"\n").json(), {"status": "accepted"})
    equal(daemon.post(harness.renewal(), headers={"Content-Type": "text/plain"}).status, 200)
    daemon.wait_idle()


def test_too_large(t):
    t.expect_log("level=warn")
    daemon = dry(t, server__body_max="4k")
    fits = good_body()
    fits += b" " * (4096 - len(fits))
    equal(daemon.post(fits).json(), {"status": "accepted"}, "exactly body_max")
    equal(daemon.post(b"x" * 5000, authorization=None).status, 413, "too large, of a stranger")
    equal(daemon.post(good_body().ljust(4097)).status, 413)
    # By its announcement, before a byte of the body was sent.
    connection = daemon.raw()
    connection.send(harness.webhook_request(b"", headers={"Content-Length": "9999999"}))
    equal(connection.read_answer().status, 413)
    connection.close()
    # Without an announcement: chunk by chunk, until it is too much.
    connection = daemon.raw()
    connection.send(harness.webhook_request(
        b"", headers={"Content-Length": None, "Transfer-Encoding": "chunked"}))
    try:
        for _ in range(64):
            connection.send(b"400\r\n" + b" " * 1024 + b"\r\n")
        connection.send(b"0\r\n\r\n")
        equal(connection.read_answer().status, 413)
    except ConnectionError:
        pass  # closed while we were sending: that is an answer, too
    connection.close()
    equal(len(stored(daemon)), 1)
    equal(daemon.get("/healthz").status, 200)


def test_chunked_body(t):
    daemon = dry(t)
    body = good_body()
    connection = daemon.raw()
    connection.send(harness.webhook_request(
        b"", headers={"Content-Length": None, "Transfer-Encoding": "chunked"}))
    for i in range(0, len(body), 100):
        piece = body[i:i + 100]
        connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
    connection.send(b"0\r\n\r\n")
    equal(connection.read_answer().json(), {"status": "accepted"})
    connection.close()


def test_method_and_path(t):
    daemon = dry(t)
    for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD"):
        answer = daemon.request(method, PATH, headers={"Authorization": harness.AUTHORIZATION})
        equal(answer.status, 405, method)
        check("POST" in answer.headers["Allow"], f"Allow: {answer.headers['Allow']}")
    answer = daemon.request("POST", "/healthz", "{}")
    equal(answer.status, 405)
    check("GET" in answer.headers["Allow"], f"Allow: {answer.headers['Allow']}")
    for path in ("/", "/webhooks", PATH + "/", PATH + "x", "/webhooks/stripe", "/../etc/passwd",
                 "/" + "x" * 2000):
        equal(daemon.request("POST", path, "{}").status, 404, path[:40])
    equal(daemon.post(harness.renewal(), path=PATH + "?from=revenuecat").json(),
          {"status": "accepted"}, "with a query")


def test_health(t):
    daemon = dry(t)
    for path in ("/healthz", "/readyz"):
        equal(daemon.get(path).status, 200, path)
        answer = daemon.request("HEAD", path)
        equal((answer.status, answer.body), (200, b""), path)


def test_custom_path(t):
    daemon = dry(t, revenuecat__path="/hooks/rc")
    equal(daemon.post(harness.renewal()).status, 404)
    equal(daemon.post(harness.renewal(), path="/hooks/rc").json(), {"status": "accepted"})


def test_half_sent_requests_are_closed(t):
    t.expect_log("level=warn")
    daemon = dry(t, server__request_timeout="1s")
    whole = harness.webhook_request(good_body())
    halves = [whole[:1], whole[:30], whole[:whole.index(b"\r\n\r\n") + 4], whole[:-1], b"\r\n", b"GE"]
    connections = [daemon.raw(timeout=10) for _ in halves]
    for connection, half in zip(connections, halves):
        connection.send(half)
    idle = daemon.raw(timeout=10)
    for connection in connections + [idle]:
        connection.is_closed()
    equal(stored(daemon), [])
    equal(daemon.get("/healthz").status, 200)


def test_trickling_request_is_closed(t):
    t.expect_log("level=warn")
    daemon = dry(t, server__request_timeout="1s")
    whole = harness.webhook_request(good_body())
    connection = daemon.raw(timeout=10)
    began = time.monotonic()
    closed = False
    for i in range(len(whole) - 1):
        try:
            connection.send(whole[i:i + 1])
        except ConnectionError:
            closed = True
            break
        if select.select([connection.socket], [], [], 0.05)[0]:
            closed = True  # an answer or the end: both say that it gave up
            break
        check(time.monotonic() - began < 8, "a byte now and then keeps a connection for ever")
    check(closed, "never closed")
    equal(stored(daemon), [])


def test_client_hangs_up(t):
    daemon = dry(t)
    for _ in range(50):
        connection = daemon.raw()
        connection.send(harness.webhook_request(good_body()))
        connection.close()
        connection = daemon.raw()
        connection.send(harness.webhook_request(good_body())[:-20])
        connection.close()
    # Those that were whole may or may not be stored; the daemon is fine.
    daemon.accept(harness.renewal())
    equal(daemon.get("/readyz").status, 200)


def test_binary_noise(t):
    t.expect_log("level=warn")
    daemon = dry(t, server__request_timeout="1s")
    source = random.Random(20261121)
    connections = []
    for i in range(60):
        noise = source.randbytes(source.choice((1, 10, 100, 1000, 20000)))
        if i % 3 == 0:
            noise = b"POST " + noise + b"\r\n\r\n"
        if i % 5 == 0:
            noise = harness.webhook_request(noise)
        connection = daemon.raw(timeout=15)
        try:
            connection.send(noise)
        except ConnectionError:
            pass
        connections.append(connection)
    for connection in connections:
        try:
            connection.socket.shutdown(1)
            connection.is_closed()
        except OSError as error:
            check(not isinstance(error, TimeoutError), "noise keeps a connection open")
        connection.close()
    equal(stored(daemon), [])
    daemon.accept(harness.renewal())


def test_pipelined_requests(t):
    daemon = dry(t)
    connection = daemon.raw()
    connection.send(b"".join(harness.webhook_request(good_body()) for _ in range(20)))
    for _ in range(20):
        equal(connection.read_answer().json(), {"status": "accepted"})
    connection.close()
    equal(len(stored(daemon)), 20)


def burst(daemon, count):
    """That many requests become ready in one instant; all must be answered at once."""
    connections = [daemon.raw(timeout=10) for _ in range(count)]
    for connection in connections:
        connection.send(harness.webhook_request(good_body()))
    for connection in connections:
        equal(connection.read_answer().status, 200)
    daemon.freeze()
    for connection in connections:
        connection.send(harness.webhook_request(good_body()))
    began = time.monotonic()
    daemon.thaw()
    for connection in connections:
        answer = connection.read_answer()
        check(answer and answer.json() == {"status": "accepted"}, f"of {count} at once: {answer}")
    took = time.monotonic() - began
    for connection in connections:
        connection.close()
    check(took < 3 * harness.PATIENCE, f"{count} requests at once took {took:.1f} s")


def skip_under_a_tool():
    if harness.UNDER:
        raise harness.Skip("under a tool no instant is short enough")


def test_requests_in_one_instant(t):
    skip_under_a_tool()
    daemon = dry(t)
    for count in (64, 127, 128, 129, 256, 512):
        burst(daemon, count)


def test_requests_in_one_instant_on_new_connections(t):
    skip_under_a_tool()
    daemon = dry(t)
    for count in (64, 127, 128, 129, 256, 512):
        daemon.freeze()
        connections = [daemon.raw(timeout=10) for _ in range(count)]
        for connection in connections:
            connection.send(harness.webhook_request(good_body()))
        began = time.monotonic()
        daemon.thaw()
        for connection in connections:
            equal(connection.read_answer().status, 200, f"of {count} at once")
            connection.close()
        took = time.monotonic() - began
        check(took < 3 * harness.PATIENCE, f"{count} at once took {took:.1f} s")


def test_more_connections_than_allowed(t):
    t.expect_log("level=warn")
    daemon = dry(t, server__connections_max="20", server__request_timeout="2s")
    connections = []
    for _ in range(60):
        connections.append(daemon.raw(timeout=10))
    for connection in connections:
        connection.close()
    wait_until(lambda: daemon.get("/healthz").status == 200, 15, "serves again")


def test_store_locked_then_free(t):
    t.expect_log("level=warn", "level=error")
    daemon = dry(t)
    daemon.accept(harness.renewal())
    event = harness.renewal()
    thief = sqlite3.connect(daemon.store, isolation_level=None, timeout=10)
    thief.execute("BEGIN IMMEDIATE")
    answer = daemon.post(event)
    equal(answer.status, 503)
    check(int(answer.headers["Retry-After"]) > 0, "no Retry-After")
    equal(daemon.get("/healthz").status, 200)
    thief.execute("ROLLBACK")
    thief.close()
    wait_until(lambda: daemon.get("/readyz").status == 200, 20, "ready again")
    equal(daemon.post(event).json(), {"status": "accepted"}, "the sender's next try")


if __name__ == "__main__":
    harness.main()
