#ifndef SUBRELAY_EVENT_SUBSCRIPTION_H
#define SUBRELAY_EVENT_SUBSCRIPTION_H

/*
 * What a subscription's events add up to: store, entitlement, end of the period, status. Pure.
 *
 * A *fact* is what one event says of one subscription. The state is never stored and patched; it is
 * folded anew from all facts in the order of the billing system's times, so that it cannot depend
 * on the order in which they arrived.
 *
 * The statuses are those of RevenueCat's integrations ("Subscription Status Attribute"); which
 * event leads to which is the table in subscription.c.
 */

#include "event/sub_event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sub_status {
	SUB_STATUS_UNKNOWN, /* only announcements were seen so far */
	SUB_STATUS_ACTIVE,
	SUB_STATUS_INTRO,
	SUB_STATUS_CANCELLED,
	SUB_STATUS_GRACE_PERIOD,
	SUB_STATUS_TRIAL,
	SUB_STATUS_CANCELLED_TRIAL,
	SUB_STATUS_GRACE_PERIOD_TRIAL,
	SUB_STATUS_EXPIRED,
	SUB_STATUS_PROMOTIONAL,
	SUB_STATUS_EXPIRED_PROMOTIONAL,
	SUB_STATUS_PAUSED,
};

/* "active" …; NULL for UNKNOWN. */
const char *sub_status_name(enum sub_status status);

/* Strings are borrowed and may be NULL; dates may be TIME_NONE. */
struct sub_fact {
	const char *event_id;
	const char *subject; /* store and transaction: which subscription */
	int64_t at_ms;
	int rank;
	/* When it became this customer's: at_ms, or the time of the transfer that brought it. */
	int64_t entered_at_ms;

	enum sub_kind kind;
	enum sub_period period;
	const char *store;
	const char *product;     /* of an initial purchase or renewal */
	const char *new_product; /* of a product change, where the store says it */
	const char *entitlement;
	const char *reason;
	int64_t purchased_at_ms;
	int64_t expires_at_ms;
	int64_t grace_until_ms;
	bool is_free;
};

struct sub_state {
	bool is_known; /* false: nothing says anything about a subscription */
	enum sub_status status;
	const char *store;
	const char *entitlement;
	int64_t expires_at_ms;
	/* The event that spoke last; among several subscriptions the latest speaker is heard. */
	int64_t spoke_at_ms;
	int spoke_rank;
	const char *spoke_id;
};

/* A customer's facts of any number of subscriptions, in any order (sorted and marked in place): the
 * state of the one whose event is the most recent. The end of one that a product change replaced by
 * another doesn't count. */
void sub_state_of_customer(struct sub_fact *facts, size_t count, struct sub_state *ret_state);

/* Whether an event of this kind can say anything about a subscription's state. */
bool sub_kind_has_state(enum sub_kind kind);

#endif
