"""Restarts with systemd's socket: senders that never pause see only 200s, and every 200 is kept.

What a sender may see depends on how it speaks. One that connects for each request, or that heeds
`Connection: close`, sees nothing of a restart but a wait. After kill -9 it may see a broken
connection; then it sends the same again, and it is there once.
"""

import json
import random
import socket
import sqlite3
import ssl
import threading
import time

import harness
from harness import check, equal, wait_until
from test_lifecycle import certificate


# A kept connection is left open for 2 s after SIGTERM; less a little.
GRACE = 1.8


class Sender(threading.Thread):
    """Posts one event after the other until it is ended, and keeps what was answered 200."""

    def __init__(self, daemon, number, is_patient=False):
        super().__init__(daemon=True)
        self.target = daemon
        self.number = number
        self.is_patient = is_patient  # takes up again after what a kill -9 does
        self.ends = threading.Event()
        self.accepted = []
        self.statuses = []
        self.broken = []
        self.error = None

    def run(self):
        try:
            while not self.ends.is_set():
                self.send_one(harness.renewal(f"user-{self.number}"))
            self.finish()
        except Exception as error:  # told to the test by end_senders
            self.error = error

    def send_one(self, event):
        body = json.dumps(event).encode()
        while True:
            try:
                answer = self.exchange(body)
            except OSError as error:
                self.broken.append(repr(error))
                answer = None
            if answer is not None and answer.status == 200:
                self.statuses.append(answer.json()["status"])
                self.accepted.append(event)
                return
            if answer is not None:
                self.broken.append(repr(answer))
            elif not self.broken:
                self.broken.append("closed without an answer")
            if not self.is_patient or self.ends.is_set():
                return
            self.ends.wait(0.01)

    def finish(self):
        pass


class NewConnection(Sender):
    """A connection for each request."""

    def exchange(self, body):
        connection = self.target.raw(timeout=40)
        try:
            connection.send(harness.webhook_request(body))
            return connection.read_answer()
        finally:
            connection.close()


class Tls(Sender):
    """The same over HTTPS: a handshake stands before the first byte of the request."""

    def exchange(self, body):
        http = self.target.http(timeout=40)
        try:
            return http.request("POST", "/webhooks/revenuecat", body,
                                {"Authorization": harness.AUTHORIZATION, "Connection": "close"})
        except harness.http.client.HTTPException as error:
            raise OSError(error) from None
        finally:
            http.close()


class SlowBody(Sender):
    """The same, and some time passes between connecting, half of the request and the rest."""

    def exchange(self, body):
        whole = harness.webhook_request(body)
        middle = random.Random(self.number).randrange(1, len(whole))
        connection = self.target.raw(timeout=40)
        try:
            self.ends.wait(0.05)
            connection.send(whole[:middle])
            self.ends.wait(0.1)
            connection.send(whole[middle:])
            return connection.read_answer()
        finally:
            connection.close()


class Kept(Sender):
    """Keeps its connection until an answer says close. `pause`: the time between two requests.
    Where a slow machine made that longer than the daemon's grace, it may find it closed."""

    def __init__(self, daemon, number, is_patient=False, pause=0.0):
        super().__init__(daemon, number, is_patient)
        self.pause = pause
        self.connection = None
        self.answered_at = 0.0

    def exchange(self, body):
        is_kept = self.connection is not None
        self.connection = self.connection or self.target.raw(timeout=40)
        try:
            self.connection.send(harness.webhook_request(body))
            sent_at = time.monotonic()
            answer = self.connection.read_answer()
        except OSError:
            self.finish()
            if is_kept and time.monotonic() - self.answered_at > GRACE:
                return self.exchange(body)
            raise
        if answer is None and is_kept and sent_at - self.answered_at > GRACE:
            self.finish()
            return self.exchange(body)
        self.answered_at = time.monotonic()
        if answer is None or answer.headers.get("Connection", "").lower() == "close":
            self.finish()
        if self.pause:
            self.ends.wait(self.pause)
        return answer

    def finish(self):
        if self.connection:
            self.connection.close()
            self.connection = None


class Pipelined(Sender):
    """Five requests at once. What stands behind an answer that says close was not served, says
    RFC 9112, and is sent again on another connection. Large enough that much of it is unread when
    the first answer comes: closing on that with a reset would destroy the answer."""

    def send_one(self, event):
        waiting = [event] + [
            harness.renewal(f"user-{self.number}", subscriber_attributes={
                "$note": {"value": "x" * 200000}}) for _ in range(4)]
        while waiting and not (self.broken and self.ends.is_set()):
            connection = self.target.raw(timeout=40)
            try:
                connection.send(b"".join(harness.webhook_request(json.dumps(one).encode())
                                         for one in waiting))
                waiting = self.read_answers(connection, waiting)
            finally:
                connection.close()
            if self.broken:
                return

    def read_answers(self, connection, waiting):
        while waiting:
            answer = connection.read_answer()
            if answer is None or answer.status != 200:
                self.broken.append(repr(answer))
                return waiting
            self.statuses.append(answer.json()["status"])
            self.accepted.append(waiting[0])
            waiting = waiting[1:]
            if answer.headers.get("Connection", "").lower() == "close":
                check(connection.is_closed(), "it says close, and isn't closed")
                return waiting
        return waiting


def end_senders(senders):
    for sender in senders:
        sender.ends.set()
    for sender in senders:
        sender.join(60 * harness.PATIENCE)
        check(not sender.is_alive(), "a sender hangs")
        if sender.error:
            raise sender.error
    return [event for sender in senders for event in sender.accepted]


def check_kept(daemon, events):
    """Each of them is in the store, once."""
    store = sqlite3.connect(f"file:{daemon.store}?mode=ro", uri=True)
    kept = [row[0] for row in store.execute("SELECT event_id FROM event")]
    equal(store.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
    store.close()
    equal(len(kept), len(set(kept)), "an event is in the store twice")
    missing = {event["event"]["id"] for event in events} - set(kept)
    equal(len(missing), 0, f"lost of {len(events)} events")


def restart_under(t, make_senders, restarts, kill=False, tls=None):
    """Restarts again and again while they send; returns the senders, ended."""
    if kill:
        t.expect_log("level=warn")
    standin = t.standin(light=True)
    daemon = t.daemon(standin, start=False, config=tls)
    if tls:
        daemon.tls = ssl.create_default_context(cafile=tls["server.tls_certificate"])
    unit = harness.SocketUnit(t, daemon)
    unit.start()
    senders = make_senders(daemon)
    for sender in senders:
        sender.start()

    def progress():
        for sender in senders:
            check(sender.is_alive(), lambda: f"a sender died: {sender.error!r}")
        return min(len(sender.accepted) for sender in senders)
    for _ in range(restarts):
        goal = progress() + 3
        wait_until(lambda goal=goal: progress() >= goal, 40, "every sender gets on")
        unit.restart(kill)
    goal = progress() + 3
    wait_until(lambda: progress() >= goal, 40, "every sender gets on")
    events = end_senders(senders)
    check_kept(daemon, events)
    daemon.wait_idle(timeout=60)
    equal(daemon.status()["parked"], 0)
    equal(daemon.stop(), 0, "exit code")
    unit.close()
    return senders


def check_only_200(senders):
    broken = [words for sender in senders for words in sender.broken]
    equal(broken, [], "what senders saw besides 200")
    statuses = {status for sender in senders for status in sender.statuses}
    equal(statuses, {"accepted"}, "answers")


def test_a_connection_for_each_request(t):
    check_only_200(restart_under(
        t, lambda daemon: [NewConnection(daemon, n) for n in range(12)], restarts=12))


def test_bodies_on_their_way(t):
    check_only_200(restart_under(
        t, lambda daemon: [SlowBody(daemon, n) for n in range(24)], restarts=8))


def test_tls_handshakes_on_their_way(t):
    check_only_200(restart_under(t, lambda daemon: [Tls(daemon, n) for n in range(8)], restarts=8,
                                 tls=certificate(t)))


def test_kept_connections(t):
    check_only_200(restart_under(
        t, lambda daemon: [Kept(daemon, n) for n in range(12)], restarts=12))


def test_kept_connections_with_pauses(t):
    """A quarter of a second between requests: what is idle at SIGTERM isn't closed under them."""
    check_only_200(restart_under(
        t, lambda daemon: [Kept(daemon, n, pause=0.25) for n in range(16)], restarts=6))


def test_pipelined_requests(t):
    check_only_200(restart_under(
        t, lambda daemon: [Pipelined(daemon, n) for n in range(8)], restarts=8))


def test_killed_under_all_of_them(t):
    """kill -9: what was answered 200 is there, what was sent again is there once."""
    senders = restart_under(
        t, lambda daemon: [kind(daemon, n, is_patient=True) for n, kind in
                           enumerate([NewConnection, SlowBody, Kept] * 4)], restarts=8, kill=True)
    check(any(sender.broken for sender in senders), "no kill hit anybody: the test shows nothing")


def test_silent_connections_hold_it_briefly(t):
    """Kept and unused ones get a grace, and then an end rather than a reset."""
    daemon = t.daemon()
    kept, unused = daemon.raw(), daemon.raw()
    kept.send(harness.webhook_request(json.dumps(harness.renewal("ann")).encode()))
    answer = kept.read_answer()
    equal((answer.status, answer.headers.get("Connection", "").lower()), (200, ""))
    began = time.monotonic()
    equal(daemon.stop(), 0, "exit code")
    took = time.monotonic() - began
    check(took < 10 * harness.PATIENCE, f"ending took {took:.1f} s")
    for connection in (kept, unused):
        equal(connection.socket.recv(1), b"", "what a silent client reads")


def test_half_a_request_holds_it_and_its_end_is_answered(t):
    """One that was begun before SIGTERM and completed after it."""
    standin = t.standin()
    daemon = t.daemon(standin, start=False)
    unit = harness.SocketUnit(t, daemon)
    unit.start()
    whole = harness.webhook_request(json.dumps(harness.renewal()).encode())
    halves = [daemon.raw() for _ in range(4)]
    for connection in halves:
        connection.send(whole[:-10])
    # Connected, and the daemon knows, but not a byte is sent.
    silent = daemon.raw()
    daemon.get("/healthz")
    daemon.disconnect()
    daemon.signal(harness.signal.SIGTERM)
    unit.wait_told("STOPPING=1")
    silent.send(whole)
    for connection in halves:
        connection.send(whole[-10:])
    for connection in halves + [silent]:
        answer = connection.read_answer()
        equal((answer.status, answer.headers.get("Connection")), (200, "close"))
        check(connection.is_closed(), "it says close, and isn't closed")
    equal(daemon.wait_end(), 0, "exit code")
    unit.close()


def test_refusals_do_not_outlive_the_daemon(t):
    """Without the socket unit there is a gap: connections are refused until the next one is ready, and
    no longer."""
    daemon = t.daemon()
    equal(daemon.stop(), 0, "exit code")
    try:
        socket.create_connection(("127.0.0.1", daemon.port), 5).close()
        check(False, "somebody still listens")
    except ConnectionRefusedError:
        pass
    daemon.start()
    daemon.accept(harness.renewal())


if __name__ == "__main__":
    harness.main()
