/*
 * Secrets from files: where they are looked for, what is taken of them, who else can read them.
 */

#include "conf_case.h"

#include "source/revenuecat.h"

#define FROM_FILE "[revenuecat]\nauthorization_file = auth\n"

static const char *authorization(const struct conf_case *c)
{
	const struct revenuecat_options *options = c->conf->sources[0].options;
	return options->authorization.bytes;
}

static void load_with_secret(struct conf_case *c, const char *secret, size_t len)
{
	case_begin(c);
	case_file(c, "auth", secret, len, 0600);
	case_load_bytes(c, FROM_FILE, strlen(FROM_FILE), NULL);
}

static void one_newline_is_cut(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		const char *secret;
	} rows[] = {
		{"Bearer x", "Bearer x"},
		{"Bearer x\n", "Bearer x"},
		{"Bearer x\r\n", "Bearer x"},
		{" Bearer x ; y \n", " Bearer x ; y "},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct conf_case c;
		load_with_secret(&c, rows[i].text, strlen(rows[i].text));
		assert_loaded(&c);
		assert_string_equal(authorization(&c), rows[i].secret);
		case_end(&c);
	}
}

static void what_is_no_secret_is_refused(void **state)
{
	(void)state;
	static char large[65537];
	memset(large, 'x', sizeof(large));
	const struct {
		const char *text;
		size_t len;
		const char *part;
	} rows[] = {
		{"", 0, "is empty"},
		{"\n", 1, "is empty"},
		{"a\nb\n", 4, "more than one line"},
		{"a\n\n", 3, "more than one line"},
		{"a\0b", 3, "more than one line"},
		{large, sizeof(large), "larger than 64k"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct conf_case c;
		load_with_secret(&c, rows[i].text, rows[i].len);
		assert_problem(&c, 2, rows[i].part);
		assert_problem(&c, 2, "[revenuecat] authorization_file: 'auth'");
		assert_int_equal(c.report.count, 1); /* not also: authorization is missing */
		case_end(&c);
	}
	struct conf_case c;
	load_with_secret(&c, large, 65536);
	assert_loaded(&c);
	case_end(&c);
	case_load(&c, FROM_FILE, NULL);
	assert_problem(&c, 2, "can't be opened: No such file");
	case_end(&c);
	case_load(&c, "[revenuecat]\nauthorization_file = /\n", NULL);
	assert_problem(&c, 2, "can't be read: Is a directory");
	case_end(&c);
}

static void credentials_come_first(void **state)
{
	(void)state;
	struct conf_case credentials;
	struct conf_case c;
	char variable[200];
	char *environment[] = {variable, NULL};
	case_begin(&credentials);
	(void)snprintf(
		variable, sizeof(variable), "CREDENTIALS_DIRECTORY=%s", credentials.directory);

	case_begin(&c);
	case_file(&c, "auth", "beside", strlen("beside"), 0600);
	case_load_bytes(&c, FROM_FILE, strlen(FROM_FILE), environment);
	assert_loaded(&c);
	assert_string_equal(authorization(&c), "beside");
	conf_unref(c.conf);
	case_file(&credentials, "auth", "credential", strlen("credential"), 0600);
	case_load_bytes(&c, FROM_FILE, strlen(FROM_FILE), environment);
	assert_loaded(&c);
	assert_string_equal(authorization(&c), "credential");
	case_end(&c);
	case_end(&credentials);
}

static void a_broken_credential_is_not_passed_over(void **state)
{
	(void)state;
	struct conf_case credentials;
	struct conf_case c;
	char variable[200];
	char *environment[] = {variable, NULL};
	case_begin(&credentials);
	char *path = credentials.files[credentials.file_count++] = case_path(&credentials, "auth");
	assert_int_equal(symlink("auth", path), 0); /* leads to itself */
	(void)snprintf(
		variable, sizeof(variable), "CREDENTIALS_DIRECTORY=%s", credentials.directory);
	case_begin(&c);
	case_file(&c, "auth", "beside", strlen("beside"), 0600);
	case_load_bytes(&c, FROM_FILE, strlen(FROM_FILE), environment);
	assert_problem(&c, 2, "can't be opened: ");
	case_end(&c);
	case_end(&credentials);
}

static void absolute_paths_are_themselves(void **state)
{
	(void)state;
	struct conf_case c;
	char text[300];
	case_begin(&c);
	case_file(&c, "auth", "x", 1, 0600);
	(void)snprintf(text, sizeof(text), "[revenuecat]\nauthorization_file = %s\n", c.files[0]);
	case_load_bytes(&c, text, strlen(text), NULL);
	assert_loaded(&c);
	case_end(&c);
}

static void both_is_a_problem(void **state)
{
	(void)state;
	struct conf_case c;
	case_begin(&c);
	case_file(&c, "auth", "x", 1, 0600);
	static const char text[] = FROM_FILE "authorization = x\n";
	case_load_bytes(&c, text, strlen(text), NULL);
	assert_problem(&c, 3, "has both authorization and authorization_file");
	assert_int_equal(c.report.count, 1);
	case_end(&c);
}

static void readers_are_warned_of(void **state)
{
	(void)state;
	struct conf_case c;
	case_begin(&c);
	case_file(&c, "auth", "x", 1, 0644);
	case_load_bytes(&c, FROM_FILE, strlen(FROM_FILE), NULL);
	assert_non_null(c.conf);
	assert_int_equal(c.report.count, 1);
	assert_warning(&c, 2, "every user of this machine can read 'auth'");
	case_end(&c);

	static const char text[] =
		"[revenuecat]\nauthorization = x\nsigning_secret = y\n[intercom]\naccess_token =\n";
	case_begin(&c);
	case_file(&c, "s.ini", text, strlen(text), 0644);
	c.conf = conf_load(c.path, NULL, &c.report);
	assert_non_null(c.conf);
	assert_int_equal(c.report.count, 1); /* once, not for each secret */
	assert_warning(&c, 2, "every user of this machine can read this file");
	case_end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_newline_is_cut),
		cmocka_unit_test(what_is_no_secret_is_refused),
		cmocka_unit_test(credentials_come_first),
		cmocka_unit_test(a_broken_credential_is_not_passed_over),
		cmocka_unit_test(absolute_paths_are_themselves),
		cmocka_unit_test(both_is_a_problem),
		cmocka_unit_test(readers_are_warned_of),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
