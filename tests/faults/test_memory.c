/*
 * Out of memory, at every allocation in turn.
 *
 * Each piece of work is done by a forked child whose n-th allocation fails (alone, or with those
 * after it for a while), for n = 1, 2, 3 … until a run gets by without. The child may die of it: by
 * status 1 and with the message, not by a signal, an assertion or in silence. Or it goes on: then
 * what it answers is what it answers with memory, or that it can't now. Afterwards the parent, which
 * has memory, takes over what the child left, and all must end as if nothing had happened.
 *
 * Without more ado the points are thinned out to a hundred or two a piece. SUBRELAY_MEMORY=all takes
 * every one (minutes), SUBRELAY_MEMORY=PIECE:N:SPAN a single one; an argument, a pattern, chooses
 * tests.
 */

#include "scarce_memory.h"

#include "support/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#if SCARCE_MEMORY

#include "admin/control.h"
#include "admin/map_text_private.h"
#include "base/error.h"
#include "base/log.h"
#include "base/secret.h"
#include "conf/conf_private.h"
#include "daemon.h"
#include "deliver/intercom.h"
#include "deliver/worker.h"
#include "http/routes.h"
#include "source/revenuecat.h"
#include "source/signature.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#define HOUR_MS (3600 * 1000LL)
#define SECONDS_MAX 20
#define COMPLAINED 7
#define POINTS 90 /* of a piece and a span, unless all are asked for */

/* What the child says to the parent, in shared memory. */
struct note {
	long count;               /* allocations while it was armed */
	bool is_clean;            /* the failure wasn't reached */
	char text[512];           /* what it complains of */
	char reply[6][48 * 1024]; /* longer answers, where there are any */
	unsigned status[32];
	char answer[32][512];
	/* The listener's piece: where it listens, and what has come about. */
	atomic_int port;
	atomic_int phase;
};

static struct note *note;

static _Noreturn void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The child's failure: an assertion of cmocka's would run the other tests in it. */
static _Noreturn void complain(const char *format, ...)
{
	va_list args;

	(void)scarce_disarm();
	va_start(args, format);
	(void)vsnprintf(note->text, sizeof(note->text), format, args);
	va_end(args);
	_exit(COMPLAINED);
}

static void start(struct rig *rig)
{
	struct error err = {0};

	if (!rig_start(rig, &err))
		complain("%s", err.text);
}

/* ---- the loop ---- */

struct piece {
	const char *name;
	long spans[4];           /* ends with 0 */
	void (*before)(void);    /* parent, memory is there; this and the last two may be NULL */
	void (*child)(void);     /* arms and disarms */
	void (*meanwhile)(void); /* parent, while the child works */
	void (*after)(void);     /* parent, memory is there again */
	bool is_of_libraries;    /* only what libraries allocate fails */
	/* This run's: */
	pid_t pid;
	long first;
	long span;
};

static struct piece *piece;

static void arm(void)
{
	scarce_of_libraries(piece->is_of_libraries);
	scarce_arm(piece->first, piece->span);
}

static void disarm(void)
{
	note->count = scarce_disarm();
	note->is_clean = piece->span == 0 || note->count < piece->first;
}

static _Noreturn void be_child(int stderr_fd)
{
	static const int SIGNALS[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

	/* cmocka catches these, and jumps out of a failed assertion, both into the parent's story. */
	for (size_t i = 0; i < sizeof(SIGNALS) / sizeof(*SIGNALS); i++)
		(void)signal(SIGNALS[i], SIG_DFL);
	(void)setenv("CMOCKA_TEST_ABORT", "1", 1);
	(void)dup2(stderr_fd, STDERR_FILENO);
	(void)dup2(stderr_fd, STDOUT_FILENO);
	(void)alarm(SECONDS_MAX);
	piece->child();
	_exit(0);
}

static void point_failed(const char *what, int status, const char *said)
{
	fail_msg("%s: allocation %ld, %ld of them: %s (%s %d)\n%s", piece->name, piece->first,
		piece->span, what, WIFSIGNALED(status) ? "signal" : "status",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), said);
}

/* True when it died, as it may. */
static bool judge_end(int status, const char *said)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return false;
	if (WIFEXITED(status) && WEXITSTATUS(status) == COMPLAINED)
		point_failed(note->text, status, said);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 1)
		point_failed("no way to die", status, said);
	if (piece->span == 0)
		point_failed("died with memory", status, said);
	if (strstr(said, "out of memory") == NULL)
		point_failed("died without saying why", status, said);
	return true;
}

/* One child; true when it got by without the failure. */
static bool run_point(long first, long span, long *ret_deaths)
{
	char said[4096] = "";
	int status;

	piece->first = first;
	piece->span = span;
	memset(note, 0, sizeof(*note));
	if (piece->before != NULL)
		piece->before();
	const int stderr_fd = memfd_create("stderr", MFD_CLOEXEC);
	assert_true(stderr_fd >= 0);
	const pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0)
		be_child(stderr_fd);
	piece->pid = child;
	if (piece->meanwhile != NULL)
		piece->meanwhile();
	assert_int_equal(waitpid(child, &status, 0), child);
	const ssize_t got = pread(stderr_fd, said, sizeof(said) - 1, 0);
	said[got > 0 ? got : 0] = '\0';
	(void)close(stderr_fd);
	*ret_deaths += judge_end(status, said);
	if (piece->after != NULL)
		piece->after();
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 && note->is_clean;
}

/* Thinned out by a step that has no rhythm in common with what repeats in the work. */
static long step_of(long count)
{
	const char *asked = getenv("SUBRELAY_MEMORY");
	long step = count / POINTS;

	if (asked != NULL && strcmp(asked, "all") == 0)
		return 1;
	return step < 2 ? 1 : step | 1;
}

static bool run_single(struct piece *one)
{
	const char *asked = getenv("SUBRELAY_MEMORY");
	char name[64];
	long first;
	long span;
	long deaths = 0;

	if (asked == NULL || sscanf(asked, "%63[^:]:%ld:%ld", name, &first, &span) != 3)
		return false;
	if (strcmp(name, one->name) == 0)
		(void)run_point(first, span, &deaths);
	return true;
}

static void run_piece(struct piece *one)
{
	long deaths = 0;
	long points = 0;

	piece = one;
	(void)run_point(1, 0, &deaths); /* what it is like with memory */
	const long count = note->count;
	const long step = step_of(count);
	assert_int_equal(deaths, 0);
	assert_true(count > 0);
	if (run_single(one))
		return;
	for (const long *span = one->spans; *span != 0; span++) {
		/* Each span begins elsewhere, so that together they meet more points. */
		long first = 1 + (span - one->spans) * (step / 3);

		for (; !run_point(first, *span, &deaths); first += step)
			points++;
	}
	print_message("%s: %ld allocations, %ld points tested, %ld deaths\n", one->name, count,
		points, deaths);
}

/* ---- the story: from webhook to Intercom ---- */

static const char STORY_INI[] = "retry_base = 1s\nretry_cap = 1m\n[event_names]\ntransfer = on\n";

/* Another person each, so that no fate depends on whose call comes first. */
static const char *const PEOPLE[] = {"u1", "u2", "u3", "u4", "u5", "u6", "u7"};

static const char *const RULES[] = {
	/* Refused for good: parked. */
	"{'method':'POST','path':'/events','contact':'u5','status':400,'times':0,"
	"'code':'parameter_invalid','message':'No'}",
	/* An id that is nobody's any more. */
	"{'method':'PUT','contact':'u6','status':404,'times':1,'code':'not_found',"
	"'message':'User Not Found'}",
	/* A bad moment. */
	"{'method':'POST','path':'/events','contact':'u3','status':503,'times':1}",
};

#define MONTHLY                                                                                    \
	"'purchased_at_ms':1699990000000,'expiration_at_ms':1702582000000,'period_type':'NORMAL'," \
	"'store':'APP_STORE','environment':'PRODUCTION','entitlement_ids':['pro'],"                \
	"'product_id':'monthly','original_transaction_id':'T1','app_id':'app1'"

static const struct post {
	const char *members; /* of the event; NULL: `body` */
	const char *body;
	size_t same_as; /* 1 + the post whose event it is again; 0: a new one */
	size_t padding; /* bytes of a subscriber attribute */
} POSTS[] = {
	{.members = "'id':'e1','type':'INITIAL_PURCHASE','event_timestamp_ms':1699990001000,"
		    "'app_user_id':'u1'," MONTHLY},
	{.members = "'id':'e2','type':'CANCELLATION','event_timestamp_ms':1699990100000,"
		    "'app_user_id':'u1','cancel_reason':'UNSUBSCRIBE'," MONTHLY,
		.padding = 20000},
	{.members = "'id':'e3','type':'INITIAL_PURCHASE','event_timestamp_ms':1699990002000,"
		    "'app_user_id':'u2'," MONTHLY},
	{.members = "'id':'e1','type':'INITIAL_PURCHASE','event_timestamp_ms':1699990001000,"
		    "'app_user_id':'u1'," MONTHLY,
		.same_as = 1},
	{.body = "{'event':{'id':'e9','type':'RENEWAL',"},
	{.body = "{'event':{'type':'RENEWAL','event_timestamp_ms':1699990001000}}"},
	{.members = "'id':'e4','type':'RENEWAL','event_timestamp_ms':1699990004000,"
		    "'app_user_id':'u3','aliases':['u3','a\\ud83d'],'price':1.5," MONTHLY},
	{.members = "'id':'e5','type':'RENEWAL','event_timestamp_ms':1699990005000,"
		    "'app_user_id':'u6'," MONTHLY},
	{.members = "'id':'e6','type':'EXPIRATION','event_timestamp_ms':1699990106000,"
		    "'app_user_id':'u6','expiration_reason':'UNSUBSCRIBE'," MONTHLY},
	{.members = "'id':'e7','type':'TRANSFER','event_timestamp_ms':1699990200000,"
		    "'transferred_from':['u1'],'transferred_to':['u4']"},
	{.members = "'id':'e8','type':'TEST','event_timestamp_ms':1699990300000,"
		    "'app_user_id':'u1'"},
	{.members = "'id':'e10','type':'INITIAL_PURCHASE','event_timestamp_ms':1699990301000,"
		    "'app_user_id':'u5'," MONTHLY},
	{.members = "'id':'e11','type':'BILLING_ISSUE','event_timestamp_ms':1699990302000,"
		    "'app_user_id':'u2','big':123456789012345678901234567890," MONTHLY},
};

#define POST_COUNT (sizeof(POSTS) / sizeof(*POSTS))
#define POSTS_AT_FIRST ((size_t)7)

static struct {
	struct rig *rig;
	struct rig pristine;
	char *intercom; /* what it was like at first */
	char *store;    /* likewise: the file's bytes */
	size_t store_len;
	char *bodies[POST_COUNT];
	unsigned clean_status[POST_COUNT];
	char clean_answer[POST_COUNT][512];
	char *clean_end;
} story;

static void quote(char *text)
{
	for (; *text != '\0'; text++)
		if (*text == '\'')
			*text = '"';
}

static char *body_of(const struct post *post)
{
	struct buf body;

	buf_init(&body, 65536);
	if (post->members != NULL) {
		(void)buf_addf(&body, "{'api_version':'1.0','event':{%s", post->members);
		if (post->padding > 0)
			(void)buf_addf(&body, ",'subscriber_attributes':{'note':{'value':'%0*d'}}",
				(int)post->padding, 0);
		(void)buf_add_text(&body, "}}");
	} else {
		(void)buf_add_text(&body, post->body);
	}
	char *text = buf_detach(&body);
	quote(text);
	return text;
}

static char *file_load(const char *path, size_t *ret_len)
{
	FILE *file = fopen(path, "rb");

	assert_non_null(file);
	assert_int_equal(fseek(file, 0, SEEK_END), 0);
	*ret_len = (size_t)ftell(file);
	rewind(file);
	char *bytes = malloc(*ret_len);
	assert_non_null(bytes);
	assert_int_equal(fread(bytes, 1, *ret_len, file), *ret_len);
	assert_int_equal(fclose(file), 0);
	return bytes;
}

static void file_path(char ret[160], const char *ending)
{
	(void)snprintf(ret, 160, "%s%s", story.rig->conf->store.path, ending);
}

/* The store as it was before the story: one customer, delivered. */
static void store_restore(void)
{
	char path[160];

	file_path(path, "-wal");
	(void)unlink(path);
	file_path(path, "-shm");
	(void)unlink(path);
	file_path(path, "");
	FILE *file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(story.store, 1, story.store_len, file), story.store_len);
	assert_int_equal(fclose(file), 0);
}

static void meet_people(struct rig *rig)
{
	struct error err = {0};
	char text[512];

	for (size_t i = 0; i < sizeof(RULES) / sizeof(*RULES); i++) {
		(void)snprintf(text, sizeof(text), "%s", RULES[i]);
		quote(text);
		assert_true(standin_add_rules(rig->standin, text, strlen(text), &err));
	}
	/* Known to Intercom before they are known to us. */
	(void)snprintf(text, sizeof(text), "{\"external_id\":\"u2\"}");
	assert_true(standin_add_contact(rig->standin, text, strlen(text), NULL, &err));
}

static int prepare(void **state)
{
	static const struct standin_options OPTIONS = {.strict_attributes = true};

	(void)state;
	log_configure(LOG_ERROR_LEVEL, LOG_LOGFMT);
	scarce_share();
	scarce_abroad(true);
	note = malloc(sizeof(*note));
	scarce_abroad(false);
	for (size_t i = 0; i < POST_COUNT; i++)
		story.bodies[i] = body_of(&POSTS[i]);

	struct rig *rig = rig_create(STORY_INI, &OPTIONS);
	story.rig = rig;
	standin_destroy(rig->standin);
	rig->at_intercom = scarce_abroad;
	scarce_abroad(true);
	rig->standin = standin_create(&OPTIONS);
	scarce_abroad(false);
	assert_int_equal(rig_post_event(rig,
				 "'id':'e0','type':'INITIAL_PURCHASE','event_timestamp_ms':"
				 "1699980000000,'app_user_id':'u6'," MONTHLY),
		200);
	rig_drain(rig, HOUR_MS);
	scarce_abroad(true);
	meet_people(rig);
	scarce_abroad(false);
	rig_stop(rig);
	story.pristine = *rig;
	story.intercom = scarce_save();
	story.store = file_load(rig->conf->store.path, &story.store_len);
	return 0;
}

static int tidy_up(void **state)
{
	(void)state;
	*story.rig = story.pristine;
	rig_destroy(story.rig);
	for (size_t i = 0; i < POST_COUNT; i++)
		free(story.bodies[i]);
	free(story.intercom);
	free(story.store);
	free(story.clean_end);
	return 0;
}

static void story_before(void)
{
	scarce_restore(story.intercom);
	memset(note, 0, sizeof(*note));
	*story.rig = story.pristine;
	store_restore();
}

/* What the answer to a post should be, given what was answered to its event before. */
static bool is_right(size_t i, unsigned status, const char *answer, bool may_be_known)
{
	const size_t first = POSTS[i].same_as != 0 ? POSTS[i].same_as - 1 : i;

	if (status == story.clean_status[first] && strcmp(answer, story.clean_answer[first]) == 0)
		return true;
	return may_be_known && status == 200 && strcmp(answer, "{\"status\":\"duplicate\"}") == 0;
}

static void story_post(size_t i)
{
	struct rig *rig = story.rig;

	(void)rig_post(rig, story.bodies[i]);
	/* As a sender keeps it: after the answer. */
	(void)snprintf(note->answer[i], sizeof(note->answer[i]), "%s", rig->answer);
	note->status[i] = rig->status;
	if (rig->status == 503 || story.clean_status[0] == 0)
		return;
	const size_t first = POSTS[i].same_as != 0 ? POSTS[i].same_as - 1 : i;
	const bool is_known = first != i && note->status[first] == 200;
	if (is_known ? strcmp(rig->answer, "{\"status\":\"duplicate\"}") != 0
		     : !is_right(i, rig->status, rig->answer, false))
		complain("post %zu was answered %u %s", i, rig->status, rig->answer);
}

/* Without a restart: memory is back, and whatever could not be stored is sent again. */
static void story_resend(void)
{
	struct rig *rig = story.rig;

	for (size_t i = 0; i < POST_COUNT; i++) {
		if (note->status[i] != 503)
			continue;
		(void)rig_post(rig, story.bodies[i]);
		if (!is_right(i, rig->status, rig->answer, true))
			complain("post %zu was answered %u %s with memory back", i, rig->status,
				rig->answer);
	}
	rig_drain(rig, 24 * HOUR_MS);
}

static void story_child(void)
{
	struct rig *rig = story.rig;

	start(rig);
	arm();
	for (size_t i = 0; i < POSTS_AT_FIRST; i++)
		story_post(i);
	rig_drain(rig, 24 * HOUR_MS);
	for (size_t i = POSTS_AT_FIRST; i < POST_COUNT; i++)
		story_post(i);
	rig_drain(rig, 24 * HOUR_MS);
	disarm();
	story_resend();
	rig_stop(rig);
}

/* ---- its end ---- */

static const char *const VIEWS[] = {
	"SELECT source, event_id, type, customer, at_ms, ignored, length(body), body FROM event"
	" ORDER BY event_id",
	"SELECT scope, key, destination, identity, is_email, has_links FROM customer ORDER BY key",
	"SELECT c.key, r.at_ms, r.rank, r.id, r.subject, r.data FROM record r"
	" JOIN customer c ON c.id = r.customer_id ORDER BY 1, 2, 3, 4",
	"SELECT f.key, t.key, l.at_ms, l.id FROM link l JOIN customer f ON f.id = l.from_id"
	" JOIN customer t ON t.id = l.to_id ORDER BY 1, 2, 3",
	"SELECT d.name, c.identity, c.is_email, c.intercom_id IS NOT NULL, c.wanted, c.sent"
	" FROM contact c JOIN destination d ON d.id = c.destination_id ORDER BY 1, 2",
	"SELECT count(*) FROM job",
	"SELECT e.event_id, c.identity, p.name, p.metadata, p.created_at, p.reason FROM parked p"
	" JOIN event e ON e.id = p.event_id JOIN contact c ON c.id = p.contact_id ORDER BY 1, 2",
	"SELECT accepted, ignored, delivered, parked, waiting FROM totals",
};

static void write_view(sqlite3 *db, const char *sql, struct buf *ret)
{
	sqlite3_stmt *row = NULL;

	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &row, NULL), SQLITE_OK);
	while (sqlite3_step(row) == SQLITE_ROW) {
		for (int i = 0; i < sqlite3_column_count(row); i++) {
			const char *text = (const char *)sqlite3_column_text(row, i);

			(void)buf_addf(ret, "%s|", text != NULL ? text : "(null)");
		}
		(void)buf_add_char(ret, '\n');
	}
	assert_int_equal(sqlite3_finalize(row), SQLITE_OK);
}

static void write_store(struct buf *ret)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(story.rig->conf->store.path, &db), SQLITE_OK);
	for (size_t i = 0; i < sizeof(VIEWS) / sizeof(*VIEWS); i++)
		write_view(db, VIEWS[i], ret);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Events by their text, for after a failure they come in another order. */
static void write_events(const struct standin *standin, struct buf *ret)
{
	const size_t count = standin_event_count(standin);
	char **lines = calloc(count + 1, sizeof(*lines));

	assert_non_null(lines);
	for (size_t i = 0; i < count; i++) {
		struct standin_event event;
		struct buf line;

		standin_event_at(standin, i, &event);
		buf_init(&line, 4096);
		(void)buf_addf(&line, "%s|%s|%lld|%s", event.external_id, event.name,
			(long long)event.created_at, event.metadata);
		lines[i] = buf_detach(&line);
	}
	qsort(lines, count, sizeof(*lines), compare_lines);
	for (size_t i = 0; i < count; i++) {
		(void)buf_addf(ret, "%s\n", lines[i]);
		free(lines[i]);
	}
	free(lines);
}

static void write_intercom(const struct standin *standin, struct buf *ret)
{
	static const char *const NAMES[] = {
		"latest_store", "latest_entitlement", "expires_at", "subscription_status"};

	for (size_t i = 0; i < sizeof(PEOPLE) / sizeof(*PEOPLE); i++)
		for (size_t j = 0; j < sizeof(NAMES) / sizeof(*NAMES); j++) {
			scarce_abroad(true);
			const char *value = standin_attribute(standin, PEOPLE[i], NAMES[j]);
			scarce_abroad(false);
			(void)buf_addf(ret, "%s %s=%s\n", PEOPLE[i], NAMES[j],
				value != NULL ? value : "(none)");
		}
	write_events(standin, ret);
	for (size_t i = 0; i < standin_violation_count(standin); i++)
		(void)buf_addf(ret, "violation: %s\n", standin_violation_at(standin, i));
}

/* Names the first line that differs. */
static void compare_ends(const char *got, const char *wanted)
{
	while (*got != '\0' || *wanted != '\0') {
		const size_t got_len = strcspn(got, "\n");
		const size_t wanted_len = strcspn(wanted, "\n");

		if (got_len != wanted_len || memcmp(got, wanted, got_len) != 0)
			fail_msg("%s: allocation %ld, %ld of them: there is\n%.*s\nand not\n%.*s",
				piece->name, piece->first, piece->span, (int)got_len, got,
				(int)wanted_len, wanted);
		got += got_len + (got[got_len] == '\n');
		wanted += wanted_len + (wanted[wanted_len] == '\n');
	}
}

/* As a sender does after a crash: whatever wasn't answered 200, and here the rest as well. */
static void post_all_again(struct rig *rig)
{
	for (size_t i = 0; i < POST_COUNT; i++) {
		const size_t first = POSTS[i].same_as != 0 ? POSTS[i].same_as - 1 : i;
		const bool is_acknowledged = note->status[first] == 200 || note->status[i] == 200;

		(void)rig_post(rig, story.bodies[i]);
		if (is_acknowledged ? strcmp(rig->answer, "{\"status\":\"duplicate\"}") != 0
				    : !is_right(i, rig->status, rig->answer, true))
			fail_msg("%s: allocation %ld, %ld of them: post %zu was answered '%s', and "
				 "after a restart '%s'",
				piece->name, piece->first, piece->span, i, note->answer[i],
				rig->answer);
	}
}

static void story_after(void)
{
	struct rig *rig = story.rig;
	struct buf end;

	if (story.clean_status[0] == 0) {
		memcpy(story.clean_status, note->status, sizeof(story.clean_status));
		memcpy(story.clean_answer, note->answer, sizeof(story.clean_answer));
	}
	/* The child's clock went on. */
	clock_fake_advance(&rig->clock, 48 * HOUR_MS);
	start(rig);
	post_all_again(rig);
	rig_drain(rig, 24 * HOUR_MS);
	rig_stop(rig);
	buf_init(&end, 1024 * 1024);
	write_store(&end);
	write_intercom(rig->standin, &end);
	if (story.clean_end == NULL)
		story.clean_end = buf_detach(&end);
	else
		compare_ends(buf_text(&end), story.clean_end);
	buf_finish(&end);
}

static void webhooks_and_deliveries_survive_it(void **state)
{
	struct piece relay = {.name = "relay",
		.spans = {1, 10, 300},
		.before = story_before,
		.child = story_child,
		.after = story_after};
	struct piece libraries = relay;

	(void)state;
	libraries.name = "relay-libraries";
	libraries.is_of_libraries = true;
	run_piece(&relay);
	run_piece(&libraries);
	/* The clean run did meet what it was written for. */
	assert_int_equal(story.clean_status[4], 400);
	assert_non_null(strstr(story.clean_end, "e10|u5|rc_initial_purchase_event|"));
	assert_non_null(strstr(story.clean_end, "u6 subscription_status=\"expired\""));
	assert_non_null(strstr(story.clean_end, "u4 subscription_status=\"cancelled\""));
}

/* ---- answers that are the same or none ---- */

/* The replies of the run with memory, by number. */
static char *clean_reply[6];

/* In the parent, after each run of a piece that fills note->reply. */
static void keep_replies(void)
{
	for (size_t i = 0; piece->span == 0 && i < sizeof(clean_reply) / sizeof(*clean_reply);
		i++) {
		free(clean_reply[i]);
		clean_reply[i] = strdup(note->reply[i]);
		assert_non_null(clean_reply[i]);
	}
}

static void put_reply(size_t i, const char *data, size_t len)
{
	if (len >= sizeof(note->reply[i]))
		complain("reply %zu is too long for the test", i);
	memcpy(note->reply[i], data, len);
	note->reply[i][len] = '\0';
	if (piece->span != 0 && strcmp(note->reply[i], clean_reply[i]) != 0)
		complain("reply %zu is '%.200s'", i, note->reply[i]);
}

/* ---- configuration ---- */

static const char CONF_INI[] =
	"[server]\nlisten = [::1]:8081\nbody_max = 64k\nconnections_max = 7\n"
	"[store]\npath = /tmp/some.db\nkeep_delivered = 3d\n"
	"[intercom]\naccess_token = one\nregion = eu\n"
	"[intercom.test]\naccess_token = two\nunmatched = skip\narchived = skip\n"
	"[delivery]\nworkers = 3\nconnections = 5\nretry_base = 2s\nrate_limit = 50\n"
	"[revenuecat]\nauthorization_file = secret\nsandbox = test\nidentify = attribute:crm\n"
	"[revenuecat.ios]\nauthorization = Bearer ios\nsigning_secret = s3\nworkspace = test\n"
	"anonymous = skip\n"
	"[event_names]\nrenewal = again\nrefund = on\ntransfer = off\n"
	"[attributes]\nlatest_store = shop\nexpires_at = off\n"
	"[log]\nlevel = warn\nformat = json\n";

static void write_option(struct buf *ret, const struct option *row, const void *options)
{
	const void *member = (const char *)options + row->offset;
	const char *text = NULL;

	switch (row->type) {
	case OPTION_TEXT: text = *(const char *const *)member; break;
	case OPTION_SECRET: text = ((const struct secret *)member)->bytes; break;
	case OPTION_BOOL: (void)buf_add_integer(ret, *(const bool *)member); break;
	case OPTION_INT:
	case OPTION_DURATION:
	case OPTION_SIZE: (void)buf_add_integer(ret, *(const int64_t *)member); break;
	case OPTION_CHOICE: (void)buf_add_integer(ret, *(const int *)member); break;
	case OPTION_CUSTOM: return; /* written by name */
	}
	(void)buf_addf(ret, "%s=%s\n", row->key, text != NULL ? text : "");
}

static void write_options(struct buf *ret, const struct option *table, const void *options)
{
	for (const struct option *row = table; row->key != NULL; row++)
		write_option(ret, row, options);
}

static void write_names(struct buf *ret, const struct conf_name *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		(void)buf_addf(ret, "%s=%s\n", names[i].key,
			names[i].name != NULL ? names[i].name : "(off)");
}

static void write_conf(struct buf *ret, const struct conf *conf)
{
	for (const struct kind *kind = conf_own_kinds; kind->stem != NULL; kind++)
		if (kind->class == KIND_SINGLE)
			write_options(ret, kind->table, (const char *)conf + kind->offset);
	(void)buf_addf(ret, "%s %u %lld\n", conf->server.listen.host, conf->server.listen.port,
		(long long)conf->delivery.rate_limit);
	for (size_t i = 0; i < conf->workspace_count; i++) {
		const struct conf_workspace *workspace = &conf->workspaces[i];

		(void)buf_addf(ret, "[%s] %s\n", workspace->name, workspace->base_url);
		write_options(ret, conf_workspace_table, workspace);
	}
	for (size_t i = 0; i < conf->source_count; i++) {
		const struct conf_source *section = &conf->sources[i];
		const struct revenuecat_options *options = section->options;

		(void)buf_addf(ret, "[%s] %s '%s' %d %s\n", section->name, section->path,
			section->workspace, (int)options->identify.by,
			options->identify.attribute != NULL ? options->identify.attribute : "");
		write_options(ret, section->source->options, section->options);
	}
	write_names(ret, conf->event_names, conf->event_name_count);
	write_names(ret, conf->attributes, conf->attribute_count);
}

static void conf_child(void)
{
	char *const environment[] = {(char *)(uintptr_t) "SUBRELAY_DELIVERY_RETRY_CAP=7m", NULL};
	struct conf_report report;
	struct buf text;
	char path[160];

	(void)snprintf(path, sizeof(path), "%s/conf.ini", story.rig->folder);
	arm();
	struct conf *conf = conf_load(path, environment, &report);
	disarm();
	if (conf == NULL && report.error_count == 0)
		complain("refused without a problem");
	if (conf == NULL)
		return;
	buf_init(&text, 65536);
	write_conf(&text, conf);
	put_reply(0, buf_text(&text), text.len);
}

static void file_write(const char *name, const char *text)
{
	char path[160];

	(void)snprintf(path, sizeof(path), "%s/%s", story.rig->folder, name);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void a_configuration_is_whole_or_refused(void **state)
{
	struct piece whole = {
		.name = "conf", .spans = {1, 20}, .child = conf_child, .after = keep_replies};

	(void)state;
	file_write("conf.ini", CONF_INI);
	file_write("secret", "Bearer demo\n");
	run_piece(&whole);
	assert_non_null(strstr(clean_reply[0], "420000retry_cap="));
}

/* ---- opening a store ---- */

static void open_child(void)
{
	struct rig *rig = story.rig;
	struct error err = {0};

	arm();
	struct store *store = store_open(&(struct store_options){.backend = &store_sqlite,
						 .path = rig->conf->store.path,
						 .clock = &rig->clock.clock,
						 .keep_delivered_ms = INT64_MAX,
						 .keep_parked_ms = INT64_MAX},
		&err);
	if (store == NULL && err.text[0] == '\0')
		complain("not opened, and no reason");
	store_close(store);
	disarm();
}

/* Without memory it may not have come into being; with it, it does, and takes events. */
static void open_after(void)
{
	struct rig *rig = story.rig;
	struct buf end;

	start(rig);
	assert_int_equal(rig_post(rig, story.bodies[0]), 200);
	assert_string_equal(rig->answer, "{\"status\":\"accepted\"}");
	rig_drain(rig, HOUR_MS);
	rig_stop(rig);
	buf_init(&end, sizeof(note->reply[0]));
	write_store(&end);
	if (piece->span == 0)
		(void)snprintf(note->reply[0], sizeof(note->reply[0]), "%s", buf_text(&end));
	keep_replies();
	compare_ends(buf_text(&end), clean_reply[0]);
	buf_finish(&end);
}

static void open_new_before(void)
{
	char path[160];

	story_before();
	file_path(path, "");
	assert_int_equal(unlink(path), 0);
}

static void a_store_opens_whole_or_not(void **state)
{
	struct piece of_new = {.name = "open-new",
		.spans = {1, 20},
		.before = open_new_before,
		.child = open_child,
		.after = open_after};
	struct piece of_old = of_new;

	(void)state;
	of_old.name = "open-old";
	of_old.before = story_before;
	run_piece(&of_new);
	run_piece(&of_old);
}

/* ---- map ---- */

static void map_child(void)
{
	const struct conf *conf = story.rig->conf;
	struct buf result;
	struct error err = {0};

	buf_init(&result, 65536);
	arm();
	const bool done = map_body(conf, &conf->sources[0], story.bodies[6],
		strlen(story.bodies[6]), 1700000000000, &result, &err);
	disarm();
	if (done)
		put_reply(0, buf_text(&result), result.len);
	else
		complain("map says: %s", err.text);
}

static void map_says_the_same_or_nothing(void **state)
{
	struct piece map = {
		.name = "map", .spans = {1, 20}, .child = map_child, .after = keep_replies};

	(void)state;
	run_piece(&map);
}

/* ---- credentials ---- */

static void credentials_child(void)
{
	static const char SIGNED[] =
		"t=1700000000,v1="
		"a72dcd3c65bfca67a7204f2b97d0e695e9a638fe2e6d7e4936e212c51852d8b6";
	struct secret secret;
	struct error err = {0};

	secret_init(&secret, "test", 4);
	arm();
	const bool is_equal = secret_equals(&secret, "test", 4);
	const bool is_other = secret_equals(&secret, "text", 4);
	const bool is_signed =
		signature_verify(SIGNED, "body", 4, &secret, 1, 1700000000000, 300, &err);
	const bool is_forged =
		signature_verify(SIGNED, "bod2", 4, &secret, 1, 1700000000000, 300, &err);
	disarm();
	if (!is_equal || is_other || is_forged)
		complain("equal %d %d, forged %d", is_equal, is_other, is_forged);
	put_reply(0, is_signed ? "signed" : "unsigned", is_signed ? 6 : 8);
}

static void credentials_are_never_misjudged(void **state)
{
	struct piece credentials = {.name = "credentials",
		.spans = {1, 20},
		.child = credentials_child,
		.after = keep_replies};

	(void)state;
	run_piece(&credentials);
	assert_string_equal(clean_reply[0], "signed");
}

/* ---- the control socket ---- */

static const char *const QUESTIONS[] = {
	"{\"verb\":\"status\"}\n",
	"{\"verb\":\"events\"}\n",
	"{\"verb\":\"show\",\"id\":\"e2\"}\n",
	"{\"verb\":\"show\",\"id\":\"e10\"}\n",
	"{\"verb\":\n",
	"{\"verb\":\"retry\",\"all\":true}\n",
};

/* False: nobody is there. */
static bool ask(const char *path, const char *question, char *ret, size_t ret_size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = 0;
	ssize_t got;
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	const bool is_there =
		connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
		send(fd, question, strlen(question), MSG_NOSIGNAL) >= 0;
	while (is_there && (got = recv(fd, ret + len, ret_size - 1 - len, 0)) > 0)
		len += (size_t)got;
	ret[len] = '\0';
	(void)close(fd);
	return is_there;
}

static bool is_refusal(const char *answer)
{
	return strncmp(answer, "{\"ok\":false,", 12) == 0;
}

static void control_child(void)
{
	static char answer[48 * 1024];
	struct rig *rig = story.rig;
	struct error err = {0};
	char path[100];

	start(rig);
	for (size_t i = 0; i < POST_COUNT; i++)
		(void)rig_post(rig, story.bodies[i]);
	rig_drain(rig, 24 * HOUR_MS);
	(void)snprintf(path, sizeof(path), "%s/control.sock", rig->folder);
	(void)unlink(path);
	struct control *control = control_create(&(struct control_options){.path = path,
							 .store = rig->store,
							 .dispatcher = rig->dispatcher,
							 .intake = rig->intake,
							 .clock = &rig->clock.clock,
							 .started_at_ms = 1700000000000},
		&err);
	if (control == NULL)
		complain("no control socket: %s", err.text);
	arm();
	for (size_t i = 0; i < sizeof(QUESTIONS) / sizeof(*QUESTIONS); i++) {
		if (!ask(path, QUESTIONS[i], answer, sizeof(answer)))
			complain("the control socket can't be asked");
		if (piece->span == 0 || !is_refusal(answer))
			put_reply(i, answer, strlen(answer));
	}
	disarm();
	control_destroy(control);
	rig_stop(rig);
}

static void the_operator_is_told_the_truth_or_nothing(void **state)
{
	struct piece control = {.name = "control",
		.spans = {1, 20},
		.before = story_before,
		.child = control_child,
		.after = keep_replies};
	struct piece libraries = control;

	(void)state;
	run_piece(&control);
	libraries.name = "control-libraries";
	libraries.is_of_libraries = true;
	run_piece(&libraries);
	assert_non_null(strstr(clean_reply[3], "parameter_invalid"));
	assert_non_null(strstr(clean_reply[5], "{\"count\":1}\n{\"ok\":true}\n"));
}

/* ---- the wire ---- */

static const char UPDATE[] = "{\"custom_attributes\":{\"subscription_status\":\"active\"}}";

static struct {
	pid_t server;
	int port;
} wire;

/* Listens on a free port of loopback. */
static int listen_anywhere(int *ret_port)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t size = sizeof(address);
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&address, size), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
	*ret_port = ntohs(address.sin_port);
	return fd;
}

/* Whether it is the request that was meant, whole. */
static bool is_the_update(const char *request)
{
	const char *body = strstr(request, "\r\n\r\n");

	return strncmp(request, "PUT /contacts/abc HTTP/1.1\r\n", 28) == 0 && body != NULL &&
		strcmp(body + 4, UPDATE) == 0 &&
		strstr(request, "\r\nAuthorization: Bearer token\r\n") != NULL &&
		strstr(request, "\r\nIntercom-Version: ") != NULL &&
		strstr(request, "\r\nContent-Type: application/json\r\n") != NULL;
}

/* Answers one request after the other: 200 to the one that was meant, 400 to any other. */
static _Noreturn void serve_updates(int listen_fd)
{
	for (;;) {
		char request[4096] = "";
		size_t len = 0;
		ssize_t got;
		const int fd = accept(listen_fd, NULL, NULL);

		while (len < sizeof(request) - 1 && !is_the_update(request) &&
			(got = recv(fd, request + len, sizeof(request) - 1 - len, 0)) > 0) {
			len += (size_t)got;
			request[len] = '\0';
			/* Another method has no body to wait for. */
			if (strncmp(request, "PUT", len < 3 ? len : 3) != 0)
				break;
		}
		if (len > 0)
			(void)dprintf(fd,
				"HTTP/1.1 %s\r\nContent-Length: 27\r\nConnection: close\r\n\r\n"
				"{\"type\":\"user\",\"id\":\"abcd\"}",
				is_the_update(request) ? "200 OK" : "400 Bad Request");
		(void)close(fd);
	}
}

static struct conf_workspace wire_workspace(void)
{
	static char base_url[64];
	struct conf_workspace workspace = story.rig->conf->workspaces[0];

	(void)snprintf(base_url, sizeof(base_url), "http://127.0.0.1:%d", wire.port);
	workspace.base_url = base_url;
	return workspace;
}

/* The one call, or none, with a reason. */
static void check_reply(const struct reply *reply)
{
	if (reply->wire == WIRE_ANSWERED && reply->status != 200)
		complain("something else was sent: %ld", reply->status);
	if (reply->wire == WIRE_ANSWERED)
		put_reply(0, buf_text(&reply->body), reply->body.len);
	else if (reply->wire_error[0] == '\0')
		complain("no answer, and no reason");
}

static void wire_child(void)
{
	const struct conf_workspace workspace = wire_workspace();
	struct call call;
	struct reply reply;

	call_init(&call);
	reply_init(&reply);
	intercom_update_contact(&call, "abc", "{\"subscription_status\":\"active\"}");
	arm();
	const bool is_answered = worker_call_once(&workspace, &call, &reply);
	disarm();
	if (is_answered != (reply.wire == WIRE_ANSWERED))
		complain("answered or not?");
	check_reply(&reply);
}

#define ERRANDS 3 /* while memory is scarce; one more afterwards */

static struct {
	struct errand errands[ERRANDS + 1];
	atomic_int wanted;
	atomic_int taken;
	atomic_int done;
} office;

static struct errand *office_next(void *context, int64_t *ret_wake_mono_ms)
{
	(void)context;
	if (atomic_load(&office.taken) < atomic_load(&office.wanted))
		return &office.errands[atomic_fetch_add(&office.taken, 1)];
	*ret_wake_mono_ms = INT64_MAX;
	return NULL;
}

static void office_done(void *context, struct errand *errand)
{
	(void)context;
	(void)errand;
	(void)atomic_fetch_add(&office.done, 1);
}

/* An errand that never comes back is a contact that is never served: then the alarm ends this. */
static void office_send(struct worker_pool *pool, int wanted)
{
	const struct timespec moment = {.tv_nsec = 200000L};

	atomic_store(&office.wanted, wanted);
	worker_pool_wake(pool);
	while (atomic_load(&office.done) < wanted)
		(void)nanosleep(&moment, NULL);
}

static void workers_child(void)
{
	const struct conf_workspace workspace = wire_workspace();
	const struct worker_feed feed = {.next = office_next, .done = office_done};
	struct error err = {0};

	for (size_t i = 0; i <= ERRANDS; i++) {
		struct errand *errand = &office.errands[i];

		errand->workspace = &workspace;
		call_init(&errand->call);
		reply_init(&errand->reply);
		intercom_update_contact(
			&errand->call, "abc", "{\"subscription_status\":\"active\"}");
	}
	struct worker_pool *pool = worker_pool_create(1, 2, feed, &clock_system, &err);
	if (pool == NULL)
		complain("no workers: %s", err.text);
	arm();
	office_send(pool, ERRANDS);
	disarm();
	office_send(pool, ERRANDS + 1);
	for (size_t i = 0; i <= ERRANDS; i++)
		check_reply(&office.errands[i].reply);
	if (office.errands[ERRANDS].reply.wire != WIRE_ANSWERED)
		complain("with memory back: %s", office.errands[ERRANDS].reply.wire_error);
	worker_pool_destroy(pool, 0);
}

static void a_call_goes_out_whole_or_not_at_all(void **state)
{
	struct piece calls = {
		.name = "wire", .spans = {1, 20}, .child = wire_child, .after = keep_replies};
	struct piece libraries = calls;
	const int listen_fd = listen_anywhere(&wire.port);

	(void)state;
	wire.server = fork();
	assert_true(wire.server >= 0);
	if (wire.server == 0)
		serve_updates(listen_fd);
	(void)close(listen_fd);
	run_piece(&calls);
	libraries.name = "wire-libraries";
	libraries.is_of_libraries = true;
	run_piece(&libraries);
	calls.name = "workers";
	calls.child = workers_child;
	run_piece(&calls);
	libraries.name = "workers-libraries";
	libraries.child = workers_child;
	run_piece(&libraries);
	assert_non_null(strstr(clean_reply[0], "abcd"));
}

static int stop_server(void **state)
{
	(void)state;
	if (wire.server > 0) {
		(void)kill(wire.server, SIGKILL);
		(void)waitpid(wire.server, NULL, 0);
	}
	return 0;
}

/* ---- the listener, by its own threads ---- */

enum phase { STARTING, SCARCE, POSTED, PLENTY, ENDED };

#define LISTENER_POSTS ((size_t)4)

static void go_to(enum phase phase)
{
	atomic_store(&note->phase, phase);
}

static bool child_is_gone(void)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)piece->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
		info.si_pid == piece->pid;
}

/* False: the child died before. Asks again after a moment, for there are two processes. */
static bool wait_for_phase(enum phase phase, bool is_parent)
{
	const struct timespec moment = {.tv_nsec = 200000L};

	while (atomic_load(&note->phase) < (int)phase) {
		if (is_parent && child_is_gone())
			return false;
		(void)nanosleep(&moment, NULL);
	}
	return true;
}

static void listener_child(void)
{
	const struct conf *conf = story.rig->conf;
	struct error err = {0};
	struct store *store = store_open(&(struct store_options){.backend = &store_sqlite,
						 .path = conf->store.path,
						 .clock = &clock_system,
						 .keep_delivered_ms = INT64_MAX,
						 .keep_parked_ms = INT64_MAX,
						 .has_thread = true},
		&err);
	if (store == NULL)
		complain("no store: %s", err.text);
	struct intake *intake = intake_create(store, &clock_system);
	struct routes *routes = routes_create(story.rig->conf, intake, store);
	struct listener *listener = listener_create(conf, routes_router(routes), -1, &err);
	if (listener == NULL)
		complain("no listener: %s", err.text);
	atomic_store(&note->port, listener_port(listener));
	arm();
	go_to(SCARCE);
	(void)wait_for_phase(POSTED, false);
	disarm();
	go_to(PLENTY);
	(void)wait_for_phase(ENDED, false);
	listener_destroy(listener);
	routes_destroy(routes);
	store_close(store);
	intake_destroy(intake);
}

/* The status, 0 when the connection ended without one; the body into ret. */
static unsigned http_post(int port, const char *body, char ret[512])
{
	const struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct timeval patience = {.tv_sec = SECONDS_MAX / 2};
	char answer[4096];
	size_t len = 0;
	ssize_t got = 0;
	unsigned status = 0;
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ret[0] = '\0';
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0) {
		struct buf request;

		buf_init(&request, 65536);
		(void)buf_addf(&request,
			"POST /webhooks/revenuecat HTTP/1.1\r\nHost: localhost\r\n"
			"Authorization: Bearer demo\r\nConnection: close\r\n"
			"Content-Length: %zu\r\n\r\n%s",
			strlen(body), body);
		(void)send(fd, request.data, request.len, MSG_NOSIGNAL);
		buf_finish(&request);
		while (len < sizeof(answer) - 1 &&
			(got = recv(fd, answer + len, sizeof(answer) - 1 - len, 0)) > 0)
			len += (size_t)got;
	}
	if (got < 0 && errno == EAGAIN)
		fail_msg("%s: allocation %ld, %ld of them: neither answered nor closed",
			piece->name, piece->first, piece->span);
	(void)close(fd);
	answer[len] = '\0';
	const char *end = strstr(answer, "\r\n\r\n");
	if (end != NULL && sscanf(answer, "HTTP/1.1 %u", &status) == 1)
		(void)snprintf(ret, 512, "%s", end + 4);
	return status;
}

static void listener_meanwhile(void)
{
	char answer[512];

	if (!wait_for_phase(SCARCE, true))
		return;
	const int port = atomic_load(&note->port);
	for (size_t i = 0; i < LISTENER_POSTS; i++)
		note->status[i] = http_post(port, story.bodies[i], note->answer[i]);
	go_to(POSTED);
	if (!wait_for_phase(PLENTY, true))
		return;
	/* Memory is back, and so is the service. */
	const unsigned status = http_post(port, story.bodies[6], answer);
	if (status != 200 && !child_is_gone())
		fail_msg("%s: allocation %ld, %ld of them: with memory back it answers %u %s",
			piece->name, piece->first, piece->span, status, answer);
	go_to(ENDED);
}

static void listener_after(void)
{
	struct rig *rig = story.rig;
	bool is_known = false; /* the event of the first post, which is also the last's */

	start(rig);
	for (size_t i = 0; i < LISTENER_POSTS; i++) {
		const unsigned status = note->status[i];
		const bool is_again = POSTS[i].same_as != 0;
		const bool is_duplicate = strstr(note->answer[i], "\"duplicate\"") != NULL;

		if (status != 0 && status != 200 && status != 503)
			fail_msg("%s: allocation %ld, %ld of them: post %zu was answered %u %s",
				piece->name, piece->first, piece->span, i, status, note->answer[i]);
		if (status == 200 && (is_duplicate ? !is_again : is_again && is_known))
			fail_msg("%s: allocation %ld, %ld of them: post %zu was answered %s",
				piece->name, piece->first, piece->span, i, note->answer[i]);
		is_known |= i == 0 && status == 200;
		(void)rig_post(rig, story.bodies[i]);
		assert_int_equal(rig->status, 200);
		if (status == 200 && strstr(rig->answer, "\"duplicate\"") == NULL)
			fail_msg(
				"%s: allocation %ld, %ld of them: post %zu was answered 200 and is "
				"not there",
				piece->name, piece->first, piece->span, i);
	}
	rig_stop(rig);
}

static void what_the_listener_answered_200_is_stored(void **state)
{
	struct piece listener = {.name = "listener",
		.spans = {1, 20},
		.before = story_before,
		.child = listener_child,
		.meanwhile = listener_meanwhile,
		.after = listener_after};
	struct piece libraries = listener;

	(void)state;
	run_piece(&listener);
	libraries.name = "listener-libraries";
	libraries.is_of_libraries = true;
	run_piece(&libraries);
}

/* ---- the whole daemon, from its start to its end ---- */

static const char DAEMON_INI[] = "[server]\nlisten = 127.0.0.1:0\n"
				 "[store]\npath = %s\nkeep_delivered = forever\n"
				 "[revenuecat]\nauthorization = Bearer demo\n"
				 "[control]\nsocket = %s/daemon.sock\n[log]\nlevel = error\n";

static void daemon_child(void)
{
	struct error err = {0};
	char path[160];

	(void)unsetenv("SUBRELAY_MEMORY"); /* would be an option */
	(void)snprintf(path, sizeof(path), "%s/daemon.ini", story.rig->folder);
	arm();
	const bool is_done = daemon_run(path, &err);
	disarm();
	if (!is_done && err.text[0] == '\0')
		complain("not started, and no reason");
	if (!is_done && piece->span == 0)
		complain("not started: %s", err.text);
}

/* Once it says anything of itself it is told to stop. */
static void daemon_meanwhile(void)
{
	const struct timespec moment = {.tv_nsec = 500000L};
	char path[160];
	char answer[4096];

	(void)snprintf(path, sizeof(path), "%s/daemon.sock", story.rig->folder);
	while (!child_is_gone()) {
		if (ask(path, QUESTIONS[0], answer, sizeof(answer)) && answer[0] != '\0') {
			assert_int_equal(kill(piece->pid, SIGTERM), 0);
			return;
		}
		(void)nanosleep(&moment, NULL);
	}
}

static void the_daemon_starts_or_says_why_not(void **state)
{
	struct piece whole = {.name = "daemon",
		.spans = {1, 20},
		.before = story_before,
		.child = daemon_child,
		.meanwhile = daemon_meanwhile,
		.after = open_after};
	struct piece libraries = whole;
	char text[512];

	(void)state;
	(void)snprintf(
		text, sizeof(text), DAEMON_INI, story.rig->conf->store.path, story.rig->folder);
	file_write("daemon.ini", text);
	run_piece(&whole);
	libraries.name = "daemon-libraries";
	libraries.is_of_libraries = true;
	run_piece(&libraries);
}

#endif

static void without_an_allocator_of_our_own(void **state)
{
	(void)state;
	print_message("a sanitizer or another C library has malloc: nothing can fail here\n");
	skip();
}

int main(int argc, char **argv)
{
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
#if SCARCE_MEMORY
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(webhooks_and_deliveries_survive_it),
		cmocka_unit_test(a_configuration_is_whole_or_refused),
		cmocka_unit_test(a_store_opens_whole_or_not),
		cmocka_unit_test(map_says_the_same_or_nothing),
		cmocka_unit_test(credentials_are_never_misjudged),
		cmocka_unit_test(the_operator_is_told_the_truth_or_nothing),
		cmocka_unit_test_teardown(a_call_goes_out_whole_or_not_at_all, stop_server),
		cmocka_unit_test(what_the_listener_answered_200_is_stored),
		cmocka_unit_test(the_daemon_starts_or_says_why_not),
	};

	(void)without_an_allocator_of_our_own;
	return cmocka_run_group_tests(tests, prepare, tidy_up);
#else
	const struct CMUnitTest tests[] = {cmocka_unit_test(without_an_allocator_of_our_own)};

	return cmocka_run_group_tests(tests, NULL, NULL);
#endif
}
