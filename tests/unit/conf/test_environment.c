/*
 * The environment over the file, and sections that only it names.
 */

#include "conf_case.h"

#include "source/revenuecat.h"

#define ENVIRONMENT_MAX 12

/* `variables` ends with NULL. */
static void load_with(struct conf_case *c, const char *text, const char *const *variables)
{
	char *environment[ENVIRONMENT_MAX] = {0};
	size_t count = 0;
	for (; variables[count]; count++) {
		assert_true(count + 1 < ENVIRONMENT_MAX);
		environment[count] = xstrdup(variables[count]);
	}
	case_load(c, text, environment);
	for (size_t i = 0; i < count; i++)
		free(environment[i]);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct revenuecat_options *source_options(const struct conf_case *c, const char *name)
{
	const struct conf_source *source = conf_source_get(c->conf, name);
	assert_non_null(source);
	return source->options;
}

static void a_variable_wins(void **state)
{
	(void)state;
	struct conf_case c;
	load_with(&c,
		WITH_SOURCE "path = /from-file\n[server]\nlisten = nonsense\nbody_max = 2M\n"
			    "[event_names]\nrenewal = off\n",
		LIST("SUBRELAY_SERVER_LISTEN=127.0.0.1:9", "SUBRELAY_REVENUECAT_PATH= /from-env ",
			"SUBRELAY_STORE_KEEP_DELIVERED=7d", "SUBRELAY_EVENT_NAMES_REFUND=on",
			"SUBRELAY_EVENT_NAMES_RENEWAL=renewed",
			"SUBRELAY_ATTRIBUTES_LATEST_STORE=shop", "PATH=/bin", "NOT_A_PAIR",
			"SUBRELAY_INTERCOM_ACCESS_TOKEN=token"));
	assert_loaded(&c);
	assert_int_equal(c.conf->server.listen.port, 9);
	assert_int_equal(c.conf->server.body_max, 2 * 1024 * 1024);
	assert_string_equal(c.conf->sources[0].path, "/from-env");
	assert_int_equal(c.conf->store.keep_delivered_ms, 7 * 86400000);
	assert_string_equal(conf_event_name(c.conf, "refund"), "rc_refund_event");
	assert_string_equal(conf_event_name(c.conf, "renewal"), "renewed");
	assert_string_equal(conf_attribute_name(c.conf, "latest_store"), "shop");
	assert_int_equal(c.conf->workspaces[0].mode, CONF_MODE_LIVE);
	case_end(&c);
}

static void it_makes_do_without_a_file(void **state)
{
	(void)state;
	struct conf_case c;
	char *environment[] = {(char[]){"SUBRELAY_REVENUECAT_AUTHORIZATION=Bearer demo"}, NULL};
	case_begin(&c);
	c.conf = conf_load(NULL, environment, &c.report);
	assert_loaded(&c);
	assert_string_equal(source_options(&c, "revenuecat")->authorization.bytes, "Bearer demo");
	conf_unref(c.conf);
	c.conf = conf_load(NULL, NULL, &c.report);
	assert_problem(&c, 0, "no source");
	assert_string_equal(c.report.problems[0].where, "environment");
	case_end(&c);
}

static void a_mistake_names_its_variable(void **state)
{
	(void)state;
	struct conf_case c;
	load_with(&c, WITH_SOURCE,
		LIST("SUBRELAY_SERVER_LISTEN=x", "SUBRELAY_LOG_LEVEL=a\nb",
			"SUBRELAY_REVENUECAT_IOS_PATH=/x"));
	assert_null(c.conf);
	assert_int_equal(c.report.count, 3);
	assert_string_equal(c.report.problems[0].where, "environment:SUBRELAY_LOG_LEVEL");
	assert_string_equal(c.report.problems[1].where, "environment:SUBRELAY_SERVER_LISTEN");
	assert_string_equal(c.report.problems[2].where, "environment:SUBRELAY_REVENUECAT_IOS_PATH");
	assert_non_null(strstr(c.report.problems[2].text, "[revenuecat.ios] authorization"));
	case_end(&c);
}

static void the_file_comes_first(void **state)
{
	(void)state;
	struct conf_case c;
	load_with(&c, WITH_SOURCE "[server]\nlisten = x\n", LIST("SUBRELAY_LOGLEVEL=x"));
	assert_problem(&c, 4, "listen");
	assert_int_equal(c.report.problems[0].line, 4);
	assert_string_equal(c.report.problems[1].where, "environment:SUBRELAY_LOGLEVEL");
	case_end(&c);
}

static void unknown_variables_are_warned_of(void **state)
{
	(void)state;
	struct conf_case c;
	load_with(&c, WITH_SOURCE,
		LIST("SUBRELAY_SERVER_LISEN=x", "SUBRELAY_=x", "SUBRELAY_BUILD=x",
			"SUBRELAY_server_listen=x", "SUBRELAY_SERVER_A_LISTEN=x",
			"SUBRELAY_EVENT_NAMES_X_REFUND=x", "SUBRELAY_INTERCOM__MODE=live"));
	assert_non_null(c.conf);
	assert_int_equal(c.report.count, 7);
	assert_int_equal(c.report.error_count, 0);
	assert_warning(&c, 0, "did you mean 'SUBRELAY_SERVER_LISTEN'?");
	assert_string_equal(c.report.problems[0].where, "environment:SUBRELAY_SERVER_LISEN");
	assert_int_equal(c.conf->workspace_count, 1);
	case_end(&c);
}

static void suffixes_find_their_section(void **state)
{
	(void)state;
	struct conf_case c;
	load_with(&c,
		WITH_SOURCE
		"[intercom.Test-eu]\nregion = eu\n[revenuecat.ios]\nworkspace = Test-eu\n",
		LIST("SUBRELAY_INTERCOM_TEST_EU_ACCESS_TOKEN=token",
			"SUBRELAY_INTERCOM_STAGING_ACCESS_TOKEN=other",
			"SUBRELAY_REVENUECAT_IOS_AUTHORIZATION=Bearer ios",
			"SUBRELAY_REVENUECAT_MY_MAC_AUTHORIZATION=Bearer mac",
			"SUBRELAY_REVENUECAT_MY_MAC_WORKSPACE=staging"));
	assert_loaded(&c);
	assert_int_equal(c.conf->workspace_count, 3);
	const struct conf_workspace *workspace = conf_workspace_get(c.conf, "Test-eu");
	assert_string_equal(workspace->access_token.bytes, "token");
	assert_string_equal(workspace->base_url, "https://api.eu.intercom.io");
	assert_string_equal(conf_workspace_get(c.conf, "staging")->access_token.bytes, "other");
	assert_int_equal(c.conf->source_count, 3);
	assert_string_equal(
		source_options(&c, "revenuecat.ios")->authorization.bytes, "Bearer ios");
	assert_string_equal(
		source_options(&c, "revenuecat.my_mac")->authorization.bytes, "Bearer mac");
	assert_string_equal(
		conf_source_get(c.conf, "revenuecat.my_mac")->path, "/webhooks/revenuecat/my_mac");
	assert_string_equal(conf_source_get(c.conf, "revenuecat.my_mac")->workspace, "staging");
	case_end(&c);
}

static void an_empty_variable_is_blank(void **state)
{
	(void)state;
	struct conf_case c;
	load_with(&c,
		WITH_SOURCE "[intercom]\naccess_token = token\n[server]\nlisten = 127.0.0.1:1\n"
			    "[event_names]\nrenewal = off\n",
		LIST("SUBRELAY_INTERCOM_ACCESS_TOKEN=", "SUBRELAY_SERVER_LISTEN=",
			"SUBRELAY_EVENT_NAMES_RENEWAL=", "SUBRELAY_EVENT_NAMES_REFUND="));
	assert_loaded(&c);
	assert_false(secret_is_set(&c.conf->workspaces[0].access_token));
	assert_int_equal(c.conf->workspaces[0].mode, CONF_MODE_DRY_RUN);
	assert_int_equal(c.conf->server.listen.port, 8080);
	assert_string_equal(conf_event_name(c.conf, "renewal"), "rc_renewal_event");
	assert_null(conf_event_name(c.conf, "refund"));
	case_end(&c);
}

static void a_variable_replaces_value_and_file(void **state)
{
	(void)state;
	struct conf_case c;
	load_with(&c,
		"[revenuecat]\nauthorization_file = /nowhere/at/all\nsigning_secret = inline\n",
		LIST("SUBRELAY_REVENUECAT_AUTHORIZATION=Bearer demo",
			"SUBRELAY_REVENUECAT_SIGNING_SECRET_FILE=/dev/null"));
	assert_problem(&c, 0, "[revenuecat] signing_secret_file: '/dev/null' is empty");
	assert_int_equal(c.report.count, 1);
	assert_string_equal(
		c.report.problems[0].where, "environment:SUBRELAY_REVENUECAT_SIGNING_SECRET_FILE");
	case_end(&c);
}

/* getenv takes the first of two as well. */
static void the_first_of_two_counts(void **state)
{
	(void)state;
	struct conf_case c;
	load_with(&c, WITH_SOURCE,
		LIST("SUBRELAY_SERVER_LISTEN=127.0.0.1:1", "SUBRELAY_SERVER_LISTEN=127.0.0.1:2"));
	assert_loaded(&c);
	assert_int_equal(c.conf->server.listen.port, 1);
	case_end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_variable_wins),
		cmocka_unit_test(it_makes_do_without_a_file),
		cmocka_unit_test(a_mistake_names_its_variable),
		cmocka_unit_test(the_file_comes_first),
		cmocka_unit_test(unknown_variables_are_warned_of),
		cmocka_unit_test(suffixes_find_their_section),
		cmocka_unit_test(an_empty_variable_is_blank),
		cmocka_unit_test(a_variable_replaces_value_and_file),
		cmocka_unit_test(the_first_of_two_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
