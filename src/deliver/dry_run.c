/*
 * Dry run: prints calls and makes up answers.
 *
 * The text is built whole and written by a single fwrite, which locks the stream: calls printed by
 * several threads do not mix. Contact ids are made up by hashing path and body, so that the same
 * run twice says the same.
 */

#include "deliver/dry_run.h"

#include "base/buf.h"
#include "base/json_out.h"
#include "base/text.h"
#include "conf/conf.h"
#include "deliver/worker.h"

#include <stdint.h>
#include <string.h>

#define PRINT_MAX ((size_t)2 * 1024 * 1024)

static void print_call(const struct call *call, const struct conf_workspace *workspace, FILE *out)
{
	struct buf text;
	buf_init(&text, PRINT_MAX);
	buf_addf(&text, "--> %s %s%s\n", call->method, workspace->base_url, buf_text(&call->path));
	buf_addf(&text, "    Authorization: Bearer %s\n",
		secret_is_set(&workspace->access_token) ? "…" : "(none set)");
	buf_addf(&text, "    Intercom-Version: %s\n", workspace->api_version);
	for (size_t i = 0; call_headers[i]; i++)
		buf_addf(&text, "    %s\n", call_headers[i]);
	if (call->body.len > 0)
		buf_addf(&text, "    %s\n", buf_text(&call->body));
	buf_add_char(&text, '\n');
	(void)fwrite(text.data, 1, text.len, out); /* a closed terminal is no reason to stop */
	(void)fflush(out);
	buf_finish(&text);
}

/* 24 hex digits, as Intercom's ids have. */
static void make_up_id(const struct call *call, char ret_id[32])
{
	uint64_t first = text_hash(buf_text(&call->path), call->path.len, 1);
	uint64_t second = text_hash(buf_text(&call->body), call->body.len, first);
	(void)snprintf(ret_id, 32, "%016llx%08llx", (unsigned long long)second,
		(unsigned long long)(first >> 32));
}

/* The {id} of /contacts/{id}…, as it stands there; made up when there is none. */
static void contact_id_of(const struct call *call, char ret_id[64])
{
	static const char prefix[] = "/contacts/";
	char made_up[32];
	make_up_id(call, made_up);
	(void)snprintf(ret_id, 64, "%s", made_up);
	if (call->kind != CALL_UPDATE_CONTACT && call->kind != CALL_UNARCHIVE_CONTACT)
		return;
	const char *path = buf_text(&call->path);
	const char *id = text_starts_with(path, prefix) ? path + strlen(prefix) : "";
	size_t len = strcspn(id, "/");
	if (len > 0 && len < 64)
		(void)snprintf(ret_id, 64, "%.*s", (int)len, id);
}

static void add_contact(struct json_out *out, const struct call *call)
{
	char id[64];
	contact_id_of(call, id);
	json_out_object(out);
	json_out_key_text(out, "type", "contact");
	json_out_key_text(out, "id", id);
	json_out_object_end(out);
}

static void add_list(struct json_out *out, const struct call *call)
{
	json_out_object(out);
	json_out_key_text(out, "type", "list");
	json_out_key(out, "data");
	json_out_array(out);
	if (call->kind == CALL_SEARCH_CONTACT)
		add_contact(out, call);
	json_out_array_end(out);
	json_out_key_integer(out, "total_count", call->kind == CALL_SEARCH_CONTACT);
	json_out_object_end(out);
}

static void answer(const struct call *call, struct reply *reply)
{
	struct json_out out;
	json_out_init(&out, &reply->body);
	reply->wire = WIRE_ANSWERED;
	reply->status = 200;
	switch (call->kind) {
	case CALL_CREATE_CONTACT:
	case CALL_UPDATE_CONTACT:
	case CALL_FIND_CONTACT:
	case CALL_UNARCHIVE_CONTACT: add_contact(&out, call); break;
	case CALL_SEARCH_CONTACT:
	case CALL_LIST_ATTRIBUTES: add_list(&out, call); break;
	case CALL_SUBMIT_EVENT: reply->status = 202; break;
	case CALL_CREATE_ATTRIBUTE:
	case CALL_ME:
	case CALL_NONE: buf_add_text(&reply->body, "{}"); break;
	}
}

void dry_run_answer(struct errand *errand, FILE *out)
{
	reply_clear(&errand->reply);
	if (call_is_too_large(&errand->call)) {
		reply_refuse(&errand->reply);
		return;
	}
	print_call(&errand->call, errand->workspace, out);
	answer(&errand->call, &errand->reply);
}
