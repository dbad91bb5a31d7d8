"""subrelay backup: a whole copy while webhooks come in, or no copy at all."""

import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import threading

import harness
from harness import check, equal, wait_until


def whole(path):
    """A good copy's event ids, and nothing lies beside it."""
    folder, name = os.path.split(path)
    equal([other for other in os.listdir(folder) if other.startswith(name)], [name], "files")
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, "mode")
    store = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    equal(store.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
    ids = {row[0] for row in store.execute("SELECT event_id FROM event")}
    waiting, = store.execute("SELECT waiting FROM totals").fetchone()
    equal(store.execute("SELECT count(*) FROM job").fetchone(), (waiting,), "its totals fit")
    store.close()
    return ids


def nothing(path):
    folder, name = os.path.split(path)
    equal([other for other in os.listdir(folder) if other.startswith(name)], [], "files")


class Load(threading.Thread):
    """Posts without a pause and notes what was answered 200, in order."""

    def __init__(self, daemon, number):
        super().__init__(daemon=True)
        self.target = daemon
        self.number = number
        self.ends = threading.Event()
        self.accepted = []
        self.odd = []

    def run(self):
        http = self.target.http()
        for count in range(10**9):
            if self.ends.is_set():
                break
            event = harness.renewal(f"user-{self.number}-{count % 50}")
            answer = http.request("POST", "/webhooks/revenuecat", json.dumps(event),
                                  {"Authorization": harness.AUTHORIZATION})
            if answer.status != 200:
                self.odd.append(answer)
                break
            self.accepted.append(event["event"]["id"])
        http.close()


def start_backup(daemon, path, *options):
    """The command, running; its stderr is a pipe."""
    return harness.start_process(
        [harness.PROGRAM, "backup", "--socket", daemon.socket, *options, path],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=harness.clean_environment(), cwd=daemon.directory)


def fill(daemon, megabytes):
    """Grows the store with large bodies, quickly."""
    for number in range(megabytes * 2):
        daemon.accept(harness.renewal(f"filler-{number}", subscriber_attributes={
            "$note": {"value": "x" * 500000}}))


def test_under_load(t):
    """Each holds all that was answered before the command began; the last one goes on delivering."""
    standin = t.standin(light=True)
    standin.options(down="refuse")
    t.expect_log("level=warn", "level=error")
    daemon = t.daemon(standin)
    senders = [Load(daemon, number) for number in range(8)]
    for sender in senders:
        sender.start()
    for number in range(8):
        goal = sum(len(sender.accepted) for sender in senders) + 300
        wait_until(lambda goal=goal: sum(len(s.accepted) for s in senders) >= goal, 40)
        before = [event for sender in senders for event in list(sender.accepted)]
        path = t.path(f"copy-{number}.db")
        said = daemon.cli_json("backup", path)
        ids = whole(path)
        missing = set(before) - ids
        equal(len(missing), 0, f"missing of {len(before)} in the copy")
        equal((said["file"], said["events"], said["bytes"]),
              (path, len(ids), os.path.getsize(path)), "what it says")
    for sender in senders:
        sender.ends.set()
    for sender in senders:
        sender.join(60)
        equal(sender.odd, [], "answers while backups were made")
    equal(daemon.stop(), 0, "exit code")

    standin.options(down=False)
    other = t.daemon(standin, start=False)
    shutil.copy(path, other.store)
    os.chmod(other.store, 0o600)
    other.start()
    equal(other.status()["accepted"], len(ids))
    other.wait_idle(timeout=60)
    equal(standin.totals()["events"], len(ids), "events that the copy delivered")
    equal(other.post(harness.renewal()).json(), {"status": "accepted"})


def test_what_is_there_is_not_replaced(t):
    daemon = t.daemon()
    path = t.write("copy.db", "something dear")
    said = daemon.cli("backup", path, ok=1)
    check("is there already" in said.stderr.decode(), said.stderr.decode())
    with open(path, encoding="utf-8") as file:
        equal(file.read(), "something dear")
    check(not os.path.exists(path + ".part"), "FILE.part is left behind")
    daemon.cli("backup", path, "--force")
    equal(whole(path), set())
    os.mkdir(t.path("folder"))
    daemon.cli("backup", t.path("folder"), ok=1)
    daemon.cli("backup", "--force", t.path("folder"), ok=1)
    daemon.cli("backup", t.path("no/such/folder/copy.db"), ok=1)
    daemon.cli("backup", ok=2)
    # A .part of one that was killed is no obstacle, and a link there is not followed.
    dear = t.write("dear", "something dear")
    os.symlink(dear, t.path("other.db.part"))
    daemon.cli("backup", t.path("other.db"))
    whole(t.path("other.db"))
    with open(dear, encoding="utf-8") as file:
        equal(file.read(), "something dear")


def test_without_a_daemon_it_says_what_to_do(t):
    daemon = t.daemon()
    equal(daemon.stop(), 0, "exit code")
    said = daemon.cli("backup", t.path("copy.db"), ok=1).stderr.decode()
    check("no daemon answers" in said and "plain copy" in said, said)
    nothing(t.path("copy.db"))


def test_disk_full_leaves_no_file(t):
    daemon = t.daemon()
    fill(daemon, 5)
    path = t.path("copy.db")
    t.expect_log("a backup failed")
    # As a full disk, to the one process: files end at 1 MiB, and the signal for it is ignored.
    words = subprocess.run(
        ["sh", "-c", "trap '' XFSZ; ulimit -f 1024; exec \"$@\"", "sh", harness.PROGRAM, "backup",
         "--socket", daemon.socket, path], capture_output=True, timeout=60 * harness.PATIENCE,
        env=harness.clean_environment(), check=False)
    equal(words.returncode, 1, "exit code")
    check("File too large" in words.stderr.decode(), words.stderr.decode())
    nothing(path)
    daemon.cli("backup", path)
    equal(len(whole(path)), 10)


def stuck_backup(t, daemon, path):
    """One that stands still in the middle: its process is stopped, the daemon waits for it."""
    process = start_backup(daemon, path)
    wait_until(lambda: os.path.exists(path + ".part") and os.path.getsize(path + ".part") > 0, 20,
               every=0.0005)
    process.send_signal(signal.SIGSTOP)
    check(process.poll() is None and not os.path.exists(path), "it was over too soon")
    return process


def test_interrupted_leaves_no_file(t):
    t.expect_log("a backup failed")
    daemon = t.daemon()
    fill(daemon, 40)
    path = t.path("copy.db")
    for number in (signal.SIGINT, signal.SIGTERM):
        process = stuck_backup(t, daemon, path)
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        words = process.communicate(timeout=60)[1].decode()
        equal(process.returncode, 1, "exit code")
        check("interrupted" in words, words)
        nothing(path)
    # After a kill -9 there is a .part, which nobody takes for a copy, and the next one replaces it.
    process = stuck_backup(t, daemon, path)
    process.kill()
    process.communicate(timeout=60)
    check(os.path.exists(path + ".part") and not os.path.exists(path), "files after kill -9")
    wait_until(lambda: daemon.cli("backup", path, ok=None).returncode == 0, 30)
    equal(len(whole(path)), 80)


def test_the_daemon_stops_or_dies_meanwhile(t):
    t.expect_log("a backup failed")
    daemon = t.daemon()
    fill(daemon, 40)
    path = t.path("copy.db")
    for end in (daemon.stop, daemon.kill):
        process = stuck_backup(t, daemon, path)
        end()
        process.send_signal(signal.SIGCONT)
        words = process.communicate(timeout=60)[1].decode()
        equal(process.returncode, 1, "exit code")
        check("stopping" in words or "broke off" in words, words)
        nothing(path)
        daemon.start()
    equal(daemon.status()["accepted"], 80)


def test_one_that_stands_still_holds_up_nobody(t):
    """Other commands and webhooks go on; a second backup is refused; the log stays bounded, and what
    hangs is dropped after 10 s."""
    t.expect_log("a backup failed")
    standin, daemon = t.both()
    fill(daemon, 40)
    process = stuck_backup(t, daemon, t.path("stuck.db"))
    daemon.accept(*[harness.renewal(f"user-{n}") for n in range(50)])
    daemon.wait_idle()
    said = daemon.cli("backup", t.path("second.db"), ok=1).stderr.decode()
    check("another backup is being made" in said, said)
    nothing(t.path("second.db"))
    daemon.wait_log("nobody takes the copy", timeout=30)
    daemon.cli("backup", t.path("third.db"))
    equal(len(whole(t.path("third.db"))), 130)
    process.send_signal(signal.SIGCONT)
    words = process.communicate(timeout=60)[1].decode()
    check(process.returncode == 1 and "broke off" in words, words)
    nothing(t.path("stuck.db"))
    del standin


if __name__ == "__main__":
    harness.main()
