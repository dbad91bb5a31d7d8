"""A long outage at full size: Intercom away while events come in, then the drain, then all of it again.

Everything goes through the real daemon. Each waiting event has a customer of its own, the dearest case.
"""

import json
import os
import sqlite3
import statistics
import time

import harness
from relay import Relay, row

PACE = 1667  # Intercom's default allowance: 10,000 a minute, in windows of 10 s
FULL_MAX = 2000000


class Fresh:
    """Posts single events of today, and sees how long each takes to reach Intercom."""

    def __init__(self, relay):
        self.http = harness.Http(relay.port)
        self.db = sqlite3.connect(f"file:{relay.folder}/relay.db?mode=ro", uri=True,
                                  isolation_level=None)
        self.took = []
        self.number = time.time_ns()

    def post(self):
        self.number += 1
        event = harness.initial_purchase(id=f"fresh-{self.number}",
                                         app_user_id=f"fresh-{self.number}")
        began = time.monotonic()
        answer = self.http.request("POST", "/webhooks/revenuecat", json.dumps(event).encode(),
                                   {"Authorization": "Bearer demo"})
        harness.equal(answer.status, 200)
        newest = self.db.execute("SELECT max(id) FROM event").fetchone()[0]
        harness.wait_until(lambda: not self.waits(newest), 300, "today's event is delivered",
                           every=0.002)
        self.took.append(time.monotonic() - began)

    def waits(self, number):
        return self.db.execute("SELECT 1 FROM job WHERE destination_id = 1 AND event_id = ?",
                               (number,)).fetchone() is not None

    def figures(self):
        return (f"{1000 * statistics.median(self.took):,.0f} ms, at most "
                f"{1000 * max(self.took):,.0f} ms, of {len(self.took)}")


def megabytes(relay, suffix=""):
    path = os.path.join(relay.folder, "relay.db" + suffix)
    return os.path.getsize(path) / 1e6 if os.path.exists(path) else 0.0


def pragma(relay, name):
    db = sqlite3.connect(os.path.join(relay.folder, "relay.db"))
    value = db.execute(f"PRAGMA {name}").fetchone()[0]
    db.close()
    return value


def fill(relay, count):
    part = count // 10
    first = relay.load(connections=64, requests=part)
    relay.load(connections=64, requests=count - 2 * part)
    last = relay.load(connections=64, requests=part)
    return first, last


def shut(relay):
    relay.stop()  # the log goes into the file
    return megabytes(relay)


def drain(relay, standin, span, every):
    """Until nothing waits, or for so long; with an event of today now and then."""
    fresh = Fresh(relay)
    harness.wait_until(lambda: standin.totals()["calls"] > 0, 30, "a call", every=0.005)
    first = standin.totals()["calls"]
    began = time.monotonic()
    while relay.status()["waiting"] > 0 and time.monotonic() - began < span:
        fresh.post()
        time.sleep(every)
    took = time.monotonic() - began
    return (standin.totals()["calls"] - first) / took, fresh


def paced(relay, count):
    standin = harness.Standin(light=True, limit=PACE, window_ms=10000, reset_offset_ms=2000)
    relay.start(standin.port)
    rate, fresh = drain(relay, standin, 60, 1)
    totals = standin.totals()
    row("the drain at Intercom's pace, two calls an event",
        f"{rate:,.0f} calls/s, {totals['refused']} refused", f">= {0.95 * PACE / 10:.0f} calls/s")
    row("today's event to Intercom meanwhile, median", fresh.figures(), "< 1 s; 13 s at the worst")
    row(f"all of {count:,} would take, computed", f"{count * 2 / (PACE / 10) / 3600:.1f} h", "")
    shut(relay)
    standin.stop()


def unpaced(relay):
    standin = harness.Standin(light=True)
    relay.start(standin.port)
    rate, fresh = drain(relay, standin, 1800, 0.2)
    row("the drain, Intercom answering at once", f"{rate / 2:,.0f} events/s", ">= 7,000 events/s")
    row("today's event to Intercom meanwhile, median", fresh.figures(), "")
    row("resident after the drain", f"{relay.rss_mib():.1f} MiB", "< 64 MiB")
    row("largest log", f"{megabytes(relay, '-wal'):.0f} MB", "<= 64 MiB")
    shut(relay)
    standin.stop()


def purge(relay, count):
    """The same load with everything kept and with everything to be forgotten."""
    relay.start()
    kept = relay.load(connections=64, seconds=20, rate=4000)
    shut(relay)
    relay.start(store="keep_delivered = 1s")
    purged = relay.load(connections=64, seconds=20, rate=4000)
    row("ingest at 4,000/s, nothing to purge",
        f"p99 {kept['p99_ms']:.1f} ms, at most {kept['max_ms']:.0f} ms", "p99 < 20 ms")
    row(f"ingest at 4,000/s, {count:,} to be purged",
        f"p99 {purged['p99_ms']:.1f} ms, at most {purged['max_ms']:.0f} ms", "p99 < 20 ms")
    flat = relay.load(connections=64, seconds=20)
    row("ingest at full speed while purging",
        f"{flat['acks_per_s']:,.0f}/s, p99 {flat['p99_ms']:.1f} ms", "")
    began = time.monotonic()
    db = sqlite3.connect(os.path.join(relay.folder, "relay.db"), isolation_level=None)
    harness.wait_until(
        lambda: db.execute("SELECT min(id) FROM event").fetchone()[0] > count, 1800,
        "the old events are gone", every=0.5)
    db.close()
    row("until all of it is gone, idle besides", f"{time.monotonic() - began:.0f} s", "")
    shut(relay)


def forget(relay):
    """Delivers and purges all there is."""
    standin = harness.Standin(light=True)
    relay.start(standin.port, store="keep_delivered = 1s")
    db = sqlite3.connect(os.path.join(relay.folder, "relay.db"), isolation_level=None)
    harness.wait_until(lambda: db.execute("SELECT count(*) FROM event").fetchone()[0] == 0, 1800,
                       "nothing is left", every=1)
    db.close()
    shut(relay)
    standin.stop()


def run(count):
    relay = Relay()
    relay.start()
    first, last = fill(relay, count)
    row(f"{count:,} events while Intercom is away: the first tenth",
        f"{first['acks_per_s']:,.0f}/s, p99 {first['p99_ms']:.1f} ms", "")
    row("the last tenth",
        f"{last['acks_per_s']:,.0f}/s = {100 * last['acks_per_s'] / first['acks_per_s']:.0f} %"
        f", p99 {last['p99_ms']:.1f} ms", ">= 60 % of the first")
    row("resident then", f"{relay.rss_mib():.1f} MiB", "< 64 MiB")
    row("log then", f"{megabytes(relay, '-wal'):.0f} MB", "<= 64 MiB")
    relay.kill()
    row("kill -9 to ready", f"{1000 * relay.start():.0f} ms", "< 1,000 ms")
    full = shut(relay)
    row("the file", f"{full:,.0f} MB, {1e6 * full / count:,.0f} bytes an event", "< 3,500 an event")
    paced(relay, count)
    if count <= FULL_MAX:
        unpaced(relay)
        row("the file after the drain", f"{megabytes(relay):,.0f} MB", "")
        purge(relay, count)
        size = megabytes(relay)
        row("the file after purging", f"{size:,.0f} MB, "
            f"{100 * pragma(relay, 'freelist_count') / pragma(relay, 'page_count'):.0f} % of it free",
            "")
        forget(relay)
        free = pragma(relay, "freelist_count") * pragma(relay, "page_size") / 1e6
        relay.start()
        fill(relay, count)
        again = shut(relay)
        row("the file after another such outage",
            f"{again:,.0f} MB, of {size:,.0f} MB with {free:,.0f} free", "reused")
    relay.finish()
