/*
 * The file's lines: each is taken whole or reported with its number; nothing is cut, joined or
 * passed over in silence, and noise does no harm.
 */

#include "conf_case.h"

#include "source/revenuecat.h"

static const char *authorization(const struct conf_case *c)
{
	const struct revenuecat_options *options = c->conf->sources[0].options;
	return options->authorization.bytes;
}

static void values_are_the_rest_of_the_line(void **state)
{
	(void)state;
	static const struct {
		const char *line;
		const char *value;
		bool is_warned_of;
	} rows[] = {
		{"authorization = Bearer a;b", "Bearer a;b", false},
		{"authorization=Bearer a#b", "Bearer a#b", false},
		{"authorization = Bearer x ; y", "Bearer x ; y", true},
		{"authorization = Bearer x # y", "Bearer x # y", true},
		{"authorization = Bearer a=b:c", "Bearer a=b:c", false},
		{"  \tauthorization\t=\t Bearer x \t ", "Bearer x", false},
		{"authorization: Bearer x", "Bearer x", false},
		{"authorization = \"x\"", "\"x\"", true},
		{"authorization = 'x", "'x", false},
		{"authorization = [x]", "[x]", false},
		{"authorization = ;x", ";x", false},
		{"authorization = \xc3\xa4\xff", "\xc3\xa4\xff", false},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct conf_case c;
		char text[200];
		(void)snprintf(text, sizeof(text), "[revenuecat]\n%s\n", rows[i].line);
		case_load(&c, text, NULL);
		case_print(&c);
		assert_non_null(c.conf);
		assert_string_equal(authorization(&c), rows[i].value);
		assert_int_equal(c.report.count, rows[i].is_warned_of ? 1 : 0);
		if (rows[i].is_warned_of)
			assert_warning(&c, 2, "authorization");
		case_end(&c);
	}
}

static void long_values_arrive_whole(void **state)
{
	(void)state;
	struct conf_case c;
	char value[8001];
	char *text = NULL;
	memset(value, 'x', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	assert_true(asprintf(&text, "[revenuecat]\nauthorization = %s", value) > 0);
	case_load(&c, text, NULL);
	assert_loaded(&c);
	assert_string_equal(authorization(&c), value);
	case_end(&c);
	free(text);
}

static void too_long_a_line_is_a_problem(void **state)
{
	(void)state;
	struct conf_case c;
	char *text = xcalloc(1, 20000);
	char *at = stpcpy(text, WITH_SOURCE "[server]\n#");
	memset(at, 'x', 9000); /* a comment may be as long as it likes */
	at = stpcpy(at + 9000, "\ntls_key = ");
	memset(at, 'x', 9000);
	(void)stpcpy(at + 9000, "\nlisten = 127.0.0.1:1\nlisden = 1\n");
	case_load(&c, text, NULL);
	assert_problem(&c, 5, "longer than 8192");
	assert_problem(&c, 7, "did you mean 'listen'?");
	assert_int_equal(c.report.count, 2);
	case_end(&c);
	free(text);
}

static void windows_files_are_read(void **state)
{
	(void)state;
	struct conf_case c;
	case_load(&c,
		"\xef\xbb\xbf[revenuecat]\r\n; x\r\n\r\nauthorization = Bearer demo\r\n[server]\r\n"
		"listen = [::1]:1\r\n",
		NULL);
	assert_loaded(&c);
	assert_string_equal(authorization(&c), "Bearer demo");
	assert_string_equal(c.conf->server.listen.host, "::1");
	case_end(&c);
}

static void empty_files_lack_a_source(void **state)
{
	(void)state;
	assert_only_problem("", 1, "no source: add a section");
	assert_only_problem("\xef\xbb\xbf", 1, "[revenuecat]");
	assert_only_problem("\n\n  # nothing\n", 1, "no source");
}

static void mistakes_have_their_line(void **state)
{
	(void)state;
	assert_only_problem("x = 1\n" WITH_SOURCE, 1, "before the first section");
	assert_only_problem(WITH_SOURCE "[sever]\nx = 1\n", 3, "did you mean 'server'?");
	assert_only_problem(WITH_SOURCE "[SERVER]\n", 3, "did you mean 'server'?");
	assert_only_problem("[revenuekat]\nauthorization = x\n", 1, "did you mean 'revenuecat'?");
	assert_only_problem(WITH_SOURCE "[zzzzzzzz]\n", 3,
		"there is no section [zzzzzzzz]; there are [server], [store], [intercom]");
	assert_only_problem(WITH_SOURCE "[server\nlisten = x\n", 3, "header");
	assert_only_problem(WITH_SOURCE "[server] x\nlisten = x\n", 3, "header");
	assert_only_problem(WITH_SOURCE "[]\nlisten = x\n", 3, "no section []");
	assert_only_problem(WITH_SOURCE "[server.a]\nlisten = x\n", 3, "no name after a dot");
	assert_only_problem(WITH_SOURCE "[intercom.]\nmode = x\n", 3, "name after the dot");
	assert_only_problem(WITH_SOURCE "[intercom.a b]\n", 3, "name after the dot");
	assert_only_problem(WITH_SOURCE "[intercom.a.b]\n", 3, "name after the dot");
	assert_only_problem(
		WITH_SOURCE "[intercom.abcdefghijklmnopqrstuvwxyzabcdefg]\n", 3, "1 to 32");
	assert_only_problem(WITH_SOURCE "[server]\nlisen = x\n", 4, "did you mean 'listen'?");
	assert_only_problem(WITH_SOURCE "[server]\nLISTEN = x\n", 4, "did you mean 'listen'?");
	assert_only_problem(WITH_SOURCE "[server]\nworkers = 2\n", 4, "belongs in [delivery]");
	assert_only_problem(WITH_SOURCE "[server]\nlisten_file = x\n", 4, "it has listen, ");
	assert_only_problem(WITH_SOURCE "[intercom]\ntoken = x\n", 4, "'access_token'");
	assert_only_problem(WITH_SOURCE "[server]\nlisten\n", 4, "neither");
	assert_only_problem(WITH_SOURCE "\n[server]\n  continued\n", 5, "neither");
	assert_only_problem(WITH_SOURCE "[server]\nlisten 127.0.0.1:80\n", 4, "no option's name");
	assert_only_problem(WITH_SOURCE "[server]\n= x\n", 4, "no option's name");
	assert_only_problem(WITH_SOURCE "last", 3, "neither");
	assert_only_problem(WITH_SOURCE "[event_names]\nrenewel = x\n", 4, "'renewal'");
	assert_only_problem(WITH_SOURCE "[log]\nlevel = warn\x07\n", 4, "control character");
}

static void twice_names_both_lines(void **state)
{
	(void)state;
	struct conf_case c;
	case_load(&c,
		WITH_SOURCE "[server]\nlisten = 127.0.0.1:1\n[log]\n[server] ; again\n"
			    "listen = 127.0.0.1:2\n",
		NULL);
	assert_problem(&c, 7, "on line 4 and here, on line 7");
	assert_int_equal(c.report.count, 1);
	case_end(&c);
}

static void everything_is_said_at_once(void **state)
{
	(void)state;
	struct conf_case c;
	case_load(&c,
		"[revenuecat]\n"
		"workspace = nowhere\n"
		"sandbox = neverland\n"
		"[server]\n"
		"listen = 80\n"
		"body_max = 1\n"
		"[nonsense]\n"
		"[log]\n"
		"level = loud\n",
		NULL);
	assert_problem(&c, 1, "authorization");
	assert_problem(&c, 2, "[intercom.nowhere]");
	assert_problem(&c, 3, "neverland");
	assert_problem(&c, 5, "'80'");
	assert_problem(&c, 6, "from 1k to 64M");
	assert_problem(&c, 7, "nonsense");
	assert_problem(&c, 9, "'loud' is not debug, info, warn or error");
	assert_int_equal(c.report.count, 7);
	assert_int_equal(c.report.error_count, 7);
	for (size_t i = 1; i < c.report.count; i++)
		assert_true(c.report.problems[i - 1].line < c.report.problems[i].line);
	case_end(&c);
}

static void files_that_cannot_be_read(void **state)
{
	(void)state;
	struct conf_case c;
	case_begin(&c);
	c.conf = conf_load(c.path, NULL, &c.report);
	assert_problem(&c, 0, "can't be read: No such file");
	assert_string_equal(c.report.problems[0].where, c.path);
	conf_report_finish(&c.report);
	c.conf = conf_load(c.directory, NULL, &c.report);
	assert_problem(&c, 0, "can't be read: Is a directory");
	conf_report_finish(&c.report);
	size_t len = 1024 * 1024 + 1;
	char *text = xcalloc(1, len);
	memset(text, '\n', len);
	case_load_bytes(&c, text, len, NULL);
	assert_problem(&c, 0, "larger than 1M");
	free(text);
	case_end(&c);
}

/* Every line of noise is a problem; the list of them stays readable. */
static void noise_is_only_refused(void **state)
{
	(void)state;
	uint64_t random = 88172645463325252u;
	for (int round = 0; round < 50; round++) {
		struct conf_case c;
		static char noise[60000];
		size_t len = 1 + random % sizeof(noise);
		for (size_t i = 0; i < len; i++) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			static const char few[] = "\n[]=;# .ax\t\r";
			noise[i] = (char)(round % 2 ? few[random % (sizeof(few) - 1)]
						    : (char)(random >> 32));
		}
		case_begin(&c);
		case_load_bytes(&c, noise, len, NULL);
		assert_null(c.conf);
		assert_true(c.report.count <= 201);
		assert_true(c.report.error_count >= c.report.count / 2);
		case_end(&c);
	}
}

static void a_long_list_says_that_it_goes_on(void **state)
{
	(void)state;
	struct conf_case c;
	char text[3000] = "";
	for (size_t i = 0; i < 600; i++)
		(void)stpcpy(text + strlen(text), "x\n");
	case_load(&c, text, NULL);
	assert_int_equal(c.report.count, 201);
	assert_int_equal(c.report.error_count, 601); /* no source */
	assert_non_null(strstr(c.report.problems[200].text, "more problems"));
	assert_string_equal(c.report.problems[200].where, c.path);
	case_end(&c);
}

static void secrets_are_never_shown(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"[revenuecat]\nauthorization = hush\nauthorization = hush-hush\n",
		"[revenuecat]\nauthorization Bearer hush\n",
		"[revenuecat]\nauthorization = x\n  hush hush==\n",
		"[revenuecat]\nhush\n",
		"[revenuecat]\nauthorisation = hush\n",
		"[revenuecat]\nauthorization = hush\nauthorization_file = x\n",
		"[revenuecat]\nauthorization = \"hush\x01\"\n",
		"authorization = hush\n",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct conf_case c;
		case_load(&c, texts[i], NULL);
		assert_null(c.conf);
		for (size_t j = 0; j < c.report.count; j++)
			assert_null(strstr(c.report.problems[j].text, "hush"));
		case_end(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_the_rest_of_the_line),
		cmocka_unit_test(long_values_arrive_whole),
		cmocka_unit_test(too_long_a_line_is_a_problem),
		cmocka_unit_test(windows_files_are_read),
		cmocka_unit_test(empty_files_lack_a_source),
		cmocka_unit_test(mistakes_have_their_line),
		cmocka_unit_test(twice_names_both_lines),
		cmocka_unit_test(everything_is_said_at_once),
		cmocka_unit_test(files_that_cannot_be_read),
		cmocka_unit_test(noise_is_only_refused),
		cmocka_unit_test(a_long_list_says_that_it_goes_on),
		cmocka_unit_test(secrets_are_never_shown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
