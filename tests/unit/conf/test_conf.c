/*
 * The whole: sections and their instances, what must hold between options, loading for `map`, what
 * a reload can't change.
 */

#include "conf_case.h"

#include "source/revenuecat.h"

static const struct revenuecat_options *source_options(const struct conf_case *c, const char *name)
{
	const struct conf_source *source = conf_source_get(c->conf, name);
	assert_non_null(source);
	return source->options;
}

static void instances_have_their_own_defaults(void **state)
{
	(void)state;
	struct conf_case c;
	case_load(&c,
		"[revenuecat.ios]\nauthorization = a\nsandbox = test\n"
		"[revenuecat]\nauthorization = b\nanonymous = skip\nworkspace = test\n"
		"[revenuecat.mac]\nauthorization = c\npath = /mac\n"
		"[intercom.test]\nregion = au\n",
		NULL);
	assert_loaded(&c);
	assert_int_equal(c.conf->source_count, 3);
	assert_string_equal(c.conf->sources[0].name, "revenuecat.ios");
	assert_string_equal(c.conf->sources[0].path, "/webhooks/revenuecat/ios");
	assert_string_equal(source_options(&c, "revenuecat.ios")->path, "/webhooks/revenuecat/ios");
	assert_string_equal(c.conf->sources[1].path, "/webhooks/revenuecat");
	assert_string_equal(c.conf->sources[1].workspace, "test");
	assert_string_equal(c.conf->sources[2].path, "/mac");
	assert_int_equal(
		source_options(&c, "revenuecat.mac")->anonymous, REVENUECAT_ANONYMOUS_SEND);
	assert_string_equal(source_options(&c, "revenuecat.ios")->authorization.bytes, "a");
	assert_int_equal(c.conf->workspace_count, 2);
	assert_string_equal(c.conf->workspaces[0].name, "");
	assert_int_equal(c.conf->workspaces[0].region, CONF_REGION_US);
	assert_null(conf_workspace_get(c.conf, "ios"));
	assert_null(conf_source_get(c.conf, "stripe"));
	case_end(&c);
}

static void sources_are_checked(void **state)
{
	(void)state;
	assert_only_problem("\n[revenuecat]\n", 2, "[revenuecat] authorization is missing");
	assert_only_problem("[revenuecat]\nauthorization =\n", 1, "authorization is missing");
	assert_only_problem("[log]\n[server]\n", 1, "no source: add a section");
	assert_only_problem(WITH_SOURCE "path = x\n", 3, "must begin with '/'");
	assert_only_problem(WITH_SOURCE "path = /a?b\n", 3, "'?'");
	assert_only_problem(WITH_SOURCE "path = /a b\n", 3, "a blank");
	assert_only_problem(WITH_SOURCE "path = /\xc3\xa4\n", 3, "beyond ASCII");
	assert_only_problem(WITH_SOURCE "path = /healthz\n", 3, "the daemon's own");
	assert_only_problem(WITH_SOURCE "path = /readyz\n", 3, "the daemon's own");
	assert_only_problem(WITH_SOURCE "path = /metrics\n", 3, "the daemon's own");
	assert_only_problem(WITH_SOURCE "[revenuecat.b]\nauthorization = x\n"
					"path = /webhooks/revenuecat\n",
		5, "is the path of [revenuecat] already");
	assert_only_problem(WITH_SOURCE "workspace = tset\n[intercom.test]\n", 3,
		"no section [intercom.tset]; did you mean 'test'?");
	assert_only_problem(WITH_SOURCE "sandbox = test\n", 3, "[intercom.test]");
	assert_only_problem(WITH_SOURCE "allow_unauthenticated = yes\n[server]\nlisten = *:80\n", 3,
		"loopback");
	assert_only_problem(WITH_SOURCE "identify = phone\n", 3, "[revenuecat] identify: ");
}

static void nothing_hides_behind_a_missing_secret(void **state)
{
	(void)state;
	struct conf_case c;
	case_load(&c, "[revenuecat]\nsandbox = nowhere\n", NULL);
	assert_problem(&c, 1, "authorization is missing");
	assert_problem(&c, 2, "nowhere");
	assert_int_equal(c.report.count, 2);
	case_end(&c);
}

static void loopback_may_be_open(void **state)
{
	(void)state;
	struct conf_case c;
	case_load(&c, "[revenuecat]\nallow_unauthenticated = yes\n", NULL);
	assert_loaded(&c);
	case_end(&c);
}

static void options_agree(void **state)
{
	(void)state;
	struct conf_case c;
	assert_only_problem(WITH_SOURCE "[delivery]\nworkers = 8\nconnections = 7\n", 5,
		"connections = 7 is less than workers = 8");
	assert_only_problem(WITH_SOURCE "[delivery]\nretry_base = 16m\n", 4, "retry_cap");
	assert_only_problem(WITH_SOURCE "[delivery]\nretry_base = 2s\nretry_cap = 1s\n", 5,
		"shorter than retry_base");
	assert_only_problem(WITH_SOURCE "[intercom]\nmode = live\n", 4, "needs an access_token");
	assert_only_problem(
		WITH_SOURCE "[intercom.test]\nmode = live\n", 4, "[intercom.test] mode = live");
	assert_only_problem(WITH_SOURCE "[server]\ntls_key = /dev/null\n", 4, "tls_certificate");
	assert_only_problem(WITH_SOURCE "[server]\ntls_certificate = /dev/null\n", 4, "tls_key");
	assert_only_problem(WITH_SOURCE
		"[control]\nsocket = /run/"
		"0123456789012345678901234567890123456789012345678901234567890123456789"
		"0123456789012345678901234567890123456789.sock\n",
		4, "at most 107");
	case_load(&c,
		WITH_SOURCE "[server]\ntls_certificate = /nowhere/c.pem\ntls_key = /dev/null\n",
		NULL);
	assert_non_null(c.conf);
	assert_warning(&c, 4, "can't be read by this user");
	assert_int_equal(c.report.count, 1);
	case_end(&c);
}

static void mode_follows_the_token(void **state)
{
	(void)state;
	struct conf_case c;
	case_load(&c,
		WITH_SOURCE "[intercom]\naccess_token = x\n[intercom.dry]\naccess_token = x\n"
			    "mode = dry-run\n[intercom.none]\nmode = auto\n",
		NULL);
	assert_loaded(&c);
	assert_int_equal(c.conf->workspaces[0].mode, CONF_MODE_LIVE);
	assert_int_equal(c.conf->workspaces[1].mode, CONF_MODE_DRY_RUN);
	assert_int_equal(c.conf->workspaces[2].mode, CONF_MODE_DRY_RUN);
	case_end(&c);
}

static void map_needs_no_secret(void **state)
{
	(void)state;
	struct conf_case c;
	case_begin(&c);
	c.conf = conf_load_for_map(NULL, NULL, &c.report);
	assert_loaded(&c);
	assert_int_equal(c.conf->source_count, 1);
	assert_string_equal(c.conf->sources[0].name, "revenuecat");
	assert_false(secret_is_set(&source_options(&c, "revenuecat")->authorization));
	conf_unref(c.conf);

	static const char text[] = "[revenuecat.ios]\nidentify = email\n[intercom]\nmode = live\n";
	case_file(&c, "s.ini", text, strlen(text), 0600);
	c.conf = conf_load_for_map(c.path, NULL, &c.report);
	assert_loaded(&c);
	assert_int_equal(c.conf->source_count, 1);
	conf_unref(c.conf);

	static const char wrong[] = "[revenuecat]\nsandbox = nowhere\nidentify = x\n";
	case_file(&c, "s.ini", wrong, strlen(wrong), 0600);
	c.conf = conf_load_for_map(c.path, NULL, &c.report);
	assert_problem(&c, 2, "nowhere");
	assert_problem(&c, 3, "identify");
	assert_int_equal(c.report.count, 2);
	case_end(&c);
}

static void what_needs_a_restart(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		const char *option;
	} rows[] = {
		{"", NULL},
		{"[server]\nlisten = localhost:8080\n", NULL},
		{"[server]\nlisten = 127.0.0.1:8081\n", "server.listen"},
		{"[server]\nlisten = [::1]:8080\n", "server.listen"},
		{"[server]\ntls_key = /dev/null\ntls_certificate = /dev/null\n",
			"server.tls_certificate"},
		{"[server]\nbody_max = 2M\n", "server.body_max"},
		{"[server]\nrequest_timeout = 9s\n", "server.request_timeout"},
		{"[server]\nconnections_max = 9\n", "server.connections_max"},
		{"[store]\npath = x\n", "store.path"},
		{"[store]\nkeep_parked = 1d\n", NULL},
		{"[delivery]\nworkers = 3\n", "delivery.workers"},
		{"[delivery]\nconnections = 3\n", "delivery.connections"},
		{"[delivery]\nretry_base = 1s\nrate_limit = 5\n", NULL},
		{"[control]\nsocket = x\n", "control.socket"},
		{"[log]\nlevel = debug\n", NULL},
		{"[intercom]\naccess_token = x\nregion = eu\n", NULL},
		{"[intercom.test]\n", "[intercom.NAME]"},
		{"[revenuecat.ios]\nauthorization = x\n", NULL},
	};
	struct conf_case before;
	case_load(&before, WITH_SOURCE, NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct conf_case c;
		char text[200];
		(void)snprintf(text, sizeof(text), WITH_SOURCE "%s", rows[i].text);
		case_load(&c, text, NULL);
		assert_loaded(&c);
		const char *option = conf_needs_restart(before.conf, c.conf);
		assert_true(text_equal(option, rows[i].option));
		option = conf_needs_restart(c.conf, before.conf);
		assert_true(text_equal(option, rows[i].option));
		case_end(&c);
	}
	case_end(&before);
}

static void a_renamed_workspace_needs_a_restart(void **state)
{
	(void)state;
	struct conf_case before;
	struct conf_case after;
	case_load(&before, WITH_SOURCE "[intercom.a]\n[intercom.b]\n", NULL);
	case_load(&after, WITH_SOURCE "[intercom.b]\n[intercom.a]\n", NULL);
	assert_null(conf_needs_restart(before.conf, after.conf));
	case_end(&after);
	case_load(&after, WITH_SOURCE "[intercom.a]\n[intercom.c]\n", NULL);
	assert_string_equal(conf_needs_restart(before.conf, after.conf), "[intercom.NAME]");
	case_end(&after);
	case_end(&before);
}

/* Every row that says OPTION_RESTART is one of those above. */
static bool count_fixed(void *context, const char *section, const struct option *table)
{
	size_t *count = context;
	for (const struct option *row = table; row->key; row++)
		*count += (row->flags & OPTION_RESTART) != 0;
	return !text_equal(section, "control");
}

static void tables_are_walked(void **state)
{
	(void)state;
	size_t count = 0;
	conf_each_table(count_fixed, &count);
	assert_int_equal(count, 10);
}

static void the_last_reference_frees(void **state)
{
	(void)state;
	struct conf_case c;
	case_load(&c, WITH_SOURCE, NULL);
	assert_ptr_equal(conf_ref(c.conf), c.conf);
	conf_unref(c.conf);
	assert_string_equal(c.conf->sources[0].name, "revenuecat");
	conf_unref(NULL);
	case_end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(instances_have_their_own_defaults),
		cmocka_unit_test(sources_are_checked),
		cmocka_unit_test(nothing_hides_behind_a_missing_secret),
		cmocka_unit_test(loopback_may_be_open),
		cmocka_unit_test(options_agree),
		cmocka_unit_test(mode_follows_the_token),
		cmocka_unit_test(map_needs_no_secret),
		cmocka_unit_test(what_needs_a_restart),
		cmocka_unit_test(a_renamed_workspace_needs_a_restart),
		cmocka_unit_test(tables_are_walked),
		cmocka_unit_test(the_last_reference_frees),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
