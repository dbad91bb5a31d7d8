"""From webhook to Intercom: what arrives there, in which order, for how many calls, and what happens
when Intercom refuses, breaks, slows down or has gone away."""

import json
import re
import threading
import time

import harness
from harness import DAY_MS, check, equal, wait_until

CONTACT_CALLS = ("create_contact", "update_contact", "get_contact", "find_contact",
                 "search_contact", "unarchive_contact")


def kinds(standin, since=0):
    return [call["kind"] for call in standin.calls()[since:]]


def seconds(event, key):
    return event["event"][key] // 1000


def names(events):
    return [event["event_name"] for event in events]


def find(daemon, event):
    """The daemon's row of a RevenueCat event."""
    for row in daemon.cli_json("events"):
        if row["event_id"] == event["event"]["id"]:
            return row
    raise harness.Failure("events doesn't list it")


def show(daemon, event):
    return daemon.cli_json("show", str(find(daemon, event)["id"]))


# ---- what is sent ----

def test_exact_payloads(t):
    standin, daemon = t.both()
    event = harness.initial_purchase(user="$RCAnonymousID:0123456789abcdef")
    daemon.accept(event)
    [arrived] = standin.wait_events(1)
    until = seconds(event, "expiration_at_ms")
    equal(arrived["external_id"], "$RCAnonymousID:0123456789abcdef")
    equal(arrived["event_name"], "rc_initial_purchase_event")
    equal(arrived["created_at"], seconds(event, "purchased_at_ms"))
    equal(list(arrived["metadata"].items()), [
        ("product_identifier", "reader_monthly"), ("entitlement", "premium"),
        ("store", "APP_STORE"), ("expires_at", until), ("environment", "production"),
        ("app_id", "app0123456789")])
    equal(standin.attributes(arrived["external_id"]), {
        "latest_store": "APP_STORE", "latest_entitlement": "premium", "expires_at": until,
        "subscription_status": "active"})


# kind of event, its Intercom name, whose time created_at is, the status that follows
KINDS = [
    (harness.initial_purchase(), "rc_initial_purchase_event", "purchased_at_ms", "active"),
    (harness.trial_started(), "rc_trial_started_event", "purchased_at_ms", "trial"),
    (harness.trial_converted(), "rc_trial_converted_event", "purchased_at_ms", "active"),
    (harness.cancellation(period_type="TRIAL"), "rc_trial_cancelled_event", "event_timestamp_ms",
     "cancelled_trial"),
    (harness.renewal(), "rc_renewal_event", "purchased_at_ms", "active"),
    (harness.renewal(period_type="INTRO"), "rc_renewal_event", "purchased_at_ms", "intro"),
    (harness.cancellation(), "rc_cancellation_event", "event_timestamp_ms", "cancelled"),
    (harness.expiration(), "rc_expiration_event", "expiration_at_ms", "expired"),
    (harness.expiration(reason="SUBSCRIPTION_PAUSED", store="PLAY_STORE"), "rc_expiration_event",
     "expiration_at_ms", "paused"),
    (harness.one_time_purchase(), "rc_non_subscription_purchase_event", "purchased_at_ms", None),
]


def test_names_times_and_statuses(t):
    standin, daemon = t.both()
    for number, (event, _, _, _) in enumerate(KINDS):
        event["event"]["app_user_id"] = f"user-{number}"
        daemon.accept(event)
    standin.wait_events(len(KINDS))
    for number, (event, name, clock, status) in enumerate(KINDS):
        user = f"user-{number}"
        [arrived] = standin.events(user)
        what = f"{event['event']['type']} of {user}"
        equal(arrived["event_name"], name, what)
        equal(arrived["created_at"], seconds(event, clock), what)
        equal(standin.attributes(user).get("subscription_status"), status, what)


def test_reasons_in_metadata(t):
    standin, daemon = t.both()
    daemon.accept(harness.cancellation("a", "PRICE_INCREASE"), harness.expiration("b", "BILLING_ERROR"))
    standin.wait_events(2)
    equal(standin.events("a")[0]["metadata"]["cancellation_reason"], "PRICE_INCREASE")
    equal(standin.events("b")[0]["metadata"]["expiration_reason"], "BILLING_ERROR")


def test_grace_period(t):
    standin, daemon = t.both()
    at = int(time.time() * 1000)
    issue = harness.billing_issue(at=at, grace_period_expiration_at_ms=at + 5 * DAY_MS)
    daemon.accept(issue, harness.cancellation(reason="BILLING_ERROR", at=at + 11))
    equal(set(names(standin.wait_events(2))), {"rc_billing_issue_event", "rc_cancellation_event"})
    daemon.wait_idle()
    equal(standin.attributes("u1")["subscription_status"], "grace_period")


def test_renamed_and_turned_off(t):
    standin, daemon = t.both(config={
        "event_names.renewal": "renewed!", "event_names.cancellation": "off",
        "event_names.uncancellation": "on", "attributes.latest_store": "off",
        "attributes.subscription_status": "plan_status"})
    daemon.accept(harness.renewal())
    equal(names(standin.wait_events(1)), ["renewed!"])
    daemon.accept(harness.cancellation())
    daemon.wait_idle()
    equal(names(standin.events()), ["renewed!"])
    attributes = standin.attributes("u1")
    equal(attributes["plan_status"], "cancelled")
    check("latest_store" not in attributes and "subscription_status" not in attributes, attributes)
    daemon.accept(harness.uncancellation())
    equal(names(standin.wait_events(2)), ["renewed!", "rc_uncancellation_event"])


def test_many_products_bought_once(t):
    """However much is bought besides, what is known of the subscription stays."""
    standin, daemon = t.both(config={"event_names.non_subscription_purchase": "off"})
    daemon.accept(harness.trial_started())
    daemon.wait_idle()
    wanted = standin.attributes("u1")
    equal(wanted["subscription_status"], "trial")
    for number in range(150):
        daemon.post(harness.one_time_purchase(original_transaction_id=f"coins{number}"))
    daemon.wait_idle()
    equal(standin.attributes("u1"), wanted)
    equal(len(standin.calls("update_contact", external_id="u1")), 0, "updates")


def test_transfer_moves_attributes(t):
    standin, daemon = t.both(config={"event_names.transfer": "on"})
    purchase = harness.initial_purchase("giver")
    daemon.accept(purchase)
    standin.wait_events(1)
    daemon.accept(harness.transfer(["giver"], ["taker"]))
    daemon.wait_idle()
    equal(standin.attributes("taker")["subscription_status"], "active")
    equal(standin.attributes("taker")["expires_at"], seconds(purchase, "expiration_at_ms"))
    equal({k: v for k, v in standin.attributes("giver").items() if v is not None}, {})


def test_identify_by_known_id(t):
    standin, daemon = t.both(config={"revenuecat.identify": "known_id"})
    daemon.accept(harness.renewal("$RCAnonymousID:aa", aliases=["$RCAnonymousID:aa", "real-user"]))
    equal(standin.wait_events(1)[0]["external_id"], "real-user")


def test_identify_by_email(t):
    standin, daemon = t.both(config={"revenuecat.identify": "email"})
    contact_id = standin.contact(email="kim@example.test")
    daemon.accept(harness.renewal("u1", subscriber_attributes={
        "$email": {"value": "kim@example.test", "updated_at_ms": 1700000000000}}))
    equal(standin.wait_events(1)[0]["contact_id"], contact_id)


# ---- order, duplicates, cost ----

def test_calls_per_event(t):
    standin, daemon = t.both()
    daemon.accept(harness.initial_purchase())
    standin.wait_events(1)
    daemon.wait_idle()
    equal(kinds(standin), ["create_contact", "submit_event"], "calls for a new contact")
    daemon.accept(harness.cancellation())
    standin.wait_events(2)
    daemon.wait_idle()
    equal(kinds(standin, 2), ["update_contact", "submit_event"], "calls for a change")
    daemon.accept(harness.product_change())
    standin.wait_events(3)
    daemon.wait_idle()
    equal(kinds(standin, 4), ["submit_event"], "calls when nothing changes")


def test_waiting_updates_become_one(t):
    standin, daemon = t.both()
    standin.rule(path="/contacts", delay_ms=1500)
    daemon.accept(harness.initial_purchase())
    wait_until(lambda: standin.totals()["calls"] == 1, what="the first call is on its way")
    later = [harness.renewal() for _ in range(20)]
    daemon.accept(*later)
    equal(len(standin.wait_events(21)), 21)
    daemon.wait_idle()
    contact_calls = [k for k in kinds(standin) if k in CONTACT_CALLS]
    check(len(contact_calls) <= 3, f"20 waiting updates took {contact_calls}")
    equal(standin.attributes("u1")["expires_at"], seconds(later[-1], "expiration_at_ms"))


def test_order_per_contact(t):
    standin, daemon = t.both(delay_ms=3)
    users = [f"user-{n}" for n in range(10)]
    for _ in range(15):
        daemon.accept(*[harness.renewal(user) for user in users])
    standin.wait_events(150)
    for user in users:
        times = [event["created_at"] for event in standin.events(user)]
        equal(times, sorted(times), f"order of {user}'s events")


def test_order_when_they_wait(t):
    """What waits together is sent by the billing system's time, whatever the order of arrival."""
    standin = t.standin()
    standin.options(down="refuse")
    t.expect_log("level=warn", "level=error")
    daemon = t.daemon(standin)
    events = [harness.renewal() for _ in range(8)]
    daemon.accept(*reversed(events))
    standin.options(down=False)
    arrived = standin.wait_events(8, timeout=40)
    times = [event["created_at"] for event in arrived]
    # The one that was being tried when the others came may have gone first.
    equal(times[1:], sorted(times[1:]), "order of those that waited")


def test_show_of_a_delivered_event_says_to_whom(t):
    """The question of support: the job is gone by then, the contact isn't."""
    standin, daemon = t.both()
    bought = harness.initial_purchase()
    daemon.accept(bought)
    daemon.wait_idle()
    shown = show(daemon, bought)
    equal(shown["state"], "delivered")
    equal(len(shown["deliveries"]), 1)
    delivery = shown["deliveries"][0]
    equal(delivery["user_id"], "u1")
    equal(delivery["state"], "delivered")
    equal(delivery["wanted"]["subscription_status"], "active")
    equal(delivery["sent"], delivery["wanted"])
    equal(delivery["intercom_id"], standin.state()["contacts"][0]["id"])


def test_late_event_does_not_turn_back(t):
    standin, daemon = t.both()
    old = harness.renewal()
    end = harness.expiration(purchased_at_ms=old["event"]["purchased_at_ms"])
    daemon.accept(end)
    standin.wait_events(1)
    daemon.accept(old)
    equal(names(standin.wait_events(2)), ["rc_expiration_event", "rc_renewal_event"])
    daemon.wait_idle()
    equal(standin.attributes("u1")["subscription_status"], "expired")


def test_same_second_same_name(t):
    standin, daemon = t.both()
    at = harness.next_ms()
    first, second, third = (harness.renewal(at=at + n, purchased_at_ms=at - 1000) for n in range(3))
    daemon.accept(first, second, third)
    arrived = standin.wait_events(3)
    equal(sorted(e["created_at"] - (at - 1000) // 1000 for e in arrived), [0, 1, 2])


def test_duplicates_at_once(t):
    standin, daemon = t.both()
    events = [harness.renewal(f"user-{n}") for n in range(20)]
    answers = []

    def post_all():
        http = daemon.http()
        for event in events:
            answer = http.request("POST", "/webhooks/revenuecat", json.dumps(event),
                                  {"Authorization": harness.AUTHORIZATION})
            answers.append((event["event"]["id"], answer.status, answer.json()["status"]))
        http.close()
    threads = [threading.Thread(target=post_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    equal(len(answers), 160)
    equal({status for _, status, _ in answers}, {200})
    for event in events:
        words = sorted(word for i, _, word in answers if i == event["event"]["id"])
        equal(words, ["accepted"] + ["duplicate"] * 7)
    standin.wait_events(20)
    daemon.wait_status(waiting=0, delivered=20, accepted=20, duplicate=140)
    equal(standin.totals()["by_kind"]["submit_event"], 20)


def test_one_contact_does_not_hold_up_another(t):
    t.expect_log("level=warn")
    standin, daemon = t.both()
    standin.rule(contact="stuck", status=500, times=0)
    daemon.accept(harness.renewal("stuck"))
    wait_until(lambda: standin.totals()["calls"] >= 2, what="stuck is being retried")
    daemon.accept(*[harness.renewal(f"user-{n}") for n in range(30)])
    standin.wait_events(30)
    equal(daemon.status()["waiting"], 1)
    standin.clear_rules()
    standin.wait_events(31)


# ---- contacts that are not as expected ----

def test_contact_exists_already(t):
    standin, daemon = t.both()
    contact_id = standin.contact(external_id="u1", custom_attributes={"mine": "kept"})
    daemon.accept(harness.renewal())
    equal(standin.wait_events(1)[0]["contact_id"], contact_id)
    equal(kinds(standin), ["create_contact", "update_contact", "submit_event"])
    equal(standin.attributes("u1")["mine"], "kept")
    equal(standin.attributes("u1")["subscription_status"], "active")
    daemon.accept(harness.cancellation())
    standin.wait_events(2)
    equal(kinds(standin, 3), ["update_contact", "submit_event"], "the id is remembered")


def test_archived_contact_is_unarchived(t):
    standin, daemon = t.both()
    contact_id = standin.contact(external_id="u1", state="archived")
    daemon.accept(harness.renewal())
    equal(standin.wait_events(1)[0]["contact_id"], contact_id)
    equal(standin.attributes("u1")["subscription_status"], "active")
    check("unarchive_contact" in kinds(standin), kinds(standin))


def test_archived_contact_is_skipped(t):
    standin, daemon = t.both(config={"intercom.archived": "skip"})
    standin.contact(external_id="u1", state="archived")
    event = harness.renewal()
    daemon.accept(event)
    daemon.wait_idle()
    equal(standin.events(), [])
    check("unarchive_contact" not in kinds(standin), kinds(standin))
    check(show(daemon, event)["state"] in ("ignored", "delivered"), show(daemon, event))


def test_unmatched_contact_is_skipped(t):
    standin, daemon = t.both(config={"intercom.unmatched": "skip"})
    standin.contact(external_id="known")
    daemon.accept(harness.renewal("unknown"), harness.renewal("known"))
    standin.wait_events(1)
    daemon.wait_idle()
    equal([e["external_id"] for e in standin.events()], ["known"])
    equal(standin.attributes("unknown"), None)


def test_deleted_contact_is_parked(t):
    t.expect_log("level=warn")
    standin, daemon = t.both()
    standin.contact(external_id="u1", state="deleted")
    event = harness.renewal()
    daemon.accept(event)
    daemon.wait_status(parked=1, waiting=0)
    shown = show(daemon, event)
    equal(shown["state"], "parked")
    check("not restorable" in json.dumps(shown), shown)


def test_stale_contact_id(t):
    t.expect_log("level=warn")
    standin, daemon = t.both()
    daemon.accept(harness.initial_purchase())
    old_id = standin.wait_events(1)[0]["contact_id"]
    daemon.wait_idle()
    standin.contact(id=old_id, external_id="somebody-else", state="deleted")
    daemon.accept(harness.cancellation())
    arrived = standin.wait_events(2)
    check(arrived[1]["contact_id"] != old_id, "still the old id")
    equal(arrived[1]["external_id"], "u1")
    equal(standin.attributes("u1")["subscription_status"], "cancelled")


def test_stale_contact_id_when_only_an_event_is_due(t):
    t.expect_log("level=warn")
    standin, daemon = t.both()
    daemon.accept(harness.initial_purchase())
    old_id = standin.wait_events(1)[0]["contact_id"]
    daemon.wait_idle()
    standin.contact(id=old_id, external_id="somebody-else", state="deleted")
    daemon.accept(harness.product_change())
    equal(standin.wait_events(2)[1]["external_id"], "u1")
    equal(standin.attributes("u1")["subscription_status"], "active", "the new one knows it all")


def test_merged_contact(t):
    t.expect_log("level=warn")
    standin, daemon = t.both(config={"intercom.api_version": "2.16"})
    daemon.accept(harness.initial_purchase())
    standin.wait_events(1)
    daemon.wait_idle()
    main_id = standin.contact(external_id="u1-main")
    standin.contact(external_id="u1", state="merged", merged_into=main_id)
    daemon.accept(harness.cancellation())
    equal(standin.wait_events(2)[1]["contact_id"], main_id)
    equal(standin.attributes("u1-main")["subscription_status"], "cancelled")


def test_unknown_attributes_are_created(t):
    t.expect_log("level=warn")
    standin, daemon = t.both(strict_attributes=True)
    event = harness.initial_purchase()
    daemon.accept(event)
    standin.wait_events(1)
    equal(standin.attributes("u1")["expires_at"], seconds(event, "expiration_at_ms"))
    created = standin.state()["attributes"]
    equal(set(created), {"latest_store", "latest_entitlement", "expires_at", "subscription_status"})
    check(created["expires_at"] in ("datetime", "date", "integer"), created)
    equal(created["subscription_status"], "string")
    daemon.accept(harness.initial_purchase("u2"))
    standin.wait_events(2)


# ---- refusals ----

def test_wrong_token_holds_and_resumes(t):
    t.expect_log("level=warn", "level=error")
    standin, daemon = t.both()
    daemon.accept(harness.initial_purchase())
    standin.wait_events(1)
    standin.options(token="another one now")
    daemon.accept(*[harness.renewal(f"user-{n}") for n in range(20)])
    wait_until(lambda: "401" in (daemon.workspace().get("why") or ""), what="status says 401")
    status = daemon.status()
    equal((status["waiting"], status["parked"]), (20, 0))
    equal(daemon.get("/readyz").status, 200, "it takes events all the same")
    check(standin.totals()["by_kind"]["create_contact"] < 15, "it goes on and on in spite of a 401")
    standin.options(token=harness.TOKEN)
    standin.wait_events(21, timeout=60)  # by itself
    daemon.wait_status(waiting=0, parked=0)


def test_missing_scope_holds_and_resumes(t):
    t.expect_log("level=warn", "level=error")
    standin, daemon = t.both()
    standin.rule(path="/events", status=403, code="action_forbidden", message="Missing scope")
    daemon.accept(harness.renewal())
    wait_until(lambda: "403" in (daemon.workspace().get("why") or ""), what="status says 403")
    equal(daemon.status()["parked"], 0)
    standin.wait_events(1, timeout=60)  # the next probe finds that it was mended
    daemon.wait_status(waiting=0, parked=0)


def test_429_waits_for_reset(t):
    t.expect_log("level=warn")
    standin, daemon = t.both()
    reset = int(time.time()) + 3
    standin.rule(path="/contacts", status=429, code="rate_limit_exceeded", message="Exceeded",
                 headers={"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0",
                          "X-RateLimit-Reset": str(reset)})
    event = harness.renewal()
    daemon.accept(event)
    standin.wait_events(1)
    calls = standin.calls()
    equal([c["status"] for c in calls], [429, 200, 202])
    check(calls[1]["at_ms"] >= reset * 1000, f"called {reset * 1000 - calls[1]['at_ms']} ms too early")
    check(calls[1]["at_ms"] < reset * 1000 + 3000, "waited much longer than it had to")


def test_rate_is_used_and_never_exceeded(t):
    limit = 100
    standin, daemon = t.both(limit=limit, window_ms=2000)
    for number in range(350):
        daemon.accept(harness.renewal(f"user-{number}"))
    standin.wait_events(350, timeout=60)
    totals = standin.totals()
    equal(totals["refused"], 0, "calls over the limit")
    check(totals["window_calls_max"] <= limit, totals)
    windows = standin.state()["windows"]
    # Not the first two, in which the window is learnt, and not the last.
    for window in windows[2:-1]:
        check(window["calls"] >= 0.9 * limit, f"windows: {[w['calls'] for w in windows]}")


def test_fixed_rate(t):
    standin, daemon = t.both(config={"delivery.rate_limit": "50"}, limit=1000, window_ms=10000)
    daemon.accept(*[harness.renewal(f"user-{n}") for n in range(10)])
    standin.wait_events(10)
    calls = standin.calls()
    took_ms = calls[-1]["at_ms"] - calls[0]["at_ms"]
    # 20 calls at 5 a second: 19 gaps of 200 ms.
    check(3000 <= took_ms <= 8000, f"20 calls at 50 per 10 s took {took_ms} ms")


def test_broken_answers_are_retried(t):
    t.expect_log("level=warn")
    standin, daemon = t.both()
    standin.rule(path="/contacts", status=503, code="service_unavailable", message="x")
    standin.rule(path="/contacts", status=504, answer="<html>504 Gateway Time-out</html>")
    standin.rule(path="/contacts", drop="before")
    standin.rule(path="/contacts", drop="after")
    standin.rule(path="/events", status=500, answer="null")
    standin.rule(path="/events", drop="midway")
    standin.rule(path="/events", status=408, code="request_timeout", message="x")
    standin.rule(path="/events", took_effect=True, status=500)
    event = harness.renewal()
    daemon.accept(event)
    daemon.wait_status(timeout=60, waiting=0, delivered=1)
    equal(len(standin.events()), 1)
    equal(standin.attributes("u1")["subscription_status"], "active")
    attempts = show(daemon, event)["attempts"]
    check(len(attempts) >= 5, f"attempts that are told: {attempts}")


def test_intercom_away(t):
    t.expect_log("level=warn", "level=error")
    standin, daemon = t.both()
    for down in ("refuse", "reset"):
        standin.options(down=down)
        before = standin.totals()["events"]
        daemon.accept(*[harness.renewal(f"user-{n}") for n in range(30)])
        wait_until(lambda: daemon.workspace().get("why"), what="status says that Intercom is away")
        equal(daemon.status()["parked"], 0)
        standin.options(down=False)
        standin.wait_events(before + 30, timeout=60)
        daemon.wait_status(timeout=60, waiting=0, parked=0)


def test_refused_event_is_parked_and_retried(t):
    t.expect_log("level=warn")
    standin, daemon = t.both()
    standin.rule(path="/events", contact="u1", status=422, code="data_invalid", message="not like this")
    event = harness.renewal("u1")
    daemon.accept(event, harness.renewal("u2"))
    daemon.wait_status(waiting=0, parked=1, delivered=1)
    shown = show(daemon, event)
    equal((shown["event_id"], shown["state"], shown["type"]),
          (event["event"]["id"], "parked", "RENEWAL"))
    check("422" in shown["reason"] and "not like this" in shown["reason"], shown["reason"])
    refusal = [c for c in standin.calls("submit_event") if c["status"] == 422]
    equal(len(refusal), 1)
    check("005standin" in json.dumps(shown), "Intercom's request id is not shown")
    body = shown["body"]
    equal(json.loads(body) if isinstance(body, str) else body, event)
    equal([e["external_id"] for e in standin.events()], ["u2"])
    daemon.cli("retry", str(shown["id"]))
    standin.wait_events(2)
    daemon.wait_status(waiting=0, parked=0, delivered=2)


def test_retry_all_parked(t):
    t.expect_log("level=warn")
    standin, daemon = t.both()
    standin.rule(path="/contacts", status=400, code="parameter_invalid", message="no", times=5)
    for number in range(5):
        daemon.accept(harness.renewal(f"user-{number}"))
    daemon.wait_status(waiting=0, parked=5)
    daemon.cli("retry", "--all-parked")
    standin.wait_events(5)
    daemon.wait_status(waiting=0, parked=0)


def test_giving_up(t):
    t.expect_log("level=warn")
    standin, daemon = t.both(config={"delivery.give_up_after": "1s"})
    standin.rule(path="/events", contact="u1", status=500, times=0)
    daemon.accept(harness.renewal("u1"))
    # Somebody else's events keep showing that Intercom is there.
    daemon.accept(*[harness.renewal(f"user-{n}") for n in range(5)])
    daemon.wait_status(timeout=30, parked=1, waiting=0, delivered=5)


def test_pause_and_resume(t):
    t.expect_log("level=warn")
    standin, daemon = t.both()
    if b"pause" not in daemon.cli_help():
        raise harness.Skip("there is no command 'pause'")
    daemon.cli("pause")
    daemon.accept(harness.renewal())
    equal(daemon.status()["waiting"], 1)
    daemon.cli("resume")
    standin.wait_events(1)


# ---- several workspaces, dry run, the commands ----

def test_sandbox_goes_to_another_workspace(t):
    live, test = t.standin(), t.standin(token="token of the test workspace")
    daemon = t.daemon(live, config={
        "revenuecat.sandbox": "test", "intercom.test.base_url": test.url,
        "intercom.test.access_token": "token of the test workspace"})
    daemon.accept(harness.renewal(environment="SANDBOX"), harness.cancellation())
    equal(names(test.wait_events(1)), ["rc_renewal_event"])
    equal(test.events()[0]["metadata"]["environment"], "sandbox")
    equal(names(live.wait_events(1)), ["rc_cancellation_event"])
    equal(test.attributes("u1")["subscription_status"], "active")
    equal(live.attributes("u1")["subscription_status"], "cancelled")


def test_two_apps(t):
    first, second = t.standin(), t.standin()
    daemon = t.daemon(first, config={
        "revenuecat.ios.path": "/webhooks/ios", "revenuecat.ios.authorization": "ios secret",
        "revenuecat.ios.workspace": "b", "intercom.b.base_url": second.url,
        "intercom.b.access_token": harness.TOKEN})
    event = harness.renewal()
    daemon.accept(event)
    equal(daemon.post(event, path="/webhooks/ios").status, 401)
    daemon.accept(event, path="/webhooks/ios", authorization="ios secret")  # another source's event
    first.wait_events(1)
    second.wait_events(1)
    t.expect_log("level=warn")


def test_one_workspace_held_the_other_not(t):
    t.expect_log("level=warn", "level=error")
    live, test = t.standin(), t.standin()
    test.options(token="changed")
    daemon = t.daemon(live, config={
        "revenuecat.sandbox": "test", "intercom.test.base_url": test.url,
        "intercom.test.access_token": harness.TOKEN})
    daemon.accept(*[harness.renewal(f"user-{n}", environment="SANDBOX") for n in range(300)])
    wait_until(lambda: "401" in (daemon.workspace("test").get("why") or ""), what="test is held")
    daemon.accept(*[harness.renewal(f"user-{n}") for n in range(50)])
    live.wait_events(50)
    equal(daemon.status()["waiting"], 300)


def test_dry_run_prints(t):
    daemon = t.daemon()
    daemon.accept(harness.initial_purchase("dry-user"))
    daemon.wait_status(waiting=0)

    def printed():
        text = daemon.stdout() + daemon.stderr()
        return re.search(r"POST \S*/events", text) and text
    text = wait_until(printed, what="the call is printed")
    check(re.search(r"POST \S*/contacts", text) and '"external_id":"dry-user"' in text, text)
    check('"event_name":"rc_initial_purchase_event"' in text, text)
    check(harness.TOKEN not in text, "a token in the output")


def test_map(t):
    daemon = t.daemon(start=False)
    event = harness.initial_purchase()
    result = json.loads(daemon.cli("map", stdin=json.dumps(event).encode()).stdout)
    equal(result["product_identifier"], "reader_monthly")
    equal(result["app_id"], "app0123456789")
    equal(result["user_payload"]["user_id"], "u1")
    equal(result["user_payload"]["custom_attributes"]["subscription_status"], "active")
    equal(result["event_payload"]["event_name"], "rc_initial_purchase_event")
    equal(result["event_payload"]["created_at"], seconds(event, "purchased_at_ms"))
    ignored = json.loads(daemon.cli("map", stdin=json.dumps(harness.dashboard_test()).encode()).stdout)
    equal((ignored["user_payload"], ignored["event_payload"]), (None, None))
    check(ignored["ignored"], "no reason")
    check(daemon.cli("map", stdin=b"not json", ok=1).stderr, "says nothing")
    several = json.loads(daemon.cli(
        "map", stdin=json.dumps(harness.transfer(["a"], ["b", "c"])).encode()).stdout)
    check(isinstance(several, list), several)


def test_status_and_events(t):
    t.expect_log("level=warn")
    standin, daemon = t.both()
    event = harness.renewal()
    daemon.accept(event)
    daemon.post(event)
    daemon.post(harness.dashboard_test())
    standin.wait_events(1)
    status = daemon.wait_status(waiting=0)
    equal({k: status[k] for k in ("received", "accepted", "duplicate", "ignored", "delivered",
                                  "parked")},
          {"received": 3, "accepted": 1, "duplicate": 1, "ignored": 1, "delivered": 1, "parked": 0})
    check(len(status["workspaces"]) == 1, status)
    equal(daemon.cli_json("status", socket_only=True)["accepted"], 1)
    equal({row["state"] for row in daemon.cli_json("events")}, {"delivered", "ignored"})
    shown = show(daemon, event)
    equal((shown["state"], shown["source"], shown["type"]), ("delivered", "revenuecat", "RENEWAL"))
    equal(len(shown["attempts"]), 2)
    equal(daemon.cli("show", "999999", ok=1).stdout, b"")
    daemon.cli("nonsense", ok=2)


if __name__ == "__main__":
    harness.main()
