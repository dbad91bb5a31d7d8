/*
 * The state of one contact's delivery. See lane.h for the picture; here each verdict's consequence.
 */

#include "deliver/lane.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "deliver/intercom.h"
#include "event/attributes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ATTRIBUTES_MAX ((size_t)256 * 1024)
/* Detours (stale id, missing attribute …) for one job before it counts as failed. */
#define MENDS_MAX 8

static char *render_wanted(const char *encoded, struct error *err)
{
	struct attributes set;
	struct buf buf;
	char *text = NULL;

	attributes_init(&set);
	buf_init(&buf, ATTRIBUTES_MAX);
	if (encoded[0] == '\0') {
		text = xstrdup("");
	} else if (attributes_decode(encoded, strlen(encoded), &set, err)) {
		attributes_render(&set, &buf);
		text = buf_detach(&buf);
	}
	buf_finish(&buf);
	attributes_finish(&set);
	return text;
}

static bool is_doubtful(const struct lane_work *work, int64_t doubt_until)
{
	for (size_t i = 0; i < work->job_count; i++)
		if (work->jobs[i].touches && work->jobs[i].event_id <= doubt_until)
			return true;
	return false;
}

struct lane_run *lane_run_create_take(
	struct arena *arena, const struct lane_work *work, int64_t doubt_until, struct error *err)
{
	struct lane_run *run = xcalloc(1, sizeof(*run));

	run->arena = *arena;
	*arena = (struct arena){0};
	run->work = *work;
	run->contact = &run->work.contact;
	call_init(&run->call);
	if (run->contact->intercom_id != NULL)
		(void)snprintf(run->intercom_id, sizeof(run->intercom_id), "%s",
			run->contact->intercom_id);
	run->wanted = render_wanted(run->contact->wanted, err);
	if (run->wanted == NULL) {
		lane_run_destroy(run);
		return NULL;
	}
	run->update_due = run->work.touches && run->wanted[0] != '\0' &&
		(strcmp(run->wanted, run->contact->sent) != 0 || is_doubtful(work, doubt_until));
	return run;
}

void lane_run_destroy(struct lane_run *run)
{
	if (run == NULL)
		return;
	finish_destroy(run->finish);
	call_finish(&run->call);
	free(run->wanted);
	arena_finish(&run->arena);
	free(run);
}

/* ---- from run to run ---- */

static void copy_text(char *ret, size_t size, const char *text)
{
	(void)snprintf(ret, size, "%s", text);
}

/* Brought back it has what it was given before, if anything. */
static void know_archived(struct lane_run *run, const char *id)
{
	copy_text(run->intercom_id, sizeof(run->intercom_id), id);
	run->is_archived = true;
	run->update_due = run->wanted[0] != '\0' && !run->attributes_refused;
}

struct lane_learnt lane_learnt(const struct lane_run *run)
{
	struct lane_learnt learnt = {
		.must_create = run->must_create, .attributes_refused = run->attributes_refused};

	if (run->is_archived)
		copy_text(learnt.archived_id, sizeof(learnt.archived_id), run->intercom_id);
	copy_text(learnt.attribute, sizeof(learnt.attribute), run->missing_attribute);
	return learnt;
}

bool lane_has_learnt(const struct lane_learnt *learnt)
{
	return learnt->must_create || learnt->attributes_refused ||
		learnt->archived_id[0] != '\0' || learnt->attribute[0] != '\0';
}

void lane_recall(struct lane_run *run, const struct lane_learnt *learnt,
	const struct conf_workspace *workspace)
{
	/* Whoever asks for them now is to be told as well: then they are tried again. */
	run->attributes_refused = learnt->attributes_refused && !run->work.touches;
	run->must_create = learnt->must_create && workspace->unmatched != CONF_UNMATCHED_SKIP;
	if (learnt->archived_id[0] != '\0' && workspace->archived != CONF_ARCHIVED_SKIP)
		know_archived(run, learnt->archived_id);
	if (workspace->create_attributes)
		copy_text(
			run->missing_attribute, sizeof(run->missing_attribute), learnt->attribute);
}

/* ---- the report ---- */

static struct finish *report(struct lane_run *run)
{
	if (run->finish == NULL)
		run->finish = finish_create(run->contact->destination_id, run->contact->id);
	return run->finish;
}

struct finish *lane_detach_finish(struct lane_run *run)
{
	struct finish *finish = run->finish;

	run->finish = NULL;
	return finish;
}

void lane_note_attempt(struct lane_run *run, const struct attempt *attempt)
{
	finish_add_attempt(report(run), attempt);
}

/* The store should know the contact as the run does. */
static void learn(struct lane_run *run)
{
	struct finish *finish = report(run);

	finish->learnt = true;
	finish->intercom_id =
		run->intercom_id[0] != '\0' ? arena_dup(&finish->arena, run->intercom_id) : NULL;
	finish->sent = arena_dup(&finish->arena, run->contact->sent);
}

static void know_id(struct lane_run *run, const char *id)
{
	(void)snprintf(run->intercom_id, sizeof(run->intercom_id), "%s", id);
	learn(run);
}

static void attributes_were_sent(struct lane_run *run)
{
	run->update_due = false;
	run->contact->sent = run->wanted;
	learn(run);
}

static void finish_job(struct lane_run *run, const struct job *job, enum job_outcome outcome,
	const char *reason, const char *request_id)
{
	struct finish_job *done = finish_add_job(report(run));

	done->event_id = job->event_id;
	done->is_main = job->is_main;
	done->outcome = outcome;
	(void)snprintf(done->reason, sizeof(done->reason), "%s", reason);
	(void)snprintf(done->request_id, sizeof(done->request_id), "%s", request_id);
}

static void finish_rest(
	struct lane_run *run, enum job_outcome outcome, const char *reason, const char *request_id)
{
	for (; run->next_job < run->work.job_count; run->next_job++)
		finish_job(run, &run->work.jobs[run->next_job], outcome, reason, request_id);
}

/* The update is refused for good: the jobs that asked for it are parked, the others go on without.
 */
static void refuse_attributes(struct lane_run *run, const char *reason, const char *request_id)
{
	size_t kept = run->next_job;

	for (size_t i = run->next_job; i < run->work.job_count; i++) {
		if (run->work.jobs[i].touches)
			finish_job(run, &run->work.jobs[i], JOB_PARKED, reason, request_id);
		else
			run->work.jobs[kept++] = run->work.jobs[i];
	}
	run->work.job_count = kept;
	run->update_due = false;
	run->attributes_refused = true;
}

int64_t lane_event_id(const struct lane_run *run)
{
	return run->next_job < run->work.job_count ? run->work.jobs[run->next_job].event_id : 0;
}

/* ---- the next call ---- */

static struct contact_key key_of(const struct lane_run *run)
{
	struct contact_key key = {0};

	if (run->contact->is_email)
		key.email = run->contact->identity;
	else
		key.external_id = run->contact->identity;
	return key;
}

/* True with the type when the wanted attributes have one of this name. */
static bool wanted_type(const struct lane_run *run, const char *name, const char **ret_type)
{
	struct attributes set;

	attributes_init(&set);
	const bool is_read =
		attributes_decode(run->contact->wanted, strlen(run->contact->wanted), &set, NULL);
	const struct attribute *item = is_read ? attributes_get(&set, name) : NULL;
	const bool is_ours = item != NULL;

	if (is_ours)
		*ret_type = value_data_type(item->value.kind);
	attributes_finish(&set);
	return is_ours;
}

static const char *attributes_to_send(const struct lane_run *run)
{
	return run->attributes_refused ? "" : run->wanted;
}

static void call_to_find_contact(struct lane_run *run, const struct conf_workspace *workspace)
{
	if (run->must_find && !run->contact->is_email)
		intercom_find_contact(&run->call, run->contact->identity);
	else if (run->contact->is_email && (run->must_find || !run->must_create))
		intercom_search_contact(&run->call, run->contact->identity);
	else if (workspace->unmatched == CONF_UNMATCHED_SKIP && !run->must_create)
		intercom_find_contact(&run->call, run->contact->identity);
	else
		intercom_create_contact(&run->call, key_of(run), attributes_to_send(run));
}

bool lane_next_call(struct lane_run *run, const struct conf_workspace *workspace)
{
	const char *type;

	call_clear(&run->call);
	/* Attribute jobs whose update is done already need no call at all. */
	while (!run->update_due && run->next_job < run->work.job_count &&
		run->work.jobs[run->next_job].name == NULL) {
		finish_job(run, &run->work.jobs[run->next_job++], JOB_DONE, "", "");
		run->job_finished = true;
	}
	if (run->next_job == run->work.job_count)
		return false;

	const struct job *job = &run->work.jobs[run->next_job];
	if (run->missing_attribute[0] != '\0' && wanted_type(run, run->missing_attribute, &type))
		intercom_create_attribute(&run->call, run->missing_attribute, type,
			"Written by subrelay from subscription billing events");
	else if (run->intercom_id[0] == '\0')
		call_to_find_contact(run, workspace);
	else if (run->is_archived)
		intercom_unarchive_contact(&run->call, run->intercom_id);
	else if (run->update_due)
		intercom_update_contact(&run->call, run->intercom_id, run->wanted);
	else
		intercom_submit_event(&run->call, run->intercom_id, key_of(run), job->name,
			job->created_at, job->metadata);
	return true;
}

/* ---- verdicts ---- */

static void take_done(struct lane_run *run, const struct verdict *verdict)
{
	switch (run->call.kind) {
	case CALL_CREATE_CONTACT:
		if (!run->attributes_refused)
			run->contact->sent = run->wanted;
		run->update_due = false;
		know_id(run, verdict->contact_id);
		break;
	case CALL_FIND_CONTACT:
	case CALL_SEARCH_CONTACT: know_id(run, verdict->contact_id); break;
	case CALL_UNARCHIVE_CONTACT:
		run->is_archived = false;
		learn(run);
		break;
	case CALL_UPDATE_CONTACT: attributes_were_sent(run); break;
	case CALL_SUBMIT_EVENT:
		finish_job(run, &run->work.jobs[run->next_job++], JOB_DONE, "", "");
		run->job_finished = true;
		break;
	case CALL_CREATE_ATTRIBUTE: run->missing_attribute[0] = '\0'; break;
	case CALL_NONE:
	case CALL_LIST_ATTRIBUTES:
	case CALL_ME: break;
	}
}

/*
 * Nobody knows whether the update was carried out: Intercom has the old values or these. The
 * contact may be wanted as it was last sent again before the next try, and that would seem to need
 * no call.
 */
static void doubt_what_was_sent(struct lane_run *run, const struct verdict *verdict)
{
	if (run->call.kind != CALL_UPDATE_CONTACT || verdict->unreachable ||
		run->contact->sent[0] == '\0')
		return;
	run->contact->sent = "";
	learn(run);
}

/* The id is nobody's (any more): whatever was sent to it is gone too. */
static void forget_id(struct lane_run *run)
{
	run->intercom_id[0] = '\0';
	run->is_archived = false;
	run->contact->sent = "";
	run->update_due = run->wanted[0] != '\0' && !run->attributes_refused;
	learn(run);
}

/* "It exists already": the answer names the id in its text. Where it doesn't, it is looked for. */
static void take_existing(struct lane_run *run, const char *id)
{
	if (id[0] == '\0') {
		run->must_find = true;
		return;
	}
	know_id(run, id);
	run->update_due = run->wanted[0] != '\0' && !run->attributes_refused;
}

static void take_archived(struct lane_run *run, const struct conf_workspace *workspace,
	const char *id, const char *request_id)
{
	if (workspace->archived == CONF_ARCHIVED_SKIP) {
		finish_rest(run, JOB_IGNORED,
			"the contact is archived in Intercom (archived = skip)", "");
		return;
	}
	if (id[0] == '\0') {
		finish_rest(run, JOB_PARKED,
			"Intercom says that an archived contact has this id, and not which",
			request_id);
		return;
	}
	/* The store is told once it is back: an archived id is no good to anybody. */
	know_archived(run, id);
}

static void take_gone(struct lane_run *run, const struct conf_workspace *workspace)
{
	const bool was_looked_for =
		run->call.kind == CALL_FIND_CONTACT || run->call.kind == CALL_SEARCH_CONTACT;

	if (!was_looked_for)
		forget_id(run);
	else if (run->must_find)
		finish_rest(run, JOB_PARKED,
			"Intercom says both that the contact exists and that it doesn't", "");
	else if (workspace->unmatched == CONF_UNMATCHED_SKIP)
		finish_rest(
			run, JOB_IGNORED, "Intercom has no such contact (unmatched = skip)", "");
	else
		run->must_create = true;
}

static void take_missing(
	struct lane_run *run, const struct conf_workspace *workspace, const struct verdict *verdict)
{
	const char *type;
	char reason[240];

	if (workspace->create_attributes && wanted_type(run, verdict->attribute, &type)) {
		(void)snprintf(run->missing_attribute, sizeof(run->missing_attribute), "%s",
			verdict->attribute);
		return;
	}
	(void)snprintf(
		reason, sizeof(reason), "%.150s; create it by `subrelay setup`", verdict->reason);
	refuse_attributes(run, reason, verdict->request_id);
}

static void take_park(struct lane_run *run, const struct verdict *verdict)
{
	switch (run->call.kind) {
	case CALL_UPDATE_CONTACT:
	case CALL_CREATE_ATTRIBUTE:
		run->missing_attribute[0] = '\0';
		refuse_attributes(run, verdict->reason, verdict->request_id);
		break;
	case CALL_SUBMIT_EVENT:
		finish_job(run, &run->work.jobs[run->next_job++], JOB_PARKED, verdict->reason,
			verdict->request_id);
		run->job_finished = true;
		break;
	default: finish_rest(run, JOB_PARKED, verdict->reason, verdict->request_id); break;
	}
}

void lane_give_up(struct lane_run *run, const char *reason, const char *request_id)
{
	struct verdict verdict = {.kind = VERDICT_PARK};

	(void)snprintf(verdict.reason, sizeof(verdict.reason), "%s", reason);
	(void)snprintf(verdict.request_id, sizeof(verdict.request_id), "%s", request_id);
	take_park(run, &verdict);
}

/* True: the run goes on. A detour that doesn't lead anywhere ends as a failure. */
static bool is_mended(struct lane_run *run)
{
	return ++run->mends <= MENDS_MAX;
}

enum lane_result lane_take_verdict(
	struct lane_run *run, const struct conf_workspace *workspace, const struct verdict *verdict)
{
	run->is_begun = true;
	/* Nothing less than that: a detour's own success may lead to the same detour again. */
	if (run->job_finished)
		run->mends = 0;
	run->job_finished = run->may_be_reread = false;
	switch (verdict->kind) {
	case VERDICT_RETRY: doubt_what_was_sent(run, verdict); return LANE_RETRIES;
	case VERDICT_PACED: return LANE_PACED;
	case VERDICT_HOLD: return LANE_HELD;
	case VERDICT_DONE: take_done(run, verdict); break;
	case VERDICT_PARK: take_park(run, verdict); break;
	case VERDICT_EXISTS: take_existing(run, verdict->contact_id); break;
	case VERDICT_ARCHIVED:
		take_archived(run, workspace, verdict->contact_id, verdict->request_id);
		break;
	case VERDICT_MERGED:
		forget_id(run);
		if (verdict->contact_id[0] != '\0')
			take_existing(run, verdict->contact_id);
		break;
	case VERDICT_ATTRIBUTE_MISSING: take_missing(run, workspace, verdict); break;
	case VERDICT_GONE: take_gone(run, workspace); break;
	}
	if (verdict->kind != VERDICT_DONE && verdict->kind != VERDICT_PARK &&
		lane_event_id(run) != 0 && !is_mended(run))
		return LANE_RETRIES;
	if (!lane_next_call(run, workspace))
		return LANE_DONE;
	/* Its id known and its update made, the contact is as a new run would find it. */
	run->may_be_reread = run->call.kind == CALL_SUBMIT_EVENT;
	return LANE_CONTINUES;
}
