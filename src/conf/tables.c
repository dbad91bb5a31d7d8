/*
 * The option tables of our own sections. A new option is a row here and a member in conf.h.
 *
 * Sources bring their tables themselves (source.h). A row's help is what the manual page says;
 * config/subrelay.ini is compared with the rows by a test.
 */

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "conf/conf_private.h"

#include <stdlib.h>
#include <string.h>

#define KIB INT64_C(1024)
#define SECOND_MS INT64_C(1000)
#define DAY_MS (86400 * SECOND_MS)
#define YEAR_MS (365 * DAY_MS)
#define RATE_MAX 1000000

static const struct option server_table[] = {
	{
		.key = "listen",
		.type = OPTION_CUSTOM,
		.offset = offsetof(struct conf_server, listen),
		.fallback = "127.0.0.1:8080",
		.parse = address_parse,
		.equal = address_equal,
		.flags = OPTION_RESTART,
		.help = "The address and port to listen on: 127.0.0.1:8080, [::1]:8080, or *:8080 "
			"for "
			"every IPv4 address of the machine ([::]:8080 for IPv6). Port 0 takes any "
			"free "
			"port. A socket passed by systemd wins.",
	},
	{
		.key = "tls_certificate",
		.type = OPTION_TEXT,
		.offset = offsetof(struct conf_server, tls_certificate),
		.flags = OPTION_RESTART,
		.help = "A PEM file with the certificate and its chain. With tls_key: HTTPS. "
			"Blank: "
			"plain HTTP, for behind a proxy that does TLS.",
	},
	{
		.key = "tls_key",
		.type = OPTION_TEXT,
		.offset = offsetof(struct conf_server, tls_key),
		.flags = OPTION_RESTART,
		.help = "A PEM file with the certificate's private key.",
	},
	{
		.key = "body_max",
		.type = OPTION_SIZE,
		.offset = offsetof(struct conf_server, body_max),
		.fallback = "1M",
		.minimum = KIB,
		.maximum = 64 * KIB * KIB,
		.flags = OPTION_RESTART,
		.help = "The largest body that is taken; a larger one is answered 413.",
	},
	{
		.key = "request_timeout",
		.type = OPTION_DURATION,
		.offset = offsetof(struct conf_server, request_timeout_ms),
		.fallback = "10s",
		.minimum = SECOND_MS,
		.maximum = 600 * SECOND_MS,
		.flags = OPTION_RESTART,
		.help = "How long a request may take from its first byte to its last before the "
			"connection is closed.",
	},
	{
		.key = "connections_max",
		.type = OPTION_INT,
		.offset = offsetof(struct conf_server, connections_max),
		.fallback = "1024",
		.minimum = 1,
		.maximum = 100000,
		.flags = OPTION_RESTART,
		.help = "How many connections may be open at once.",
	},
	{.key = NULL},
};

static const struct option store_table[] = {
	{
		.key = "path",
		.type = OPTION_TEXT,
		.offset = offsetof(struct conf_store, path),
		.fallback = "/var/lib/subrelay/subrelay.db",
		.flags = OPTION_RESTART,
		.help = "The SQLite file that holds every event until it is purged. Its directory "
			"must "
			"be there and writable.",
	},
	{
		.key = "keep_delivered",
		.type = OPTION_DURATION,
		.offset = offsetof(struct conf_store, keep_delivered_ms),
		.fallback = "30d",
		.maximum = 100 * YEAR_MS,
		.flags = OPTION_FOREVER,
		.help = "How long delivered and ignored events are kept before they are purged, or "
			"forever. A webhook that comes again after that is taken as a new one.",
	},
	{
		.key = "keep_parked",
		.type = OPTION_DURATION,
		.offset = offsetof(struct conf_store, keep_parked_ms),
		.fallback = "forever",
		.maximum = 100 * YEAR_MS,
		.flags = OPTION_FOREVER,
		.help = "How long parked events (those that Intercom refused for good) are kept, "
			"or "
			"forever.",
	},
	{.key = NULL},
};

static const char *const mode_choices[] = {
	[CONF_MODE_AUTO] = "auto",
	[CONF_MODE_LIVE] = "live",
	[CONF_MODE_DRY_RUN] = "dry-run",
	NULL,
};
static const char *const region_choices[] = {
	[CONF_REGION_US] = "us",
	[CONF_REGION_EU] = "eu",
	[CONF_REGION_AU] = "au",
	NULL,
};
static const char *const unmatched_choices[] = {
	[CONF_UNMATCHED_CREATE] = "create",
	[CONF_UNMATCHED_SKIP] = "skip",
	NULL,
};
static const char *const archived_choices[] = {
	[CONF_ARCHIVED_UNARCHIVE] = "unarchive",
	[CONF_ARCHIVED_SKIP] = "skip",
	NULL,
};

static void text_finish(void *member)
{
	char **text = member;
	free(*text);
	*text = NULL;
}

/* A version goes into a header as it is. "Preview", once "Unstable", is Intercom's next one. */
static bool api_version_parse(const char *text, void *member, struct error *err)
{
	char **version = member;
	size_t major = strspn(text, "0123456789");
	bool is_number = false;
	if (major > 0 && major <= 4 && text[major] == '.') {
		size_t minor = strspn(text + major + 1, "0123456789");
		is_number = minor > 0 && minor <= 4 && text[major + 1 + minor] == '\0';
	}
	if (!is_number && !text_equal(text, "Preview") && !text_equal(text, "Unstable"))
		return error_set(err, "'%s' is no version of Intercom's API, such as 2.15",
			conf_show(text).text);
	free(*version);
	*version = xstrdup(text);
	return true;
}

const struct option conf_workspace_table[] = {
	{
		.key = "access_token",
		.type = OPTION_SECRET,
		.offset = offsetof(struct conf_workspace, access_token),
		.help = "The access token of an app of that workspace (Intercom: Settings, "
			"Integrations, "
			"Developer Hub). Without one nothing is sent, see mode.",
	},
	{
		.key = "mode",
		.type = OPTION_CHOICE,
		.offset = offsetof(struct conf_workspace, mode),
		.fallback = "auto",
		.choices = mode_choices,
		.help = "live sends; dry-run makes every call up to its last byte and prints it "
			"instead; "
			"auto is live with an access_token and dry-run without.",
	},
	{
		.key = "region",
		.type = OPTION_CHOICE,
		.offset = offsetof(struct conf_workspace, region),
		.fallback = "us",
		.choices = region_choices,
		.help = "Where Intercom hosts the workspace: us, eu or au.",
	},
	{
		.key = "base_url",
		.type = OPTION_CUSTOM,
		.offset = offsetof(struct conf_workspace, base_url),
		.parse = base_url_parse,
		.finish = text_finish,
		.help = "Another place to call, for a stand-in of Intercom. Plain http:// only to "
			"loopback. Blank: the region's (https://api.intercom.io for us).",
	},
	{
		.key = "api_version",
		.type = OPTION_CUSTOM,
		.offset = offsetof(struct conf_workspace, api_version),
		.fallback = "2.15",
		.parse = api_version_parse,
		.finish = text_finish,
		.help = "The Intercom-Version that calls are made with.",
	},
	{
		.key = "unmatched",
		.type = OPTION_CHOICE,
		.offset = offsetof(struct conf_workspace, unmatched),
		.fallback = "create",
		.choices = unmatched_choices,
		.help = "When Intercom has no contact for the customer: create it, or skip the "
			"event.",
	},
	{
		.key = "archived",
		.type = OPTION_CHOICE,
		.offset = offsetof(struct conf_workspace, archived),
		.fallback = "unarchive",
		.choices = archived_choices,
		.help = "When the customer's contact is archived: unarchive it, or skip the event.",
	},
	{
		.key = "create_attributes",
		.type = OPTION_BOOL,
		.offset = offsetof(struct conf_workspace, create_attributes),
		.fallback = "yes",
		.help = "Whether to create a custom attribute that Intercom says doesn't exist.",
	},
	{.key = NULL},
};

static bool rate_limit_parse(const char *text, void *member, struct error *err)
{
	int64_t *limit = member;
	int64_t calls = 0;
	if (text_equal(text, "auto")) {
		*limit = CONF_RATE_AUTO;
		return true;
	}
	if (!text_to_int64(text, &calls) || calls < 1 || calls > RATE_MAX)
		return error_set(err,
			"'%s' is neither auto nor a number of calls per 10 seconds from 1 to %d",
			conf_show(text).text, RATE_MAX);
	*limit = calls;
	return true;
}

static const struct option delivery_table[] = {
	{
		.key = "workers",
		.type = OPTION_INT,
		.offset = offsetof(struct conf_delivery, workers),
		.fallback = "2",
		.minimum = 1,
		.maximum = 32,
		.flags = OPTION_RESTART,
		.help = "Threads that send to Intercom.",
	},
	{
		.key = "connections",
		.type = OPTION_INT,
		.offset = offsetof(struct conf_delivery, connections),
		.fallback = "32",
		.minimum = 1,
		.maximum = 1024,
		.flags = OPTION_RESTART,
		.help = "Requests in flight at once over all workers; at least one a worker.",
	},
	{
		.key = "retry_base",
		.type = OPTION_DURATION,
		.offset = offsetof(struct conf_delivery, retry_base_ms),
		.fallback = "5s",
		.minimum = 1,
		.maximum = DAY_MS,
		.help = "After the n-th failed try the next one comes at a random time within "
			"retry_base * 2^(n-1), but within retry_cap.",
	},
	{
		.key = "retry_cap",
		.type = OPTION_DURATION,
		.offset = offsetof(struct conf_delivery, retry_cap_ms),
		.fallback = "15m",
		.minimum = 1,
		.maximum = 7 * DAY_MS,
		.help = "The longest wait between two tries.",
	},
	{
		.key = "give_up_after",
		.type = OPTION_DURATION,
		.offset = offsetof(struct conf_delivery, give_up_after_ms),
		.fallback = "3d",
		.minimum = SECOND_MS,
		.maximum = YEAR_MS,
		.help = "How long one delivery is tried before it is parked.",
	},
	{
		.key = "rate_limit",
		.type = OPTION_CUSTOM,
		.offset = offsetof(struct conf_delivery, rate_limit),
		.fallback = "auto",
		.parse = rate_limit_parse,
		.help = "auto keeps the pace that Intercom's X-RateLimit headers allow; a number "
			"is the "
			"calls per 10 seconds to each workspace.",
	},
	{.key = NULL},
};

static const char *const level_choices[] = {
	[LOG_DEBUG_LEVEL] = "debug",
	[LOG_INFO_LEVEL] = "info",
	[LOG_WARN_LEVEL] = "warn",
	[LOG_ERROR_LEVEL] = "error",
	NULL,
};
static const char *const format_choices[] = {
	[LOG_LOGFMT] = "logfmt",
	[LOG_JSON] = "json",
	NULL,
};

static const struct option log_table[] = {
	{
		.key = "level",
		.type = OPTION_CHOICE,
		.offset = offsetof(struct conf_log, level),
		.fallback = "info",
		.choices = level_choices,
		.help = "The least that is logged: debug, info, warn or error.",
	},
	{
		.key = "format",
		.type = OPTION_CHOICE,
		.offset = offsetof(struct conf_log, format),
		.fallback = "logfmt",
		.choices = format_choices,
		.help = "How a line is written: logfmt (key=value) or json.",
	},
	{.key = NULL},
};

static const struct option control_table[] = {
	{
		.key = "socket",
		.type = OPTION_TEXT,
		.offset = offsetof(struct conf_control, socket),
		.fallback = "/run/subrelay/control.sock",
		.flags = OPTION_RESTART,
		.help = "The Unix socket over which subrelay status, events, retry and the other "
			"commands reach the daemon (mode 0660).",
	},
	{.key = NULL},
};

const struct kind conf_own_kinds[] = {
	{"server", KIND_SINGLE, server_table, offsetof(struct conf, server), NULL},
	{"store", KIND_SINGLE, store_table, offsetof(struct conf, store), NULL},
	{"intercom", KIND_WORKSPACE, conf_workspace_table, 0, NULL},
	{"delivery", KIND_SINGLE, delivery_table, offsetof(struct conf, delivery), NULL},
	{"event_names", KIND_EVENT_NAMES, NULL, 0, NULL},
	{"attributes", KIND_ATTRIBUTES, NULL, 0, NULL},
	{"log", KIND_SINGLE, log_table, offsetof(struct conf, log), NULL},
	{"control", KIND_SINGLE, control_table, offsetof(struct conf, control), NULL},
	{NULL, KIND_SINGLE, NULL, 0, NULL},
};
