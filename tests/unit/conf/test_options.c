/*
 * One option at a time: what is read from which text, what is refused and in which words.
 */

#include "conf_case.h"

#define LINE 4 /* of the option under test */

static void load_option(struct conf_case *c, const char *section, const char *option)
{
	char text[400];
	(void)snprintf(text, sizeof(text), WITH_SOURCE "[%s]\n%s\n", section, option);
	case_load(c, text, NULL);
}

static void refuse(const char *section, const char *option, const char *part)
{
	struct conf_case c;
	load_option(&c, section, option);
	assert_problem(&c, LINE, part);
	assert_int_equal(c.report.count, 1);
	case_end(&c);
}

static void accept(const char *section, const char *option)
{
	struct conf_case c;
	load_option(&c, section, option);
	assert_loaded(&c);
	case_end(&c);
}

static void defaults_are_the_contract(void **state)
{
	(void)state;
	struct conf_case c;
	case_load(&c, WITH_SOURCE, NULL);
	assert_loaded(&c);
	const struct conf *conf = c.conf;
	assert_string_equal(conf->server.listen.host, "127.0.0.1");
	assert_int_equal(conf->server.listen.port, 8080);
	assert_true(conf->server.listen.is_loopback);
	assert_null(conf->server.tls_certificate);
	assert_int_equal(conf->server.body_max, 1024 * 1024);
	assert_int_equal(conf->server.request_timeout_ms, 10000);
	assert_int_equal(conf->server.connections_max, 1024);
	assert_string_equal(conf->store.path, "/var/lib/subrelay/subrelay.db");
	assert_int_equal(conf->store.keep_delivered_ms, INT64_C(30) * 86400000);
	assert_true(conf->store.keep_parked_ms == INT64_MAX);
	assert_int_equal(conf->delivery.workers, 2);
	assert_int_equal(conf->delivery.connections, 32);
	assert_int_equal(conf->delivery.retry_base_ms, 5000);
	assert_int_equal(conf->delivery.retry_cap_ms, 900000);
	assert_int_equal(conf->delivery.give_up_after_ms, 3 * 86400000);
	assert_int_equal(conf->delivery.rate_limit, CONF_RATE_AUTO);
	assert_int_equal(conf->log.level, LOG_INFO_LEVEL);
	assert_int_equal(conf->log.format, LOG_LOGFMT);
	assert_string_equal(conf->control.socket, "/run/subrelay/control.sock");
	assert_int_equal(conf->workspace_count, 1);
	const struct conf_workspace *workspace = &conf->workspaces[0];
	assert_string_equal(workspace->name, "");
	assert_int_equal(workspace->mode, CONF_MODE_DRY_RUN);
	assert_string_equal(workspace->base_url, "https://api.intercom.io");
	assert_string_equal(workspace->api_version, "2.15");
	assert_int_equal(workspace->unmatched, CONF_UNMATCHED_CREATE);
	assert_int_equal(workspace->archived, CONF_ARCHIVED_UNARCHIVE);
	assert_true(workspace->create_attributes);
	assert_string_equal(conf->sources[0].path, "/webhooks/revenuecat");
	assert_string_equal(conf->sources[0].workspace, "");
	case_end(&c);
}

static void blank_is_the_default(void **state)
{
	(void)state;
	struct conf_case c;
	case_load(&c,
		WITH_SOURCE "path =\nsandbox =\nsigning_secret =\nsigning_secret_file =\n"
			    "[server]\nlisten =\nbody_max =\ntls_key =\n[store]\npath = \t\n"
			    "[intercom]\nmode =\naccess_token =\nbase_url =\n",
		NULL);
	assert_loaded(&c);
	assert_int_equal(c.conf->server.listen.port, 8080);
	assert_string_equal(c.conf->store.path, "/var/lib/subrelay/subrelay.db");
	assert_string_equal(c.conf->sources[0].path, "/webhooks/revenuecat");
	assert_false(secret_is_set(&c.conf->workspaces[0].access_token));
	case_end(&c);
}

static void listen_addresses(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		struct conf_address address;
	} rows[] = {
		{"127.0.0.1:8080", {"127.0.0.1", 8080, false, true}},
		{"127.9.9.9:1", {"127.9.9.9", 1, false, true}},
		{"126.0.0.1:1", {"126.0.0.1", 1, false, false}},
		{"128.0.0.1:65535", {"128.0.0.1", 65535, false, false}},
		{"localhost:0", {"127.0.0.1", 0, false, true}},
		{"*:80", {"0.0.0.0", 80, false, false}},
		{"0.0.0.0:80", {"0.0.0.0", 80, false, false}},
		{"[::1]:8080", {"::1", 8080, true, true}},
		{"[0:0::1]:8080", {"::1", 8080, true, true}},
		{"[::]:80", {"::", 80, true, false}},
		{"[::ffff:127.0.0.1]:80", {"::ffff:127.0.0.1", 80, true, true}},
		{"[::ffff:10.0.0.1]:80", {"::ffff:10.0.0.1", 80, true, false}},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct conf_case c;
		char option[100];
		(void)snprintf(option, sizeof(option), "listen = %s", rows[i].text);
		load_option(&c, "server", option);
		assert_loaded(&c);
		const struct conf_address *got = &c.conf->server.listen;
		assert_string_equal(got->host, rows[i].address.host);
		assert_int_equal(got->port, rows[i].address.port);
		assert_int_equal(got->is_ipv6, rows[i].address.is_ipv6);
		assert_int_equal(got->is_loopback, rows[i].address.is_loopback);
		case_end(&c);
	}
	static const char *const refused[] = {"8080", ":8080", "127.0.0.1", "127.0.0.1:", "x:80",
		"127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:+1", "127.0.0.1: 1", "127.1:80",
		"[::1]", "[::1]8080", "[::1:80", "[]:80", "[127.0.0.1]:80", "[::1]x:80", "[", ":",
		"[:1", "[fe80::1%eth0]:80", "127.0.0.1:080000", "300.0.0.1:80"};
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		char option[100];
		(void)snprintf(option, sizeof(option), "listen = %s", refused[i]);
		refuse("server", option, "[server] listen: ");
	}
	refuse("server", "listen = ::1:80", "in brackets");
}

static void numbers_have_ranges(void **state)
{
	(void)state;
	refuse("server", "connections_max = 0", "from 1 to 100000");
	refuse("server", "connections_max = 100001", "from 1 to 100000");
	refuse("server", "connections_max = many", "'many' is no number");
	refuse("server", "body_max = 1023", "from 1k to 64M");
	refuse("server", "body_max = 65M", "from 1k to 64M");
	refuse("server", "body_max = 1 M", "no size");
	refuse("server", "request_timeout = 10", "'10' needs a unit");
	refuse("server", "request_timeout = 0", "out of range: from 1s to 10m");
	refuse("server", "request_timeout = 11m", "from 1s to 10m");
	refuse("server", "request_timeout = soon", "no duration");
	refuse("server", "request_timeout = forever", "no duration");
	refuse("store", "keep_delivered = ever", "or forever");
	refuse("store", "keep_delivered = -1s", "keep_delivered");
	refuse("delivery", "workers = 33", "from 1 to 32");
	refuse("delivery", "connections = 1025", "from 1 to 1024");
	refuse("delivery", "retry_base = 0", "out of range");
	refuse("delivery", "give_up_after = 500ms", "out of range");
	refuse("delivery", "rate_limit = 0", "neither auto nor a number");
	refuse("delivery", "rate_limit = 1000001", "neither auto nor a number");
	refuse("delivery", "rate_limit = 10/s", "neither auto nor a number");
	accept("delivery", "rate_limit = 1000000");
	accept("delivery", "retry_base = 1ms");
	accept("server", "body_max = 64M");
	accept("store", "keep_delivered = forever");
	accept("store", "keep_parked = 0");
}

static void choices_and_switches(void **state)
{
	(void)state;
	refuse("intercom", "region = uk", "'uk' is not us, eu or au");
	refuse("intercom", "mode = dryrun", "did you mean 'dry-run'?");
	refuse("intercom", "unmatched = Create", "did you mean 'create'?");
	refuse("intercom", "create_attributes = maybe", "neither yes nor no");
	refuse("log", "format = xml", "'xml' is not logfmt or json");
	refuse("intercom", "api_version = two", "such as 2.15");
	refuse("intercom", "api_version = 2.15\t2", "such as 2.15");
	refuse("store", "path = a\xff", "UTF-8");
	accept("intercom", "api_version = 2.9");
	accept("intercom", "api_version = Preview");
	accept("intercom", "create_attributes = OFF");
	accept("log", "level = debug");
}

static void base_urls(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		const char *url; /* NULL: refused */
	} rows[] = {
		{"https://example.com", "https://example.com"},
		{"https://example.com/", "https://example.com"},
		{"https://example.com:8443/a/b//", "https://example.com:8443/a/b"},
		{"http://127.0.0.1:9999/", "http://127.0.0.1:9999"},
		{"http://127.1.2.3", "http://127.1.2.3"},
		{"http://localhost:1", "http://localhost:1"},
		{"http://[::1]:1/x", "http://[::1]:1/x"},
		{"HTTPS://example.com", "HTTPS://example.com"},
		{"http://example.com", NULL},
		{"http://10.0.0.1", NULL},
		{"http://128.0.0.1", NULL},
		{"http://[::2]", NULL},
		{"http://0.0.0.0:1", NULL},
		{"http://*:1", NULL},
		{"http://localhost.example.com", NULL},
		{"http://127.0.0.1.example.com", NULL},
		{"http://127.0.0.1@example.com", NULL},
		{"http://127.0.0.1:80@example.com", NULL},
		{"http://127.0.0.1\\@example.com", NULL},
		{"http://127.0.0.1#@example.com", NULL},
		{"https://example.com?x", NULL},
		{"https://example.com/?x", NULL},
		{"https://example.com/a b", NULL},
		{"https://example.com:0", NULL},
		{"https://example.com:x", NULL},
		{"https://", NULL},
		{"https:///", NULL},
		{"api.intercom.io", NULL},
		{"ftp://example.com", NULL},
		{"https://[::1", NULL},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct conf_case c;
		char option[100];
		(void)snprintf(option, sizeof(option), "base_url = %s", rows[i].text);
		load_option(&c, "intercom", option);
		case_print(&c);
		if (rows[i].url) {
			assert_non_null(c.conf);
			assert_string_equal(c.conf->workspaces[0].base_url, rows[i].url);
		} else {
			assert_problem(&c, LINE, "[intercom] base_url: ");
		}
		case_end(&c);
	}
	refuse("intercom", "base_url = http://example.com", "use https://");
}

static void regions_have_their_hosts(void **state)
{
	(void)state;
	struct conf_case c;
	case_load(&c,
		WITH_SOURCE "[intercom]\nregion = eu\n[intercom.a]\nregion = au\n"
			    "[intercom.b]\nregion = eu\nbase_url = https://example.com/\n",
		NULL);
	assert_loaded(&c);
	assert_int_equal(c.conf->workspace_count, 3);
	assert_string_equal(c.conf->workspaces[0].base_url, "https://api.eu.intercom.io");
	assert_string_equal(c.conf->workspaces[1].base_url, "https://api.au.intercom.io");
	assert_string_equal(c.conf->workspaces[2].base_url, "https://example.com");
	case_end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_the_contract),
		cmocka_unit_test(blank_is_the_default),
		cmocka_unit_test(listen_addresses),
		cmocka_unit_test(numbers_have_ranges),
		cmocka_unit_test(choices_and_switches),
		cmocka_unit_test(base_urls),
		cmocka_unit_test(regions_have_their_hosts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
