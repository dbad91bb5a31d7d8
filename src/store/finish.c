/*
 * What delivery reports, inside the transaction.
 *
 * A job is finished by its key and only while it waits: one that an operator dropped or that
 * another report finished first is left alone, and counted once.
 */

#include "store_private.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/xalloc.h"

#include <stdlib.h>
#include <string.h>

struct finish *finish_create(int64_t destination_id, int64_t contact_id)
{
	struct finish *finish = xcalloc(1, sizeof(*finish));

	arena_init(&finish->arena);
	finish->destination_id = destination_id;
	finish->contact_id = contact_id;
	return finish;
}

void finish_destroy(struct finish *finish)
{
	if (finish == NULL)
		return;
	arena_finish(&finish->arena);
	free(finish->jobs);
	free(finish->attempts);
	free(finish);
}

struct finish_job *finish_add_job(struct finish *finish)
{
	finish->jobs = xrealloc(finish->jobs, (finish->job_count + 1) * sizeof(*finish->jobs));
	struct finish_job *job = &finish->jobs[finish->job_count++];
	memset(job, 0, sizeof(*job));
	return job;
}

void finish_add_attempt(struct finish *finish, const struct attempt *attempt)
{
	finish->attempts =
		xrealloc(finish->attempts, (finish->attempt_count + 1) * sizeof(*finish->attempts));
	struct attempt *copy = &finish->attempts[finish->attempt_count++];

	*copy = *attempt;
	copy->request_id = arena_dup(&finish->arena, attempt->request_id);
	copy->reason = arena_dup(&finish->arena, attempt->reason);
}

static bool finish_one(struct writing *writing, const struct finish *finish,
	const struct finish_job *report, struct error *err)
{
	const struct store_backend *ops = writing->ops;
	const struct job key = {.destination_id = finish->destination_id,
		.event_id = report->event_id,
		.contact_id = finish->contact_id};
	const struct parking parking = {.parked_at_ms = clock_wall_ms(writing->clock),
		.reason = report->reason,
		.request_id = report->request_id};
	bool is_waiting = false;

	if (report->outcome == JOB_PARKED) {
		if (!ops->job_park(writing->backend, &key, &parking, &is_waiting, err))
			return false;
	} else if (!ops->job_remove(writing->backend, &key, &is_waiting, err)) {
		return false;
	}
	if (!is_waiting)
		return true;

	writing->totals.waiting--;
	switch (report->outcome) {
	case JOB_DONE: writing->totals.delivered += report->is_main; break;
	case JOB_PARKED: writing->totals.parked++; break;
	case JOB_IGNORED:
		writing->totals.ignored += report->is_main;
		if (report->is_main)
			return ops->event_ignore(
				writing->backend, report->event_id, report->reason, err);
		break;
	}
	return true;
}

bool finish_execute(struct writing *writing, const struct finish *finish, struct error *err)
{
	if (finish->learnt &&
		!writing->ops->contact_learn(writing->backend, finish->contact_id,
			finish->intercom_id, finish->sent, err))
		return false;
	for (size_t i = 0; i < finish->attempt_count; i++)
		if (!writing->ops->attempt_add(writing->backend, &finish->attempts[i], err))
			return false;
	for (size_t i = 0; i < finish->job_count; i++)
		if (!finish_one(writing, finish, &finish->jobs[i], err))
			return false;
	return true;
}
