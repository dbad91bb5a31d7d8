/*
 * The keys of [revenuecat], and what must hold between them.
 */

#include "base/error.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "revenuecat_private.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static void finish_identify(void *member)
{
	struct revenuecat_identity *identity = member;
	free(identity->attribute);
	*identity = (struct revenuecat_identity){0};
}

static bool parse_identify(const char *text, void *member, struct error *err)
{
	static const struct {
		const char *word;
		enum revenuecat_identify by;
	} words[] = {
		{"app_user_id", REVENUECAT_BY_APP_USER_ID},
		{"email", REVENUECAT_BY_EMAIL},
		{"known_id", REVENUECAT_BY_KNOWN_ID},
		{"original_app_user_id", REVENUECAT_BY_ORIGINAL_APP_USER_ID},
	};
	static const char prefix[] = "attribute:";

	struct revenuecat_identity *identity = member;
	if (text_starts_with(text, prefix)) {
		const char *name = text + strlen(prefix);
		name += strspn(name, " \t");
		if (!*name)
			return error_set(err,
				"attribute: needs the name of a subscriber attribute, as in "
				"attribute:intercom_id");
		finish_identify(identity);
		identity->by = REVENUECAT_BY_ATTRIBUTE;
		identity->attribute = xstrdup(name);
		return true;
	}
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(text, words[i].word) == 0) {
			finish_identify(identity);
			identity->by = words[i].by;
			return true;
		}
	}
	return error_set(err,
		"must be app_user_id, original_app_user_id, known_id, email or "
		"attribute:NAME");
}

static const char *const anonymous_choices[] = {
	[REVENUECAT_ANONYMOUS_SEND] = "send",
	[REVENUECAT_ANONYMOUS_SKIP] = "skip",
	NULL,
};

#define MEMBER(name) offsetof(struct revenuecat_options, name)

const struct option revenuecat_option_table[] = {
	{
		.key = "path",
		.type = OPTION_TEXT,
		.offset = MEMBER(path),
		.fallback = "/webhooks/revenuecat",
		.help = "The URL path that RevenueCat posts to. Every source section needs a "
			"path of its own.",
	},
	{
		.key = "authorization",
		.type = OPTION_SECRET,
		.offset = MEMBER(authorization),
		.help = "The value of the Authorization header, exactly as it is typed into "
			"the webhook's form in RevenueCat's dashboard, with \"Bearer \" if it "
			"stands there. A webhook with another value, or with none, is "
			"answered 401 and not stored. Required, unless allow_unauthenticated "
			"is set.",
	},
	{
		.key = "allow_unauthenticated",
		.type = OPTION_BOOL,
		.offset = MEMBER(allow_unauthenticated),
		.fallback = "no",
		.help = "Accepts webhooks whatever their Authorization header says. Only "
			"possible while server.listen is a loopback address, for instance "
			"behind a proxy that checks the header itself.",
	},
	{
		.key = "signing_secret",
		.type = OPTION_SECRET,
		.offset = MEMBER(signing_secret),
		.help = "The webhook's signing secret, when signing is turned on for it in "
			"RevenueCat's dashboard. The signature of every webhook is then "
			"checked besides its Authorization; one that is wrong, or more than 5 "
			"minutes old or ahead, is answered 401.",
	},
	{
		.key = "signature_header",
		.type = OPTION_TEXT,
		.offset = MEMBER(signature_header),
		.fallback = "X-RevenueCat-Webhook-Signature",
		.help = "The header that the signature comes in. Only looked at with a "
			"signing_secret.",
	},
	{
		.key = "sandbox",
		.type = OPTION_TEXT,
		.offset = MEMBER(sandbox),
		.fallback = "ignore",
		.help = "What to do with events of test purchases (environment SANDBOX): "
			"ignore stores them and relays nothing, send treats them like any "
			"other, and the NAME of a section [intercom.NAME] relays them to that "
			"workspace.",
	},
	{
		.key = "identify",
		.type = OPTION_CUSTOM,
		.offset = MEMBER(identify),
		.fallback = "app_user_id",
		.parse = parse_identify,
		.finish = finish_identify,
		.help = "Which contact an event belongs to. app_user_id and "
			"original_app_user_id: the contact with that user id (external_id); "
			"known_id: with the first of app_user_id, original_app_user_id and "
			"aliases that is not anonymous (app_user_id when all are); email: the "
			"contact with the address in the subscriber attribute $email; "
			"attribute:NAME: the contact whose user id is the value of the "
			"subscriber attribute NAME.",
	},
	{
		.key = "anonymous",
		.type = OPTION_CHOICE,
		.offset = MEMBER(anonymous),
		.fallback = "send",
		.choices = anonymous_choices,
		.help = "What to do with events of customers whose id is anonymous "
			"($RCAnonymousID:…): send relays them under that id, skip stores them "
			"and relays nothing, not even later, when the customer turns out to "
			"be known.",
	},
	{
		.key = "workspace",
		.type = OPTION_TEXT,
		.offset = MEMBER(workspace),
		.help = "The NAME of the section [intercom.NAME] whose workspace the events "
			"go to. Blank: the workspace of [intercom].",
	},
	{.key = NULL},
};

bool revenuecat_ignores_sandbox(const struct revenuecat_options *options)
{
	return !options->sandbox || strcmp(options->sandbox, "ignore") == 0;
}

const char *revenuecat_sandbox_workspace(const struct revenuecat_options *options)
{
	if (revenuecat_ignores_sandbox(options) || strcmp(options->sandbox, "send") == 0)
		return NULL;
	return options->sandbox;
}

/* A token as RFC 9110 has it. */
static bool is_header_name(const char *text)
{
	return *text &&
		!text[strspn(text,
			"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			"abcdefghijklmnopqrstuvwxyz")];
}

static bool check_workspace(
	const struct conf *conf, const char *key, const char *name, struct error *err)
{
	if (conf_workspace_get(conf, name))
		return true;
	return error_set(err, "%s = %s: there is no [intercom.%s] section", key, name, name);
}

static bool check_authentication(
	const struct conf *conf, const struct revenuecat_options *options, struct error *err)
{
	const struct conf_address *listen = &conf->server.listen;
	if (options->allow_unauthenticated && !listen->is_loopback)
		return error_set(err,
			"allow_unauthenticated = yes needs server.listen on a loopback "
			"address (127.0.0.1 or [::1]): whoever reaches %s could post events",
			listen->host);
	if (!options->allow_unauthenticated && !secret_is_set(&options->authorization))
		return error_set(err,
			"authorization is missing: give the Authorization header value of the "
			"webhook in RevenueCat's dashboard, as authorization or "
			"authorization_file (allow_unauthenticated = yes does without, on a "
			"loopback address only)");
	return true;
}

bool revenuecat_check(const struct conf *conf, const struct conf_source *section, struct error *err)
{
	const struct revenuecat_options *options = section->options;
	if (!check_authentication(conf, options, err))
		return false;
	if (!options->path || options->path[0] != '/')
		return error_set(err, "path must begin with '/'");
	if (secret_is_set(&options->signing_secret) &&
		(!options->signature_header || !is_header_name(options->signature_header)))
		return error_set(err, "signature_header is not the name of a header");
	const char *sandbox = revenuecat_sandbox_workspace(options);
	if (sandbox && !check_workspace(conf, "sandbox", sandbox, err))
		return false;
	const char *workspace = options->workspace ? options->workspace : "";
	return check_workspace(conf, "workspace", workspace, err);
}
