/*
 * What must hold between options, once each of them is read.
 *
 * A problem stands at the option whose change would mend it; at the section's header when that
 * option isn't written anywhere.
 */

#include "base/error.h"
#include "base/secret.h"
#include "base/text.h"
#include "conf/conf_private.h"
#include "source/source.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define KEY_LEN_MAX 64

static struct place place_of(const struct given *given, const char *section_name, const char *key)
{
	return given_place_of_key(given, given_section_get(given, section_name), key);
}

/* Only a warning: `check` may be run by a user who can't read what the daemon can. */
static void check_readable(const struct given *given, const char *key, const char *path)
{
	if (path && access(path, R_OK) != 0)
		conf_report_warning(given->report, place_of(given, "server", key),
			"[server] %s: '%s' can't be read by this user: %s", key,
			conf_show(path).text, strerror(errno));
}

static void check_server(const struct given *given, const struct conf *conf)
{
	const struct conf_server *server = &conf->server;
	if (server->tls_certificate && !server->tls_key)
		conf_report_problem(given->report, place_of(given, "server", "tls_certificate"),
			"[server] tls_certificate needs tls_key beside it");
	if (server->tls_key && !server->tls_certificate)
		conf_report_problem(given->report, place_of(given, "server", "tls_key"),
			"[server] tls_key needs tls_certificate beside it");
	check_readable(given, "tls_certificate", server->tls_certificate);
	check_readable(given, "tls_key", server->tls_key);
}

static void check_delivery(const struct given *given, const struct conf *conf)
{
	const struct conf_delivery *delivery = &conf->delivery;
	const struct section *section = given_section_get(given, "delivery");
	bool has_connections = given_setting_get(section, "connections", "") != NULL;
	bool has_cap = given_setting_get(section, "retry_cap", "") != NULL;
	if (delivery->connections < delivery->workers)
		conf_report_problem(given->report,
			given_place_of_key(
				given, section, has_connections ? "connections" : "workers"),
			"[delivery] connections = %lld is less than workers = %lld; every worker "
			"needs at least one",
			(long long)delivery->connections, (long long)delivery->workers);
	if (delivery->retry_cap_ms < delivery->retry_base_ms)
		conf_report_problem(given->report,
			given_place_of_key(given, section, has_cap ? "retry_cap" : "retry_base"),
			"[delivery] retry_cap is shorter than retry_base");
}

/* A longer one would only fail when it is bound, cut or not. */
static void check_control(const struct given *given, const struct conf *conf)
{
	size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;
	if (conf->control.socket && strlen(conf->control.socket) > most)
		conf_report_problem(given->report, place_of(given, "control", "socket"),
			"[control] socket: the path has %zu bytes; a Unix socket's has at most %zu",
			strlen(conf->control.socket), most);
}

static void check_workspace(const struct given *given, struct conf_workspace *workspace)
{
	char name[SUFFIX_LEN_MAX + sizeof("intercom.")];
	bool is_plain = workspace->name[0] == '\0';
	bool has_token = secret_is_set(&workspace->access_token);
	(void)snprintf(name, sizeof(name), "intercom%s%s", is_plain ? "" : ".", workspace->name);
	if (workspace->mode == CONF_MODE_AUTO)
		workspace->mode = has_token ? CONF_MODE_LIVE : CONF_MODE_DRY_RUN;
	if (workspace->mode == CONF_MODE_LIVE && !has_token && !given->for_map)
		conf_report_problem(given->report, place_of(given, name, "mode"),
			"[%s] mode = live needs an access_token (or access_token_file)", name);
}

static bool check_path_text(const char *path, struct error *err)
{
	static const char *const taken[] = {"/healthz", "/metrics", "/readyz", NULL};
	if (path[0] != '/')
		return error_set(err, "'%s' must begin with '/'", conf_show(path).text);
	for (const char *c = path; *c != '\0'; c++) {
		if (*c <= ' ' || *c > '~' || strchr("?#%", *c))
			return error_set(err,
				"'%s' holds '?', '#', '%%', a blank or a letter beyond ASCII; it "
				"is "
				"compared with a request's path as it is",
				conf_show(path).text);
	}
	for (const char *const *other = taken; *other; other++) {
		if (text_equal(path, *other))
			return error_set(err, "%s is the daemon's own", path);
	}
	return true;
}

static bool check_path(
	const struct given *given, const struct conf *conf, const struct conf_source *section)
{
	struct place place = place_of(given, section->name, "path");
	struct error err = {0};
	if (!check_path_text(section->path, &err)) {
		conf_report_problem(given->report, place, "[%s] path: %s", section->name, err.text);
		return false;
	}
	for (const struct conf_source *other = conf->sources; other != section; other++) {
		if (!text_equal(other->path, section->path))
			continue;
		conf_report_problem(given->report, place,
			"[%s] path: %s is the path of [%s] already; each source needs its own",
			section->name, conf_show(section->path).text, other->name);
		return false;
	}
	return true;
}

static bool check_source_workspace(
	const struct given *given, const struct conf *conf, const struct conf_source *section)
{
	char meant[100];
	struct guess guess;
	if (conf_workspace_get(conf, section->workspace))
		return true;
	guess_init(&guess, section->workspace);
	for (size_t i = 1; i < conf->workspace_count; i++)
		guess_offer(&guess, conf->workspaces[i].name);
	guess_say(&guess, meant, sizeof(meant));
	struct shown shown = conf_show(section->workspace);
	conf_report_problem(given->report, place_of(given, section->name, "workspace"),
		"[%s] workspace: there is no section [intercom.%s]%s", section->name, shown.text,
		meant);
	return false;
}

/* The option that a source's complaint begins with; NULL when it begins otherwise. */
static const struct option *row_blamed(const struct conf_source *section, const struct error *err)
{
	char key[KEY_LEN_MAX];
	size_t len = strspn(err->text, "abcdefghijklmnopqrstuvwxyz0123456789_");
	if (len >= sizeof(key))
		return NULL;
	memcpy(key, err->text, len);
	key[len] = '\0';
	return option_find(section->source->options, key);
}

static struct secret *secret_missing(const struct conf_source *section, const struct option *row)
{
	if (!row || row->type != OPTION_SECRET)
		return NULL;
	void *member = (char *)section->options + row->offset;
	return secret_is_set(member) ? NULL : member;
}

/*
 * The source's own check names one problem. A missing secret is stood in for and the check is asked
 * again, so that it hides nothing behind it, and so that `map`, which needs none, can go on. What
 * was found wrong here already is not said twice.
 */
static void check_source_itself(const struct given *given, const struct conf *conf,
	const struct conf_source *section, bool path_is_ok, bool workspace_is_ok)
{
	struct secret *stood_in[8] = {0};
	size_t count = 0;
	struct error err = {0};
	while (section->source->check && !section->source->check(conf, section, &err)) {
		const struct option *row = row_blamed(section, &err);
		struct secret *missing = secret_missing(section, row);
		bool is_said = row &&
			((!path_is_ok && text_equal(row->key, "path")) ||
				(!workspace_is_ok && text_equal(row->key, "workspace")));
		if (!is_said && !(missing && given->for_map))
			conf_report_problem(given->report,
				place_of(given, section->name, row ? row->key : ""), "[%s] %s",
				section->name, err.text);
		if (!missing || count == sizeof(stood_in) / sizeof(stood_in[0]))
			break;
		secret_init(missing, SECRET_STAND_IN, strlen(SECRET_STAND_IN));
		stood_in[count++] = missing;
		error_clear(&err);
	}
	while (count > 0)
		secret_finish(stood_in[--count]);
}

static void check_source(
	const struct given *given, const struct conf *conf, const struct conf_source *section)
{
	bool path_is_ok = check_path(given, conf, section);
	bool workspace_is_ok = check_source_workspace(given, conf, section);
	check_source_itself(given, conf, section, path_is_ok, workspace_is_ok);
}

static void report_no_source(const struct given *given)
{
	struct kind kind;
	for (size_t i = 0; kind_at(i, &kind); i++) {
		if (kind.class != KIND_SOURCE)
			continue;
		conf_report_problem(given->report, given_place_of_section(given, NULL),
			"no source: add a section for the billing system, such as [%s]", kind.stem);
		return;
	}
}

void check_all(const struct given *given, struct conf *conf)
{
	check_server(given, conf);
	check_delivery(given, conf);
	check_control(given, conf);
	for (size_t i = 0; i < conf->workspace_count; i++)
		check_workspace(given, &conf->workspaces[i]);
	for (size_t i = 0; i < conf->source_count; i++)
		check_source(given, conf, &conf->sources[i]);
	if (conf->source_count == 0 && !given->has_unknown_section)
		report_no_source(given);
}
