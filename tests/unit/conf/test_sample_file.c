/*
 * config/subrelay.ini is the manual that people read first: it shows every option with its right
 * default, knows none that isn't there, and stays loadable when its options are uncommented.
 *
 * In it '#' begins prose and "; " an option.
 */

#include "conf_case.h"

#include "source/source.h"

#define SAMPLE "config/subrelay.ini"
#define SAMPLE_BYTES_MAX 65536

/* Whether "; key = value" stands under [section]. */
static bool has_option(const char *text, const char *section, const char *key, const char *value)
{
	char header[80];
	char option[300];
	(void)snprintf(header, sizeof(header), "\n[%s]\n", section);
	(void)snprintf(option, sizeof(option), "\n; %s =%s%s\n", key, value[0] ? " " : "", value);
	const char *start = strstr(text, header);
	if (!start)
		return false;
	const char *end = strstr(start + strlen(header), "\n[");
	const char *at = strstr(start, option);
	return at && (!end || at < end);
}

static void sample_read(char *text)
{
	FILE *file = fopen(SAMPLE, "re");
	if (!file)
		fail_msg("run from the top of the checkout: " SAMPLE " is not here");
	size_t len = fread(text, 1, SAMPLE_BYTES_MAX - 1, file);
	text[len] = '\0';
	assert_true(len > 0 && len < SAMPLE_BYTES_MAX - 1);
	(void)fclose(file);
}

static bool options_of_table(void *context, const char *section, const struct option *table)
{
	const char *text = context;
	for (const struct option *row = table; row->key; row++) {
		const char *fallback = row->fallback ? row->fallback : "";
		char file_key[64];
		(void)snprintf(file_key, sizeof(file_key), "%s_file", row->key);
		if (!has_option(text, section, row->key, fallback))
			fail_msg("[%s] lacks '; %s = %s'", section, row->key, fallback);
		if (row->type == OPTION_SECRET && !has_option(text, section, file_key, ""))
			fail_msg("[%s] lacks '; %s ='", section, file_key);
		assert_non_null(row->help);
	}
	return true;
}

static void shows_every_option(void **state)
{
	(void)state;
	static char text[SAMPLE_BYTES_MAX];
	sample_read(text);
	conf_each_table(options_of_table, text);
}

static void names_of_section(const char *text, const char *section, const struct source_name *row)
{
	for (; row && row->key; row++) {
		const char *fallback = row->fallback ? row->fallback : "off";
		if (!has_option(text, section, row->key, fallback))
			fail_msg("[%s] lacks '; %s = %s'", section, row->key, fallback);
	}
}

static void shows_every_name(void **state)
{
	(void)state;
	static char text[SAMPLE_BYTES_MAX];
	sample_read(text);
	for (const struct source *const *source = source_all(); *source; source++) {
		names_of_section(text, "event_names", (*source)->event_names);
		names_of_section(text, "attributes", (*source)->attributes);
	}
}

static void loads_as_make_run_does(void **state)
{
	(void)state;
	char *environment[] = {(char[]){"SUBRELAY_STORE_PATH=build/var/subrelay.db"},
		(char[]){"SUBRELAY_CONTROL_SOCKET=build/var/control.sock"},
		(char[]){"SUBRELAY_REVENUECAT_AUTHORIZATION=Bearer demo"}, NULL};
	struct conf_case c;
	case_begin(&c);
	c.conf = conf_load(SAMPLE, environment, &c.report);
	assert_loaded(&c);
	assert_string_equal(c.conf->store.path, "build/var/subrelay.db");
	assert_string_equal(c.conf->control.socket, "build/var/control.sock");
	assert_int_equal(c.conf->workspaces[0].mode, CONF_MODE_DRY_RUN);
	assert_int_equal(c.conf->source_count, 1);
	case_end(&c);
}

/* As it is installed: the one thing that is missing is said, at the section that lacks it. */
static void asks_for_the_authorization(void **state)
{
	(void)state;
	struct conf_case c;
	case_begin(&c);
	c.conf = conf_load(SAMPLE, NULL, &c.report);
	assert_null(c.conf);
	assert_int_equal(c.report.count, 1);
	assert_non_null(strstr(c.report.problems[0].text, "authorization"));
	assert_true(text_starts_with(c.report.problems[0].where, SAMPLE ":"));
	assert_true(c.report.problems[0].line > 1);
	case_end(&c);
}

/* Takes the "; " away in place. */
static void uncomment(char *text)
{
	char *to = text;
	for (const char *from = text; *from != '\0'; from++) {
		bool is_option = (from == text || from[-1] == '\n') && from[0] == ';';
		if (is_option)
			from += from[1] == ' ' ? 2 : 1;
		*to++ = *from;
	}
	*to = '\0';
}

static void loads_uncommented(void **state)
{
	(void)state;
	static char text[SAMPLE_BYTES_MAX];
	char *environment[] = {(char[]){"SUBRELAY_REVENUECAT_AUTHORIZATION=Bearer demo"}, NULL};
	struct conf_case commented;
	struct conf_case c;
	sample_read(text);
	case_begin(&commented);
	commented.conf = conf_load(SAMPLE, environment, &commented.report);
	assert_loaded(&commented);
	uncomment(text);
	case_load(&c, text, environment);
	assert_loaded(&c);

	assert_null(conf_needs_restart(commented.conf, c.conf));
	assert_int_equal(c.conf->event_name_count, commented.conf->event_name_count);
	for (size_t i = 0; i < c.conf->event_name_count; i++)
		assert_true(text_equal(
			c.conf->event_names[i].name, commented.conf->event_names[i].name));
	assert_string_equal(c.conf->workspaces[0].base_url, "https://api.intercom.io");
	case_end(&c);
	case_end(&commented);
}

static void holds_no_secret_and_fits_the_page(void **state)
{
	(void)state;
	static char text[SAMPLE_BYTES_MAX];
	sample_read(text);
	for (const char *line = text; *line != '\0';) {
		size_t len = strcspn(line, "\n");
		if (len > 100)
			fail_msg("over 100 columns: %.*s", (int)len, line);
		/* Nothing but headers is live. */
		assert_true(len == 0 || line[0] == '#' || line[0] == ';' || line[0] == '[');
		line += len + (line[len] == '\n');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shows_every_option),
		cmocka_unit_test(shows_every_name),
		cmocka_unit_test(loads_as_make_run_does),
		cmocka_unit_test(asks_for_the_authorization),
		cmocka_unit_test(loads_uncommented),
		cmocka_unit_test(holds_no_secret_and_fits_the_page),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
