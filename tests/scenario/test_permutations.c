/*
 * Every order of arrival of a scenario's events ends in the same attributes.
 *
 * Each scenario is a life of one or two customers as webhooks; all permutations of up to six of
 * them are posted to a relay of their own making (one customer name a permutation), and the wanted
 * attributes must be those of the order in which they happened.
 */

#include "support/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EVENTS_MAX 6

/* One event: %s stands for the permutation's suffix, so that ids and customers are its own. */
struct scenario {
	const char *name;
	const char *expected[2]; /* of customers a and b; NULL: not looked at */
	const char *events[EVENTS_MAX + 1];
	const char *ini;
	const char *identity; /* of customer a's contact; NULL: "a" and the suffix */
};

#define TIMES(p, e) "'purchased_at_ms':17000" #p "000000,'expiration_at_ms':17000" #e "000000,"
#define COMMON                                                                                 \
	"'store':'APP_STORE','product_id':'monthly','entitlement_ids':['pro'],'environment':'" \
	"PRODUCTION',"
#define EVENT(id, at, type, more)                                                          \
	"'id':'" id "%s','event_timestamp_ms':17000" #at ",'type':'" type "'," COMMON more \
	"'app_user_id':'a%s','original_transaction_id':'T1'"
/* The same customer by an id of before the login. */
#define ANONYMOUS(id, at, type, more)                                                      \
	"'id':'" id "%s','event_timestamp_ms':17000" #at ",'type':'" type "'," COMMON more \
	"'app_user_id':'$RCAnonymousID:x%s','aliases':['$RCAnonymousID:x%s','a%s'],"       \
	"'original_transaction_id':'T1'"
#define WITH_EMAIL(id, at, type, who, email, more)                                          \
	"'id':'" id "%s','event_timestamp_ms':17000" #at ",'type':'" type "'," COMMON more  \
	"'app_user_id':'" who "%s','original_transaction_id':'T1','subscriber_attributes':" \
	"{'$email':{'value':'" email "%s@example.com'}}"
#define WITH_ADDRESS(id, at, type, who, more)                                              \
	"'id':'" id "%s','event_timestamp_ms':17000" #at ",'type':'" type "'," COMMON more \
	"'app_user_id':'" who "','original_transaction_id':'T1','subscriber_attributes':"  \
	"{'$email':{'value':'m%s@example.com'}}"
#define NORMAL "'period_type':'NORMAL',"
#define TRIAL "'period_type':'TRIAL',"

static const struct scenario SCENARIOS[] = {
	{.name = "a trial that converts, fails, recovers and ends",
		.expected = {"{\"latest_store\":\"APP_STORE\",\"latest_entitlement\":\"pro\","
			     "\"expires_at\":1700040000,\"subscription_status\":\"expired\"}"},
		.events = {EVENT("1", 10000000, "INITIAL_PURCHASE", TRIAL TIMES(10, 20)),
			EVENT("2", 20000000, "RENEWAL",
				NORMAL TIMES(20, 30) "'is_trial_conversion':true,"),
			EVENT("3", 30000000, "BILLING_ISSUE",
				NORMAL TIMES(
					20, 30) "'grace_period_expiration_at_ms':1700035000000,"),
			EVENT("4", 30000011, "CANCELLATION",
				NORMAL TIMES(20, 30) "'cancel_reason':'BILLING_ERROR',"),
			EVENT("5", 31000000, "RENEWAL", NORMAL TIMES(30, 40)),
			EVENT("6", 40000000, "EXPIRATION",
				NORMAL TIMES(30, 40) "'expiration_reason':'UNSUBSCRIBE',")}},
	{.name = "grace wins over the cancellation that comes with it, before or after",
		.expected = {"{\"latest_store\":\"APP_STORE\",\"latest_entitlement\":\"pro\","
			     "\"expires_at\":1700030000,\"subscription_status\":\"grace_period\"}"},
		.events = {EVENT("1", 20000000, "INITIAL_PURCHASE", NORMAL TIMES(20, 30)),
			EVENT("2", 30000000, "CANCELLATION",
				NORMAL TIMES(20, 30) "'cancel_reason':'BILLING_ERROR',"),
			EVENT("3", 30000000, "BILLING_ISSUE",
				NORMAL TIMES(
					20, 30) "'grace_period_expiration_at_ms':1700035000000,"),
			EVENT("4", 30000005, "CANCELLATION",
				NORMAL TIMES(20, 30) "'cancel_reason':'BILLING_ERROR',")}},
	{.name = "cancelled, uncancelled, cancelled again",
		.expected = {"{\"latest_store\":\"APP_STORE\",\"latest_entitlement\":\"pro\","
			     "\"expires_at\":1700030000,\"subscription_status\":\"cancelled\"}"},
		.events = {EVENT("1", 20000000, "INITIAL_PURCHASE", NORMAL TIMES(20, 30)),
			EVENT("2", 21000000, "CANCELLATION",
				NORMAL TIMES(20, 30) "'cancel_reason':'UNSUBSCRIBE',"),
			EVENT("3", 22000000, "UNCANCELLATION", NORMAL TIMES(20, 30)),
			EVENT("4", 23000000, "CANCELLATION",
				NORMAL TIMES(20, 30) "'cancel_reason':'UNSUBSCRIBE',"),
			EVENT("5", 24000000, "SUBSCRIPTION_PAUSED", NORMAL TIMES(20, 30))}},
	{.name = "a refund that is reversed",
		.expected = {"{\"latest_store\":\"APP_STORE\",\"latest_entitlement\":\"pro\","
			     "\"expires_at\":1700030000,\"subscription_status\":\"active\"}"},
		.events = {EVENT("1", 20000000, "INITIAL_PURCHASE", NORMAL TIMES(20, 30)),
			EVENT("2", 21000000, "CANCELLATION",
				NORMAL TIMES(20,
					30) "'cancel_reason':'CUSTOMER_SUPPORT','price':-9.99,"),
			EVENT("3", 22000000, "REFUND_REVERSED", NORMAL TIMES(20, 30)),
			EVENT("4", 23000000, "PRODUCT_CHANGE", NORMAL TIMES(20, 30)),
			EVENT("5", 19000000, "NON_RENEWING_PURCHASE",
				NORMAL
				"'purchased_at_ms':1700019000000,'expiration_at_ms':null,")}},
	{.name = "what the source had goes to the destination, and stays there",
		.expected =
			{"{\"latest_store\":null,\"latest_entitlement\":null,\"expires_at\":null,"
			 "\"subscription_status\":null}",
				"{\"latest_store\":\"APP_STORE\",\"latest_entitlement\":\"pro\","
				"\"expires_at\":1700040000,\"subscription_status\":\"cancelled\"}"},
		.events = {EVENT("1", 20000000, "INITIAL_PURCHASE", NORMAL TIMES(20, 30)),
			EVENT("2", 21000000, "CANCELLATION",
				NORMAL TIMES(20, 30) "'cancel_reason':'UNSUBSCRIBE',"),
			"'id':'3%s','event_timestamp_ms':1700025000000,'type':'TRANSFER','store':'"
			"APP_STORE',"
			"'transferred_from':['a%s'],'transferred_to':['b%s']",
			"'id':'4%s','event_timestamp_ms':1700030000000,'type':'RENEWAL'," COMMON
				NORMAL TIMES(30,
					40) "'app_user_id':'b%s','original_transaction_id':'T1'",
			"'id':'5%s','event_timestamp_ms':1700031000000,'type':'CANCELLATION'"
			"," COMMON NORMAL TIMES(
				30, 40) "'cancel_reason':'UNSUBSCRIBE',"
					"'app_user_id':'b%s','original_transaction_id':'T1'"}},
	{.name = "there and back again",
		.expected = {"{\"latest_store\":\"APP_STORE\",\"latest_entitlement\":\"pro\","
			     "\"expires_at\":1700030000,\"subscription_status\":\"cancelled\"}",
			NULL},
		.events = {EVENT("1", 20000000, "INITIAL_PURCHASE", NORMAL TIMES(20, 30)),
			"'id':'2%s','event_timestamp_ms':1700021000000,'type':'TRANSFER','store':'"
			"APP_STORE',"
			"'transferred_from':['a%s'],'transferred_to':['b%s']",
			"'id':'3%s','event_timestamp_ms':1700022000000,'type':'CANCELLATION'"
			"," COMMON NORMAL TIMES(
				20, 30) "'cancel_reason':'UNSUBSCRIBE',"
					"'app_user_id':'b%s','original_transaction_id':'T1'",
			"'id':'4%s','event_timestamp_ms':1700023000000,'type':'TRANSFER','store':'"
			"APP_STORE',"
			"'transferred_from':['b%s'],'transferred_to':['a%s']"}},
	{.name = "of two subscriptions the one with the latest event speaks",
		.expected = {"{\"latest_store\":\"PLAY_STORE\",\"latest_entitlement\":\"gold\","
			     "\"expires_at\":1700050000,\"subscription_status\":\"trial\"}"},
		.events = {EVENT("1", 20000000, "INITIAL_PURCHASE", NORMAL TIMES(20, 30)),
			EVENT("2", 21000000, "CANCELLATION",
				NORMAL TIMES(20, 30) "'cancel_reason':'UNSUBSCRIBE',"),
			"'id':'3%s','event_timestamp_ms':1700021000001,'type':'INITIAL_PURCHASE',"
			"'store':'PLAY_STORE','product_id':'gold','entitlement_ids':['gold'],"
			"'environment':'PRODUCTION'," TRIAL TIMES(
				21, 50) "'app_user_id':'a%s','original_transaction_id':'T2'"}},
	{.name = "a product change goes on under another transaction, and the old one ends later",
		.expected = {"{\"latest_store\":\"APP_STORE\",\"latest_entitlement\":\"pro\","
			     "\"expires_at\":1700090000,\"subscription_status\":\"active\"}"},
		.events = {EVENT("1", 20000000, "INITIAL_PURCHASE", NORMAL TIMES(20, 30)),
			EVENT("2", 21000000, "PRODUCT_CHANGE", NORMAL TIMES(20, 30)),
			"'id':'3%s','event_timestamp_ms':1700022000000,'type':'RENEWAL'," COMMON
				NORMAL TIMES(22,
					90) "'app_user_id':'a%s','original_transaction_id':'T2'",
			EVENT("4", 22000000, "EXPIRATION",
				NORMAL TIMES(20, 30) "'expiration_reason':'UNSUBSCRIBE',"),
			EVENT("5", 22000005, "CANCELLATION",
				NORMAL TIMES(20, 30) "'cancel_reason':'UNKNOWN',")}},
	{.name = "a product change back to the first transaction, whose end counts again",
		.expected = {"{\"latest_store\":\"APP_STORE\",\"latest_entitlement\":\"pro\","
			     "\"expires_at\":1700040000,\"subscription_status\":\"expired\"}"},
		.events = {EVENT("1", 20000000, "INITIAL_PURCHASE", NORMAL TIMES(20, 30)),
			EVENT("2", 21000000, "PRODUCT_CHANGE",
				NORMAL TIMES(20, 30) "'new_product_id':'monthly',"),
			"'id':'3%s','event_timestamp_ms':1700022000000,'type':'RENEWAL'," COMMON
				NORMAL TIMES(22,
					90) "'app_user_id':'a%s','original_transaction_id':'T2'",
			EVENT("4", 23000000, "RENEWAL", NORMAL TIMES(23, 40)),
			EVENT("5", 40000000, "EXPIRATION",
				NORMAL TIMES(23, 40) "'expiration_reason':'UNSUBSCRIBE',")}},
	{.name = "what is bought besides a product change to something else doesn't silence the "
		 "old "
		 "product",
		.expected = {"{\"latest_store\":\"APP_STORE\",\"latest_entitlement\":\"pro\","
			     "\"expires_at\":1700030000,\"subscription_status\":\"cancelled\"}"},
		.events = {EVENT("1", 20000000, "INITIAL_PURCHASE", NORMAL TIMES(20, 30)),
			EVENT("2", 21000000, "PRODUCT_CHANGE",
				NORMAL TIMES(20, 30) "'new_product_id':'yearly',"),
			"'id':'3%s','event_timestamp_ms':1700022000000,'type':'INITIAL_PURCHASE'"
			"," COMMON NORMAL TIMES(
				22, 90) "'app_user_id':'a%s','original_transaction_id':'T2'",
			EVENT("4", 23000000, "CANCELLATION",
				NORMAL TIMES(20, 30) "'cancel_reason':'UNSUBSCRIBE',")}},
	{.name = "the end that a refund brought is taken back with it, the refund never came",
		.expected = {"{\"latest_store\":\"APP_STORE\",\"latest_entitlement\":\"pro\","
			     "\"expires_at\":1700030000,\"subscription_status\":\"active\"}"},
		.events = {EVENT("1", 20000000, "INITIAL_PURCHASE", NORMAL TIMES(20, 30)),
			EVENT("2", 21000000, "EXPIRATION",
				NORMAL TIMES(20, 21) "'expiration_reason':'CUSTOMER_SUPPORT',"),
			EVENT("3", 22000000, "REFUND_REVERSED", NORMAL TIMES(20, 30))}},
	{.name = "a grant and its revocation 100 ms apart",
		.expected = {"{\"latest_store\":\"PROMOTIONAL\",\"latest_entitlement\":\"pro\","
			     "\"expires_at\":1700021000,\"subscription_status\":\"expired_"
			     "promotional\"}"},
		.events = {"'id':'1%s','event_timestamp_ms':1700020000000,'type':'NON_RENEWING_"
			   "PURCHASE',"
			   "'store':'PROMOTIONAL','period_type':'PROMOTIONAL','entitlement_ids':['"
			   "pro'],"
			   "'product_id':'rc_promo_pro_monthly',"
			   "'environment':'PRODUCTION'," TIMES(
				   20, 50) "'app_user_id':'a%s','original_transaction_id':'P1'",
			"'id':'2%s','event_timestamp_ms':1700021000000,'type':'CANCELLATION',"
			"'store':'PROMOTIONAL','period_type':'PROMOTIONAL','entitlement_ids':['pro'"
			"],"
			"'cancel_reason':'DEVELOPER_INITIATED',"
			"'environment':'PRODUCTION'," TIMES(
				20, 21) "'app_user_id':'a%s','original_transaction_id':'P1'",
			"'id':'3%s','event_timestamp_ms':1700021000100,'type':'EXPIRATION',"
			"'store':'PROMOTIONAL','period_type':'PROMOTIONAL','entitlement_ids':['pro'"
			"],"
			"'expiration_reason':'UNSUBSCRIBE',"
			"'environment':'PRODUCTION'," TIMES(
				20, 21) "'app_user_id':'a%s','original_transaction_id':'P1'"}},
	{.name = "bought before the login, in trouble after it: two ids, one contact",
		.expected = {"{\"latest_store\":\"APP_STORE\",\"latest_entitlement\":\"pro\","
			     "\"expires_at\":1700030000,\"subscription_status\":\"grace_period\"}"},
		.events = {ANONYMOUS("1", 20000000, "INITIAL_PURCHASE", NORMAL TIMES(20, 30)),
			ANONYMOUS("2", 30000000, "BILLING_ISSUE",
				NORMAL TIMES(
					20, 30) "'grace_period_expiration_at_ms':1700035000000,"),
			EVENT("3", 30000005, "CANCELLATION",
				NORMAL TIMES(20, 30) "'cancel_reason':'BILLING_ERROR',")},
		.ini = "[revenuecat]\nidentify = known_id\n"},
	{.name = "an anonymous customer becomes known: who it is isn't turned back",
		.expected = {"{\"latest_store\":\"APP_STORE\",\"latest_entitlement\":\"pro\","
			     "\"expires_at\":1700040000,\"subscription_status\":\"active\"}"},
		.events = {"'id':'1%s','event_timestamp_ms':1700020000000,'type':'INITIAL_PURCHASE'"
			   "," COMMON NORMAL TIMES(20, 30) "'app_user_id':'$RCAnonymousID:x%s',"
							   "'original_transaction_id':'T1'",
			ANONYMOUS("2", 30000000, "RENEWAL", NORMAL TIMES(30, 40)),
			"'id':'3%s','event_timestamp_ms':1700031000000,'type':'SUBSCRIPTION_PAUSED'"
			"," COMMON NORMAL TIMES(30, 40) "'app_user_id':'a%s',"
							"'original_transaction_id':'T1'"},
		.ini = "[revenuecat]\nidentify = known_id\n"},
	{.name = "by e-mail, from two ids and under an address that changed",
		.expected = {"{\"latest_store\":\"APP_STORE\",\"latest_entitlement\":\"pro\","
			     "\"expires_at\":1700040000,\"subscription_status\":\"active\"}"},
		.events = {WITH_EMAIL("1", 20000000, "INITIAL_PURCHASE", "u", "old",
				   NORMAL TIMES(20, 30)),
			WITH_EMAIL("2", 30000000, "RENEWAL", "u", "new", NORMAL TIMES(30, 40)),
			WITH_EMAIL("3", 31000000, "SUBSCRIPTION_PAUSED", "v", "new",
				NORMAL TIMES(30, 40)),
			WITH_EMAIL(
				"4", 31000001, "PRODUCT_CHANGE", "v", "new", NORMAL TIMES(30, 40))},
		.ini = "[revenuecat]\nidentify = email\n",
		.identity = "new%s@example.com"},
	{.name = "by e-mail, and the address is one of its two ids",
		.expected = {"{\"latest_store\":\"APP_STORE\",\"latest_entitlement\":\"pro\","
			     "\"expires_at\":1700030000,\"subscription_status\":\"grace_period\"}"},
		.events = {WITH_ADDRESS("1", 20000000, "INITIAL_PURCHASE", "m%s@example.com",
				   NORMAL TIMES(20, 30)),
			WITH_ADDRESS("2", 30000000, "BILLING_ISSUE", "m%s@example.com",
				NORMAL TIMES(
					20, 30) "'grace_period_expiration_at_ms':1700035000000,"),
			WITH_ADDRESS("3", 30000005, "CANCELLATION", "u%s",
				NORMAL TIMES(20, 30) "'cancel_reason':'BILLING_ERROR',")},
		.ini = "[revenuecat]\nidentify = email\n",
		.identity = "m%s@example.com"},
};

/* Every %s is the suffix. */
static void fill_in(char *ret, size_t size, const char *format, const char *suffix)
{
	size_t len = 0;

	for (const char *c = format; *c != '\0'; c++) {
		if (c[0] == '%' && c[1] == 's') {
			len += (size_t)snprintf(&ret[len], size - len, "%s", suffix);
			c++;
		} else {
			ret[len++] = *c;
		}
	}
	ret[len] = '\0';
}

static void post(struct rig *rig, const char *format, const char *suffix)
{
	char members[4096];

	fill_in(members, sizeof(members), format, suffix);
	assert_int_equal(rig_post_event(rig, "%s", members), 200);
}

static void check(struct rig *rig, const struct scenario *scenario, const char *suffix)
{
	for (size_t who = 0; who < 2; who++) {
		char identity[64];

		if (scenario->expected[who] == NULL)
			continue;
		fill_in(identity, sizeof(identity),
			who == 1                             ? "b%s"
				: scenario->identity != NULL ? scenario->identity
							     : "a%s",
			suffix);
		char *wanted = rig_wanted(rig, identity);
		/* Never written and written as null are the same to Intercom. */
		if (wanted[0] != '\0' || strstr(scenario->expected[who], "null") == NULL) {
			if (strcmp(wanted, scenario->expected[who]) != 0)
				print_message("%s, order %s\n", scenario->name, suffix);
			assert_string_equal(wanted, scenario->expected[who]);
		}
		free(wanted);
	}
}

/* Heap's algorithm would do as well; this one keeps the order of events first. */
static void permute(
	struct rig *rig, const struct scenario *scenario, size_t *order, size_t done, size_t count)
{
	if (done == count) {
		char suffix[16] = "-";

		for (size_t i = 0; i < count; i++)
			suffix[i + 1] = (char)('0' + order[i]);
		suffix[count + 1] = '\0';
		for (size_t i = 0; i < count; i++)
			post(rig, scenario->events[order[i]], suffix);
		check(rig, scenario, suffix);
		return;
	}
	for (size_t i = done; i < count; i++) {
		const size_t first = order[done];

		order[done] = order[i];
		order[i] = first;
		permute(rig, scenario, order, done + 1, count);
		order[i] = order[done];
		order[done] = first;
	}
}

static void every_order_ends_in_the_same_attributes(void **state)
{
	const struct scenario *scenario = *state;
	struct rig *rig = rig_create(scenario->ini, NULL);
	size_t order[EVENTS_MAX];
	size_t count = 0;

	while (count < EVENTS_MAX && scenario->events[count] != NULL) {
		order[count] = count;
		count++;
	}
	permute(rig, scenario, order, 0, count);
	rig_destroy(rig);
}

int main(void)
{
	struct CMUnitTest tests[sizeof(SCENARIOS) / sizeof(*SCENARIOS)];

	for (size_t i = 0; i < sizeof(SCENARIOS) / sizeof(*SCENARIOS); i++)
		tests[i] = (struct CMUnitTest){.name = SCENARIOS[i].name,
			.test_func = every_order_ends_in_the_same_attributes,
			.initial_state = (void *)(uintptr_t)&SCENARIOS[i]};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
