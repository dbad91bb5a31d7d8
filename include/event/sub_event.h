#ifndef SUBRELAY_EVENT_SUB_EVENT_H
#define SUBRELAY_EVENT_SUB_EVENT_H

/*
 * A subscription's life as neutral words: what happened, to whom, in which period.
 *
 * Strings belong to the event's arena and are NULL where the provider sent nothing; dates are
 * TIME_NONE. Unknown stores and reasons are passed on as they came.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sub_kind {
	SUB_INITIAL_PURCHASE,
	SUB_RENEWAL,
	SUB_CANCELLATION,
	SUB_UNCANCELLATION,
	SUB_ONE_TIME_PURCHASE, /* RevenueCat: NON_RENEWING_PURCHASE, grants included */
	SUB_PAUSE_SCHEDULED,
	SUB_EXPIRATION,
	SUB_BILLING_ISSUE,
	SUB_PRODUCT_CHANGE,
	SUB_TRANSFER,
	SUB_EXTENSION,
	SUB_TEMPORARY_GRANT,
	SUB_REFUND_REVERSED,
	SUB_OTHER, /* nothing to do with the state; always ignored */
};

enum sub_period { SUB_NORMAL, SUB_TRIAL, SUB_INTRO, SUB_PROMOTIONAL, SUB_PREPAID };

/* One side of a transfer. */
struct sub_party {
	char *customer;
	char *identity; /* as below; NULL: only an event of its own could tell */
};

struct sub_event {
	enum sub_kind kind;
	enum sub_period period;

	char *customer;          /* app_user_id; NULL for a transfer */
	char *original_customer; /* original_app_user_id */
	char **aliases;
	size_t alias_count;
	char *email; /* subscriber attribute $email */
	struct sub_party *transferred_from;
	size_t transferred_from_count;
	struct sub_party *transferred_to;
	size_t transferred_to_count;

	/* Where its customers' state is kept apart from others of the same id: the section's name,
	 * or that with "/sandbox" when sandbox events go to a workspace of their own. */
	char *scope;
	char *workspace; /* name of the [intercom.NAME] it goes to, "" for [intercom] */
	char *identity;  /* whom Intercom is told about: chosen by `identify`; NULL: nobody can be
			    named */
	bool identity_is_email;

	char *store; /* "APP_STORE" */
	char *product;
	char *new_product; /* product change */
	char *entitlement; /* entitlement_ids[0], else entitlement_id */
	char *environment; /* lower case: "production", "sandbox" */
	char *app_id;
	char *reason;      /* cancel_reason or expiration_reason */
	char *transaction; /* original_transaction_id, else transaction_id, else product: names the
			      subscription within customer and store */

	int64_t purchased_at_ms; /* the event's own time is the envelope's */
	int64_t expires_at_ms;   /* TIME_NONE: never, or not a subscription */
	int64_t grace_until_ms;
	bool is_trial_conversion;
	bool is_free; /* price is given and 0 */
	bool is_sandbox;
};

#endif
