/*
 * What a reload can't change: what the running daemon has bound, opened or started.
 *
 * Each row with OPTION_RESTART has its full name here, because the caller keeps the pointer; a row
 * that is missing here is found by the assertion, in any test that asks.
 */

#include "base/text.h"
#include "conf/conf_private.h"

#include <assert.h>
#include <string.h>

static const char *const full_names[] = {
	"server.listen",
	"server.tls_certificate",
	"server.tls_key",
	"server.body_max",
	"server.request_timeout",
	"server.connections_max",
	"store.path",
	"delivery.workers",
	"delivery.connections",
	"control.socket",
	NULL,
};

static const char *full_name(const char *section, const char *key)
{
	size_t len = strlen(section);
	for (const char *const *name = full_names; *name; name++) {
		if (text_starts_with(*name, section) && (*name)[len] == '.' &&
			text_equal(*name + len + 1, key))
			return *name;
	}
	assert(false && "OPTION_RESTART without a full name");
	return NULL;
}

static bool same_workspaces(const struct conf *before, const struct conf *after)
{
	if (before->workspace_count != after->workspace_count)
		return false;
	for (size_t i = 0; i < before->workspace_count; i++) {
		if (!conf_workspace_get(after, before->workspaces[i].name))
			return false;
	}
	return true;
}

const char *conf_needs_restart(const struct conf *before, const struct conf *after)
{
	for (const struct kind *kind = conf_own_kinds; kind->stem; kind++) {
		if (kind->class != KIND_SINGLE)
			continue;
		for (const struct option *row = kind->table; row->key; row++) {
			const char *one = (const char *)before + kind->offset;
			const char *other = (const char *)after + kind->offset;
			if (row->flags & OPTION_RESTART && !option_equal(row, one, other))
				return full_name(kind->stem, row->key);
		}
	}
	return same_workspaces(before, after) ? NULL : "[intercom.NAME]";
}
