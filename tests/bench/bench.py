"""Measures the real binary against the stand-in, both on this machine's cores, and prints a table.

Each figure is one run of its own (start, load, stop) with the log at `warn`; the load generator and the
stand-in share the cores with the daemon. Rates that matter are run three times, the median is shown.
Everything is loopback, bounded in number, and ended by its process id.
"""

import json
import multiprocessing
import os
import resource
import socket
import time

import harness
import outage
from relay import Relay, median, row

WAITING = int(os.environ.get("BENCH_WAITING", "1000000"))
# 1: three days at five events a second; more: so many.
OUTAGE = int(os.environ.get("BENCH_OUTAGE", "0"))
OUTAGE = 1300000 if OUTAGE == 1 else OUTAGE
ONLY_OUTAGE = os.environ.get("BENCH_ONLY_OUTAGE", "") != ""
RUNS = int(os.environ.get("BENCH_RUNS", "3"))

def ingest():
    idle, rates, p99s = [], [], []
    for _ in range(RUNS):
        relay = Relay()
        relay.start()
        idle.append(relay.rss_mib())
        result = relay.load(connections=64, requests=60000)
        rates.append(result["acks_per_s"])
        p99s.append(result["p99_ms"])
        relay.finish()
    row("resident, idle and empty", f"{median(idle):.1f} MiB", "< 12 MiB")
    row("durable ingest, 64 connections, distinct customers",
        f"{median(rates):,.0f}/s, p99 {median(p99s):.1f} ms", ">= 11,000/s, p99 < 20 ms")
    return median(rates)


def drain(count, what, wanted, limit=None, **standin_options):
    relay = Relay()
    relay.start()
    relay.load(connections=64, requests=count)
    relay.stop()
    standin = harness.Standin(light=True, **standin_options)
    began = time.monotonic()
    relay.start(standin.port)
    # From the first call on: what the start took is not the drain's.
    harness.wait_until(lambda: standin.totals()["calls"] > 0, 30, "a call", every=0.005)
    first = standin.totals()["calls"]
    began = time.monotonic()
    harness.wait_until(
        lambda: relay.status()["waiting"] == 0
        or (limit is not None and time.monotonic() - began > limit),
        300, "the backlog is gone", every=0.05)
    took = time.monotonic() - began
    calls = standin.totals()["calls"] - first
    row(what, f"{calls / 2 / took:,.0f} events/s, {calls / took:,.0f} calls/s", wanted)
    relay.finish()
    standin.stop()


def both():
    rates, left = [], []
    for _ in range(RUNS):
        relay = Relay()
        standin = harness.Standin(light=True)
        relay.start(standin.port)
        result = relay.load(connections=64, seconds=5)
        left.append(relay.status()["waiting"])
        rates.append(result["acks_per_s"])
        relay.finish()
        standin.stop()
    row("in and out at once, two calls per event",
        f"{median(rates):,.0f} events/s, {median(left):,.0f} left over",
        ">= 6,000/s, no backlog growing")


def waiting(empty_rate):
    relay = Relay()
    relay.start()
    filled = relay.load(connections=64, requests=WAITING)
    row(f"filling the store with {WAITING:,} waiting events",
        f"{filled['acks_per_s']:,.0f}/s, p99 {filled['p99_ms']:.1f} ms", "")
    result = relay.load(connections=64, requests=60000)
    row(f"ingest while {WAITING:,} wait",
        f"{result['acks_per_s']:,.0f}/s = {100 * result['acks_per_s'] / empty_rate:.0f} %"
        f", p99 {result['p99_ms']:.1f} ms", ">= 60 % of the empty store's")
    row(f"resident while {WAITING:,} wait", f"{relay.rss_mib():.1f} MiB", "< 64 MiB")
    relay.kill()
    took = relay.start()
    row(f"kill -9 to ready with {WAITING:,} waiting", f"{took * 1000:.0f} ms", "< 1,000 ms")
    relay.finish()


def calls_per_event():
    standin = harness.Standin()
    relay = Relay()
    relay.start(standin.port)

    def cost(*events):
        before = standin.totals()["calls"]
        http = harness.Http(relay.port)
        for event in events:
            body = json.dumps(event).encode()
            answer = http.request("POST", "/webhooks/revenuecat", body,
                                  {"Authorization": "Bearer demo"})
            harness.equal(answer.status, 200)
        harness.wait_until(lambda: relay.status()["waiting"] == 0, 30, "delivered")
        return standin.totals()["calls"] - before

    new = cost(harness.initial_purchase())
    changed = cost(harness.cancellation())
    unchanged = cost(harness.event("PRODUCT_CHANGE"))
    row("calls: new customer / changed / unchanged", f"{new} / {changed} / {unchanged}", "2 / 2 / 1")
    relay.finish()
    standin.stop()


def abuse(port):
    """In a process of its own, until it is ended: 3,000 silent connections and more all the time, 300 that
    trickle, and in turn refused events, bodies of a megabyte without the secret, endless headers."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wrong = {"Authorization": "Bearer wrong"}
    large = harness.webhook_request(b"x" * 1000000, headers=wrong)
    bursts = [harness.webhook_request(b"{}", headers=wrong), large,
              harness.raw_request("POST", "/webhooks/revenuecat", b"", {"X": "a" * 100000}),
              harness.webhook_request(b"[" * 100000, headers=wrong), b"\0" * 5000, b"GET /healthz"]

    def connect():
        stranger = socket.create_connection(("127.0.0.1", port), 60)
        stranger.setblocking(False)
        return stranger

    def say(stranger, what):
        try:
            stranger.send(what)
            return True
        except BlockingIOError:
            return True
        except OSError:
            return False

    silent = [connect() for _ in range(3000)]
    slow = []
    turn = 0
    while True:
        for i in range(20):
            silent.append(connect())
            silent.pop(0).close()
            say(connect(), bursts[turn % len(bursts)])
            turn += 1
        slow = [stranger for stranger in slow if say(stranger, b"a")]
        while len(slow) < 300:
            slow.append(connect())
            say(slow[-1], large[:len(slow)])
        time.sleep(0.02)


def honest_on_new_connections(port, count):
    """Milliseconds from connect to the answer, 20 a second."""
    took = []
    body = json.dumps(harness.dashboard_test()).encode()
    for _ in range(count):
        began = time.monotonic()
        http = harness.Http(port)
        answer = http.request("POST", "/webhooks/revenuecat", body, {"Authorization": "Bearer demo"})
        harness.equal(answer.status, 200)
        http.close()
        took.append((time.monotonic() - began) * 1000)
        time.sleep(max(0, 0.05 - (time.monotonic() - began)))
    return sorted(took)


def during_abuse():
    kept, new, rss = [], [], []
    for _ in range(RUNS):
        relay = Relay()
        relay.start()
        abusers = multiprocessing.Process(target=abuse, args=(relay.port,), daemon=True)
        abusers.start()
        harness.wait_until(lambda: len(os.listdir(f"/proc/{relay.process.pid}/fd")) > 1000, 60,
                           "the house is full")
        result = relay.load(connections=1, rate=50, seconds=8)
        harness.equal(result["not_200"], {}, "answers that aren't 200")
        harness.equal(result["broken"], 0, "broken connections")
        kept.append(result["p99_ms"])
        took = honest_on_new_connections(relay.port, 200)
        new.append(took[len(took) * 99 // 100 - 1])
        rss.append(relay.rss_mib())
        abusers.kill()
        abusers.join()
        relay.finish()
    row("honest senders during abuse, 50/s, a kept connection", f"p99 {median(kept):.1f} ms", "< 100 ms")
    row("the same, 20/s, a new connection each", f"p99 {median(new):.1f} ms", "< 100 ms")
    row("resident during abuse", f"{median(rss):.1f} MiB", "< 64 MiB")


def main():
    if ONLY_OUTAGE:
        outage.run(OUTAGE)
        return
    print(f"{os.cpu_count()} cores, load and Intercom's stand-in on the same ones")
    row("", "measured", "wanted")
    empty_rate = ingest()
    drain(60000, "ordered drain, Intercom answers at once", ">= 7,000 events/s")
    drain(4000, "ordered drain, 150 ms answers, 32 connections",
          f">= {0.95 * 32 / 0.15:.0f} calls/s (95 % of 32 / 0.15 s)", limit=20, delay_ms=150)
    both()
    calls_per_event()
    during_abuse()
    if WAITING > 0:
        waiting(empty_rate)
    if OUTAGE > 0:
        outage.run(OUTAGE)


main()
