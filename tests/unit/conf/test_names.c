/*
 * [event_names] and [attributes].
 */

#include "conf_case.h"

static void load_names(struct conf_case *c, const char *section, const char *option)
{
	char text[700];
	(void)snprintf(text, sizeof(text), WITH_SOURCE "[%s]\n%s\n", section, option);
	case_load(c, text, NULL);
}

static void event_names(void **state)
{
	(void)state;
	static const struct {
		const char *option;
		const char *key;
		const char *name;
	} rows[] = {
		{"", "renewal", "rc_renewal_event"},
		{"", "refund", NULL},
		{"renewal =", "renewal", "rc_renewal_event"},
		{"renewal = on", "renewal", "rc_renewal_event"},
		{"renewal = YES", "renewal", "rc_renewal_event"},
		{"renewal = off", "renewal", NULL},
		{"renewal = no", "renewal", NULL},
		{"renewal = Abo verl\xc3\xa4ngert", "renewal", "Abo verl\xc3\xa4ngert"},
		{"refund =", "refund", NULL},
		{"refund = on", "refund", "rc_refund_event"},
		{"refund = money-back", "refund", "money-back"},
		{"refund = off", "refund", NULL},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct conf_case c;
		load_names(&c, "event_names", rows[i].option);
		assert_loaded(&c);
		const char *name = conf_event_name(c.conf, rows[i].key);
		assert_true(text_equal(name, rows[i].name));
		case_end(&c);
	}
}

static void attribute_names(void **state)
{
	(void)state;
	struct conf_case c;
	load_names(&c, "attributes",
		"latest_store = off\nexpires_at = Abo bis\nlatest_entitlement = on\n"
		"subscription_status =");
	assert_loaded(&c);
	assert_null(conf_attribute_name(c.conf, "latest_store"));
	assert_string_equal(conf_attribute_name(c.conf, "expires_at"), "Abo bis");
	assert_string_equal(
		conf_attribute_name(c.conf, "latest_entitlement"), "latest_entitlement");
	assert_string_equal(
		conf_attribute_name(c.conf, "subscription_status"), "subscription_status");
	case_end(&c);
}

static void intercoms_rules(void **state)
{
	(void)state;
	char option[400];
	char longest[257];
	memset(longest, 'x', sizeof(longest));
	assert_only_problem(WITH_SOURCE "[event_names]\nrenewal = a.b\n", 4, "'.' or '$'");
	assert_only_problem(WITH_SOURCE "[event_names]\nrenewal = $x\n", 4, "'.' or '$'");
	assert_only_problem(WITH_SOURCE "[event_names]\nrenewal = \xff\n", 4, "UTF-8");
	assert_only_problem(WITH_SOURCE "[attributes]\nexpires_at = a.b\n", 4, "'.' or '$'");
	static const struct {
		const char *section;
		const char *key;
		int len;
		bool is_taken;
	} rows[] = {
		{"event_names", "renewal", 255, true},
		{"event_names", "renewal", 256, false},
		{"attributes", "expires_at", 190, true},
		{"attributes", "expires_at", 191, false},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct conf_case c;
		(void)snprintf(
			option, sizeof(option), "%s = %.*s", rows[i].key, rows[i].len, longest);
		load_names(&c, rows[i].section, option);
		if (rows[i].is_taken)
			assert_loaded(&c);
		else
			assert_problem(&c, 4, "Intercom takes at most");
		case_end(&c);
	}
}

static void attributes_must_differ(void **state)
{
	(void)state;
	assert_only_problem(WITH_SOURCE "[attributes]\nexpires_at = latest_store\n", 4,
		"both written as 'latest_store'");
	assert_only_problem(WITH_SOURCE "[attributes]\nlatest_store = expires_at\n", 4,
		"latest_store and expires_at");
	assert_only_problem(
		WITH_SOURCE "[attributes]\nlatest_store = x\nexpires_at = x\n", 5, "both");
	struct conf_case c;
	load_names(&c, "attributes",
		"latest_store = subscription_status\nexpires_at = off\n"
		"latest_entitlement = off\nsubscription_status = off");
	assert_loaded(&c);
	case_end(&c);
	load_names(&c, "event_names", "refund = x\ncancellation = x");
	assert_loaded(&c);
	case_end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(event_names),
		cmocka_unit_test(attribute_names),
		cmocka_unit_test(intercoms_rules),
		cmocka_unit_test(attributes_must_differ),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
