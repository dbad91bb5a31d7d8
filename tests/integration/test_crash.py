"""kill -9 in the middle of everything, and a disk without room: what was answered 200 arrives, in order,
at least once."""

import itertools
import json
import os
import resource
import sqlite3
import subprocess
import threading

import harness
from harness import check, equal, wait_until

THREADS = 8
USERS_PER_THREAD = 4


class Sender(threading.Thread):
    """Posts the events of its own users one by one, as a billing system does: what isn't answered
    200 is sent again later, the same."""

    def __init__(self, daemon, number):
        super().__init__(daemon=True)
        self.target = daemon
        self.users = [f"user-{number}-{n}" for n in range(USERS_PER_THREAD)]
        self.ends = threading.Event()
        self.acknowledged = []
        self.unanswered = None
        self.wrong = []

    def run(self):
        http = None
        for user in itertools.cycle(self.users):
            if self.ends.is_set():
                break
            event = self.unanswered or harness.renewal(user)
            self.unanswered = event
            try:
                http = http or self.target.http(timeout=10)
                answer = http.request("POST", "/webhooks/revenuecat", json.dumps(event),
                                      {"Authorization": harness.AUTHORIZATION})
            except (OSError, harness.http.client.HTTPException):
                http = None
                self.ends.wait(0.02)  # the daemon is away; try again soon
                continue
            if answer.status == 200:
                self.acknowledged.append(event)
                self.unanswered = None
            elif answer.status != 503:
                self.wrong.append(answer)
                break
        if http:
            http.close()


def start_senders(daemon):
    senders = [Sender(daemon, number) for number in range(THREADS)]
    for sender in senders:
        sender.start()
    return senders


def acknowledged(senders):
    return sum(len(sender.acknowledged) for sender in senders)


def end_senders(senders):
    for sender in senders:
        sender.ends.set()
    for sender in senders:
        sender.join(30)
        check(not sender.is_alive(), "a sender hangs")
        equal(sender.wrong, [], "answers that are neither 200 nor 503")
    return [event for sender in senders for event in sender.acknowledged]


def key(event):
    return (event["event"]["app_user_id"], event["event"]["purchased_at_ms"] // 1000)


def check_arrival(standin, events):
    """Every acknowledged one arrived, and each contact's in order (by first arrival)."""
    arrived = [(e["external_id"], e["created_at"]) for e in standin.events()]
    missing = {key(event) for event in events} - set(arrived)
    check(not missing, lambda: f"{len(missing)} of {len(events)} acknowledged events are lost: "
          f"{sorted(missing)[:5]}")
    by_user = {}
    for user, created_at in arrived:
        by_user.setdefault(user, []).append(created_at)
    for user, times in by_user.items():
        equal(times, sorted(times), f"order of {user}'s events")


def check_store(daemon):
    store = sqlite3.connect(f"file:{daemon.store}?mode=ro", uri=True)
    equal(store.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
    store.close()


def test_killed_again_and_again(t):
    t.expect_log("level=warn")
    standin, daemon = t.both(delay_ms=5)
    senders = start_senders(daemon)
    for round_number in range(6):
        goal = acknowledged(senders) + 150
        wait_until(lambda goal=goal: acknowledged(senders) >= goal, 40, "events go on being accepted")
        daemon.kill()
        if round_number % 2:
            check_store(daemon)
        daemon.start()
    events = end_senders(senders)
    daemon.wait_idle(timeout=60)
    check(len(events) >= 900, f"{len(events)} events")
    check_arrival(standin, events)
    equal(daemon.status()["parked"], 0)


def test_killed_while_intercom_is_slow(t):
    """Most is still waiting, and 30 calls are on their way, when it dies."""
    t.expect_log("level=warn")
    standin, daemon = t.both(delay_ms=300)
    senders = start_senders(daemon)
    wait_until(lambda: acknowledged(senders) >= 500, 40, "500 are accepted")
    wait_until(lambda: standin.totals()["calls"] > 20, 20, "calls are on their way")
    daemon.kill()
    events = end_senders(senders)
    standin.options(delay_ms=0)
    daemon.start()
    daemon.wait_idle(timeout=60)
    check_arrival(standin, events)


def test_killed_while_starting(t):
    """Recovery itself may be interrupted."""
    t.expect_log("level=warn", "level=error")
    standin = t.standin()
    standin.options(down="refuse")
    daemon = t.daemon(standin)
    events = [harness.renewal(f"user-{n % 20}") for n in range(200)]
    daemon.accept(*events)
    daemon.kill()
    for _ in range(8):
        daemon.launch()
        # Gone as soon as its files are there: somewhere in the middle of recovery.
        wait_until(lambda: daemon.stderr() or not daemon.is_running(), 10, "it has begun")
        daemon.kill()
    standin.options(down=False)
    daemon.start()
    daemon.wait_idle(timeout=60)
    check_arrival(standin, events)


def test_stopped_and_killed_in_turn(t):
    t.expect_log("level=warn")
    standin, daemon = t.both(delay_ms=10)
    senders = start_senders(daemon)
    for way in ("stop", "kill", "stop", "kill"):
        goal = acknowledged(senders) + 100
        wait_until(lambda goal=goal: acknowledged(senders) >= goal, 40, "events go on being accepted")
        if way == "stop":
            equal(daemon.stop(), 0, "exit code")
        else:
            daemon.kill()
        daemon.start()
    events = end_senders(senders)
    daemon.wait_idle(timeout=60)
    check_arrival(standin, events)


def post_until_refused(daemon, user):
    """Fat events until one is answered 503; returns those that were answered 200, and the refused one."""
    accepted = []
    for _ in range(2000):
        event = harness.renewal(user, subscriber_attributes={"note": {"value": "x" * 20000}})
        answer = daemon.post(event)
        if answer.status == 503:
            check(int(answer.headers["Retry-After"]) > 0, lambda: f"{answer.headers}")
            return accepted, event
        equal(answer.status, 200, "answer")
        accepted.append(event)
    raise harness.Failure("it never was full")


def is_ready(daemon):
    return daemon.get("/readyz").status == 200


def check_full_and_free(t, standin, daemon, fill, free):
    """Some wait for Intercom when the disk is full; Intercom comes back, and later room does."""
    t.expect_log("level=warn", "the store can't take events", "delivery is held")
    waiting = [harness.renewal(f"user-{n}") for n in range(20)]
    standin.options(down="refuse")
    daemon.accept(*waiting)
    fill()
    accepted, refused = post_until_refused(daemon, "fat")
    wait_until(lambda: not is_ready(daemon), 10, "/readyz says 503")
    equal(daemon.get("/healthz").status, 200, "/healthz")
    # What goes out now is reported later. Who was tried in vain since the disk is full waits for that.
    standin.options(down=False)
    equal(daemon.post(refused).status, 503, "answer while it is full")
    # A last small report may still have fitted in.
    wait_until(lambda: not is_ready(daemon), 10, "/readyz says 503 still")

    process = daemon.process.pid
    free()
    wait_until(lambda: is_ready(daemon), 10, "/readyz says 200")
    daemon.accept(refused)
    daemon.wait_idle()
    equal(daemon.process.pid, process, "process")
    check_arrival(standin, waiting + accepted + [refused])
    equal(standin.totals()["events_repeated"], 0, "events sent twice")
    check_store(daemon)


def test_disk_full(t):
    """A file system of 4 MiB, filled up by somebody else's file. Needs the right to mount one."""
    folder = t.path("small")
    os.mkdir(folder)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder],
                             capture_output=True, check=False) if os.geteuid() == 0 else None
    if mounted is None or mounted.returncode != 0:
        raise harness.Skip("no right to mount a small file system")
    ballast = os.path.join(folder, "ballast")

    def fill():
        with open(ballast, "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)) == 4096:
                    pass
            except OSError:
                pass

    try:
        standin = t.standin()
        daemon = t.daemon(standin, {"store.path": os.path.join(folder, "subrelay.db")}, start=False)
        daemon.store = os.path.join(folder, "subrelay.db")
        daemon.start()
        check_full_and_free(t, standin, daemon, fill, lambda: os.remove(ballast))
        daemon.stop()
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_file_size_limit(t):
    """The same without any right: no file of the daemon's may grow beyond what the largest has."""
    standin, daemon = t.both()

    def limit(size):
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def fill():
        limit(65536 + max(entry.stat().st_size for entry in os.scandir(daemon.directory)))

    check_full_and_free(t, standin, daemon, fill, lambda: limit(resource.RLIM_INFINITY))


if __name__ == "__main__":
    harness.main()
