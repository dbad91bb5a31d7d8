/*
 * What Intercom, or whoever stands between, answers: header lines, and behind a FUZZ_SEPARATOR the
 * body. The first byte says how the wire ended.
 *
 * What must be true for every kind of call is the table of deliver/verdict.h as far as the status
 * decides, and that whatever is kept of an answer is bounded, whole and fit to be shown.
 */

#include "base/text.h"
#include "deliver/call.h"
#include "deliver/verdict.h"
#include "fuzz.h"

static bool is_id(const char *text)
{
	return text[strspn(text,
		       "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-")] == '\0';
}

#define IS_WHOLE(text) (memchr((text), '\0', sizeof(text)) != NULL)

static void check_texts(const struct verdict *verdict)
{
	FUZZ_CHECK(IS_WHOLE(verdict->contact_id) && IS_WHOLE(verdict->attribute));
	FUZZ_CHECK(IS_WHOLE(verdict->reason) && IS_WHOLE(verdict->request_id));
	FUZZ_CHECK(is_id(verdict->contact_id));
	for (const char *c = verdict->reason; *c; c++)
		FUZZ_CHECK((unsigned char)*c >= ' ' && *c != 0x7f);
	/* E-mail addresses are left out. */
	FUZZ_CHECK(!strchr(verdict->reason, '@'));
	FUZZ_CHECK((verdict->kind == VERDICT_ATTRIBUTE_MISSING) == (verdict->attribute[0] != '\0'));
	FUZZ_CHECK(!verdict->unreachable || verdict->kind == VERDICT_RETRY);
	FUZZ_CHECK(verdict->kind == VERDICT_DONE || verdict->reason[0] != '\0');
}

static bool creates_or_finds(enum call_kind kind)
{
	return kind == CALL_CREATE_CONTACT || kind == CALL_FIND_CONTACT ||
		kind == CALL_SEARCH_CONTACT || kind == CALL_UNARCHIVE_CONTACT;
}

static void check_success(enum call_kind kind, const struct verdict *verdict)
{
	bool is_search = kind == CALL_SEARCH_CONTACT;
	FUZZ_CHECK(verdict->kind == VERDICT_DONE || verdict->kind == VERDICT_RETRY ||
		(is_search && (verdict->kind == VERDICT_GONE || verdict->kind == VERDICT_PARK)));
	if (verdict->kind == VERDICT_DONE && creates_or_finds(kind))
		FUZZ_CHECK(verdict->contact_id[0] != '\0');
}

static void check_status(enum call_kind kind, long status, const struct verdict *verdict)
{
	enum verdict_kind got = verdict->kind;

	if (status >= 200 && status <= 299)
		check_success(kind, verdict);
	else if ((status >= 401 && status <= 403) || status == 406 || status == 407)
		FUZZ_CHECK(got == VERDICT_HOLD);
	else if (status == 429)
		FUZZ_CHECK(got == VERDICT_PACED);
	else if (status == 408 || status == 425 || status < 400 || status > 499)
		FUZZ_CHECK(got == VERDICT_RETRY);
	else if (got == VERDICT_DONE)
		FUZZ_CHECK(kind == CALL_CREATE_ATTRIBUTE);
	if (got == VERDICT_EXISTS || got == VERDICT_ARCHIVED)
		FUZZ_CHECK(kind == CALL_CREATE_CONTACT && status == 409);
	if (got == VERDICT_ATTRIBUTE_MISSING)
		FUZZ_CHECK((kind == CALL_CREATE_CONTACT || kind == CALL_UPDATE_CONTACT) &&
			(status == 400 || status == 422));
}

static void check_rate(const struct pace_headers *rate)
{
	const int64_t numbers[] = {
		rate->limit, rate->remaining, rate->reset_s, rate->retry_after_s};
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		FUZZ_CHECK(numbers[i] >= -1 && numbers[i] <= INT64_C(100000000000));
}

static void take_headers(struct reply *reply, struct fuzz_bytes lines)
{
	while (lines.left > 0) {
		const uint8_t *end = memchr(lines.at, '\n', lines.left);
		size_t len = end ? (size_t)(end - lines.at) + 1 : lines.left;
		char *line = malloc(len); /* as it comes: without a NUL */
		FUZZ_CHECK(line);
		memcpy(line, lines.at, len);
		reply_take_header(reply, line, len);
		free(line);
		lines.at += len;
		lines.left -= len;
	}
	FUZZ_CHECK(IS_WHOLE(reply->request_id) && IS_WHOLE(reply->location_id));
	check_rate(&reply->rate);
	FUZZ_CHECK(reply->rate.too_many == (reply->status == 429));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes bytes = {data, size};
	struct reply reply;
	unsigned how = fuzz_byte(&bytes);

	reply_init(&reply);
	reply.wire = how % 16 == 15 ? WIRE_BROKEN
		: how % 16 == 14    ? WIRE_UNREACHABLE
				    : WIRE_ANSWERED;
	take_headers(&reply, fuzz_part(&bytes));
	(void)buf_add(&reply.body, bytes.at ? (const void *)bytes.at : "", bytes.left);
	reply.body.overflowed = how & 128;
	(void)snprintf(reply.wire_error, sizeof(reply.wire_error), "%.*s", (int)bytes.left,
		bytes.left ? (const char *)bytes.at : "");
	for (int kind = CALL_NONE; kind <= CALL_ME; kind++) {
		struct verdict verdict;
		verdict_of((enum call_kind)kind, &reply, &verdict);
		FUZZ_CHECK(verdict_kind_name(verdict.kind) && call_kind_name((enum call_kind)kind));
		check_texts(&verdict);
		if (reply.wire == WIRE_ANSWERED)
			check_status((enum call_kind)kind, reply.status, &verdict);
		else
			FUZZ_CHECK(verdict.kind == VERDICT_RETRY);
	}
	reply_finish(&reply);
	return 0;
}
