/*
 * Writes JSON into a buf.
 *
 * Each value and key passes through before_item, which puts the comma, newline and indent that its
 * place asks for. Strings are scanned for runs that need no escape, and a run is one buf_add. What
 * must stay true: without misuse the bytes are valid JSON in valid UTF-8, whatever the input, and
 * the same for the same calls. (A buf that overflows is its owner's to notice.)
 */

#include "base/json_out.h"

#include "base/text.h"

#include <assert.h>
#include <string.h>

#define DEPTH_MAX 16
#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

void json_out_init(struct json_out *out, struct buf *buf)
{
	*out = (struct json_out){.buf = buf};
}

static uint32_t depth_bit(const struct json_out *out)
{
	return UINT32_C(1) << out->depth;
}

static bool in_object(const struct json_out *out)
{
	return out->depth > 0 && !(out->in_array & depth_bit(out));
}

static void indent(struct json_out *out)
{
	if (!out->pretty)
		return;
	buf_add_char(out->buf, '\n');
	for (unsigned i = 0; i < out->depth; i++)
		buf_add(out->buf, "  ", 2);
}

static void before_item(struct json_out *out)
{
	if (out->not_first & depth_bit(out)) {
		assert(out->depth > 0); /* a document is one value */
		buf_add_char(out->buf, ',');
	}
	out->not_first |= depth_bit(out);
	if (out->depth > 0)
		indent(out);
}

static void before_value(struct json_out *out)
{
	assert(out->after_key == in_object(out));
	if (!out->after_key)
		before_item(out);
	out->after_key = false;
}

static void open_level(struct json_out *out, char bracket, bool is_array)
{
	before_value(out);
	buf_add_char(out->buf, bracket);
	assert(out->depth < DEPTH_MAX);
	out->depth++;
	out->not_first &= ~depth_bit(out);
	if (is_array)
		out->in_array |= depth_bit(out);
	else
		out->in_array &= ~depth_bit(out);
}

static void close_level(struct json_out *out, char bracket)
{
	bool is_empty = !(out->not_first & depth_bit(out));
	out->depth--;
	if (!is_empty)
		indent(out);
	buf_add_char(out->buf, bracket);
}

void json_out_object(struct json_out *out)
{
	open_level(out, '{', false);
}

void json_out_object_end(struct json_out *out)
{
	assert(in_object(out) && !out->after_key);
	close_level(out, '}');
}

void json_out_array(struct json_out *out)
{
	open_level(out, '[', true);
}

void json_out_array_end(struct json_out *out)
{
	assert(out->depth > 0 && !in_object(out));
	close_level(out, ']');
}

static bool is_plain(unsigned char byte)
{
	return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

static void add_escape(struct buf *buf, unsigned char byte)
{
	static const char digits[] = "0123456789abcdef";
	if (byte == '"' || byte == '\\') {
		const char escape[2] = {'\\', (char)byte};
		buf_add(buf, escape, sizeof(escape));
	} else if (byte < 0x20) {
		const char escape[6] = {'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15]};
		buf_add(buf, escape, sizeof(escape));
	} else {
		buf_add(buf, REPLACEMENT, strlen(REPLACEMENT));
	}
}

static void add_string(struct buf *buf, const char *text, size_t len)
{
	buf_add_char(buf, '"');
	size_t run = 0;
	size_t at = 0;
	while (at < len) {
		unsigned char byte = (unsigned char)text[at];
		if (is_plain(byte)) {
			at++;
			continue;
		}
		size_t character = byte < 0x80 ? 0 : text_utf8_len(text + at, len - at);
		if (character > 0) {
			at += character;
			continue;
		}
		if (at > run)
			buf_add(buf, text + run, at - run);
		add_escape(buf, byte);
		run = ++at;
	}
	if (at > run)
		buf_add(buf, text + run, at - run);
	buf_add_char(buf, '"');
}

void json_out_key(struct json_out *out, const char *key)
{
	assert(in_object(out) && !out->after_key);
	before_item(out);
	add_string(out->buf, key, strlen(key));
	if (out->pretty)
		buf_add(out->buf, ": ", 2);
	else
		buf_add_char(out->buf, ':');
	out->after_key = true;
}

void json_out_text(struct json_out *out, const char *text)
{
	if (text)
		json_out_text_len(out, text, strlen(text));
	else
		json_out_null(out);
}

void json_out_text_len(struct json_out *out, const char *text, size_t len)
{
	before_value(out);
	add_string(out->buf, text, len);
}

void json_out_integer(struct json_out *out, int64_t value)
{
	before_value(out);
	buf_add_integer(out->buf, value);
}

void json_out_boolean(struct json_out *out, bool value)
{
	before_value(out);
	buf_add_text(out->buf, value ? "true" : "false");
}

void json_out_null(struct json_out *out)
{
	json_out_raw(out, "null", 4);
}

void json_out_raw(struct json_out *out, const char *json, size_t len)
{
	before_value(out);
	buf_add(out->buf, json, len);
}

void json_out_key_text(struct json_out *out, const char *key, const char *text)
{
	json_out_key(out, key);
	json_out_text(out, text);
}

void json_out_key_integer(struct json_out *out, const char *key, int64_t value)
{
	json_out_key(out, key);
	json_out_integer(out, value);
}

void json_out_key_boolean(struct json_out *out, const char *key, bool value)
{
	json_out_key(out, key);
	json_out_boolean(out, value);
}

void json_out_key_raw(struct json_out *out, const char *key, const char *json)
{
	json_out_key(out, key);
	json_out_raw(out, json, strlen(json));
}
