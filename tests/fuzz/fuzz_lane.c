/*
 * One contact's delivery against an Intercom of moods: each byte is its answer to the next call, and
 * when they are used up it begins again.
 *
 * What must be true whatever it says: a run ends, and soon, for only a backoff keeps a relay from
 * asking in circles; every job ends at most once, and all of them when the run says that it is
 * done; every call is one that can be sent.
 */

#include "base/arena.h"
#include "base/error.h"
#include "conf/conf.h"
#include "deliver/lane.h"
#include "event/attributes.h"
#include "fuzz.h"

#include <jansson.h>

#define JOBS_MAX 6
#define CALLS_A_JOB_MAX 40

#define ID "6762f0dd1bb69f9f2193bb83"
#define REFUSAL(code, message)                                                                     \
	"{\"type\":\"error.list\",\"errors\":[{\"code\":\"" code "\",\"message\":\"" message "\"}" \
	"]}"

static const struct {
	long status;
	const char *body;
	const char *location_id;
} moods[] = {
	{200, "{\"type\":\"contact\",\"id\":\"" ID "\"}", ""},
	{202, "", ""},
	{200, "<html>captive portal</html>", ""},
	{200, "{\"type\":\"list\",\"data\":[{\"id\":\"" ID "\"}],\"total_count\":1}", ""},
	{200, "{\"type\":\"list\",\"data\":[],\"total_count\":0}", ""},
	{200, "{\"type\":\"list\",\"data\":[{\"id\":\"1\"},{\"id\":\"2\"}],\"total_count\":2}", ""},
	{400, REFUSAL("parameter_invalid", "Custom attribute 'latest_store' does not exist"), ""},
	{400, REFUSAL("parameter_invalid", "Custom attribute 'expires_at' does not exist"), ""},
	{400, REFUSAL("parameter_invalid", "Custom attribute 'foreign' does not exist"), ""},
	{400, REFUSAL("parameter_invalid", "You already have 'latest_store' in your user data"),
		""},
	{400, REFUSAL("parameter_invalid", "no"), ""},
	{401, REFUSAL("unauthorized", "Access Token Invalid"), ""},
	{404, REFUSAL("not_found", "User Not Found"), ""},
	{404, REFUSAL("not_found", "Merged"), "6762f0dd1bb69f9f2193bb99"},
	{409, REFUSAL("conflict", "A contact matching those details already exists with id=" ID),
		""},
	{409, REFUSAL("conflict", "A contact matching those details already exists"), ""},
	{409, REFUSAL("conflict", "An archived contact matching exists with id=" ID), ""},
	{409, REFUSAL("conflict", "An archived contact matching exists"), ""},
	{409, REFUSAL("conflict", "Multiple existing users match"), ""},
	{410, REFUSAL("gone", "merged into another"), ""},
	{429, REFUSAL("rate_limit_exceeded", "Exceeded rate limit"), ""},
	{500, "", ""},
};

#define MOOD_COUNT (sizeof(moods) / sizeof(moods[0]))

static const struct conf_workspace *workspace_of(unsigned choices)
{
	static struct conf *confs[8];
	char unmatched[] = "SUBRELAY_INTERCOM_UNMATCHED=skip";
	char archived[] = "SUBRELAY_INTERCOM_ARCHIVED=skip";
	char create[] = "SUBRELAY_INTERCOM_CREATE_ATTRIBUTES=no";
	char *environment[4] = {NULL};
	struct conf_report report;
	size_t count = 0;

	choices %= 8;
	if (!confs[choices]) {
		if (choices & 1)
			environment[count++] = unmatched;
		if (choices & 2)
			environment[count++] = archived;
		if (choices & 4)
			environment[count++] = create;
		confs[choices] = conf_load_for_map(NULL, environment, &report);
		FUZZ_CHECK(confs[choices]);
		conf_report_finish(&report);
	}
	return &confs[choices]->workspaces[0];
}

static const char *wanted_text(struct arena *arena, unsigned choices)
{
	struct attributes set;
	struct buf buf;

	if (!(choices & 1))
		return "";
	attributes_init(&set);
	buf_init(&buf, 4096);
	attributes_set_text(&set, "latest_store", choices & 2 ? "APP_STORE" : NULL, 1000, "x");
	attributes_set_time(&set, "expires_at", 1700000000, 1000, "x");
	attributes_encode(&set, &buf);
	const char *text = arena_dup(arena, buf_text(&buf));
	buf_finish(&buf);
	attributes_finish(&set);
	return text;
}

static struct lane_run *create_run(struct fuzz_bytes *bytes, size_t *ret_jobs)
{
	struct arena arena;
	struct error err = {0};
	unsigned choices = fuzz_byte(bytes);
	size_t count = 1 + fuzz_below(bytes, JOBS_MAX);
	struct lane_work work = {.job_count = count};

	arena_init(&arena);
	work.contact = (struct stored_contact){
		.id = 7,
		.destination_id = 1,
		.is_email = choices & 4,
		.identity = choices & 4 ? "ann@example.com" : "$RC:ann/4711",
		.intercom_id = choices & 8 ? "6762f0dd1bb69f9f2193bb00" : NULL,
		.wanted = wanted_text(&arena, choices >> 4),
		.sent = choices & 64 ? "{\"latest_store\":\"PLAY_STORE\"}" : "",
	};
	work.jobs = arena_alloc(&arena, count * sizeof(*work.jobs));
	for (size_t i = 0; i < count; i++) {
		unsigned kind = fuzz_byte(bytes);
		work.jobs[i] = (struct job){
			.destination_id = 1,
			.event_id = (int64_t)i + 1,
			.contact_id = 7,
			.touches = kind & 1,
			.is_main = true,
			.name = kind & 2 ? NULL : "rc_renewal_event",
			.created_at = 1700000000 + (int64_t)i,
			.metadata = "{\"store\":\"APP_STORE\"}",
		};
		work.touches |= work.jobs[i].touches;
	}
	*ret_jobs = count;
	struct lane_run *run =
		lane_run_create_take(&arena, &work, choices & 128 ? INT64_MAX : 0, &err);
	FUZZ_CHECK(run);
	return run;
}

static void check_call(const struct call *call)
{
	const char *path = buf_text(&call->path);

	FUZZ_CHECK(call->kind != CALL_NONE && call->method && path[0] == '/');
	FUZZ_CHECK(!call_is_too_large(call));
	for (const char *c = path; *c; c++)
		FUZZ_CHECK(*c > ' ' && *c < 0x7f);
	if (call->body.len == 0)
		return;
	json_t *json = json_loadb(buf_text(&call->body), call->body.len, 0, NULL);
	FUZZ_CHECK(json_is_object(json));
	json_decref(json);
}

static enum lane_result answer(
	struct lane_run *run, const struct conf_workspace *workspace, unsigned mood)
{
	struct verdict verdict;
	struct reply reply;

	reply_init(&reply);
	reply.wire = WIRE_ANSWERED;
	reply.status = moods[mood % MOOD_COUNT].status;
	(void)snprintf(reply.location_id, sizeof(reply.location_id), "%s",
		moods[mood % MOOD_COUNT].location_id);
	(void)buf_add_text(&reply.body, moods[mood % MOOD_COUNT].body);
	verdict_of(run->call.kind, &reply, &verdict);
	reply_finish(&reply);
	return lane_take_verdict(run, workspace, &verdict);
}

static void check_finish(const struct finish *finish, size_t jobs, enum lane_result result)
{
	bool is_finished[JOBS_MAX + 1] = {false};
	size_t count = finish ? finish->job_count : 0;

	for (size_t i = 0; i < count; i++) {
		const struct finish_job *job = &finish->jobs[i];
		FUZZ_CHECK(job->event_id >= 1 && job->event_id <= (int64_t)jobs);
		FUZZ_CHECK(!is_finished[job->event_id]);
		is_finished[job->event_id] = true;
		/* Nothing vanishes without a reason. */
		FUZZ_CHECK(job->outcome == JOB_DONE || job->reason[0] != '\0');
	}
	FUZZ_CHECK(result != LANE_DONE || count == jobs);
	FUZZ_CHECK(result == LANE_DONE || count < jobs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes bytes = {data, size};
	const struct conf_workspace *workspace = workspace_of(fuzz_byte(&bytes));
	size_t jobs, calls = 0;
	struct lane_run *run = create_run(&bytes, &jobs);
	struct fuzz_bytes script = bytes;
	enum lane_result result = LANE_DONE;

	if (lane_next_call(run, workspace))
		result = LANE_CONTINUES;
	while (result == LANE_CONTINUES) {
		check_call(&run->call);
		FUZZ_CHECK(lane_event_id(run) != 0);
		FUZZ_CHECK(++calls <= jobs * CALLS_A_JOB_MAX);
		if (bytes.left == 0)
			bytes = script;
		result = answer(run, workspace, fuzz_byte(&bytes));
	}
	if (result != LANE_DONE && size > 0 && data[size - 1] & 128) {
		lane_give_up(run, "older than give_up_after", "");
		result = lane_next_call(run, workspace) ? LANE_RETRIES : LANE_DONE;
	}
	struct finish *finish = lane_detach_finish(run);
	check_finish(finish, jobs, result);
	finish_destroy(finish);
	lane_run_destroy(run);
	return 0;
}
