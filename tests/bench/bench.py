"""Measures the real binary against the stand-in, both on this machine's cores, and prints a table.

Each figure is one run of its own (start, load, stop) with the log at `warn`; the load generator and the
stand-in share the cores with the daemon. Rates that matter are run three times, the median is shown.
Everything is loopback, bounded in number, and ended by its process id.
"""

import json
import os
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
    if WAITING > 0:
        waiting(empty_rate)
    if OUTAGE > 0:
        outage.run(OUTAGE)


main()
