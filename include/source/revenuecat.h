#ifndef SUBRELAY_SOURCE_REVENUECAT_H
#define SUBRELAY_SOURCE_REVENUECAT_H

/*
 * RevenueCat's webhooks (docs "Webhooks", "Event types and fields"): the first source.
 *
 * verify: the Authorization header, compared whole; besides, when a signing secret is given, the
 * signature header (signature.h, tolerance 5 minutes). normalise: {"api_version":…,"event":{…}}
 * into a struct event whose detail is a struct sub_event; every field may be absent, null or a
 * value, and unknown fields, types and enum values never stop an event. plan: subscription_plan
 * (map/).
 */

#include "base/secret.h"
#include "event/sub_event.h"

#include <stdbool.h>

struct source;

extern const struct source source_revenuecat;

enum revenuecat_identify {
	REVENUECAT_BY_APP_USER_ID,
	REVENUECAT_BY_ORIGINAL_APP_USER_ID,
	REVENUECAT_BY_KNOWN_ID,  /* the first of app_user_id, original_app_user_id, aliases that
				    isn't anonymous;  app_user_id when all are */
	REVENUECAT_BY_EMAIL,     /* subscriber attribute $email */
	REVENUECAT_BY_ATTRIBUTE, /* subscriber attribute NAME, as an external id */
};

struct revenuecat_identity {
	enum revenuecat_identify by;
	char *attribute; /* REVENUECAT_BY_ATTRIBUTE */
};

enum revenuecat_anonymous { REVENUECAT_ANONYMOUS_SEND, REVENUECAT_ANONYMOUS_SKIP };

/* Filled by the option table. */
struct revenuecat_options {
	char *path;
	struct secret authorization;
	bool allow_unauthenticated;
	struct secret signing_secret;
	char *signature_header;
	char *sandbox; /* "ignore", "send", or the name of an [intercom.NAME] */
	struct revenuecat_identity identify;
	int anonymous;
	char *workspace; /* "" for [intercom] */
};

#endif
