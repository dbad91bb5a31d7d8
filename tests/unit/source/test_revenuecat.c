/*
 * RevenueCat's webhooks: what is refused, what is ignored, what is read, who is let in.
 */

#include "base/buf.h"
#include "base/clock.h"
#include "revenuecat_section.h"

#include <strings.h>

static int setup(void **state)
{
	struct section *section = malloc(sizeof(*section));
	assert_non_null(section);
	section_init(section);
	*state = section;
	return 0;
}

static int teardown(void **state)
{
	section_finish(*state);
	free(*state);
	return 0;
}

/* ---- what is refused ---- */

static void expect_refused(
	const struct section *section, const char *body, size_t len, const char *text)
{
	struct error err;
	struct event *event = section_read_bytes(section, body, len, &err);
	if (event)
		fail_msg("accepted: %s", body);
	if (strncmp(err.text, text, strlen(text)) != 0)
		fail_msg("%s: %s instead of %s", body, err.text, text);
}

static void test_not_json(void **state)
{
	static const char *const bodies[] = {
		"",
		" ",
		"\n\t\r\n",
		"null",
		"true",
		"42",
		"\"event\"",
		"event",
		"{",
		"}",
		"[",
		"{\"event\"",
		"{\"event\":",
		"{\"event\":}",
		"{\"event\":{}",
		"{\"event\":{}}}",
		"{\"event\":{}} x",
		"{\"event\":{}}{\"event\":{}}",
		"{\"event\":{},}",
		"{'event':{}}",
		"{event:{}}",
		"{\"event\":{\"id\":\"1\" \"type\":\"TEST\"}}",
		"{\"event\":{\"id\":\"1\",\"type\":\"TES",
		"{\"event\":{\"id\":\"1\ntwo\"}}",
		"{\"event\":{\"id\":\"\\x\"}}",
		"{\"event\":{\"id\":\"\\u12\"}}",
		"{\"event\":{\"id\":\"\\u\"}}",
		"{\"event\":{\"id\":\"\\",
		"{\"event\":{\"at\":01}}",
		"{\"event\":{\"at\":1.}}",
		"{\"event\":{\"at\":.5}}",
		"{\"event\":{\"at\":+1}}",
		"{\"event\":{\"at\":0x10}}",
		"{\"event\":{\"at\":NaN}}",
		"{\"event\":{\"at\":Infinity}}",
		"{\"event\":{\"at\":1e999}}",
		"{\"event\":{\"at\":undefined}}",
		"{\"event\":/* none */{}}",
		"\xef\xbb\xbf{\"event\":{}}",
		"{\"event\":{\"id\":\"\xff\"}}",
		"{\"event\":{\"id\":\"\xc3\"}}",
		"{\"event\":{\"id\":\"\xc0\xaf\"}}",
		"{\"event\":{\"id\":\"\xed\xa0\x80\"}}",
		"{\"event\":{\"id\":\"\xf4\x90\x80\x80\"}}",
		"{\"event\":{\"\\u0000\":1}}",
		"event=%7B%22id%22%3A1%7D",
		"<event/>",
	};
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		expect_refused(*state, bodies[i], strlen(bodies[i]), "the body is not JSON: ");
	static const char with_nul[] = "{\"event\":\0{}}";
	expect_refused(*state, with_nul, sizeof(with_nul) - 1, "the body is not JSON: ");
	static const char nul_behind[] = "{\"event\":{}}";
	expect_refused(*state, nul_behind, sizeof(nul_behind), "the body is not JSON: ");
}

/* Cut anywhere, a body is refused and not read past its end. */
static void test_cut_short(void **state)
{
	static const char body[] =
		"{\"event\":{\"id\":\"\\u00e9\\ud83d\\ude00\",\"type\":\"TEST\","
		"\"event_timestamp_ms\":1700000000123,\"x\":[null,true,-1.5e3,\"\xe2\x82\xac\"]}}";
	for (size_t len = 0; len < strlen(body); len++)
		expect_refused(*state, body, len, "the body is not JSON: ");
	event_destroy(section_read_body(*state, body));
}

static void test_says_where(void **state)
{
	static const struct {
		const char *body;
		const char *text;
	} cases[] = {
		{"", "the body is not JSON: it is empty"},
		{"{\"event\":", "the body is not JSON: it ends too early (line 1, column 9)"},
		{"{\n  \"event\": oops\n}",
			"the body is not JSON: invalid token (line 2, column 15)"},
		{"{} ada@example.org",
			"the body is not JSON: end of file expected (line 1, column 6)"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error err;
		assert_null(section_read_bytes(*state, cases[i].body, strlen(cases[i].body), &err));
		assert_string_equal(err.text, cases[i].text);
	}
}

static void test_no_event(void **state)
{
	static const char *const bodies[] = {
		"{}",
		"[]",
		"[{\"event\":{\"id\":\"1\"}}]",
		"{\"api_version\":\"1.0\"}",
		"{\"event\":null}",
		"{\"event\":[]}",
		"{\"event\":\"TEST\"}",
		"{\"event\":1}",
		"{\"Event\":{\"id\":\"1\"}}",
		"{\"id\":\"1\",\"type\":\"TEST\",\"event_timestamp_ms\":1700000000123}",
	};
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		expect_refused(*state, bodies[i], strlen(bodies[i]), "there is no event object");
}

static void test_unusable_event(void **state)
{
#define AT "\"event_timestamp_ms\":1700000000123"
	static const struct {
		const char *event;
		const char *text;
	} cases[] = {
		{"", "the event has no id"},
		{"\"type\":\"TEST\"," AT, "the event has no id"},
		{"\"id\":null,\"type\":\"TEST\"," AT, "the event has no id"},
		{"\"id\":\"\",\"type\":\"TEST\"," AT, "the event has no id"},
		{"\"id\":17,\"type\":\"TEST\"," AT, "the event has no id"},
		{"\"id\":[\"1\"],\"type\":\"TEST\"," AT, "the event has no id"},
		{"\"id\":{\"1\":1},\"type\":\"TEST\"," AT, "the event has no id"},
		{"\"id\":true,\"type\":\"TEST\"," AT, "the event has no id"},
		{"\"id\":\"1\\u0000\",\"type\":\"TEST\"," AT, "the event has no id"},
		{"\"id\":\"\\u0000\",\"type\":\"TEST\"," AT, "the event has no id"},
		{"\"ID\":\"1\",\"type\":\"TEST\"," AT, "the event has no id"},
		{"\"id\":\"1\"," AT, "the event has no type"},
		{"\"id\":\"1\",\"type\":null," AT, "the event has no type"},
		{"\"id\":\"1\",\"type\":\"\"," AT, "the event has no type"},
		{"\"id\":\"1\",\"type\":3," AT, "the event has no type"},
		{"\"id\":\"1\",\"type\":\"TE\\u0000ST\"," AT, "the event has no type"},
		{"\"id\":\"1\",\"type\":\"TEST\"", "event_timestamp_ms is missing"},
		{"\"id\":\"1\",\"type\":\"TEST\",\"event_timestamp_ms\":null",
			"event_timestamp_ms is missing"},
		{"\"id\":\"1\",\"type\":\"TEST\",\"event_timestamp_ms\":\"1700000000123\"",
			"event_timestamp_ms is missing or not a number"},
		{"\"id\":\"1\",\"type\":\"TEST\",\"event_timestamp_ms\":true",
			"event_timestamp_ms is missing or not a number"},
		{"\"id\":\"1\",\"type\":\"TEST\",\"event_timestamp_ms\":[1700000000123]",
			"event_timestamp_ms is missing or not a number"},
		/* Also of what would be ignored: it couldn't be stored. */
		{"\"paywall_id\":\"pw\",\"type\":\"x\"," AT, "the event has no id"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char body[256];
		(void)snprintf(body, sizeof(body), "{\"event\":{%s}}", cases[i].event);
		expect_refused(*state, body, strlen(body), cases[i].text);
	}
}

static void test_long_words(void **state)
{
	char word[257];
	char body[700];
	for (size_t len = 254; len <= 256; len++) {
		memset(word, 'x', len);
		word[len] = '\0';
		(void)snprintf(body, sizeof(body),
			"{\"event\":{\"id\":\"%s\",\"type\":\"TEST\"," AT "}}", word);
		if (len <= 255)
			event_destroy(section_read_body(*state, body));
		else
			expect_refused(*state, body, strlen(body),
				"the event's id is longer than 255 bytes");
		(void)snprintf(body, sizeof(body),
			"{\"event\":{\"id\":\"1\",\"type\":\"%s\"," AT "}}", word);
		if (len <= 255)
			event_destroy(section_read_body(*state, body));
		else
			expect_refused(*state, body, strlen(body),
				"the event's type is longer than 255 bytes");
	}
}

/* ---- what JSON allows and jansson doesn't ---- */

static void test_half_surrogates(void **state)
{
	static const struct {
		const char *escaped;
		const char *read;
	} cases[] = {
		{"a\\ud83d", "a\xef\xbf\xbd"},
		{"\\ude00b",
			"\xef\xbf\xbd"
			"b"},
		{"\\uD83Dx",
			"\xef\xbf\xbd"
			"x"},
		{"\\ud83d\\ud83d\\ude00", "\xef\xbf\xbd\xf0\x9f\x98\x80"},
		{"\\ude00\\ude00", "\xef\xbf\xbd\xef\xbf\xbd"},
		{"\\ude00\\ud83d", "\xef\xbf\xbd\xef\xbf\xbd"},
		{"\\ud83d\\n", "\xef\xbf\xbd\n"},
		{"\\ud83d\\u0041",
			"\xef\xbf\xbd"
			"A"},
		{"\\\\ud83d\\ud83d", "\\ud83d\xef\xbf\xbd"},
		{"\\ud83d\\\\ude00", "\xef\xbf\xbd\\ude00"},
		{"\\ud83d\\\"", "\xef\xbf\xbd\""},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char body[256];
		(void)snprintf(body, sizeof(body),
			"{\"event\":{\"id\":\"1\",\"type\":\"RENEWAL\",\"app_user_id\":\"%s\"," AT
			"}}",
			cases[i].escaped);
		struct event *event = section_read_body(*state, body);
		assert_text(event->customer, cases[i].read);
		assert_int_equal(event->at_ms, 1700000000123);
		event_destroy(event);
	}
}

static void test_huge_numbers(void **state)
{
	struct event *event = section_read_body(*state,
		"{\"event\":{\"id\":\"1\",\"type\":\"RENEWAL\",\"app_user_id\":9007199254740991," AT
		",\"original_app_user_id\":99999999999999999999,\"price\":0,"
		"\"new\":[123456789012345678901234567890,-123456789012345678901234567890]}}");
	assert_int_equal(event->at_ms, 1700000000123);
	assert_text(event->customer, "9007199254740991");
	assert_text(sub_of(event)->original_customer, NULL);
	assert_true(sub_of(event)->is_free);
	event_destroy(event);
	/* Both at once. */
	event = section_read_body(*state,
		"{\"event\":{\"id\":\"1\",\"type\":\"RENEWAL\",\"app_user_id\":\"ada\"," AT
		",\"x\":\"\\ud800\",\"y\":99999999999999999999}}");
	assert_text(event->customer, "ada");
	event_destroy(event);
}

static void test_nul_in_text(void **state)
{
	/* A text with a NUL is no text; the event goes on. */
	struct event *event = section_read_body(*state,
		"{\"event\":{\"id\":\"1\",\"type\":\"RENEWAL\",\"app_user_id\":"
		"\"admin\\u0000x\"," AT
		",\"original_app_user_id\":\"ada\",\"aliases\":[\"a\\u0000\",\"b\"],"
		"\"store\":\"APP\\u0000\",\"nick\":\"\\u0000\"}}");
	assert_text(event->customer, "ada");
	assert_int_equal(sub_of(event)->alias_count, 1);
	assert_text(sub_of(event)->aliases[0], "b");
	assert_text(sub_of(event)->store, NULL);
	event_destroy(event);
}

/* ---- large and odd ---- */

static void test_deep_nesting(void **state)
{
	enum { TOO_DEEP = 20000, DEEP = 1000 };
	static char body[TOO_DEEP + 256];
	size_t start = (size_t)snprintf(body, sizeof(body),
		"{\"event\":{\"id\":\"1\",\"type\":\"RENEWAL\",\"app_user_id\":\"ada\"," AT
		",\"x\":");
	memset(body + start, '[', DEEP);
	memset(body + start + DEEP, ']', DEEP);
	memcpy(body + start + (size_t)2 * DEEP, "}}", 3);
	event_destroy(section_read_body(*state, body));

	memset(body + start, '[', TOO_DEEP);
	body[start + TOO_DEEP] = '\0';
	expect_refused(
		*state, body, start + TOO_DEEP, "the body is not JSON: maximum parsing depth");
}

static void test_huge_arrays(void **state)
{
	enum { COUNT = 29900 };
	struct buf body;
	buf_init(&body, (size_t)COUNT * 8);
	buf_add_text(&body,
		"{\"event\":{\"id\":\"1\",\"type\":\"RENEWAL\",\"app_user_id\":\"ada\"," AT
		",\"entitlement_ids\":[\"gold\"],\"aliases\":[");
	for (size_t i = 0; i < COUNT; i++)
		buf_add_text(&body, "\"k\",");
	buf_add_text(&body, "\"last\"]}}");
	struct event *event = section_read_body(*state, buf_text(&body));
	assert_int_equal(sub_of(event)->alias_count, COUNT + 1);
	assert_text(sub_of(event)->aliases[COUNT], "last");
	event_destroy(event);
	buf_finish(&body);
}

/* What would take seventy times the body's memory is refused before it is parsed; what only looks
 * like many values, inside a text, isn't. */
static void test_too_many_values(void **state)
{
	enum { COUNT = 30001 };
	struct buf body;
	buf_init(&body, (size_t)COUNT * 8);
	buf_add_text(&body, "{\"event\":[");
	for (size_t i = 0; i < COUNT; i++)
		buf_add_text(&body, "{},");
	buf_add_text(&body, "{}]}");
	expect_refused(*state, buf_text(&body), body.len, "the body has more than 30000 values");
	buf_clear(&body);
	buf_add_text(&body,
		"{\"event\":{\"id\":\"1\",\"type\":\"RENEWAL\",\"app_user_id\":\"ada\"," AT
		",\"x\":\"\\\"");
	for (size_t i = 0; i < COUNT; i++)
		buf_add_text(&body, "{[,");
	buf_add_text(&body, "\\\\\"}}");
	event_destroy(section_read_body(*state, buf_text(&body)));
	buf_finish(&body);
}

static void test_repeated_keys(void **state)
{
	/* The last one counts, as with most parsers; nothing is mixed. */
	struct event *event = section_read_body(*state,
		"{\"event\":{\"id\":\"0\"},\"event\":{\"id\":\"1\",\"id\":\"2\",\"type\":\"TEST\","
		"\"type\":\"RENEWAL\",\"event_timestamp_ms\":1," AT
		",\"app_user_id\":\"a\",\"app_user_id\":\"b\"}}");
	assert_text(event->id, "2");
	assert_text(event->type, "RENEWAL");
	assert_text(event->customer, "b");
	assert_int_equal(event->at_ms, 1700000000123);
	event_destroy(event);
}

static void test_unknown_members(void **state)
{
	struct event *event = section_read_body(*state,
		"\n {\"event\":{\"id\":\"1\",\"type\":\"RENEWAL\",\"app_user_id\":\"ada\"," AT
		",\"\":null,\"new\":{\"deep\":[{}]}},\"api_version\":\"9.9\",\"more\":[1]} \r\n");
	assert_text(event->ignored, NULL);
	assert_text(event->customer, "ada");
	event_destroy(event);
}

/* ---- types ---- */

static void test_types(void **state)
{
	static const struct {
		const char *type;
		enum sub_kind kind;
		int rank;
	} cases[] = {
		{"INITIAL_PURCHASE", SUB_INITIAL_PURCHASE, 0},
		{"RENEWAL", SUB_RENEWAL, 0},
		{"NON_RENEWING_PURCHASE", SUB_ONE_TIME_PURCHASE, 0},
		{"TEMPORARY_ENTITLEMENT_GRANT", SUB_TEMPORARY_GRANT, 0},
		{"PRODUCT_CHANGE", SUB_PRODUCT_CHANGE, 1},
		{"UNCANCELLATION", SUB_UNCANCELLATION, 1},
		{"SUBSCRIPTION_EXTENDED", SUB_EXTENSION, 1},
		{"REFUND_REVERSED", SUB_REFUND_REVERSED, 1},
		{"BILLING_ISSUE", SUB_BILLING_ISSUE, 2},
		{"CANCELLATION", SUB_CANCELLATION, 3},
		{"SUBSCRIPTION_PAUSED", SUB_PAUSE_SCHEDULED, 3},
		{"EXPIRATION", SUB_EXPIRATION, 4},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char changes[64];
		(void)snprintf(changes, sizeof(changes), "'type':'%s'", cases[i].type);
		struct event *event = section_read(*state, changes);
		assert_text(event->type, cases[i].type);
		assert_text(event->ignored, NULL);
		assert_int_equal(sub_of(event)->kind, cases[i].kind);
		assert_int_equal(event->rank, cases[i].rank);
		event_destroy(event);
	}
}

static void expect_ignored(const struct section *section, const char *changes, const char *reason)
{
	struct event *event = section_read(section, changes);
	assert_text(event->ignored, reason);
	if (reason && strcmp(reason, "sandbox") != 0)
		assert_int_equal(sub_of(event)->kind, SUB_OTHER);
	event_destroy(event);
}

static void test_types_not_relayed(void **state)
{
	static const char *const types[] = {
		"EXPERIMENT_ENROLLMENT",
		"INVOICE_ISSUANCE",
		"PRICE_INCREASE_CONSENT_APPROVED",
		"PRICE_INCREASE_CONSENT_REQUIRED",
		"PURCHASE_REDEEMED",
		"SUBSCRIBER_ALIAS",
		"VIRTUAL_CURRENCY_TRANSACTION",
	};
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		char changes[128], reason[128];
		(void)snprintf(reason, sizeof(reason), "%s carries nothing for Intercom", types[i]);
		(void)snprintf(changes, sizeof(changes), "'type':'%s'", types[i]);
		expect_ignored(*state, changes, reason);
		/* As the real ones are, without a customer. */
		(void)snprintf(changes, sizeof(changes),
			"'type':'%s','app_user_id':'-','original_app_user_id':'-','aliases':'-'",
			types[i]);
		expect_ignored(*state, changes, reason);
	}
	expect_ignored(*state, "'type':'TEST'", "a test event");
	expect_ignored(*state, "'type':'TEST','environment':'SANDBOX'", "a test event");
	expect_ignored(*state, "'type':'TESTS'", "unknown type TESTS");
	expect_ignored(*state, "'type':'renewal'", "unknown type renewal");
	expect_ignored(*state, "'type':'RENEWAL '", "unknown type RENEWAL ");
	expect_ignored(
		*state, "'type':'NEW_THING','environment':'SANDBOX'", "unknown type NEW_THING");
	expect_ignored(*state, "'type':'NEW_THING','app_user_id':null", "unknown type NEW_THING");
}

static void test_ignored_is_still_read(void **state)
{
	struct event *event = section_read(*state, "'type':'INVOICE_ISSUANCE'");
	assert_text(event->id, "EV-1");
	assert_text(event->customer, "ada");
	assert_int_equal(event->at_ms, 1700000000123);
	assert_text(sub_of(event)->store, "APP_STORE");
	event_destroy(event);
}

static void test_paywall_events(void **state)
{
	static const char *const paywall[] = {
		"'type':'PAYWALL_IMPRESSION','paywall_id':'pw1'",
		"'type':'PAYWALL_CLOSE'",
		"'type':'my_own_name','session_id':'s1'",
		"'type':'TRANSFER','paywall_id':'pw1','transferred_to':['ada']",
		"'type':'TRANSFER','session_id':'s1'",
		"'type':'RENEWAL','paywall_id':''",
		"'type':'RENEWAL','paywall_id':7",
		"'type':'RENEWAL','session_id':false",
		"'type':'TEST','paywall_id':'pw1'",
		"'type':'RENEWAL','environment':'SANDBOX','paywall_id':'pw1'",
		"'app_user_id':'-','paywall_id':'p','subscriber_attributes':{'$email':'a@b.org'}",
	};
	for (size_t i = 0; i < sizeof(paywall) / sizeof(paywall[0]); i++)
		expect_ignored(*state, paywall[i], "paywall event");
	expect_ignored(*state, "'paywall_id':null,'session_id':null", NULL);
	expect_ignored(*state, "'presented_paywall':'pw1'", NULL);
}

static void test_transfer(void **state)
{
	struct event *event = section_read_body(*state,
		"{\"api_version\":\"1.0\",\"event\":{\"app_id\":\"app7\",\"event_timestamp_ms\":"
		"1629930059531,\"id\":\"T-1\",\"store\":\"APP_STORE\",\"transferred_from\":[\"a\","
		"\"\","
		"null,7,\"b\"],\"transferred_to\":[\"c\"],\"type\":\"TRANSFER\"}}");
	const struct sub_event *sub = sub_of(event);
	assert_text(event->ignored, NULL);
	assert_text(event->customer, "c");
	assert_int_equal(event->rank, 5);
	assert_int_equal(sub->kind, SUB_TRANSFER);
	assert_int_equal(sub->transferred_from_count, 3);
	assert_text(sub->transferred_from[0].customer, "a");
	assert_text(sub->transferred_from[1].customer, "7");
	assert_text(sub->transferred_from[2].customer, "b");
	assert_int_equal(sub->transferred_to_count, 1);
	assert_text(sub->transferred_to[0].customer, "c");
	assert_text(sub->environment, NULL);
	assert_false(sub->is_sandbox);
	event_destroy(event);

	/* Nothing to take over, but somebody to be told. */
	event = section_read(*state, "'type':'TRANSFER','transferred_to':['c']");
	assert_text(event->ignored, NULL);
	assert_int_equal(sub_of(event)->transferred_from_count, 0);
	assert_null(sub_of(event)->transferred_from);
	event_destroy(event);

	static const char *const nobody[] = {
		"'type':'TRANSFER','transferred_from':['a']",
		"'type':'TRANSFER','transferred_from':['a'],'transferred_to':null",
		"'type':'TRANSFER','transferred_from':['a'],'transferred_to':[]",
		"'type':'TRANSFER','transferred_from':['a'],'transferred_to':['',null]",
		"'type':'TRANSFER','transferred_from':['a'],'transferred_to':'c'",
		"'type':'TRANSFER','transferred_from':['a'],'transferred_to':{'c':1}",
	};
	for (size_t i = 0; i < sizeof(nobody) / sizeof(nobody[0]); i++) {
		event = section_read(*state, nobody[i]);
		assert_text(event->ignored, "names nobody to transfer to");
		event_destroy(event);
	}
}

/* ---- fields ---- */

static void test_all_fields(void **state)
{
	struct event *event = section_read(*state,
		"'type':'CANCELLATION','cancel_reason':'UNSUBSCRIBE','new_product_id':'gold.year',"
		"'grace_period_expiration_at_ms':1703000000000,'is_trial_conversion':true");
	const struct sub_event *sub = sub_of(event);
	assert_text(event->source, "revenuecat");
	assert_text(event->id, "EV-1");
	assert_text(event->type, "CANCELLATION");
	assert_int_equal(event->at_ms, 1700000000123);
	assert_int_equal(sub->period, SUB_NORMAL);
	assert_text(sub->store, "APP_STORE");
	assert_text(sub->product, "gold.month");
	assert_text(sub->new_product, "gold.year");
	assert_text(sub->entitlement, "gold");
	assert_text(sub->environment, "production");
	assert_text(sub->app_id, "app77");
	assert_text(sub->reason, "UNSUBSCRIBE");
	assert_text(sub->transaction, "2001");
	assert_text(sub->scope, "revenuecat");
	assert_text(sub->workspace, "");
	assert_int_equal(sub->purchased_at_ms, 1700000000000);
	assert_int_equal(sub->expires_at_ms, 1702592000000);
	assert_int_equal(sub->grace_until_ms, 1703000000000);
	assert_true(sub->is_trial_conversion);
	assert_false(sub->is_free);
	assert_false(sub->is_sandbox);
	event_destroy(event);
}

static void test_no_fields(void **state)
{
	struct event *event = section_read_body(*state,
		"{\"event\":{\"id\":\"1\",\"type\":\"RENEWAL\",\"app_user_id\":\"ada\"," AT "}}");
	const struct sub_event *sub = sub_of(event);
	assert_text(event->ignored, NULL);
	assert_int_equal(sub->period, SUB_NORMAL);
	assert_text(sub->original_customer, NULL);
	assert_null(sub->aliases);
	assert_int_equal(sub->alias_count, 0);
	assert_text(sub->email, NULL);
	assert_text(sub->store, NULL);
	assert_text(sub->product, NULL);
	assert_text(sub->new_product, NULL);
	assert_text(sub->entitlement, NULL);
	assert_text(sub->environment, NULL);
	assert_text(sub->app_id, NULL);
	assert_text(sub->reason, NULL);
	assert_text(sub->transaction, NULL);
	assert_true(sub->purchased_at_ms == TIME_NONE);
	assert_true(sub->expires_at_ms == TIME_NONE);
	assert_true(sub->grace_until_ms == TIME_NONE);
	assert_false(sub->is_trial_conversion);
	assert_false(sub->is_free);
	assert_false(sub->is_sandbox);
	event_destroy(event);
}

/* Every member in turn as what it shouldn't be: the event is read all the same. */
static void test_wrong_types(void **state)
{
	static const char *const keys[] = {"app_id", "app_user_id", "original_app_user_id",
		"aliases", "subscriber_attributes", "product_id", "new_product_id", "period_type",
		"purchased_at_ms", "expiration_at_ms", "grace_period_expiration_at_ms",
		"environment", "purchase_environment", "entitlement_ids", "entitlement_id",
		"transaction_id", "original_transaction_id", "store", "price",
		"price_in_purchased_currency", "cancel_reason", "expiration_reason",
		"is_trial_conversion", "transferred_from", "experiments", "metadata",
		"api_version"};
	static const char *const values[] = {"null", "true", "false", "0", "-1", "1.5", "1e300",
		"''", "'x'", "[]", "[null]", "[[]]", "{}", "{'value':null}", "'-'"};
	static const char *const types[] = {"CANCELLATION", "EXPIRATION", "RENEWAL"};
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		for (size_t j = 0; j < sizeof(values) / sizeof(values[0]); j++) {
			for (size_t k = 0; k < sizeof(types) / sizeof(types[0]); k++) {
				char changes[128];
				(void)snprintf(changes, sizeof(changes), "'type':'%s','%s':%s",
					types[k], keys[i], values[j]);
				struct event *event = section_read(*state, changes);
				assert_text(event->ignored, NULL);
				assert_non_null(event->customer);
				assert_non_null(sub_of(event)->identity);
				event_destroy(event);
			}
		}
	}
}

static void test_text_fields(void **state)
{
	static const struct {
		const char *key;
		size_t offset;
	} fields[] = {
		{"store", offsetof(struct sub_event, store)},
		{"product_id", offsetof(struct sub_event, product)},
		{"new_product_id", offsetof(struct sub_event, new_product)},
		{"app_id", offsetof(struct sub_event, app_id)},
		{"cancel_reason", offsetof(struct sub_event, reason)},
	};
	static const char *const unusable[] = {
		"null", "'-'", "''", "7", "true", "['x']", "{'x':1}"};
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		char changes[128];
		(void)snprintf(changes, sizeof(changes),
			"'type':'CANCELLATION','%s':'Some: thing \xc3\xb8'", fields[i].key);
		struct event *event = section_read(*state, changes);
		const char *member = (const char *)sub_of(event) + fields[i].offset;
		assert_text(*(char *const *)member, "Some: thing \xc3\xb8");
		event_destroy(event);
		for (size_t j = 0; j < sizeof(unusable) / sizeof(unusable[0]); j++) {
			(void)snprintf(changes, sizeof(changes), "'type':'CANCELLATION','%s':%s",
				fields[i].key, unusable[j]);
			event = section_read(*state, changes);
			member = (const char *)sub_of(event) + fields[i].offset;
			assert_text(*(char *const *)member, NULL);
			event_destroy(event);
		}
	}
}

static void test_dates(void **state)
{
	static const struct {
		const char *text;
		int64_t at_ms;
	} cases[] = {
		{"1700000000123", 1700000000123},
		{"1700000000123.9", 1700000000123},
		{"1.7e12", 1700000000000},
		{"1199145600000", 1199145600000},
		{"1199145599999", TIME_NONE},
		{"4102444799999", 4102444799999},
		{"4102444800000", TIME_NONE},
		/* As RevenueCat's own sample of a transfer has it: the year 4466. */
		{"78789789798798", TIME_NONE},
		{"9223372036854775807", TIME_NONE},
		{"-9223372036854775808", TIME_NONE},
		{"1e300", TIME_NONE},
		{"-1e300", TIME_NONE},
		{"0", TIME_NONE},
		{"-1", TIME_NONE},
		/* Seconds where milliseconds belong. */
		{"1700000000", TIME_NONE},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char changes[256];
		(void)snprintf(changes, sizeof(changes),
			"'event_timestamp_ms':%s,'purchased_at_ms':%s,'expiration_at_ms':%s,"
			"'grace_period_expiration_at_ms':%s",
			cases[i].text, cases[i].text, cases[i].text, cases[i].text);
		struct event *event = section_read(*state, changes);
		assert_true(event->at_ms == cases[i].at_ms);
		assert_true(sub_of(event)->purchased_at_ms == cases[i].at_ms);
		assert_true(sub_of(event)->expires_at_ms == cases[i].at_ms);
		assert_true(sub_of(event)->grace_until_ms == cases[i].at_ms);
		event_destroy(event);
	}
	struct event *event = section_read(*state,
		"'purchased_at_ms':'1700000000000','expiration_at_ms':null,"
		"'grace_period_expiration_at_ms':[1700000000000]");
	assert_true(sub_of(event)->purchased_at_ms == TIME_NONE);
	assert_true(sub_of(event)->expires_at_ms == TIME_NONE);
	assert_true(sub_of(event)->grace_until_ms == TIME_NONE);
	event_destroy(event);
}

static void test_period(void **state)
{
	static const struct {
		const char *text;
		enum sub_period period;
	} cases[] = {
		{"'NORMAL'", SUB_NORMAL},
		{"'TRIAL'", SUB_TRIAL},
		{"'INTRO'", SUB_INTRO},
		{"'PROMOTIONAL'", SUB_PROMOTIONAL},
		{"'PREPAID'", SUB_PREPAID},
		{"'LUNAR'", SUB_NORMAL},
		{"'trial'", SUB_NORMAL},
		{"null", SUB_NORMAL},
		{"'-'", SUB_NORMAL},
		{"1", SUB_NORMAL},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char changes[64];
		(void)snprintf(changes, sizeof(changes), "'period_type':%s", cases[i].text);
		struct event *event = section_read(*state, changes);
		assert_int_equal(sub_of(event)->period, cases[i].period);
		event_destroy(event);
	}
}

static void expect_entitlement(
	const struct section *section, const char *changes, const char *entitlement)
{
	struct event *event = section_read(section, changes);
	assert_text(sub_of(event)->entitlement, entitlement);
	event_destroy(event);
}

static void test_entitlement(void **state)
{
	expect_entitlement(*state, "", "gold");
	expect_entitlement(*state, "'entitlement_ids':['only']", "only");
	expect_entitlement(*state, "'entitlement_ids':[]", "legacy");
	expect_entitlement(*state, "'entitlement_ids':null", "legacy");
	expect_entitlement(*state, "'entitlement_ids':'-'", "legacy");
	expect_entitlement(*state, "'entitlement_ids':['']", "legacy");
	expect_entitlement(*state, "'entitlement_ids':[null,'second']", "legacy");
	expect_entitlement(*state, "'entitlement_ids':'gold'", "legacy");
	expect_entitlement(*state, "'entitlement_ids':{'0':'gold'}", "legacy");
	expect_entitlement(*state, "'entitlement_ids':null,'entitlement_id':null", NULL);
	expect_entitlement(*state, "'entitlement_ids':[],'entitlement_id':'-'", NULL);
	expect_entitlement(*state, "'entitlement_ids':'-','entitlement_id':7", NULL);
}

static void expect_transaction(
	const struct section *section, const char *changes, const char *transaction)
{
	struct event *event = section_read(section, changes);
	assert_text(sub_of(event)->transaction, transaction);
	event_destroy(event);
}

static void test_transaction(void **state)
{
	expect_transaction(*state, "", "2001");
	expect_transaction(*state, "'original_transaction_id':null", "2002");
	expect_transaction(*state, "'original_transaction_id':''", "2002");
	expect_transaction(*state, "'original_transaction_id':1000000123", "1000000123");
	expect_transaction(
		*state, "'original_transaction_id':'-','transaction_id':'-'", "gold.month");
	expect_transaction(*state,
		"'original_transaction_id':null,'transaction_id':null,'product_id':null", NULL);
}

static void test_reason(void **state)
{
	static const struct {
		const char *changes;
		const char *reason;
	} cases[] = {
		{"'type':'CANCELLATION','cancel_reason':'A','expiration_reason':'B'", "A"},
		{"'type':'EXPIRATION','cancel_reason':'A','expiration_reason':'B'", "B"},
		{"'type':'CANCELLATION','expiration_reason':'B'", NULL},
		{"'type':'EXPIRATION','cancel_reason':'A'", NULL},
		{"'type':'RENEWAL','cancel_reason':'A','expiration_reason':'B'", NULL},
		{"'type':'CANCELLATION','cancel_reason':'SOMETHING_NEW'", "SOMETHING_NEW"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct event *event = section_read(*state, cases[i].changes);
		assert_text(sub_of(event)->reason, cases[i].reason);
		event_destroy(event);
	}
}

static void test_flags(void **state)
{
	static const struct {
		const char *changes;
		bool is_free;
		bool is_trial_conversion;
	} cases[] = {
		{"", false, false},
		{"'price':0", true, false},
		{"'price':0.0", true, false},
		{"'price':-0.0", true, false},
		{"'price':-4.99", false, false},
		{"'price':0.01,'price_in_purchased_currency':0", false, false},
		{"'price':0,'price_in_purchased_currency':3", true, false},
		{"'price':null", false, false},
		{"'price':null,'price_in_purchased_currency':0", true, false},
		{"'price':'0','price_in_purchased_currency':0.0", true, false},
		{"'price':'-','price_in_purchased_currency':'-'", false, false},
		{"'price':false,'price_in_purchased_currency':null", false, false},
		{"'is_trial_conversion':true", false, true},
		{"'is_trial_conversion':false", false, false},
		{"'is_trial_conversion':null", false, false},
		{"'is_trial_conversion':1", false, false},
		{"'is_trial_conversion':'true'", false, false},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct event *event = section_read(*state, cases[i].changes);
		assert_int_equal(sub_of(event)->is_free, cases[i].is_free);
		assert_int_equal(sub_of(event)->is_trial_conversion, cases[i].is_trial_conversion);
		event_destroy(event);
	}
}

/* ---- sandbox and workspaces ---- */

struct place {
	const char *sandbox; /* the option */
	const char *changes;
	const char *environment;
	bool is_sandbox;
	const char *ignored;
	const char *scope;
	const char *workspace;
};

static void expect_place(struct section *section, const struct place *place)
{
	section_set(section, "sandbox", place->sandbox);
	struct event *event = section_read(section, place->changes);
	const struct sub_event *sub = sub_of(event);
	assert_text(sub->environment, place->environment);
	assert_int_equal(sub->is_sandbox, place->is_sandbox);
	assert_text(event->ignored, place->ignored);
	assert_text(sub->scope, place->scope);
	assert_text(sub->workspace, place->workspace);
	event_destroy(event);
}

#define HOME "revenuecat"
#define APART "revenuecat/sandbox"

static void test_sandbox(void **state)
{
	static const struct place places[] = {
		{"ignore", "", "production", false, NULL, HOME, ""},
		{"ignore", "'environment':'SANDBOX'", "sandbox", true, "sandbox", HOME, ""},
		{"ignore", "'environment':'Sandbox'", "sandbox", true, "sandbox", HOME, ""},
		{"ignore", "'environment':null,'purchase_environment':'SANDBOX'", "sandbox", true,
			"sandbox", HOME, ""},
		{"ignore", "'environment':'','purchase_environment':'PRODUCTION'", "production",
			false, NULL, HOME, ""},
		{"ignore", "'purchase_environment':'SANDBOX'", "production", false, NULL, HOME, ""},
		{"ignore", "'environment':'-'", NULL, false, NULL, HOME, ""},
		{"ignore", "'environment':null", NULL, false, NULL, HOME, ""},
		{"ignore", "'environment':1", NULL, false, NULL, HOME, ""},
		{"ignore", "'environment':'STAGING'", "staging", false, NULL, HOME, ""},
		{"ignore", "'environment':'SANDBOX','app_user_id':null", "sandbox", true, "sandbox",
			HOME, ""},
		{"ignore", "'type':'TRANSFER','environment':'SANDBOX','transferred_to':['c']",
			"sandbox", true, "sandbox", HOME, ""},
		{"ignore", "'type':'TRANSFER','environment':'-','transferred_to':['c']", NULL,
			false, NULL, HOME, ""},
		{"send", "", "production", false, NULL, HOME, ""},
		{"send", "'environment':'SANDBOX'", "sandbox", true, NULL, HOME, ""},
		{"test", "", "production", false, NULL, HOME, ""},
		{"test", "'environment':'SANDBOX'", "sandbox", true, NULL, APART, "test"},
		{"test", "'environment':'-'", NULL, false, NULL, HOME, ""},
		{"test", "'type':'TRANSFER','environment':'SANDBOX','transferred_to':['c']",
			"sandbox", true, NULL, APART, "test"},
	};
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		expect_place(*state, &places[i]);
}

static void test_workspace(void **state)
{
	static const struct place places[] = {
		{"ignore", "", "production", false, NULL, HOME, "eu"},
		{"send", "'environment':'SANDBOX'", "sandbox", true, NULL, HOME, "eu"},
		{"test", "'environment':'SANDBOX'", "sandbox", true, NULL, APART, "test"},
		{"test", "", "production", false, NULL, HOME, "eu"},
	};
	section_set(*state, "workspace", "eu");
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		expect_place(*state, &places[i]);
	struct section *section = *state;
	assert_text(source_revenuecat.workspace(&section->options), "eu");
}

static void test_named_section(void **state)
{
	struct section *section = *state;
	free(section->name);
	section->name = strdup("revenuecat.ios");
	section->source.name = section->name;
	section_set(section, "sandbox", "test");
	struct event *event = section_read(section, "'environment':'SANDBOX'");
	assert_text(event->source, "revenuecat.ios");
	assert_text(sub_of(event)->scope, "revenuecat.ios/sandbox");
	event_destroy(event);
	event = section_read(section, "");
	assert_text(sub_of(event)->scope, "revenuecat.ios");
	event_destroy(event);
}

/* ---- verify ---- */

struct headers {
	const char *authorization;
	const char *signature_name;
	const char *signature;
};

static const char *find_header(void *context, const char *name)
{
	const struct headers *headers = context;
	if (strcasecmp(name, "Authorization") == 0)
		return headers->authorization;
	if (headers->signature_name && strcasecmp(name, headers->signature_name) == 0)
		return headers->signature;
	return NULL;
}

#define SIGNED_BODY "{\"event\":{\"id\":\"1\"}}"
/* printf '1790000000.%s' BODY | openssl dgst -sha256 -hmac fjord-secret */
#define SIGNATURE "t=1790000000,v1=c6916fe04f53086bbf7c89f5e676cfce9ae9d4abadc313dfc9658331ee3d76cb"
#define SIGNED_AT_MS INT64_C(1790000000000)

static bool verify(
	struct section *section, struct headers headers, int64_t now_ms, struct error *ret_err)
{
	*ret_err = (struct error){0};
	const struct source_request request = {
		.header = find_header,
		.context = &headers,
		.body = SIGNED_BODY,
		.body_len = strlen(SIGNED_BODY),
		.now_ms = now_ms,
	};
	bool verified = source_revenuecat.verify(&section->source, &request, ret_err);
	assert_true(verified == !error_is_set(ret_err));
	return verified;
}

static void test_authorization(void **state)
{
	static const struct {
		const char *given;
		const char *text; /* NULL: let in */
	} cases[] = {
		{"Bearer fjord", NULL},
		{NULL, "there is no Authorization header"},
		{"", "the Authorization header is not the configured one"},
		{"bearer fjord", "the Authorization header is not the configured one"},
		{"Bearer fjor", "the Authorization header is not the configured one"},
		{"Bearer fjord ", "the Authorization header is not the configured one"},
		{" Bearer fjord", "the Authorization header is not the configured one"},
		{"Bearer fjordd", "the Authorization header is not the configured one"},
		{"fjord", "the Authorization header is not the configured one"},
		{"Bearer Fjord", "the Authorization header is not the configured one"},
	};
	section_set(*state, "authorization", "Bearer fjord");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct error err;
		struct headers headers = {.authorization = cases[i].given};
		assert_int_equal(verify(*state, headers, SIGNED_AT_MS, &err), !cases[i].text);
		assert_string_equal(err.text, cases[i].text ? cases[i].text : "");
	}
}

static void test_no_authorization_configured(void **state)
{
	/* Possible with conf_load_for_map alone; nobody gets in. */
	struct error err;
	assert_false(verify(*state, (struct headers){0}, SIGNED_AT_MS, &err));
	assert_false(verify(*state, (struct headers){.authorization = ""}, SIGNED_AT_MS, &err));
	section_set(*state, "allow_unauthenticated", "yes");
	assert_true(verify(*state, (struct headers){0}, SIGNED_AT_MS, &err));
	assert_true(verify(*state, (struct headers){.authorization = "x"}, SIGNED_AT_MS, &err));
}

static void test_signature(void **state)
{
	static const char name[] = "X-RevenueCat-Webhook-Signature";
	struct error err;
	section_set(*state, "authorization", "Bearer fjord");
	section_set(*state, "signing_secret", "fjord-secret");
	struct headers headers = {"Bearer fjord", name, SIGNATURE};
	assert_true(verify(*state, headers, SIGNED_AT_MS, &err));
	assert_true(verify(*state, headers, SIGNED_AT_MS + INT64_C(300000), &err));
	assert_true(verify(*state, headers, SIGNED_AT_MS - INT64_C(300000), &err));
	assert_false(verify(*state, headers, SIGNED_AT_MS + INT64_C(301000), &err));
	assert_false(verify(*state, headers, SIGNED_AT_MS - INT64_C(301000), &err));

	/* Besides the Authorization, not instead of it. */
	headers.authorization = NULL;
	assert_false(verify(*state, headers, SIGNED_AT_MS, &err));
	assert_string_equal(err.text, "there is no Authorization header");
	headers.authorization = "Bearer fjord";

	headers.signature = NULL;
	assert_false(verify(*state, headers, SIGNED_AT_MS, &err));
	assert_string_equal(err.text, "there is no X-RevenueCat-Webhook-Signature header");
	headers.signature = "";
	assert_false(verify(*state, headers, SIGNED_AT_MS, &err));

	headers.signature = SIGNATURE;
	section_set(*state, "signing_secret", "another-secret");
	assert_false(verify(*state, headers, SIGNED_AT_MS, &err));
	assert_string_equal(err.text, "no v1 signature in the header matches the body");

	section_set(*state, "signing_secret", "fjord-secret");
	section_set(*state, "signature_header", "X-RevenueCat-Signature");
	assert_false(verify(*state, headers, SIGNED_AT_MS, &err));
	headers.signature_name = "x-revenuecat-signature";
	assert_true(verify(*state, headers, SIGNED_AT_MS, &err));

	/* allow_unauthenticated is about the Authorization alone. */
	section_set(*state, "allow_unauthenticated", "yes");
	headers.authorization = NULL;
	assert_true(verify(*state, headers, SIGNED_AT_MS, &err));
	headers.signature = NULL;
	assert_false(verify(*state, headers, SIGNED_AT_MS, &err));
}

/* ---- options ---- */

static void expect_problem(struct section *section, bool is_loopback, const char *part)
{
	static char empty[] = "", test[] = "test";
	struct conf_workspace workspaces[] = {{.name = empty}, {.name = test}};
	struct conf conf = {
		.server.listen = {.host = "192.0.2.1", .port = 80, .is_loopback = is_loopback},
		.workspaces = workspaces,
		.workspace_count = 2,
		.sources = &section->source,
		.source_count = 1,
	};
	struct error err = {0};
	bool fine = source_revenuecat.check(&conf, &section->source, &err);
	assert_int_equal(fine, part == NULL);
	if (part && !strstr(err.text, part))
		fail_msg("%s instead of %s", err.text, part);
}

static void test_check(void **state)
{
	struct section *section = *state;
	expect_problem(section, true, "authorization is missing");
	expect_problem(section, true, "allow_unauthenticated");
	section_set(section, "allow_unauthenticated", "yes");
	expect_problem(section, true, NULL);
	expect_problem(section, false, "loopback");
	expect_problem(section, false, "192.0.2.1");
	section_set(section, "authorization", "Bearer fjord");
	expect_problem(section, false, "loopback");
	section_set(section, "allow_unauthenticated", "no");
	expect_problem(section, false, NULL);

	section_set(section, "sandbox", "send");
	expect_problem(section, false, NULL);
	section_set(section, "sandbox", "test");
	expect_problem(section, false, NULL);
	section_set(section, "sandbox", "tset");
	expect_problem(section, false, "sandbox = tset: there is no [intercom.tset] section");
	section_set(section, "sandbox", "ignore");

	section_set(section, "workspace", "");
	expect_problem(section, false, NULL);
	section_set(section, "workspace", "test");
	expect_problem(section, false, NULL);
	section_set(section, "workspace", "eu");
	expect_problem(section, false, "workspace = eu: there is no [intercom.eu] section");
	section_set(section, "workspace", "");

	section_set(section, "path", "webhooks");
	expect_problem(section, false, "path must begin with '/'");
	section_set(section, "path", "/");
	expect_problem(section, false, NULL);

	section_set(section, "signature_header", "X-Signature:");
	expect_problem(section, false, NULL); /* isn't used */
	section_set(section, "signing_secret", "s");
	expect_problem(section, false, "signature_header");
	section_set(section, "signature_header", "");
	expect_problem(section, false, "signature_header");
	section_set(section, "signature_header", "X-Signature");
	expect_problem(section, false, NULL);
}

static void test_defaults(void **state)
{
	struct section *section = *state;
	const struct revenuecat_options *options = &section->options;
	assert_text(source_revenuecat.path(options), "/webhooks/revenuecat");
	assert_text(source_revenuecat.workspace(options), "");
	assert_text(options->sandbox, "ignore");
	assert_text(options->signature_header, "X-RevenueCat-Webhook-Signature");
	assert_int_equal(options->anonymous, REVENUECAT_ANONYMOUS_SEND);
	assert_int_equal(options->identify.by, REVENUECAT_BY_APP_USER_ID);
	assert_false(options->allow_unauthenticated);
	assert_false(secret_is_set(&options->authorization));
	assert_false(secret_is_set(&options->signing_secret));
}

/* Every row is fit for the reader and for the manual. */
static void test_option_table(void **state)
{
	(void)state;
	size_t count = 0;
	for (const struct option *option = source_revenuecat.options; option->key; option++) {
		count++;
		assert_true(option->offset < source_revenuecat.options_size);
		assert_non_null(option->help);
		assert_int_equal(option->help[strlen(option->help) - 1], '.');
		assert_int_equal(option->type == OPTION_CUSTOM, option->parse != NULL);
		assert_int_equal(option->type == OPTION_CHOICE, option->choices != NULL);
	}
	assert_int_equal(count, 9);
}

static const struct source_name *find_name(const struct source_name *names, const char *key)
{
	while (names->key && strcmp(names->key, key) != 0)
		names++;
	return names->key ? names : NULL;
}

static void test_names(void **state)
{
	(void)state;
	static const char *const on[] = {"initial_purchase", "trial_started", "trial_converted",
		"trial_cancelled", "renewal", "cancellation", "non_subscription_purchase",
		"expiration", "billing_issue", "product_change"};
	static const char *const off[] = {"uncancellation", "subscription_paused",
		"subscription_extended", "transfer", "refund", "refund_reversed",
		"temporary_entitlement_grant"};
	for (size_t i = 0; i < sizeof(on) / sizeof(on[0]); i++) {
		const struct source_name *name = find_name(source_revenuecat.event_names, on[i]);
		char expected[64];
		(void)snprintf(expected, sizeof(expected), "rc_%s_event", on[i]);
		assert_non_null(name);
		assert_text(name->fallback, expected);
		assert_text(name->name_when_on, expected);
	}
	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
		const struct source_name *name = find_name(source_revenuecat.event_names, off[i]);
		char expected[64];
		(void)snprintf(expected, sizeof(expected), "rc_%s_event", off[i]);
		assert_non_null(name);
		assert_text(name->fallback, NULL);
		assert_text(name->name_when_on, expected);
	}
	static const char *const attributes[] = {
		"latest_store", "latest_entitlement", "expires_at", "subscription_status"};
	for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
		const struct source_name *name =
			find_name(source_revenuecat.attributes, attributes[i]);
		assert_non_null(name);
		assert_text(name->fallback, attributes[i]);
	}
}

static void test_source_list(void **state)
{
	(void)state;
	assert_ptr_equal(source_all()[0], &source_revenuecat);
	for (const struct source *const *source = source_all(); *source; source++) {
		assert_non_null((*source)->name);
		assert_non_null((*source)->options);
		assert_non_null((*source)->event_names);
		assert_non_null((*source)->attributes);
		assert_non_null((*source)->path);
		assert_non_null((*source)->workspace);
		assert_non_null((*source)->verify);
		assert_non_null((*source)->normalise);
		assert_non_null((*source)->plan);
	}
}

#define unit(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		unit(test_not_json),
		unit(test_cut_short),
		unit(test_says_where),
		unit(test_no_event),
		unit(test_unusable_event),
		unit(test_long_words),
		unit(test_half_surrogates),
		unit(test_huge_numbers),
		unit(test_nul_in_text),
		unit(test_deep_nesting),
		unit(test_huge_arrays),
		unit(test_too_many_values),
		unit(test_repeated_keys),
		unit(test_unknown_members),
		unit(test_types),
		unit(test_types_not_relayed),
		unit(test_ignored_is_still_read),
		unit(test_paywall_events),
		unit(test_transfer),
		unit(test_all_fields),
		unit(test_no_fields),
		unit(test_wrong_types),
		unit(test_text_fields),
		unit(test_dates),
		unit(test_period),
		unit(test_entitlement),
		unit(test_transaction),
		unit(test_reason),
		unit(test_flags),
		unit(test_sandbox),
		unit(test_workspace),
		unit(test_named_section),
		unit(test_authorization),
		unit(test_no_authorization_configured),
		unit(test_signature),
		unit(test_check),
		unit(test_defaults),
		unit(test_option_table),
		unit(test_names),
		unit(test_source_list),
	};
	return cmocka_run_group_tests_name("source/revenuecat", tests, NULL, NULL);
}
