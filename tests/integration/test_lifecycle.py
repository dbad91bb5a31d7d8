"""Starting and stopping: in order, with nothing lost, and one daemon a store."""

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import threading
import time

import harness
from harness import check, equal, wait_until


def test_ends_with_zero_when_idle(t):
    standin, daemon = t.both()
    equal(daemon.stop(), 0, "exit code")
    check(not os.path.exists(daemon.socket), "the control socket is left behind")
    del standin


def test_sigint_ends_it_too(t):
    daemon = t.daemon()
    daemon.signal(signal.SIGINT)
    equal(daemon.wait_end(), 0, "exit code")


def test_starts_where_it_ended(t):
    t.expect_log("level=warn", "level=error")
    standin = t.standin()
    standin.options(down="refuse")
    daemon = t.daemon(standin)
    events = [harness.renewal(f"user-{n}") for n in range(20)]
    daemon.accept(*events)
    equal(daemon.stop(), 0, "exit code")
    standin.options(down=False)
    daemon.start()
    standin.wait_events(20)
    equal({daemon.post(event).json()["status"] for event in events}, {"duplicate"})


def test_sigterm_answers_what_is_in_hand(t):
    """Whatever got an answer of 200 before the end is delivered after the next start."""
    standin, daemon = t.both(delay_ms=50)
    accepted, odd = [], []
    ends = threading.Event()

    def send(number):
        http = daemon.http()
        while not ends.is_set():
            event = harness.renewal(f"user-{number}")
            try:
                answer = http.request("POST", "/webhooks/revenuecat", json.dumps(event),
                                      {"Authorization": harness.AUTHORIZATION})
            except (OSError, harness.http.client.HTTPException):
                break
            if answer.status == 200:
                accepted.append(event)
            elif answer.status != 503:
                odd.append(answer)
        http.close()
    threads = [threading.Thread(target=send, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(accepted) > 200, 30, "200 are accepted")
    equal(daemon.stop(), 0, "exit code")
    ends.set()
    for thread in threads:
        thread.join(30)
    equal(odd, [], "answers that are neither 200 nor 503")
    standin.options(delay_ms=0)
    daemon.start()
    daemon.wait_idle(timeout=60)
    arrived = {(e["external_id"], e["created_at"]) for e in standin.events()}
    wanted = {(e["event"]["app_user_id"], e["event"]["purchased_at_ms"] // 1000) for e in accepted}
    equal(len(wanted - arrived), 0, f"lost of {len(wanted)} events")


def test_sigterm_with_a_request_half_sent(t):
    t.expect_log("level=warn")
    daemon = t.daemon()
    whole = harness.webhook_request(json.dumps(harness.renewal()).encode())
    connection = daemon.raw()
    connection.send(whole[:-10])
    idle = daemon.raw()
    idle.send(harness.raw_request("GET", "/healthz"))
    equal(idle.read_answer().status, 200)
    equal(daemon.stop(timeout=30), 0, "exit code")
    connection.is_closed()
    idle.is_closed()


def test_sigterm_after_clients_hung_up(t):
    """Requests that nobody waits for any more don't keep it: without telling them apart it would
    wait for 5 s."""
    daemon = t.daemon()
    whole = harness.webhook_request(json.dumps(harness.renewal()).encode())
    for end in (60, -10) * 15:
        connection = daemon.raw()
        connection.send(whole[:end])
        connection.close()
    began = time.monotonic()
    equal(daemon.stop(), 0, "exit code")
    took = time.monotonic() - began
    check(took < 4 * harness.PATIENCE, f"ending took {took:.1f} s")


def test_sigterm_while_intercom_hangs(t):
    t.expect_log("level=warn")
    standin = t.standin()
    standin.options(down="hang")
    daemon = t.daemon(standin)
    daemon.accept(*[harness.renewal(f"user-{n}") for n in range(10)])
    equal(daemon.stop(timeout=40), 0, "exit code")
    standin.options(down=False)
    daemon.start()
    standin.wait_events(10)


def test_second_daemon_refuses(t):
    t.expect_log("level=error", "level=warn")
    standin, first = t.both()
    same_store = t.daemon(standin, start=False, config={"store.path": first.store})
    same_store.launch()
    equal(same_store.wait_end(), 1, "exit code")
    check(same_store.stderr(), "stderr doesn't say why")
    same_port = t.daemon(standin, start=False, config={"server.listen": f"127.0.0.1:{first.port}"})
    same_port.launch()
    equal(same_port.wait_end(), 1, "exit code")
    check(str(first.port) in same_port.stderr(), same_port.stderr())
    same_socket = t.daemon(standin, start=False, config={"control.socket": first.socket})
    same_socket.launch()
    equal(same_socket.wait_end(), 1, "exit code")
    first.accept(harness.renewal())
    standin.wait_events(1)
    equal(first.status()["accepted"], 1)


def test_left_over_socket_is_replaced(t):
    daemon = t.daemon()
    daemon.kill()
    check(os.path.exists(daemon.socket), "kill -9 leaves the socket")
    daemon.start()
    equal(daemon.status()["accepted"], 0)
    equal(stat.S_IMODE(os.stat(daemon.socket).st_mode), 0o660, "mode of the control socket")


def test_store_that_cannot_be_opened(t):
    t.expect_log("level=error")
    for path in ("/no/such/folder/subrelay.db", "/dev/full", "/"):
        daemon = t.daemon(start=False, config={"store.path": path})
        daemon.launch()
        equal(daemon.wait_end(), 1, f"exit code for {path}")
        check(path in daemon.stderr(), daemon.stderr())
    daemon = t.daemon(start=False)
    with open(daemon.store, "wb") as file:
        file.write(b"this is no database, it only looks like a file\n" * 200)
    daemon.launch()
    equal(daemon.wait_end(), 1, "exit code for a file that isn't SQLite")


def test_socket_activation(t):
    """As systemd does it: the listening socket is descriptor 3, LISTEN_PID is the daemon's own."""
    standin = t.standin()
    daemon = t.daemon(standin, start=False)
    unit = harness.SocketUnit(t, daemon)
    early = daemon.raw(timeout=20)  # connects before there is a daemon, and is served
    early.send(harness.webhook_request(json.dumps(harness.renewal()).encode()))
    unit.start()
    equal(early.read_answer().json(), {"status": "accepted"})
    daemon.accept(harness.renewal())
    standin.wait_events(2)
    # The socket outlives the daemon: what comes meanwhile waits in it.
    equal(daemon.stop(), 0, "exit code")
    late = daemon.raw(timeout=20)
    late.send(harness.webhook_request(json.dumps(harness.renewal()).encode()))
    unit.launch()
    equal(late.read_answer().json(), {"status": "accepted"})
    daemon.wait_ready()
    unit.close()


def test_notifies_systemd(t):
    daemon = t.daemon(start=False)
    path = t.path("notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(20 * harness.PATIENCE)
        daemon.environment = {"NOTIFY_SOCKET": path}
        daemon.launch()
        said = ""
        while "READY=1" not in said:
            said += notify.recv(4096).decode() + "\n"
        equal(daemon.get("/readyz").status, 200, "READY was true")
        daemon.signal(signal.SIGTERM)
        while "STOPPING=1" not in said:
            said += notify.recv(4096).decode() + "\n"
    equal(daemon.wait_end(), 0, "exit code")


def certificate(t, name="127.0.0.1"):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=test",
                    "-addext", f"subjectAltName=IP:{name}", "-keyout", t.path("key.pem"),
                    "-out", t.path("certificate.pem")], capture_output=True, timeout=60, check=True)
    return {"server.tls_certificate": t.path("certificate.pem"), "server.tls_key": t.path("key.pem")}


def test_tls(t):
    standin = t.standin()
    config = certificate(t)
    daemon = t.daemon(standin, config=config, start=False)
    daemon.tls = ssl.create_default_context(cafile=t.path("certificate.pem"))
    daemon.start()
    daemon.accept(harness.renewal())
    standin.wait_events(1)
    equal(daemon.post(harness.renewal(), authorization="wrong").status, 401)
    plain = daemon.raw(timeout=20)
    plain.send(harness.webhook_request(b"{}"))
    answer = plain.read_answer()
    check(answer is None or answer.status == 400, f"plain HTTP to a TLS port: {answer}")
    daemon.accept(*[harness.renewal(f"user-{n}") for n in range(20)])
    standin.wait_events(21)
    t.expect_log("level=warn")


def test_tls_needs_both_files(t):
    t.expect_log("level=error", "level=warn")
    config = certificate(t)
    del config["server.tls_key"]
    daemon = t.daemon(start=False, config=config)
    daemon.launch()
    equal(daemon.wait_end(), 1, "exit code")
    check("tls_key" in daemon.stderr(), daemon.stderr())
    broken = t.daemon(start=False, config={"server.tls_certificate": t.write("c.pem", "rubbish"),
                                           "server.tls_key": t.write("k.pem", "rubbish")})
    broken.launch()
    equal(broken.wait_end(), 1, "exit code")


def test_memory_stays(t):
    """Thousands of events through, and it is about as large as before."""
    if harness.INSTRUMENTED:
        raise harness.Skip("what the tool takes of memory is not the program's")
    standin, daemon = t.both(light=True)

    def send(start, count):
        result = subprocess.run(
            [harness.LOAD, "--port", str(daemon.port), "--authorization", harness.AUTHORIZATION,
             "--requests", str(count), "--start-id", str(start), "--connections", "32"],
            capture_output=True, timeout=120, check=True)
        result = json.loads(result.stdout)
        equal((result["ok"], result["not_200"], result["broken"]), (count, {}, 0))
    send(1, 5000)
    daemon.wait_idle(timeout=60)
    before = daemon.rss_kb()
    send(5001, 20000)
    daemon.wait_idle(timeout=90)
    equal(standin.totals()["events"], 25000)
    grown = daemon.rss_kb() - before
    check(grown < 20000, f"grew by {grown} kB over 20,000 events")


if __name__ == "__main__":
    harness.main()
