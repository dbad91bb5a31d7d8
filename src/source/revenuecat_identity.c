/*
 * Who it is.
 *
 * A customer of RevenueCat has many ids: app_user_id is the one last seen, original_app_user_id the
 * first ever, aliases are all of them, and any may be anonymous ($RCAnonymousID:…). Two questions
 * are answered here: under which id subrelay keeps the customer's state (`customer`: app_user_id,
 * or what comes closest to it), and whom Intercom is told about (`identity`: what `identify` says).
 */

#include "base/arena.h"
#include "base/text.h"
#include "revenuecat_private.h"
#include "source/json_in.h"

#include <string.h>

static bool id_is_anonymous(const char *id)
{
	return text_starts_with(id, "$RCAnonymousID:");
}

/* {"NAME":{"value":"…","updated_at_ms":…}}, or {"NAME":"…"} as some events have it. */
static char *subscriber_attribute(struct arena *arena, const json_t *json, const char *name)
{
	const json_t *value = json_object_get(json_object_get(json, "subscriber_attributes"), name);
	if (json_is_object(value))
		value = json_object_get(value, "value");
	return json_in_id_dup(arena, value);
}

/* Apps put all sorts of things into $email; Intercom takes addresses alone. */
static bool looks_like_email(const char *text)
{
	const char *at = strchr(text, '@');
	return at && at != text && at[1] && !strchr(at + 1, '@') && !strpbrk(text, " \t\r\n,;<>");
}

static char *first_known(const struct sub_event *sub)
{
	if (sub->customer && !id_is_anonymous(sub->customer))
		return sub->customer;
	if (sub->original_customer && !id_is_anonymous(sub->original_customer))
		return sub->original_customer;
	for (size_t i = 0; i < sub->alias_count; i++) {
		if (!id_is_anonymous(sub->aliases[i]))
			return sub->aliases[i];
	}
	return sub->customer;
}

static void choose_identity(const struct revenuecat_identity *identify, const json_t *json,
	struct arena *arena, struct sub_event *sub)
{
	switch (identify->by) {
	case REVENUECAT_BY_APP_USER_ID: sub->identity = sub->customer; break;
	case REVENUECAT_BY_ORIGINAL_APP_USER_ID:
		sub->identity = sub->original_customer ? sub->original_customer : sub->customer;
		break;
	case REVENUECAT_BY_KNOWN_ID: sub->identity = first_known(sub); break;
	case REVENUECAT_BY_EMAIL:
		sub->identity = sub->email;
		sub->identity_is_email = true;
		break;
	case REVENUECAT_BY_ATTRIBUTE:
		sub->identity = subscriber_attribute(arena, json, identify->attribute);
		break;
	}
}

static void read_customer(const struct revenuecat_options *options, const json_t *json,
	struct arena *arena, struct sub_event *sub)
{
	sub->customer = json_in_id_dup(arena, json_object_get(json, "app_user_id"));
	sub->original_customer =
		json_in_id_dup(arena, json_object_get(json, "original_app_user_id"));
	sub->alias_count = json_in_ids_dup(arena, json_object_get(json, "aliases"), &sub->aliases);
	if (!sub->customer)
		sub->customer = sub->original_customer;
	if (!sub->customer && sub->alias_count > 0)
		sub->customer = sub->aliases[0];

	sub->email = subscriber_attribute(arena, json, "$email");
	if (sub->email && !looks_like_email(sub->email))
		sub->email = NULL;
	choose_identity(&options->identify, json, arena, sub);
}

/* An id that came without its event: its e-mail or attribute only an event of its own could tell.
 */
static char *identity_of_id(const struct revenuecat_options *options, char *id)
{
	enum revenuecat_identify by = options->identify.by;
	if (by == REVENUECAT_BY_EMAIL || by == REVENUECAT_BY_ATTRIBUTE)
		return NULL;
	if (options->anonymous == REVENUECAT_ANONYMOUS_SKIP && id_is_anonymous(id))
		return NULL;
	return id;
}

static size_t read_parties(const struct revenuecat_options *options, const json_t *array,
	struct arena *arena, struct sub_party **ret_parties)
{
	char **ids = NULL;
	size_t count = json_in_ids_dup(arena, array, &ids);
	if (count == 0)
		return 0;
	struct sub_party *parties = arena_alloc(arena, count * sizeof(*parties));
	for (size_t i = 0; i < count; i++)
		parties[i] = (struct sub_party){
			.customer = ids[i],
			.identity = identity_of_id(options, ids[i]),
		};
	*ret_parties = parties;
	return count;
}

static void read_transfer(const struct revenuecat_options *options, const json_t *json,
	struct arena *arena, struct sub_event *sub)
{
	sub->transferred_from_count = read_parties(
		options, json_object_get(json, "transferred_from"), arena, &sub->transferred_from);
	sub->transferred_to_count = read_parties(
		options, json_object_get(json, "transferred_to"), arena, &sub->transferred_to);
	sub->identity_is_email = options->identify.by == REVENUECAT_BY_EMAIL;
}

void revenuecat_read_people(const struct revenuecat_options *options, const json_t *json,
	struct arena *arena, struct sub_event *sub)
{
	if (sub->kind == SUB_TRANSFER)
		read_transfer(options, json, arena, sub);
	else
		read_customer(options, json, arena, sub);
}

bool revenuecat_is_skipped(const struct revenuecat_options *options, const struct sub_event *sub)
{
	return options->anonymous == REVENUECAT_ANONYMOUS_SKIP && sub->identity &&
		!sub->identity_is_email && id_is_anonymous(sub->identity);
}
