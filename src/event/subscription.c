/*
 * The fold: facts in event order -> state of the subscription.
 *
 * | event                    | condition                              | status                   |
 * |--------------------------|----------------------------------------|--------------------------|
 * | initial purchase,        | TRIAL; INTRO; PROMOTIONAL              | trial; intro; promotional|
 * | renewal                  | else                                   | active                   |
 * | renewal                  | Stripe, price 0, billing issue open    | as before                |
 * | one-time purchase        | a product bought once                  | no subscription          |
 * |                          | promotional grant; one that has ended  | promotional;             |
 * |                          |                                        | expired_promotional      |
 * | cancellation             | promotional: end is over; else         | expired_promotional;     |
 * |                          |                                        | promotional              |
 * |                          | refund (CUSTOMER_SUPPORT), period over | expired                  |
 * |                          | BILLING_ERROR within an open grace     | as before                |
 * |                          | over already, and no newer period      | as before                |
 * |                          | TRIAL; else                            | cancelled_trial;         |
 * |                          |                                        | cancelled                |
 * |                          | perhaps of a product bought once       | no subscription          |
 * | uncancellation           | by period, as a purchase               | trial, active, ...       |
 * | billing issue            | grace date or period ahead: TRIAL; else| grace_period_trial;      |
 * |                          |                                        | grace_period             |
 * |                          | neither                                | nothing changes          |
 * | expiration               | promotional; SUBSCRIPTION_PAUSED; else | expired_promotional;     |
 * |                          |                                        | paused; expired          |
 * | extension                | over, and the new end is ahead         | by period                |
 * |                          | else                                   | as before                |
 * | refund reversed          | period ahead, and only the refund      | as before the refund,    |
 * |                          | ended it                               | else by period           |
 * | pause scheduled,         |                                        | as before                |
 * | product change           |                                        |                          |
 *
 * "Open", "over" and "ahead" compare with the event's own time, never with the clock: the same
 * events give the same status whenever they are folded.
 *
 * A cancellation or expiration whose period began before the one that is current says nothing of
 * the current one (a late notice of an old period) and is skipped. So is the end of a subscription
 * that a product change replaced by another, see silence_replaced.
 */

#include "event/subscription.h"

#include "base/clock.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

struct fold {
	struct sub_state *state;
	int64_t purchased_at_ms;
	int64_t grace_until_ms; /* TIME_NONE: no grace period is open */
	bool has_issue;         /* a billing issue since the last paid period */
	bool is_refunded;
	enum sub_status before_refund;
};

static const char *const STATUS_NAMES[] = {
	[SUB_STATUS_UNKNOWN] = NULL,
	[SUB_STATUS_ACTIVE] = "active",
	[SUB_STATUS_INTRO] = "intro",
	[SUB_STATUS_CANCELLED] = "cancelled",
	[SUB_STATUS_GRACE_PERIOD] = "grace_period",
	[SUB_STATUS_TRIAL] = "trial",
	[SUB_STATUS_CANCELLED_TRIAL] = "cancelled_trial",
	[SUB_STATUS_GRACE_PERIOD_TRIAL] = "grace_period_trial",
	[SUB_STATUS_EXPIRED] = "expired",
	[SUB_STATUS_PROMOTIONAL] = "promotional",
	[SUB_STATUS_EXPIRED_PROMOTIONAL] = "expired_promotional",
	[SUB_STATUS_PAUSED] = "paused",
};

const char *sub_status_name(enum sub_status status)
{
	return STATUS_NAMES[status];
}

bool sub_kind_has_state(enum sub_kind kind)
{
	return kind != SUB_TRANSFER && kind != SUB_TEMPORARY_GRANT && kind != SUB_OTHER;
}

/* The order of events: by time, rank, then id, so that it is total. */
static int compare_facts(const struct sub_fact *a, const struct sub_fact *b)
{
	if (a->at_ms != b->at_ms)
		return a->at_ms < b->at_ms ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return strcmp(a->event_id, b->event_id);
}

static bool is_promotional(const struct sub_fact *fact)
{
	return fact->period == SUB_PROMOTIONAL || text_equal(fact->store, "PROMOTIONAL");
}

/* Whether the fact's period still runs at the event's own time; without an end it always does. */
static bool period_runs(const struct sub_fact *fact)
{
	return fact->expires_at_ms == TIME_NONE || fact->expires_at_ms > fact->at_ms;
}

static bool is_over(enum sub_status status)
{
	return status == SUB_STATUS_EXPIRED || status == SUB_STATUS_EXPIRED_PROMOTIONAL ||
		status == SUB_STATUS_PAUSED;
}

static enum sub_status status_of_period(const struct sub_fact *fact)
{
	if (is_promotional(fact))
		return SUB_STATUS_PROMOTIONAL;
	switch (fact->period) {
	case SUB_TRIAL: return SUB_STATUS_TRIAL;
	case SUB_INTRO: return SUB_STATUS_INTRO;
	default: return SUB_STATUS_ACTIVE;
	}
}

/* What a notice says of the period; what it leaves out stays as it was. */
static void take_period(struct fold *fold, const struct sub_fact *fact)
{
	struct sub_state *state = fold->state;

	state->is_known = true;
	if (fact->store != NULL)
		state->store = fact->store;
	if (fact->entitlement != NULL)
		state->entitlement = fact->entitlement;
	if (fact->expires_at_ms != TIME_NONE)
		state->expires_at_ms = fact->expires_at_ms;
	if (fact->purchased_at_ms != TIME_NONE)
		fold->purchased_at_ms = fact->purchased_at_ms;
}

/* A purchase says all there is: what it leaves out is not there. */
static void begin_period(struct fold *fold, const struct sub_fact *fact)
{
	struct sub_state *state = fold->state;

	state->store = NULL;
	state->entitlement = NULL;
	state->expires_at_ms = TIME_NONE;
	take_period(fold, fact);
	state->status = status_of_period(fact);
	fold->grace_until_ms = TIME_NONE;
	fold->has_issue = false;
	fold->is_refunded = false;
}

static void fold_renewal(struct fold *fold, const struct sub_fact *fact)
{
	/* Stripe keeps renewing a subscription whose invoice nobody paid, at price 0 (RevenueCat
	 * docs, "How grace periods work"): that buys nobody anything. */
	if (text_equal(fact->store, "STRIPE") && fact->is_free && fact->period != SUB_TRIAL &&
		fold->has_issue)
		take_period(fold, fact);
	else
		begin_period(fold, fact);
}

static void fold_one_time(struct fold *fold, const struct sub_fact *fact)
{
	begin_period(fold, fact);
	fold->state->status =
		period_runs(fact) ? SUB_STATUS_PROMOTIONAL : SUB_STATUS_EXPIRED_PROMOTIONAL;
}

static void fold_refund(struct fold *fold, const struct sub_fact *fact)
{
	struct sub_state *state = fold->state;

	if (!fold->is_refunded)
		fold->before_refund = state->status;
	fold->is_refunded = true;
	if (!period_runs(fact))
		state->status = SUB_STATUS_EXPIRED;
	else if (!is_over(state->status))
		state->status = fact->period == SUB_TRIAL ? SUB_STATUS_CANCELLED_TRIAL
							  : SUB_STATUS_CANCELLED;
}

static void fold_cancellation(struct fold *fold, const struct sub_fact *fact)
{
	struct sub_state *state = fold->state;
	const bool is_billing_error = text_equal(fact->reason, "BILLING_ERROR");
	const bool is_of_a_new_period =
		fact->purchased_at_ms != TIME_NONE && fact->purchased_at_ms > fold->purchased_at_ms;

	take_period(fold, fact);
	if (is_billing_error)
		fold->has_issue = true;
	if (is_promotional(fact)) {
		if (state->status != SUB_STATUS_EXPIRED_PROMOTIONAL)
			state->status = period_runs(fact) ? SUB_STATUS_PROMOTIONAL
							  : SUB_STATUS_EXPIRED_PROMOTIONAL;
	} else if (text_equal(fact->reason, "CUSTOMER_SUPPORT")) {
		fold_refund(fold, fact);
	} else if (is_over(state->status) && !is_of_a_new_period) {
		/* A notice that comes after the end doesn't bring the period back. */
	} else if (is_billing_error && fold->grace_until_ms > fact->at_ms) {
		/* The other half of the billing issue: the grace period goes on. */
	} else {
		state->status = fact->period == SUB_TRIAL ? SUB_STATUS_CANCELLED_TRIAL
							  : SUB_STATUS_CANCELLED;
		fold->is_refunded = false;
	}
}

/* When the access that remains after a failed charge ends; TIME_NONE when it has ended. */
static int64_t grace_end(const struct sub_fact *fact)
{
	if (fact->grace_until_ms != TIME_NONE && fact->grace_until_ms > fact->at_ms)
		return fact->grace_until_ms;
	if (fact->expires_at_ms != TIME_NONE && fact->expires_at_ms > fact->at_ms)
		return fact->expires_at_ms;
	return TIME_NONE;
}

static void fold_billing_issue(struct fold *fold, const struct sub_fact *fact)
{
	const int64_t until_ms = grace_end(fact);

	fold->has_issue = true;
	if (until_ms == TIME_NONE)
		return;
	take_period(fold, fact);
	fold->grace_until_ms = until_ms;
	fold->state->status =
		fact->period == SUB_TRIAL ? SUB_STATUS_GRACE_PERIOD_TRIAL : SUB_STATUS_GRACE_PERIOD;
}

static void fold_expiration(struct fold *fold, const struct sub_fact *fact)
{
	take_period(fold, fact);
	if (is_promotional(fact))
		fold->state->status = SUB_STATUS_EXPIRED_PROMOTIONAL;
	else if (text_equal(fact->reason, "SUBSCRIPTION_PAUSED"))
		fold->state->status = SUB_STATUS_PAUSED;
	else
		fold->state->status = SUB_STATUS_EXPIRED;
	fold->grace_until_ms = TIME_NONE;
}

static void fold_extension(struct fold *fold, const struct sub_fact *fact)
{
	take_period(fold, fact);
	if (is_over(fold->state->status) && period_runs(fact))
		fold->state->status = status_of_period(fact);
}

static void fold_refund_reversed(struct fold *fold, const struct sub_fact *fact)
{
	struct sub_state *state = fold->state;

	take_period(fold, fact);
	if (!period_runs(fact))
		return;
	if (fold->is_refunded)
		state->status = fold->before_refund;
	/* Also where the refund itself was never heard of, only the end that it brought. */
	if (state->status == SUB_STATUS_UNKNOWN || is_over(state->status))
		state->status = status_of_period(fact);
	fold->is_refunded = false;
}

/* Something is going to change. A product change carries the old product's period, which may be
 * over by the time of the purchase it announces, so it only counts where nothing better is known.
 */
static void fold_announcement(struct fold *fold, const struct sub_fact *fact)
{
	if (!fold->state->is_known)
		take_period(fold, fact);
}

/* A late notice of the end of a period that is no longer the current one. */
static bool is_of_an_older_period(const struct fold *fold, const struct sub_fact *fact)
{
	return (fact->kind == SUB_CANCELLATION || fact->kind == SUB_EXPIRATION) &&
		fact->purchased_at_ms != TIME_NONE && fold->purchased_at_ms != TIME_NONE &&
		fact->purchased_at_ms < fold->purchased_at_ms;
}

static bool fold_fact(struct fold *fold, const struct sub_fact *fact)
{
	if (fact->kind == SUB_INITIAL_PURCHASE) {
		begin_period(fold, fact);
		return true;
	}
	if (fact->kind == SUB_RENEWAL) {
		fold_renewal(fold, fact);
		return true;
	}
	if (is_of_an_older_period(fold, fact))
		return false;

	switch (fact->kind) {
	case SUB_ONE_TIME_PURCHASE: fold_one_time(fold, fact); return true;
	case SUB_CANCELLATION: fold_cancellation(fold, fact); return true;
	case SUB_UNCANCELLATION: begin_period(fold, fact); return true;
	case SUB_EXPIRATION: fold_expiration(fold, fact); return true;
	case SUB_BILLING_ISSUE: fold_billing_issue(fold, fact); return grace_end(fact) != TIME_NONE;
	case SUB_EXTENSION: fold_extension(fold, fact); return true;
	case SUB_REFUND_REVERSED: fold_refund_reversed(fold, fact); return true;
	case SUB_PAUSE_SCHEDULED:
	case SUB_PRODUCT_CHANGE: fold_announcement(fold, fact); return true;
	case SUB_INITIAL_PURCHASE:
	case SUB_RENEWAL:
	case SUB_TRANSFER:
	case SUB_TEMPORARY_GRANT:
	case SUB_OTHER: break;
	}
	return false;
}

/* Nobody switches off the renewal of what doesn't renew, and only a charge for it can fail. */
static bool may_be_of_a_product_bought_once(const struct sub_fact *fact)
{
	return fact->kind == SUB_CANCELLATION && fact->expires_at_ms == TIME_NONE &&
		fact->period == SUB_NORMAL && !text_equal(fact->reason, "UNSUBSCRIBE") &&
		!text_equal(fact->reason, "BILLING_ERROR") &&
		!text_equal(fact->reason, "PRICE_INCREASE");
}

/* A product bought once is no subscription, and neither is its refund; a promotional grant is one.
 */
static bool is_about_a_subscription(const struct sub_fact *facts, size_t count)
{
	bool bought_once = false;
	bool renews = false;

	for (size_t i = 0; i < count; i++) {
		const struct sub_fact *fact = &facts[i];

		if (is_promotional(fact) || fact->kind == SUB_INITIAL_PURCHASE ||
			fact->kind == SUB_RENEWAL)
			return true;
		bought_once |= fact->kind == SUB_ONE_TIME_PURCHASE;
		renews |= !may_be_of_a_product_bought_once(fact);
	}
	return !bought_once && renews;
}

static void hear(struct sub_state *state, const struct sub_fact *fact)
{
	state->spoke_at_ms = fact->entered_at_ms;
	state->spoke_rank = fact->rank;
	state->spoke_id = fact->event_id;
}

static bool spoke_later(const struct sub_state *a, const struct sub_state *b)
{
	if (a->spoke_at_ms != b->spoke_at_ms)
		return a->spoke_at_ms > b->spoke_at_ms;
	if (a->spoke_rank != b->spoke_rank)
		return a->spoke_rank > b->spoke_rank;
	return strcmp(a->spoke_id, b->spoke_id) > 0;
}

/* One subscription's facts, sorted by compare_facts. */
static void fold_all(const struct sub_fact *facts, size_t count, struct sub_state *ret_state)
{
	struct fold fold = {
		.state = ret_state,
		.purchased_at_ms = TIME_NONE,
		.grace_until_ms = TIME_NONE,
	};

	*ret_state = (struct sub_state){.expires_at_ms = TIME_NONE, .spoke_at_ms = TIME_NONE};
	if (!is_about_a_subscription(facts, count))
		return;
	for (size_t i = 0; i < count; i++)
		if (fold_fact(&fold, &facts[i]) &&
			(ret_state->spoke_id == NULL ||
				facts[i].entered_at_ms >= ret_state->spoke_at_ms))
			hear(ret_state, &facts[i]);
}

static int compare_by_subject(const void *left, const void *right)
{
	const struct sub_fact *a = left;
	const struct sub_fact *b = right;
	const int order = strcmp(a->subject, b->subject);

	return order != 0 ? order : compare_facts(a, b);
}

/* The change of product after which nothing of this subscription was bought; NULL: none. `first` is
 * the subscription's first fact. */
static const struct sub_fact *last_product_change(
	const struct sub_fact *first, const struct sub_fact *fact)
{
	while (fact > first) {
		fact--;
		if (fact->kind == SUB_INITIAL_PURCHASE || fact->kind == SUB_RENEWAL ||
			fact->kind == SUB_UNCANCELLATION)
			return NULL;
		if (fact->kind == SUB_PRODUCT_CHANGE)
			return fact;
	}
	return NULL;
}

/* Whether this buys, under another transaction, what was changed to. */
static bool is_carried_out_by(const struct sub_fact *change, const struct sub_fact *bought)
{
	return (bought->kind == SUB_INITIAL_PURCHASE || bought->kind == SUB_RENEWAL) &&
		strcmp(bought->subject, change->subject) != 0 &&
		text_equal(bought->store, change->store) && bought->at_ms >= change->at_ms &&
		(change->new_product == NULL || text_equal(bought->product, change->new_product));
}

/*
 * The product that was changed to may go on under another transaction (Play does that). The old
 * one's end, when it is told after that purchase, then isn't the customer's: it says nothing.
 */
static void silence_replaced(struct sub_fact *facts, size_t count)
{
	size_t first = 0;

	for (size_t i = 0; i < count; i++) {
		if (strcmp(facts[i].subject, facts[first].subject) != 0)
			first = i;
		if (facts[i].kind != SUB_CANCELLATION && facts[i].kind != SUB_EXPIRATION)
			continue;
		const struct sub_fact *change = last_product_change(&facts[first], &facts[i]);
		for (size_t j = 0; change != NULL && j < count; j++)
			if (is_carried_out_by(change, &facts[j]) &&
				facts[j].at_ms <= facts[i].at_ms)
				facts[i].kind = SUB_OTHER;
	}
}

void sub_state_of_customer(struct sub_fact *facts, size_t count, struct sub_state *ret_state)
{
	*ret_state = (struct sub_state){.expires_at_ms = TIME_NONE, .spoke_at_ms = TIME_NONE};
	if (count > 1)
		qsort(facts, count, sizeof(*facts), compare_by_subject);
	silence_replaced(facts, count);

	for (size_t from = 0, to; from < count; from = to) {
		struct sub_state state;

		for (to = from + 1; to < count; to++)
			if (strcmp(facts[from].subject, facts[to].subject) != 0)
				break;
		fold_all(&facts[from], to - from, &state);
		if (state.is_known && (!ret_state->is_known || spoke_later(&state, ret_state)))
			*ret_state = state;
	}
}
