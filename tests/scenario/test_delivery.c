/*
 * The relay from webhook to Intercom in one thread: what is sent, in which order, at what cost, and
 * what becomes of it when Intercom says no. Hours pass in milliseconds.
 */

#include "support/rig.h"

#include "base/buf.h"
#include "base/error.h"
#include "deliver/dispatcher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HOUR_MS (3600 * 1000LL)
#define FAST "retry_base = 1s\nretry_cap = 1m\n"

/* A purchase or another notice of one monthly subscription of `customer`. */
static void post(
	struct rig *rig, const char *customer, const char *id, const char *type, int64_t at_s)
{
	const unsigned status = rig_post_event(rig,
		"'id':'%s','type':'%s','event_timestamp_ms':%lld000,'app_user_id':'%s',"
		"'purchased_at_ms':1699990000000,'expiration_at_ms':1702582000000,"
		"'period_type':'NORMAL','store':'APP_STORE','environment':'PRODUCTION',"
		"'entitlement_ids':['pro'],'product_id':'monthly','original_transaction_id':'T1',"
		"'app_id':'app1','cancel_reason':'UNSUBSCRIBE'",
		id, type, (long long)at_s, customer);

	assert_int_equal(status, 200);
}

static int64_t calls_of(struct rig *rig, enum standin_call_kind kind)
{
	struct standin_totals totals;

	standin_get_totals(rig->standin, &totals);
	return totals.by_kind[kind];
}

/* ' stands for ", and ` for '. */
static void rule(struct rig *rig, const char *json)
{
	struct error err = {0};
	char text[1024];

	(void)snprintf(text, sizeof(text), "%s", json);
	for (char *c = text; *c != '\0'; c++)
		*c = (char)(*c == '\'' ? '"' : *c == '`' ? '\'' : *c);
	if (!standin_add_rules(rig->standin, text, strlen(text), &err))
		fail_msg("%s", err.text);
}

static void contact(struct rig *rig, const char *json, char *ret_id)
{
	struct error err = {0};
	char text[1024];

	(void)snprintf(text, sizeof(text), "%s", json);
	for (char *c = text; *c != '\0'; c++)
		if (*c == '\'')
			*c = '"';
	if (!standin_add_contact(rig->standin, text, strlen(text), ret_id, &err))
		fail_msg("%s", err.text);
}

static void check_no_violations(struct rig *rig)
{
	for (size_t i = 0; i < standin_violation_count(rig->standin); i++)
		print_message("violation: %s\n", standin_violation_at(rig->standin, i));
	assert_int_equal(standin_violation_count(rig->standin), 0);
}

static void check_event(struct rig *rig, size_t i, const char *name, int64_t created_at)
{
	struct standin_event event;

	assert_true(i < standin_event_count(rig->standin));
	standin_event_at(rig->standin, i, &event);
	assert_string_equal(event.name, name);
	assert_int_equal(event.created_at, created_at);
}

static void a_new_customer_costs_two_calls(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);
	struct standin_event event;

	(void)state;
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig->calls, 2);
	assert_string_equal(
		standin_attribute(rig->standin, "u1", "subscription_status"), "\"active\"");
	assert_string_equal(standin_attribute(rig->standin, "u1", "expires_at"), "1702582000");
	standin_event_at(rig->standin, 0, &event);
	assert_string_equal(event.name, "rc_initial_purchase_event");
	assert_string_equal(event.external_id, "u1");
	assert_int_equal(event.created_at, 1699990000);
	assert_string_equal(event.metadata,
		"{\"product_identifier\":\"monthly\",\"entitlement\":\"pro\",\"store\":\"APP_"
		"STORE\","
		"\"expires_at\":1702582000,\"environment\":\"production\",\"app_id\":\"app1\"}");
	check_no_violations(rig);
	rig_destroy(rig);
}

static void a_changed_one_costs_two_and_an_unchanged_one(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);

	(void)state;
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_drain(rig, HOUR_MS);
	post(rig, "u1", "e2", "CANCELLATION", 1699990100);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig->calls, 4);
	assert_int_equal(calls_of(rig, STANDIN_UPDATE_CONTACT), 1);
	post(rig, "u1", "e3", "PRODUCT_CHANGE", 1699990200);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig->calls, 5);
	assert_int_equal(standin_event_count(rig->standin), 3);
	rig_destroy(rig);
}

static void waiting_updates_become_one_call(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);

	(void)state;
	for (int i = 0; i < 20; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "e%d", i);
		post(rig, "u1", id, i % 2 == 0 ? "CANCELLATION" : "UNCANCELLATION", 1699990100 + i);
	}
	rig_drain(rig, HOUR_MS);
	assert_int_equal(calls_of(rig, STANDIN_CREATE_CONTACT), 1);
	assert_int_equal(calls_of(rig, STANDIN_UPDATE_CONTACT), 0);
	assert_int_equal(standin_event_count(rig->standin), 10);
	assert_int_equal(rig_totals(rig).delivered, 20);
	rig_destroy(rig);
}

static void waiting_events_go_in_the_order_of_the_billing_system(void **state)
{
	struct rig *rig = rig_create("[event_names]\nuncancellation = on\n", NULL);

	(void)state;
	post(rig, "u1", "e3", "UNCANCELLATION", 1699990300);
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	post(rig, "u1", "e2", "CANCELLATION", 1699990200);
	rig_drain(rig, HOUR_MS);
	check_event(rig, 0, "rc_initial_purchase_event", 1699990000);
	check_event(rig, 1, "rc_cancellation_event", 1699990200);
	check_event(rig, 2, "rc_uncancellation_event", 1699990300);
	rig_destroy(rig);
}

static void a_late_event_is_sent_and_turns_nothing_back(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);

	(void)state;
	post(rig, "u1", "e2", "EXPIRATION", 1699990200);
	rig_drain(rig, HOUR_MS);
	post(rig, "u1", "e1", "CANCELLATION", 1699990100);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig->calls, 3);
	assert_string_equal(
		standin_attribute(rig->standin, "u1", "subscription_status"), "\"expired\"");
	check_event(rig, 1, "rc_cancellation_event", 1699990100);
	rig_destroy(rig);
}

static void two_events_of_one_second_are_kept_apart(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);

	(void)state;
	for (int i = 0; i < 3; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "e%d", i);
		post(rig, "u1", id, "RENEWAL", 1699990001);
	}
	rig_drain(rig, HOUR_MS);
	assert_int_equal(standin_event_count(rig->standin), 3);
	check_event(rig, 0, "rc_renewal_event", 1699990000);
	check_event(rig, 1, "rc_renewal_event", 1699990001);
	check_event(rig, 2, "rc_renewal_event", 1699990002);
	rig_destroy(rig);
}

static void post_with_email(struct rig *rig, const char *id, const char *customer, int64_t at_ms,
	const char *type, const char *email)
{
	assert_int_equal(
		rig_post_event(rig,
			"'id':'%s','type':'%s','event_timestamp_ms':%lld,'app_user_id':'%s',"
			"'store':'APP_STORE','environment':'PRODUCTION',"
			"'subscriber_attributes':{'$email':{'value':'%s@example.com'}}",
			id, type, (long long)at_ms, customer, email),
		200);
}

/* What went to an address under an id that has another address since is still there. */
static void a_second_stays_taken_when_its_customer_becomes_another_contact(void **state)
{
	struct rig *rig = rig_create("[revenuecat]\nidentify = email\n", NULL);

	(void)state;
	post_with_email(rig, "1", "u", 1699990000000, "PRODUCT_CHANGE", "old");
	post_with_email(rig, "2", "u", 1699990005000, "BILLING_ISSUE", "new");
	post_with_email(rig, "3", "v", 1699990000000, "PRODUCT_CHANGE", "old");
	rig_drain(rig, HOUR_MS);
	assert_int_equal(standin_event_count(rig->standin), 3);
	bool is_taken[2] = {false};
	for (size_t i = 0; i < 3; i++) {
		struct standin_event event;

		standin_event_at(rig->standin, i, &event);
		if (strcmp(event.name, "rc_product_change_event") == 0)
			is_taken[event.created_at - 1699990000] = true;
	}
	assert_true(is_taken[0] && is_taken[1]);
	rig_destroy(rig);
}

static void an_existing_contact_is_found_by_the_conflict(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);

	(void)state;
	contact(rig, "{'external_id':'u1'}", NULL);
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig->calls, 3);
	assert_string_equal(
		standin_attribute(rig->standin, "u1", "subscription_status"), "\"active\"");
	post(rig, "u1", "e2", "CANCELLATION", 1699990100);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig->calls, 5);
	rig_destroy(rig);
}

static void an_archived_contact_is_brought_back_or_left(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);

	(void)state;
	contact(rig, "{'external_id':'u1','state':'archived'}", NULL);
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_drain(rig, HOUR_MS);
	assert_string_equal(standin_contact_state(rig->standin, "u1"), "live");
	assert_int_equal(standin_event_count(rig->standin), 1);
	rig_destroy(rig);

	rig = rig_create("[intercom]\narchived = skip\n", NULL);
	contact(rig, "{'external_id':'u1','state':'archived'}", NULL);
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_drain(rig, HOUR_MS);
	assert_string_equal(standin_contact_state(rig->standin, "u1"), "archived");
	assert_int_equal(standin_event_count(rig->standin), 0);
	assert_int_equal(rig_totals(rig).ignored, 1);
	assert_int_equal(rig_totals(rig).delivered, 0);
	rig_destroy(rig);
}

static void a_contact_that_is_gone_is_made_anew_with_everything(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);
	char id[32];

	(void)state;
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_drain(rig, HOUR_MS);
	/* As if somebody had removed it: its id is unknown, its external id free. */
	standin_reset(rig->standin);
	post(rig, "u1", "e2", "PRODUCT_CHANGE", 1699990100);
	rig_drain(rig, HOUR_MS);
	assert_string_equal(
		standin_attribute(rig->standin, "u1", "subscription_status"), "\"active\"");
	assert_int_equal(standin_event_count(rig->standin), 1);

	contact(rig, "{'external_id':'other'}", id);
	char merged[128];
	(void)snprintf(merged, sizeof(merged),
		"{'external_id':'u1','state':'merged','merged_into':'%s'}", id);
	contact(rig, merged, NULL);
	post(rig, "u1", "e3", "CANCELLATION", 1699990200);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig_totals(rig).parked, 0);
	assert_int_equal(standin_event_count(rig->standin), 2);
	rig_destroy(rig);
}

static void a_missing_attribute_is_created(void **state)
{
	struct rig *rig = rig_create(NULL, &(struct standin_options){.strict_attributes = true});

	(void)state;
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(calls_of(rig, STANDIN_CREATE_ATTRIBUTE), 4);
	assert_string_equal(
		standin_attribute(rig->standin, "u1", "subscription_status"), "\"active\"");
	assert_int_equal(rig_totals(rig).delivered, 1);
	rig_destroy(rig);
}

/* Archived attributes are like that: unknown to a contact, and their name is taken. */
static void an_attribute_that_is_missing_and_there_is_no_endless_loop(void **state)
{
	struct rig *rig = rig_create(FAST "give_up_after = 2h\n", NULL);

	(void)state;
	rig->answer_ms = 50;
	rule(rig,
		"[{'method':'POST','path':'/contacts','times':0,'status':400,"
		"'code':'parameter_invalid',"
		"'message':'Custom attribute `latest_store` does not exist'},"
		"{'method':'POST','path':'/data_attributes','times':0,'status':400,"
		"'code':'parameter_invalid',"
		"'message':'You already have `latest_store` in your user data'}]");
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_run(rig, HOUR_MS);
	/* A backoff of up to a minute between tries, of a few calls each. */
	assert_in_range(rig->calls, 100, 5000);
	assert_int_equal(rig_totals(rig).waiting, 1);
	rig_run(rig, 2 * HOUR_MS);
	assert_int_equal(rig_totals(rig).parked, 1);
	rig_destroy(rig);
}

static void a_refused_event_is_parked_and_can_be_tried_again(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);
	struct error err = {0};
	int64_t count;

	(void)state;
	rule(rig,
		"{'method':'POST','path':'/events','times':1,'status':422,"
		"'code':'parameter_invalid','message':'no'}");
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	post(rig, "u1", "e2", "CANCELLATION", 1699990100);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig_totals(rig).parked, 1);
	assert_int_equal(rig_totals(rig).delivered, 1);
	assert_int_equal(standin_event_count(rig->standin), 1);
	assert_true(store_retry(rig->store, 0, &count, &err));
	assert_int_equal(count, 1);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig_totals(rig).parked, 0);
	assert_int_equal(standin_event_count(rig->standin), 2);
	rig_destroy(rig);
}

static void a_refused_update_parks_what_asked_for_it_alone(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);

	(void)state;
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_drain(rig, HOUR_MS);
	rule(rig,
		"{'method':'PUT','times':0,'status':400,'code':'parameter_invalid','message':'no'"
		"}");
	post(rig, "u1", "e2", "CANCELLATION", 1699990100);
	post(rig, "u1", "e3", "PRODUCT_CHANGE", 1699990200);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig_totals(rig).parked, 1);
	assert_int_equal(rig_totals(rig).delivered, 2);
	rig_destroy(rig);
}

static void a_refused_token_holds_everything_and_parks_nothing(void **state)
{
	struct rig *rig = rig_create(FAST, NULL);

	(void)state;
	rule(rig,
		"{'times':0,'status':401,'code':'unauthorized','message':'Access Token Invalid'}");
	for (int i = 0; i < 50; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "e%d", i);
		post(rig, id, id, "INITIAL_PURCHASE", 1699990001);
	}
	rig_run(rig, 1000);
	assert_string_equal(rig_workspace_state(rig), "holding");
	const int64_t first = rig->calls;
	rig_run(rig, 4500);
	assert_int_equal(rig->calls, first + 1); /* the first probe, after 5 s */
	rig_run(rig, 100 * HOUR_MS);
	assert_in_range(rig->calls - first, 100 * 120 - 60, 100 * 120 + 2); /* one in 30 s */
	assert_int_equal(rig_totals(rig).parked, 0);
	standin_clear_rules(rig->standin);
	rig_drain(rig, 60 * 1000);
	assert_string_equal(rig_workspace_state(rig), "ok");
	assert_int_equal(rig_totals(rig).delivered, 50);
	rig_destroy(rig);
}

static void an_outage_of_days_parks_nothing(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);

	(void)state;
	rule(rig, "{'times':0,'status':503,'answer':'<html>no</html>'}");
	for (int i = 0; i < 50; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "e%d", i);
		post(rig, id, id, "INITIAL_PURCHASE", 1699990001);
	}
	rig_run(rig, 5 * 24 * HOUR_MS);
	assert_int_equal(rig_totals(rig).parked, 0);
	assert_int_equal(rig_totals(rig).waiting, 50);
	assert_string_equal(rig_workspace_state(rig), "holding");
	standin_clear_rules(rig->standin);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig_totals(rig).delivered, 50);
	rig_destroy(rig);
}

static void an_unreachable_intercom_parks_nothing_and_is_noticed_soon(void **state)
{
	struct rig *rig = rig_create(FAST, NULL);

	(void)state;
	rig->is_unreachable = true;
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_run(rig, 10 * 24 * HOUR_MS);
	assert_int_equal(rig_totals(rig).parked, 0);
	rig->is_unreachable = false;
	rig_drain(rig, 31 * 1000);
	assert_int_equal(rig_totals(rig).delivered, 1);
	rig_destroy(rig);
}

static void one_contacts_trouble_ages_out_alone(void **state)
{
	struct rig *rig = rig_create(FAST "give_up_after = 2h\n", NULL);

	(void)state;
	rule(rig, "{'contact':'bad','times':0,'status':500,'code':'server_error','message':'no'}");
	post(rig, "bad", "e1", "INITIAL_PURCHASE", 1699990001);
	post(rig, "good", "e2", "INITIAL_PURCHASE", 1699990001);
	rig_run(rig, HOUR_MS);
	assert_int_equal(rig_totals(rig).delivered, 1);
	assert_int_equal(rig_totals(rig).waiting, 1);
	rig_run(rig, 2 * HOUR_MS);
	assert_int_equal(rig_totals(rig).parked, 1);
	rig_destroy(rig);
}

static void a_daemon_restarted_every_hour_gives_up_as_well(void **state)
{
	struct rig *rig =
		rig_create("retry_base = 1s\nretry_cap = 15m\ngive_up_after = 20h\n", NULL);
	int hours = 0;

	(void)state;
	rule(rig, "{'contact':'bad','times':0,'status':500,'code':'server_error','message':'no'}");
	post(rig, "bad", "e1", "INITIAL_PURCHASE", 1699990001);
	while (rig_totals(rig).parked == 0 && hours < 40) {
		const int64_t calls = rig->calls;

		rig_run(rig, HOUR_MS);
		hours++;
		/* The backoff goes on where it was: some eight tries an hour at this cap, and not
		 * ten more each time. */
		if (hours > 2)
			assert_in_range(rig->calls - calls, 1, 18);
		rig_restart(rig);
	}
	assert_in_range(hours, 19, 24);
	rig_destroy(rig);
}

/* The contact's own trouble is an hour old; the five days in between were the workspace's. */
static void time_in_a_hold_does_not_age_a_delivery(void **state)
{
	struct rig *rig =
		rig_create("retry_base = 1s\nretry_cap = 15m\ngive_up_after = 3h\n", NULL);

	(void)state;
	rule(rig, "{'contact':'bad','times':0,'status':500,'code':'server_error','message':'no'}");
	post(rig, "bad", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_run(rig, HOUR_MS);
	standin_clear_rules(rig->standin);
	rule(rig, "{'times':0,'status':401,'code':'unauthorized','message':'no'}");
	for (int i = 0; i < 9; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "good%d", i);
		post(rig, id, id, "INITIAL_PURCHASE", 1699990001);
	}
	rig_run(rig, 5 * 24 * HOUR_MS);
	assert_string_equal(rig_workspace_state(rig), "holding");
	standin_clear_rules(rig->standin);
	rule(rig, "{'contact':'bad','times':0,'status':500,'code':'server_error','message':'no'}");
	rig_run(rig, HOUR_MS);
	assert_int_equal(rig_totals(rig).delivered, 9);
	assert_int_equal(rig_totals(rig).parked, 0);
	rig_run(rig, 3 * HOUR_MS);
	assert_int_equal(rig_totals(rig).parked, 1);
	rig_destroy(rig);
}

static void the_allowance_is_used_and_not_exceeded(void **state)
{
	struct rig *rig =
		rig_create(NULL, &(struct standin_options){.limit = 166, .reset_offset_ms = 2000});
	struct standin_totals totals;

	(void)state;
	rig->answer_ms = 0;
	for (int i = 0; i < 1000; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "e%d", i);
		post(rig, id, id, "INITIAL_PURCHASE", 1699990001);
	}
	rig_drain(rig, 140 * 1000);
	standin_get_totals(rig->standin, &totals);
	assert_int_equal(totals.refused, 0);
	assert_true(totals.window_calls_max <= 166);
	assert_int_equal(totals.events, 1000);
	rig_destroy(rig);
}

static void a_429_waits_for_the_reset_and_counts_no_attempt(void **state)
{
	struct rig *rig = rig_create("give_up_after = 1s\n", NULL);
	const int64_t reset_s = rig->clock.wall_ms / 1000 + 40;
	char text[256];

	(void)state;
	(void)snprintf(text, sizeof(text),
		"{'times':1,'status':429,'code':'rate_limit_exceeded','message':'slow down',"
		"'headers':{'X-RateLimit-Limit':'10','X-RateLimit-Remaining':'0',"
		"'X-RateLimit-Reset':'%lld'}}",
		(long long)reset_s);
	rule(rig, text);
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_run(rig, 39 * 1000);
	assert_int_equal(rig->calls, 1);
	assert_string_equal(rig_workspace_state(rig), "paced");
	rig_drain(rig, 5000);
	assert_int_equal(rig_totals(rig).delivered, 1);
	rig_destroy(rig);
}

#define ONE_A_WINDOW (&(struct standin_options){.limit = 1, .no_headers = true})

/* One call in ten seconds, and nobody says so beforehand: every other call is refused. */
static void calls_in_a_row_get_through_one_a_window(void **state)
{
	struct rig *rig = rig_create("[revenuecat]\nidentify = email\n", ONE_A_WINDOW);

	(void)state;
	for (int i = 0; i < 10; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "e%d", i);
		assert_int_equal(rig_post_event(rig,
					 "'id':'%s','type':'RENEWAL','app_user_id':'%s',"
					 "'event_timestamp_ms':1699990001000,'store':'APP_STORE',"
					 "'subscriber_attributes':{'$email':{'value':'%s@b.test'}}",
					 id, id, id),
			200);
	}
	/* A search, a creation and an event each. */
	rig_drain(rig, 31 * 10 * 1000);
	assert_int_equal(calls_of(rig, STANDIN_SEARCH_CONTACT), 10);
	assert_int_equal(standin_event_count(rig->standin), 10);
	rig_destroy(rig);
}

static void an_archived_contact_comes_back_at_one_call_a_window(void **state)
{
	struct rig *rig = rig_create(NULL, ONE_A_WINDOW);

	(void)state;
	contact(rig, "{'external_id':'u1','state':'archived'}", NULL);
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_drain(rig, HOUR_MS);
	assert_string_equal(standin_contact_state(rig->standin, "u1"), "live");
	assert_string_equal(
		standin_attribute(rig->standin, "u1", "subscription_status"), "\"active\"");
	rig_destroy(rig);
}

static void what_waits_for_the_rate_follows_a_new_configuration(void **state)
{
	struct rig *rig = rig_create(NULL, ONE_A_WINDOW);

	(void)state;
	contact(rig, "{'external_id':'u1','state':'archived'}", NULL);
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	post(rig, "u2", "e2", "INITIAL_PURCHASE", 1699990001);
	rig_run(rig, 1000);
	assert_string_equal(rig_workspace_state(rig), "paced");
	/* The one would be brought back next, the other made. */
	rig_reload(rig, "[intercom]\narchived = skip\nunmatched = skip\n");
	rig_drain(rig, HOUR_MS);
	assert_string_equal(standin_contact_state(rig->standin, "u1"), "archived");
	assert_null(standin_contact_state(rig->standin, "u2"));
	assert_int_equal(rig_totals(rig).ignored, 2);
	rig_destroy(rig);
}

static void missing_attributes_are_created_at_one_call_a_window(void **state)
{
	struct rig *rig = rig_create(NULL,
		&(struct standin_options){
			.limit = 1, .no_headers = true, .strict_attributes = true});

	(void)state;
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	/* Five creations of the contact, four of an attribute, the event. */
	rig_drain(rig, 11 * 10 * 1000);
	assert_string_equal(
		standin_attribute(rig->standin, "u1", "subscription_status"), "\"active\"");
	rig_destroy(rig);
}

static const char *const ATTRIBUTES[] = {
	"latest_store", "latest_entitlement", "subscription_status"};

static void refused_attributes_hold_up_no_event_at_one_call_a_window(void **state)
{
	struct rig *rig = rig_create("[event_names]\nrenewal = renewed\n"
				     "[intercom]\ncreate_attributes = no\n",
		&(struct standin_options){
			.limit = 1, .no_headers = true, .strict_attributes = true});

	(void)state;
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	/* Asks for no change. */
	post(rig, "u1", "e2", "RENEWAL", 1699990002);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig_totals(rig).parked, 1);
	assert_int_equal(standin_event_count(rig->standin), 1);
	/* Whatever asks for one while that waits is tried by itself. */
	post(rig, "u2", "e3", "INITIAL_PURCHASE", 1699990001);
	post(rig, "u2", "e4", "RENEWAL", 1699990002);
	rig_run(rig, 15 * 1000);
	assert_int_equal(rig_totals(rig).parked, 2);
	assert_int_equal(rig_totals(rig).waiting, 1);
	for (size_t i = 0; i < sizeof(ATTRIBUTES) / sizeof(*ATTRIBUTES); i++)
		standin_add_attribute(rig->standin, ATTRIBUTES[i], "string");
	standin_add_attribute(rig->standin, "expires_at", "datetime");
	standin_configure(rig->standin, &(struct standin_options){.strict_attributes = true});
	post(rig, "u2", "e5", "CANCELLATION", 1699990200);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig_totals(rig).parked, 2);
	assert_string_equal(
		standin_attribute(rig->standin, "u2", "subscription_status"), "\"cancelled\"");
	rig_destroy(rig);
}

static void a_restart_forgets_nothing_and_repeats_at_most_what_was_under_way(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);

	(void)state;
	for (int i = 0; i < 100; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "e%d", i);
		post(rig, i % 2 == 0 ? "u1" : id, id, "RENEWAL", 1699990001 + i);
		(void)rig_step(rig);
		if (i % 10 == 9)
			rig_restart(rig);
	}
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig_totals(rig).delivered, 100);
	assert_int_equal(standin_event_count(rig->standin), 100);
	rig_destroy(rig);
}

/* Cancelled and uncancelled before the first was delivered: Intercom has what is wanted already. */
static void a_change_and_its_way_back_need_no_call(void **state)
{
	struct rig *rig = rig_create("[event_names]\ncancellation = off\n", NULL);

	(void)state;
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_drain(rig, HOUR_MS);
	const int64_t calls = rig->calls;
	post(rig, "u1", "e2", "CANCELLATION", 1699990100);
	post(rig, "u1", "e3", "UNCANCELLATION", 1699990200);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig->calls, calls);
	assert_int_equal(rig_totals(rig).delivered, 3);
	rig_destroy(rig);
}

/* The same with a kill in between: what the lost process had sent is not known. */
static void what_a_killed_process_sent_is_not_believed(void **state)
{
	struct rig *rig = rig_create("[event_names]\ncancellation = off\n", NULL);

	(void)state;
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_drain(rig, HOUR_MS);
	post(rig, "u1", "e2", "CANCELLATION", 1699990100);
	/* The update reaches Intercom, and the process dies before it can note that. */
	const char *id = standin_contact_id(rig->standin, "u1");
	char preset[256];
	(void)snprintf(preset, sizeof(preset),
		"{'external_id':'u1','id':'%s','custom_attributes':{'subscription_status':'"
		"cancelled'}}",
		id);
	contact(rig, preset, NULL);
	rig_restart(rig);
	post(rig, "u1", "e3", "UNCANCELLATION", 1699990200);
	rig_drain(rig, HOUR_MS);
	assert_string_equal(
		standin_attribute(rig->standin, "u1", "subscription_status"), "\"active\"");
	rig_destroy(rig);
}

/* While it waits for its turn a lane takes in what arrives: one update, in the right order. */
static void after_a_restart_an_update_is_made_again_once(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);

	(void)state;
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_drain(rig, HOUR_MS);
	rule(rig, "{'method':'POST','path':'/events','times':5,'status':429}");
	post(rig, "u1", "e2", "CANCELLATION", 1699990101);
	rig_run(rig, 1000);
	assert_int_equal(calls_of(rig, STANDIN_UPDATE_CONTACT), 1);
	rig_restart(rig);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(calls_of(rig, STANDIN_UPDATE_CONTACT), 2);
	rig_destroy(rig);
}

static void what_arrives_while_a_lane_waits_for_its_turn_is_in_it(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);
	char text[256];

	(void)state;
	(void)snprintf(text, sizeof(text),
		"{'times':1,'status':429,'code':'rate_limit_exceeded','message':'slow down',"
		"'headers':{'X-RateLimit-Limit':'10','X-RateLimit-Remaining':'0',"
		"'X-RateLimit-Reset':'%lld'}}",
		(long long)(rig->clock.wall_ms / 1000 + 40));
	rule(rig, text);
	post(rig, "u0", "e0", "INITIAL_PURCHASE", 1699990001);
	post(rig, "u1", "e2", "CANCELLATION", 1699990200);
	rig_run(rig, 20 * 1000);
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	post(rig, "u1", "e3", "EXPIRATION", 1699990300);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(calls_of(rig, STANDIN_UPDATE_CONTACT), 0);
	check_event(rig, 1, "rc_initial_purchase_event", 1699990000);
	check_event(rig, 2, "rc_cancellation_event", 1699990200);
	check_event(rig, 3, "rc_expiration_event", 1699990300);
	rig_destroy(rig);
}

static void what_arrives_between_a_contacts_calls_goes_first_when_it_is_older(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);

	(void)state;
	post(rig, "u1", "e3", "CANCELLATION", 1699990200);
	post(rig, "u1", "e4", "EXPIRATION", 1699990300);
	(void)rig_step(rig);
	assert_int_equal(calls_of(rig, STANDIN_CREATE_CONTACT), 1);
	/* After the update and before its events. */
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	while (standin_event_count(rig->standin) < 2)
		(void)rig_step(rig);
	/* Between two events. */
	post(rig, "u1", "e2", "BILLING_ISSUE", 1699990250);
	rig_drain(rig, HOUR_MS);
	check_event(rig, 0, "rc_initial_purchase_event", 1699990000);
	check_event(rig, 1, "rc_cancellation_event", 1699990200);
	check_event(rig, 2, "rc_billing_issue_event", 1699990250);
	check_event(rig, 3, "rc_expiration_event", 1699990300);
	rig_destroy(rig);
}

static void a_backlog_does_not_hold_up_today(void **state)
{
	struct rig *rig = rig_create(FAST, NULL);
	struct standin_event event;
	size_t at = 0;

	(void)state;
	rig->is_unreachable = true;
	for (int i = 0; i < 3 * LANES_MAX; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "old%d", i);
		post(rig, id, id, "INITIAL_PURCHASE", 1699990001);
	}
	rig_restart(rig);
	rig->is_unreachable = false;
	rig_run(rig, 2000);
	post(rig, "today", "today", "INITIAL_PURCHASE", 1699990001);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(standin_event_count(rig->standin), 3 * LANES_MAX + 1);
	do
		standin_event_at(rig->standin, at++, &event);
	while (strcmp(event.external_id, "today") != 0);
	assert_true(at < 2 * LANES_MAX);
	rig_destroy(rig);
}

static void work_of_one_event_for_several_contacts_is_read_whole(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);

	(void)state;
	/* The heir's job is the first row behind a full stretch, of an event that was begun. */
	for (int i = 0; i < 255; i++) {
		char id[16];

		(void)snprintf(id, sizeof(id), "e%d", i);
		post(rig, id, id, "INITIAL_PURCHASE", 1699990001);
	}
	assert_int_equal(rig_post_event(rig,
				 "'id':'t','type':'TRANSFER','event_timestamp_ms':1699990002000,"
				 "'store':'APP_STORE','environment':'PRODUCTION','app_id':'app1',"
				 "'transferred_from':['e0'],'transferred_to':['heir']"),
		200);
	assert_int_equal(rig_totals(rig).waiting, 257);
	rig_drain(rig, HOUR_MS);
	assert_string_equal(
		standin_attribute(rig->standin, "heir", "subscription_status"), "\"active\"");
	rig_destroy(rig);
}

/* SQLite that does something behind a stretch that was read. */
static struct store_backend interrupted;
static struct rig *interrupted_rig;
static int reads_until_retry;

static bool read_and_retry(struct backend *backend, int64_t destination_id, struct lane_ref after,
	struct lane_ref *ret, size_t max, size_t *ret_count, struct error *err)
{
	const bool done =
		store_sqlite.lanes_after(backend, destination_id, after, ret, max, ret_count, err);
	int64_t count;

	if (reads_until_retry > 0 && --reads_until_retry == 0)
		assert_true(store_retry(interrupted_rig->store, 0, &count, err));
	return done;
}

static void what_is_tried_again_during_a_scan_is_not_missed(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);

	(void)state;
	interrupted = store_sqlite;
	interrupted.lanes_after = read_and_retry;
	interrupted_rig = rig;
	rig->backend = &interrupted;
	rig_restart(rig);
	rule(rig,
		"{'method':'POST','path':'/events','times':1,'status':422,"
		"'code':'parameter_invalid','message':'no'}");
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig_totals(rig).parked, 1);
	/* The first cursor stands at the very beginning, as the rewound one will. */
	rig_restart(rig);
	rig->is_unreachable = true;
	post(rig, "u2", "e2", "INITIAL_PURCHASE", 1699990001);
	rig_restart(rig);
	rig->is_unreachable = false;
	reads_until_retry = 2; /* the fresh cursor is first */
	rig_drain(rig, HOUR_MS);
	assert_int_equal(rig_totals(rig).delivered, 2);
	assert_int_equal(rig_totals(rig).parked, 0);
	rig_destroy(rig);
}

static void an_update_without_an_answer_may_have_been_carried_out(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);

	(void)state;
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_drain(rig, HOUR_MS);
	rule(rig, "{'method':'PUT','times':1,'drop':'after'}");
	post(rig, "u1", "e2", "CANCELLATION", 1699990100);
	while (calls_of(rig, STANDIN_UPDATE_CONTACT) == 0)
		(void)rig_step(rig);
	assert_string_equal(
		standin_attribute(rig->standin, "u1", "subscription_status"), "\"cancelled\"");
	/* Back to what Intercom was told last, as far as anybody knows for certain. */
	post(rig, "u1", "e3", "UNCANCELLATION", 1699990200);
	rig_drain(rig, HOUR_MS);
	assert_string_equal(
		standin_attribute(rig->standin, "u1", "subscription_status"), "\"active\"");
	rig_destroy(rig);
}

static void a_missing_scope_that_is_not_needed_any_more_holds_nothing(void **state)
{
	struct rig *rig = rig_create(FAST, &(struct standin_options){.strict_attributes = true});

	(void)state;
	rule(rig,
		"{'method':'POST','path':'/data_attributes','times':0,'status':403,"
		"'code':'action_forbidden','message':'no'}");
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_run(rig, 60 * 1000);
	assert_string_equal(rig_workspace_state(rig), "holding");
	/* The operator makes the attributes by hand, and the scope stays missing. */
	for (size_t i = 0; i < sizeof(ATTRIBUTES) / sizeof(*ATTRIBUTES); i++)
		standin_add_attribute(rig->standin, ATTRIBUTES[i], "string");
	standin_add_attribute(rig->standin, "expires_at", "datetime");
	rig_drain(rig, 60 * 1000);
	assert_string_equal(rig_workspace_state(rig), "ok");
	rig_destroy(rig);
}

static void a_reload_may_change_the_mode_and_take_workspaces_away(void **state)
{
	static const char OTHER[] = "[revenuecat.x]\npath = /x\nauthorization = Bearer x\n"
				    "workspace = x\n[intercom.x]\naccess_token = x\n"
				    "base_url = http://127.0.0.1:1\n";
	struct rig *rig = rig_create(OTHER, NULL);

	(void)state;
	post(rig, "u1", "e1", "INITIAL_PURCHASE", 1699990001);
	rig_reload(rig, "");
	(void)rig_workspace_state(rig);
	rig_drain(rig, HOUR_MS);
	/* A destination that this store has never seen. */
	rig_reload(rig, "[intercom]\nmode = dry-run\n");
	post(rig, "u1", "e2", "INITIAL_PURCHASE", 1699990001);
	rig_drain(rig, HOUR_MS);
	rig_reload(rig, "");
	post(rig, "u1", "e3", "CANCELLATION", 1699990101);
	rig_drain(rig, HOUR_MS);
	assert_string_equal(
		standin_attribute(rig->standin, "u1", "subscription_status"), "\"cancelled\"");
	rig_destroy(rig);
}

/* What is remembered of an event is bounded; its texts are cut rather than lost with it. */
static void an_event_with_a_very_long_text_still_counts(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);
	char *long_text = calloc(1, 70001);
	char *body = NULL;

	(void)state;
	assert_non_null(long_text);
	memset(long_text, 'p', 70000);
	assert_true(asprintf(&body,
			    "{\"event\":{\"id\":\"e1\",\"type\":\"INITIAL_PURCHASE\","
			    "\"event_timestamp_ms\":1699990001000,\"app_user_id\":\"u1\","
			    "\"store\":\"APP_STORE\",\"product_id\":\"%s\"}}",
			    long_text) > 0);
	assert_int_equal(rig_post(rig, body), 200);
	char *wanted = rig_wanted(rig, "u1");
	assert_non_null(strstr(wanted, "\"subscription_status\":\"active\""));
	free(wanted);
	free(body);
	free(long_text);
	rig_destroy(rig);
}

#define WIDE 24
#define DEEP 6

static void add_ids(struct buf *body, int layer)
{
	for (int i = 0; i < WIDE; i++)
		(void)buf_addf(body, "%s\"c%d-%d\"", i == 0 ? "" : ",", layer, i);
}

/* Of as many ways as 24^6 each customer needs to be looked at once. */
static void transfers_among_many_are_followed_in_time(void **state)
{
	struct rig *rig = rig_create(NULL, NULL);
	struct buf body;

	(void)state;
	buf_init(&body, (size_t)64 * 1024);
	post(rig, "c0-3", "e1", "INITIAL_PURCHASE", 1699990001);
	for (int layer = 0; layer < DEEP; layer++) {
		buf_clear(&body);
		(void)buf_addf(&body,
			"{\"event\":{\"id\":\"t%d\",\"type\":\"TRANSFER\","
			"\"event_timestamp_ms\":%d000,\"transferred_from\":[",
			layer, 1699990010 + layer);
		add_ids(&body, layer);
		(void)buf_add_text(&body, "],\"transferred_to\":[");
		add_ids(&body, layer + 1);
		(void)buf_add_text(&body, "]}}");
		assert_int_equal(rig_post(rig, buf_text(&body)), 200);
	}
	char *wanted = rig_wanted(rig, "c6-23");
	assert_non_null(strstr(wanted, "\"subscription_status\":\"active\""));
	free(wanted);
	buf_finish(&body);
	rig_destroy(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_customer_costs_two_calls),
		cmocka_unit_test(a_changed_one_costs_two_and_an_unchanged_one),
		cmocka_unit_test(waiting_updates_become_one_call),
		cmocka_unit_test(waiting_events_go_in_the_order_of_the_billing_system),
		cmocka_unit_test(a_late_event_is_sent_and_turns_nothing_back),
		cmocka_unit_test(two_events_of_one_second_are_kept_apart),
		cmocka_unit_test(a_second_stays_taken_when_its_customer_becomes_another_contact),
		cmocka_unit_test(an_existing_contact_is_found_by_the_conflict),
		cmocka_unit_test(an_archived_contact_is_brought_back_or_left),
		cmocka_unit_test(a_contact_that_is_gone_is_made_anew_with_everything),
		cmocka_unit_test(a_missing_attribute_is_created),
		cmocka_unit_test(an_attribute_that_is_missing_and_there_is_no_endless_loop),
		cmocka_unit_test(a_refused_event_is_parked_and_can_be_tried_again),
		cmocka_unit_test(a_refused_update_parks_what_asked_for_it_alone),
		cmocka_unit_test(a_refused_token_holds_everything_and_parks_nothing),
		cmocka_unit_test(an_outage_of_days_parks_nothing),
		cmocka_unit_test(an_unreachable_intercom_parks_nothing_and_is_noticed_soon),
		cmocka_unit_test(one_contacts_trouble_ages_out_alone),
		cmocka_unit_test(a_daemon_restarted_every_hour_gives_up_as_well),
		cmocka_unit_test(time_in_a_hold_does_not_age_a_delivery),
		cmocka_unit_test(the_allowance_is_used_and_not_exceeded),
		cmocka_unit_test(a_429_waits_for_the_reset_and_counts_no_attempt),
		cmocka_unit_test(calls_in_a_row_get_through_one_a_window),
		cmocka_unit_test(an_archived_contact_comes_back_at_one_call_a_window),
		cmocka_unit_test(what_waits_for_the_rate_follows_a_new_configuration),
		cmocka_unit_test(missing_attributes_are_created_at_one_call_a_window),
		cmocka_unit_test(refused_attributes_hold_up_no_event_at_one_call_a_window),
		cmocka_unit_test(a_restart_forgets_nothing_and_repeats_at_most_what_was_under_way),
		cmocka_unit_test(a_change_and_its_way_back_need_no_call),
		cmocka_unit_test(what_a_killed_process_sent_is_not_believed),
		cmocka_unit_test(after_a_restart_an_update_is_made_again_once),
		cmocka_unit_test(what_arrives_while_a_lane_waits_for_its_turn_is_in_it),
		cmocka_unit_test(what_arrives_between_a_contacts_calls_goes_first_when_it_is_older),
		cmocka_unit_test(a_backlog_does_not_hold_up_today),
		cmocka_unit_test(work_of_one_event_for_several_contacts_is_read_whole),
		cmocka_unit_test(what_is_tried_again_during_a_scan_is_not_missed),
		cmocka_unit_test(an_update_without_an_answer_may_have_been_carried_out),
		cmocka_unit_test(a_missing_scope_that_is_not_needed_any_more_holds_nothing),
		cmocka_unit_test(a_reload_may_change_the_mode_and_take_workspaces_away),
		cmocka_unit_test(an_event_with_a_very_long_text_still_counts),
		cmocka_unit_test(transfers_among_many_are_followed_in_time),
	};

	log_configure(LOG_ERROR_LEVEL, LOG_LOGFMT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
