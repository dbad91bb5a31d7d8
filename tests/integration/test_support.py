"""The tools that the other tests trust: the stand-in over HTTP, and the load generator."""

import json
import subprocess
import threading
import time

import harness
from harness import check, equal, wait_until

HEADERS = {"Authorization": "Bearer " + harness.TOKEN, "Accept": "application/json",
           "Content-Type": "application/json", "Intercom-Version": "2.15"}


def call(standin, method, path, body=None):
    http = harness.Http(standin.port)
    try:
        return http.request(method, path, None if body is None else json.dumps(body), HEADERS)
    finally:
        http.close()


def load(port, *arguments):
    result = subprocess.run([harness.LOAD, "--port", str(port), *arguments], capture_output=True,
                            timeout=60, check=True)
    return json.loads(result.stdout)


def test_standin_contact_and_event(t):
    standin = t.standin(limit=100, window_ms=1000, reset_offset_ms=500)
    answer = call(standin, "POST", "/contacts",
                  {"external_id": "$RC:é", "custom_attributes": {"a": "b"}})
    equal(answer.status, 200, "create")
    equal(answer.headers["X-RateLimit-Limit"], "100")
    contact_id = answer.json()["id"]
    answer = call(standin, "POST", "/contacts", {"external_id": "$RC:é"})
    equal((answer.status, answer.json()["errors"][0]["message"]),
          (409, f"A contact matching those details already exists with id={contact_id}"))
    equal(answer.headers["X-Request-Id"], answer.json()["request_id"])
    equal(call(standin, "GET", "/contacts/find_by_external_id/%24RC%3A%C3%A9").json()["id"], contact_id)
    event = {"event_name": "e", "created_at": 1700000000, "id": contact_id,
             "metadata": {"z": 1, "a": {"amount": 5, "currency": "eur"}}}
    for _ in range(2):
        answer = call(standin, "POST", "/events", event)
        equal((answer.status, answer.body), (202, b""))
    state = standin.state()
    equal(len(state["events"]), 1)
    equal(state["events"][0]["external_id"], "$RC:é")
    equal(list(state["events"][0]["metadata"]), ["z", "a"])
    equal(standin.attributes("$RC:é"), {"a": "b"})
    equal([c["kind"] for c in state["calls"]],
          ["create_contact", "create_contact", "find_contact", "submit_event", "submit_event"])
    equal(json.loads(state["calls"][3]["body"]), event)
    equal(state["totals"]["events_repeated"], 1)


def test_standin_keeps_connections(t):
    standin = t.standin()
    http = harness.Http(standin.port)
    for number in range(50):
        equal(http.request("GET", "/me", None, HEADERS).status, 200)
        check(number or http.connection.sock, "closed after the first answer")
    first = http.connection.sock
    equal(http.request("GET", "/me", None, HEADERS).status, 200)
    check(http.connection.sock is first, "the connection was not kept")
    http.close()


def test_standin_takes_requests_in_pieces(t):
    standin = t.standin()
    connection = harness.RawConnection(standin.port)
    body = json.dumps({"external_id": "u1"}).encode()
    request = harness.raw_request("POST", "/contacts", body, HEADERS)
    for i in range(len(request)):
        connection.send(request[i:i + 1])
    equal(connection.read_answer().status, 200)
    connection.send(harness.raw_request("GET", "/me", b"", HEADERS) * 3)  # pipelined
    for _ in range(3):
        equal(connection.read_answer().status, 200)
    connection.close()


def test_standin_holds_hundreds_of_answers(t):
    standin = t.standin(delay_ms=150)
    connections = [harness.RawConnection(standin.port) for _ in range(400)]
    began = time.monotonic()
    for connection in connections:
        connection.send(harness.raw_request("GET", "/me", b"", HEADERS))
    equal({connection.read_answer().status for connection in connections}, {200})
    took = time.monotonic() - began
    check(0.15 <= took < 5, f"400 answers of 150 ms took {took:.2f} s")
    for connection in connections:
        connection.close()


def test_standin_faults(t):
    standin = t.standin()
    standin.rule(path="/me", drop="before")
    standin.rule(path="/contacts", drop="after")
    standin.rule(path="/me", drop="midway")
    standin.rule(path="/me", status=503, code="server_error", message="x", times=2)
    standin.rule(path="/me", delay_ms=200)
    connection = harness.RawConnection(standin.port)
    connection.send(harness.raw_request("GET", "/me", b"", HEADERS))
    equal(connection.read_answer(), None, "answer that was dropped")
    connection = harness.RawConnection(standin.port)
    connection.send(harness.raw_request("POST", "/contacts", b'{"external_id":"u1"}', HEADERS))
    equal(connection.read_answer(), None, "answer that was dropped")
    equal(standin.attributes("u1"), {})
    connection = harness.RawConnection(standin.port)
    connection.send(harness.raw_request("GET", "/me", b"", HEADERS))
    equal(connection.read_answer(), None, "half an answer")
    check(connection.pending.startswith(b"HTTP/1.1 200"), "no half of an answer came")
    equal([call(standin, "GET", "/me").status for _ in range(2)], [503, 503])
    began = time.monotonic()
    equal(call(standin, "GET", "/me").status, 200)
    check(time.monotonic() - began > 0.19, "not delayed")
    equal([c["drop"] for c in standin.calls()],
          ["before", "after", "midway", "no", "no", "no"])


def refused(standin):
    try:
        call(standin, "GET", "/me")
        return None
    except OSError as error:
        return type(error)


def test_standin_down_and_up(t):
    standin = t.standin()
    kept = harness.RawConnection(standin.port)
    kept.send(harness.raw_request("GET", "/me", b"", HEADERS))
    equal(kept.read_answer().status, 200)
    standin.options(down="refuse")
    check(kept.is_closed(), "open connections are reset")
    equal(refused(standin), ConnectionRefusedError)
    standin.options(down=False)
    equal(call(standin, "GET", "/me").status, 200)
    standin.options(down=True)
    equal(refused(standin), ConnectionResetError)
    standin.options(down="hang")
    mute = harness.RawConnection(standin.port, timeout=0.2)
    mute.send(harness.raw_request("GET", "/me", b"", HEADERS))
    try:
        mute.read_answer()
        raise harness.Failure("an answer while hanging")
    except TimeoutError:
        pass
    standin.options(down=False)
    equal(call(standin, "GET", "/me").status, 200)
    equal(standin.totals()["calls"], 3)


def test_standin_limit(t):
    standin = t.standin(limit=5, window_ms=60000)
    statuses = [call(standin, "GET", "/me").status for _ in range(7)]
    # A minute may end meanwhile: then the count began anew.
    check(statuses.count(429) in (0, 1, 2), statuses)
    windows = standin.state()["windows"]
    equal(sum(w["calls"] for w in windows), 7)
    equal(sum(w["refused"] for w in windows), statuses.count(429))
    standin.options(limit=0)
    answer = call(standin, "GET", "/me")
    equal((answer.status, answer.headers["X-RateLimit-Limit"]), (200, None))
    standin.options(token="another")
    equal(call(standin, "GET", "/me").status, 401)
    standin.options(token=None)
    equal(call(standin, "GET", "/me").status, 200)


def test_standin_refuses_nonsense(t):
    standin = t.standin()
    for nonsense in (b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01" * 30 + b"\r\n\r\n",
                     b"POST /events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                     b"POST /events HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                     b"x" * 40000):
        connection = harness.RawConnection(standin.port)
        connection.send(nonsense)
        equal(connection.read_answer().status, 400)
        check(connection.is_closed(), "stays open")
    equal(standin.totals()["calls"], 0)


def test_standin_ends_with_its_stdin(t):
    standin = t.standin()
    standin.process.stdin.close()
    equal(standin.process.wait(10), 0, "exit code")
    second = harness.Standin()
    second.process.terminate()
    equal(second.process.wait(10), 0, "exit code")
    second.stop()


def webhook_sink(t, **options):
    """The stand-in as a web server that says 200 to the load generator."""
    standin = t.standin(token=None, **options)
    standin.rule(method="POST", path="/webhooks/", status=200, answer={"status": "accepted"}, times=0)
    return standin


def test_load_counts(t):
    standin = webhook_sink(t)
    result = load(standin.port, "--requests", "500", "--connections", "7", "--start-id", "1000")
    equal({k: result[k] for k in ("requests", "ok", "not_200", "broken", "unanswered", "next_id")},
          {"requests": 500, "ok": 500, "not_200": {}, "broken": 0, "unanswered": 0, "next_id": 1500})
    check(0 < result["p50_ms"] <= result["p99_ms"] <= result["max_ms"] + 0.01, result)
    calls = standin.calls()
    equal({len(c["body"]) for c in calls}, {1380}, "bytes of a body")
    events = [json.loads(c["body"])["event"] for c in calls]
    equal(len({e["id"] for e in events}), 500, "distinct ids")
    equal(len({e["app_user_id"] for e in events}), 500, "distinct customers")
    equal(len({e["transaction_id"] for e in events}), 500, "distinct transactions")
    equal({e["type"] for e in events}, {"INITIAL_PURCHASE"})
    check(all(e["purchased_at_ms"] < e["event_timestamp_ms"] < e["expiration_at_ms"]
              and e["app_user_id"] in e["aliases"] for e in events), "dates in order")


def test_load_reuses_customers(t):
    standin = webhook_sink(t)
    load(standin.port, "--requests", "60", "--customers", "6")
    events = [json.loads(c["body"])["event"] for c in standin.calls()]
    equal(len({e["app_user_id"] for e in events}), 6)
    equal(len({(e["app_user_id"], e["purchased_at_ms"] // 1000) for e in events}), 60)


def test_load_reports_refusals(t):
    standin = t.standin(token=None)
    standin.rule(status=503, times=10)
    standin.rule(status=200, times=10)
    standin.rule(drop="before", times=3)
    standin.rule(status=200, times=0)
    result = load(standin.port, "--requests", "40", "--connections", "3")
    equal((result["ok"], result["not_200"], result["broken"]), (27, {"503": 10}, 3))


def test_load_keeps_a_rate(t):
    standin = webhook_sink(t)
    result = load(standin.port, "--rate", "400", "--seconds", "1", "--connections", "20")
    equal(result["ok"], 400)
    check(0.9 < result["seconds"] < 5, result)


def test_harness_waits(t):
    del t
    came = threading.Event()
    threading.Timer(0.05, came.set).start()
    wait_until(came.is_set, 5)
    try:
        wait_until(lambda: False, 0.05, "never")
        raise AssertionError("wait_until came back")
    except harness.Failure as failure:
        equal(str(failure), "not within 0.05 s: never")


if __name__ == "__main__":
    harness.main()
