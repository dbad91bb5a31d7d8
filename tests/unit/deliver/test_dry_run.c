/*
 * What a dry run prints and answers, and that the answers are verdicts of DONE.
 */

#include "deliver/dry_run.h"

#include "conf/conf.h"
#include "deliver/intercom.h"
#include "deliver/verdict.h"
#include "deliver/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char token[] = "very-secret";
static char base_url[] = "https://api.intercom.io";
static char api_version[] = "2.15";

struct fixture {
	struct conf_workspace workspace;
	struct errand errand;
	char *printed;
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	assert_non_null(fixture);
	fixture->workspace = (struct conf_workspace){
		.mode = CONF_MODE_DRY_RUN, .base_url = base_url, .api_version = api_version};
	call_init(&fixture->errand.call);
	reply_init(&fixture->errand.reply);
	fixture->errand.workspace = &fixture->workspace;
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	call_finish(&fixture->errand.call);
	reply_finish(&fixture->errand.reply);
	free(fixture->printed);
	free(fixture);
	return 0;
}

/* Answers the call and gives the verdict on it. */
static struct verdict run(struct fixture *fixture)
{
	size_t len;
	free(fixture->printed);
	FILE *out = open_memstream(&fixture->printed, &len);
	assert_non_null(out);
	dry_run_answer(&fixture->errand, out);
	fclose(out);
	struct verdict verdict;
	verdict_of(fixture->errand.call.kind, &fixture->errand.reply, &verdict);
	return verdict;
}

static const struct contact_key key = {.external_id = "u1"};

static void it_prints_the_call(void **state)
{
	struct fixture *fixture = *state;
	intercom_create_contact(&fixture->errand.call, key, "{\"a\":1}");
	run(fixture);
	assert_string_equal(fixture->printed,
		"--> POST https://api.intercom.io/contacts\n"
		"    Authorization: Bearer (none set)\n"
		"    Intercom-Version: 2.15\n"
		"    Accept: application/json\n"
		"    Content-Type: application/json\n"
		"    User-Agent: subrelay/" SUBRELAY_VERSION "\n"
		"    {\"role\":\"user\",\"external_id\":\"u1\",\"custom_attributes\":{\"a\":1}}\n"
		"\n");
	fixture->workspace.access_token = (struct secret){.bytes = token, .len = strlen(token)};
	intercom_me(&fixture->errand.call);
	run(fixture);
	assert_non_null(strstr(fixture->printed, "--> GET https://api.intercom.io/me\n"));
	assert_non_null(strstr(fixture->printed, "Authorization: Bearer \xe2\x80\xa6\n"));
	assert_null(strstr(fixture->printed, token));
}

static void every_answer_is_one_that_works(void **state)
{
	struct fixture *fixture = *state;
	struct call *call = &fixture->errand.call;
	struct verdict verdict;

	intercom_create_contact(call, key, "{\"a\":1}");
	verdict = run(fixture);
	assert_int_equal(verdict.kind, VERDICT_DONE);
	assert_int_equal(strlen(verdict.contact_id), 24);
	assert_int_equal(strspn(verdict.contact_id, "0123456789abcdef"), 24);
	struct verdict again = run(fixture);
	assert_string_equal(verdict.contact_id, again.contact_id);
	intercom_create_contact(call, (struct contact_key){.external_id = "u2"}, "{\"a\":1}");
	struct verdict other = run(fixture);
	assert_string_not_equal(verdict.contact_id, other.contact_id);

	intercom_update_contact(call, "6762f0dd1bb69f9f2193bb83", "{\"a\":1}");
	verdict = run(fixture);
	assert_int_equal(verdict.kind, VERDICT_DONE);
	assert_string_equal(verdict.contact_id, "6762f0dd1bb69f9f2193bb83");
	intercom_unarchive_contact(call, "6762f0dd1bb69f9f2193bb83");
	verdict = run(fixture);
	assert_int_equal(verdict.kind, VERDICT_DONE);
	assert_string_equal(verdict.contact_id, "6762f0dd1bb69f9f2193bb83");

	intercom_find_contact(call, "$RC:1");
	assert_int_equal(run(fixture).kind, VERDICT_DONE);
	intercom_search_contact(call, "a@example.com");
	verdict = run(fixture);
	assert_int_equal(verdict.kind, VERDICT_DONE);
	assert_int_equal(strlen(verdict.contact_id), 24);
	intercom_submit_event(call, "", key, "e", 1, "");
	assert_int_equal(run(fixture).kind, VERDICT_DONE);
	assert_int_equal(fixture->errand.reply.status, 202);
	assert_int_equal(fixture->errand.reply.body.len, 0);
	intercom_create_attribute(call, "a", "string", "");
	assert_int_equal(run(fixture).kind, VERDICT_DONE);
	intercom_list_attributes(call);
	assert_int_equal(run(fixture).kind, VERDICT_DONE);
	intercom_me(call);
	assert_int_equal(run(fixture).kind, VERDICT_DONE);
}

static void what_is_too_large_is_refused_here_too(void **state)
{
	struct fixture *fixture = *state;
	static char id[20001];
	memset(id, 'x', sizeof(id) - 1);
	intercom_find_contact(&fixture->errand.call, id);
	assert_int_equal(run(fixture).kind, VERDICT_PARK);
	assert_string_equal(fixture->printed, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_prints_the_call, setup, teardown),
		cmocka_unit_test_setup_teardown(every_answer_is_one_that_works, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_is_too_large_is_refused_here_too, setup, teardown),
	};
	return cmocka_run_group_tests_name("dry_run", tests, NULL, NULL);
}
