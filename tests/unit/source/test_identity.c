/*
 * Whom an event is about and whom Intercom is told about: revenuecat.identify and .anonymous.
 */

#include "revenuecat_section.h"

static void expect_identity(const char *identify, const char *changes, const char *identity)
{
	struct section section;
	section_init(&section);
	section_set(&section, "identify", identify);
	struct event *event = section_read(&section, changes);
	assert_text(event->ignored, NULL);
	assert_text(sub_of(event)->identity, identity);
	assert_int_equal(sub_of(event)->identity_is_email, strcmp(identify, "email") == 0);
	event_destroy(event);
	section_finish(&section);
}

#define ANON1 "$RCAnonymousID:0001"
#define ANON2 "$RCAnonymousID:0002"

static void test_app_user_id(void **state)
{
	(void)state;
	expect_identity("app_user_id", "", "ada");
	expect_identity("app_user_id", "'app_user_id':'" ANON1 "'", ANON1);
	expect_identity("app_user_id", "'app_user_id':12345", "12345");
	expect_identity("app_user_id", "'app_user_id':-1", "-1");
	expect_identity("app_user_id", "'app_user_id':0", "0");
	expect_identity("app_user_id", "'app_user_id':9007199254740993", "9007199254740993");
	expect_identity("app_user_id", "'app_user_id':17.0", "17");
	expect_identity("app_user_id", "'app_user_id':' ada '", " ada ");
	expect_identity("app_user_id", "'app_user_id':'a:b|c@d/e f'", "a:b|c@d/e f");
}

static void test_app_user_id_falls_back(void **state)
{
	(void)state;
	static const char *const unusable[] = {
		"'-'", "null", "''", "[]", "{}", "true", "1.5", "1e300", "['ada']"};
	for (size_t i = 0; i < sizeof(unusable) / sizeof(unusable[0]); i++) {
		char changes[256];
		(void)snprintf(changes, sizeof(changes), "'app_user_id':%s", unusable[i]);
		expect_identity("app_user_id", changes, "ada-first");
		(void)snprintf(changes, sizeof(changes),
			"'app_user_id':%s,'original_app_user_id':%s", unusable[i], unusable[i]);
		expect_identity("app_user_id", changes, "ada");
		(void)snprintf(changes, sizeof(changes),
			"'app_user_id':%s,'original_app_user_id':null,'aliases':[%s,null,'kim']",
			unusable[i], unusable[i]);
		if (strcmp(unusable[i], "'-'") != 0)
			expect_identity("app_user_id", changes, "kim");
	}
}

static void test_nobody(void **state)
{
	(void)state;
	struct section section;
	section_init(&section);
	static const char *const identify[] = {
		"app_user_id", "original_app_user_id", "known_id", "email", "attribute:crm_id"};
	for (size_t i = 0; i < sizeof(identify) / sizeof(identify[0]); i++) {
		section_set(&section, "identify", identify[i]);
		struct event *event = section_read(
			&section, "'app_user_id':'-','original_app_user_id':null,'aliases':[]");
		assert_text(event->ignored, "names no customer");
		assert_text(event->customer, NULL);
		event_destroy(event);
	}
	section_finish(&section);
}

static void test_original_app_user_id(void **state)
{
	(void)state;
	const char *identify = "original_app_user_id";
	expect_identity(identify, "", "ada-first");
	expect_identity(identify, "'original_app_user_id':'" ANON1 "'", ANON1);
	expect_identity(identify, "'original_app_user_id':'-'", "ada");
	expect_identity(identify, "'original_app_user_id':''", "ada");
	expect_identity(identify, "'original_app_user_id':4711", "4711");
}

static void test_known_id(void **state)
{
	(void)state;
	const char *identify = "known_id";
	expect_identity(identify, "", "ada");
	expect_identity(identify, "'app_user_id':'" ANON1 "'", "ada-first");
	expect_identity(identify,
		"'app_user_id':'" ANON1 "','original_app_user_id':'" ANON2 "','aliases':['" ANON1
		"','" ANON2 "','kim','lee']",
		"kim");
	/* All are anonymous: the customer's own id. */
	expect_identity(identify,
		"'app_user_id':'" ANON1 "','original_app_user_id':'" ANON2 "','aliases':['" ANON2
		"','" ANON1 "']",
		ANON1);
	expect_identity(identify,
		"'app_user_id':'" ANON1 "','original_app_user_id':null,'aliases':null", ANON1);
	expect_identity(identify,
		"'app_user_id':'" ANON1 "','original_app_user_id':'-','aliases':'kim'", ANON1);
	/* Only the prefix makes an id anonymous. */
	expect_identity(identify, "'app_user_id':'$RCAnonymousID'", "$RCAnonymousID");
	expect_identity(identify, "'app_user_id':'x" ANON1 "'", "x" ANON1);
	expect_identity(identify, "'app_user_id':'$rcanonymousid:1'", "$rcanonymousid:1");
}

static void test_email(void **state)
{
	(void)state;
	const char *identify = "email";
	expect_identity(identify, "", "ada@example.org");
	expect_identity(identify, "'app_user_id':'" ANON1 "'", "ada@example.org");
	/* Flattened, as some events have it. */
	expect_identity(identify, "'subscriber_attributes':{'$email':'kim@example.org'}",
		"kim@example.org");
	expect_identity(identify,
		"'subscriber_attributes':{'$email':{'value':'a+b@sub.example.org'}}",
		"a+b@sub.example.org");
	static const char *const unusable[] = {
		"'subscriber_attributes':'-'",
		"'subscriber_attributes':null",
		"'subscriber_attributes':[]",
		"'subscriber_attributes':'kim@example.org'",
		"'subscriber_attributes':{}",
		"'subscriber_attributes':{'$email':null}",
		"'subscriber_attributes':{'$email':''}",
		"'subscriber_attributes':{'$email':{}}",
		"'subscriber_attributes':{'$email':{'value':null,'updated_at_ms':1}}",
		"'subscriber_attributes':{'$email':{'value':''}}",
		"'subscriber_attributes':{'$email':{'value':['kim@example.org']}}",
		"'subscriber_attributes':{'$email':{'value':{'value':'kim@example.org'}}}",
		"'subscriber_attributes':{'email':{'value':'kim@example.org'}}",
		/* What apps put there instead of an address. */
		"'subscriber_attributes':{'$email':{'value':'n/a'}}",
		"'subscriber_attributes':{'$email':{'value':'@'}}",
		"'subscriber_attributes':{'$email':{'value':'@example.org'}}",
		"'subscriber_attributes':{'$email':{'value':'kim@'}}",
		"'subscriber_attributes':{'$email':{'value':'kim@a@b'}}",
		"'subscriber_attributes':{'$email':{'value':'kim lee@example.org'}}",
		"'subscriber_attributes':{'$email':{'value':'kim@a.org,lee@b.org'}}",
		"'subscriber_attributes':{'$email':{'value':'Kim <kim@example.org>'}}",
		"'subscriber_attributes':{'$email':{'value':12}}",
	};
	for (size_t i = 0; i < sizeof(unusable) / sizeof(unusable[0]); i++)
		expect_identity(identify, unusable[i], NULL);
}

static void test_attribute(void **state)
{
	(void)state;
	const char *identify = "attribute:crm_id";
	expect_identity(identify, "", "crm-9");
	expect_identity(identify, "'subscriber_attributes':{'crm_id':'flat'}", "flat");
	expect_identity(identify, "'subscriber_attributes':{'crm_id':{'value':77}}", "77");
	expect_identity(identify, "'subscriber_attributes':{'CRM_ID':{'value':'x'}}", NULL);
	expect_identity(identify, "'subscriber_attributes':{'crm_id':{'value':''}}", NULL);
	expect_identity(identify, "'subscriber_attributes':'-'", NULL);
	expect_identity("attribute:$displayName",
		"'subscriber_attributes':{'$displayName':{'value':'Ada L.'}}", "Ada L.");
}

static void test_customer_is_not_the_identity(void **state)
{
	(void)state;
	static const char *const identify[] = {
		"app_user_id", "original_app_user_id", "known_id", "email", "attribute:crm_id"};
	struct section section;
	section_init(&section);
	for (size_t i = 0; i < sizeof(identify) / sizeof(identify[0]); i++) {
		section_set(&section, "identify", identify[i]);
		struct event *event = section_read(&section, "");
		const struct sub_event *sub = sub_of(event);
		assert_text(event->customer, "ada");
		assert_text(sub->customer, "ada");
		assert_text(sub->original_customer, "ada-first");
		assert_text(sub->email, "ada@example.org");
		assert_int_equal(sub->alias_count, 3);
		assert_text(sub->aliases[2], "ada-old");
		event_destroy(event);
	}
	section_finish(&section);
}

static void expect_anonymous(
	const char *anonymous, const char *identify, const char *changes, const char *ignored)
{
	struct section section;
	section_init(&section);
	section_set(&section, "identify", identify);
	section_set(&section, "anonymous", anonymous);
	struct event *event = section_read(&section, changes);
	assert_text(event->ignored, ignored);
	event_destroy(event);
	section_finish(&section);
}

static void test_anonymous(void **state)
{
	(void)state;
	const char *anonymous = "'app_user_id':'" ANON1 "'";
	const char *all = "'app_user_id':'" ANON1 "','original_app_user_id':'" ANON1
			  "','aliases':['" ANON1 "']";
	const char *attribute = "'subscriber_attributes':{'crm_id':{'value':'" ANON1 "'}}";
	const char *reason = "anonymous customer";
	expect_anonymous("send", "app_user_id", anonymous, NULL);
	expect_anonymous("send", "known_id", all, NULL);
	expect_anonymous("skip", "app_user_id", "", NULL);
	expect_anonymous("skip", "app_user_id", anonymous, reason);
	expect_anonymous("skip", "original_app_user_id", anonymous, NULL);
	expect_anonymous("skip", "original_app_user_id", all, reason);
	expect_anonymous("skip", "known_id", anonymous, NULL);
	expect_anonymous("skip", "known_id", all, reason);
	expect_anonymous("skip", "email", all, NULL);
	expect_anonymous("skip", "email",
		"'subscriber_attributes':{'$email':'" ANON1 "@example.org'}", NULL);
	expect_anonymous("skip", "attribute:crm_id", all, NULL);
	expect_anonymous("skip", "attribute:crm_id", attribute, reason);
	expect_anonymous("skip", "attribute:none", all, NULL);
}

static void expect_transfer(const char *anonymous, const char *identify, const char *ada,
	const char *nobody, bool is_email)
{
	struct section section;
	section_init(&section);
	section_set(&section, "identify", identify);
	section_set(&section, "anonymous", anonymous);
	struct event *event = section_read(&section,
		"'type':'TRANSFER','transferred_from':['" ANON1
		"','old'],'transferred_to':['ada']");
	const struct sub_event *sub = sub_of(event);
	assert_text(event->ignored, NULL);
	assert_text(event->customer, "ada"); /* whom it is about, for the operator */
	assert_text(sub->customer, NULL);
	assert_text(sub->identity, NULL);
	assert_int_equal(sub->identity_is_email, is_email);
	assert_int_equal(sub->transferred_from_count, 2);
	assert_text(sub->transferred_from[0].customer, ANON1);
	assert_text(sub->transferred_from[0].identity, nobody);
	assert_text(sub->transferred_from[1].customer, "old");
	assert_text(sub->transferred_from[1].identity, ada ? "old" : NULL);
	assert_int_equal(sub->transferred_to_count, 1);
	assert_text(sub->transferred_to[0].customer, "ada");
	assert_text(sub->transferred_to[0].identity, ada);
	event_destroy(event);
	section_finish(&section);
}

static void test_transfer(void **state)
{
	(void)state;
	expect_transfer("send", "app_user_id", "ada", ANON1, false);
	expect_transfer("send", "original_app_user_id", "ada", ANON1, false);
	expect_transfer("send", "known_id", "ada", ANON1, false);
	expect_transfer("skip", "app_user_id", "ada", NULL, false);
	expect_transfer("skip", "known_id", "ada", NULL, false);
	/* Only an event of its own could tell. */
	expect_transfer("send", "email", NULL, NULL, true);
	expect_transfer("skip", "attribute:crm_id", NULL, NULL, false);
}

static void test_identify_reads(void **state)
{
	(void)state;
	const struct option *option = section_option("identify");
	static const struct {
		const char *text;
		enum revenuecat_identify by;
		const char *attribute;
	} cases[] = {
		{"app_user_id", REVENUECAT_BY_APP_USER_ID, NULL},
		{"original_app_user_id", REVENUECAT_BY_ORIGINAL_APP_USER_ID, NULL},
		{"known_id", REVENUECAT_BY_KNOWN_ID, NULL},
		{"email", REVENUECAT_BY_EMAIL, NULL},
		{"attribute:intercom_id", REVENUECAT_BY_ATTRIBUTE, "intercom_id"},
		{"attribute: intercom id", REVENUECAT_BY_ATTRIBUTE, "intercom id"},
		{"attribute:$custom:er", REVENUECAT_BY_ATTRIBUTE, "$custom:er"},
	};
	/* One member all the way: each replaces what was there. */
	struct revenuecat_identity identity = {0};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(option->parse(cases[i].text, &identity, NULL));
		assert_int_equal(identity.by, cases[i].by);
		assert_text(identity.attribute, cases[i].attribute);
	}
	static const char *const wrong[] = {"", "attribute", "attribute:", "attribute: ", "e-mail",
		"Email", "app_user_id ", "id"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct error err = {0};
		assert_false(option->parse(wrong[i], &identity, &err));
		assert_non_null(strstr(err.text, "attribute:"));
		/* What was there stays. */
		assert_text(identity.attribute, "$custom:er");
	}
	option->finish(&identity);
	option->finish(&identity);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_app_user_id),
		cmocka_unit_test(test_app_user_id_falls_back),
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_original_app_user_id),
		cmocka_unit_test(test_known_id),
		cmocka_unit_test(test_email),
		cmocka_unit_test(test_attribute),
		cmocka_unit_test(test_customer_is_not_the_identity),
		cmocka_unit_test(test_anonymous),
		cmocka_unit_test(test_transfer),
		cmocka_unit_test(test_identify_reads),
	};
	return cmocka_run_group_tests_name("source/identity", tests, NULL, NULL);
}
