#ifndef SUBRELAY_BASE_TEXT_H
#define SUBRELAY_BASE_TEXT_H

/*
 * Strict readers for numbers, spans and sizes, and small text helpers. Everything refuses what it
 * does not understand whole (no trailing bytes, no overflow). Pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decimal, optional leading '-', no blanks. */
bool text_to_int64(const char *text, int64_t *ret_value);
/* 500ms, 30s, 15m, 2h, 3d -> milliseconds. A unit is required, except for 0. */
bool text_to_duration_ms(const char *text, int64_t *ret_ms);
/* 65536, 64k, 1M, 2G (powers of 1024, the letter in either case) -> bytes. */
bool text_to_size(const char *text, int64_t *ret_bytes);
/* yes/no, on/off, true/false, 1/0, in any case. */
bool text_to_bool(const char *text, bool *ret_value);

bool text_equal(const char *a, const char *b); /* NULL equals only NULL */
bool text_starts_with(const char *text, const char *prefix);
/* Cuts blanks off both ends in place; returns the first byte kept. */
char *text_trim(char *text);

/* Levenshtein distance, for "did you mean …". */
size_t text_distance(const char *a, const char *b);

/* How many bytes the well-formed UTF-8 character at text has (1 to 4); 0 when there is none. */
size_t text_utf8_len(const char *text, size_t len);
/* True when all of [text, text+len) is well-formed UTF-8 (no surrogates, no overlong forms). */
bool text_is_utf8(const char *text, size_t len);

/* What a hexadecimal digit, lower or upper case, stands for; -1 when it is none. */
int text_hex_digit(char c);

/* A 64-bit hash of a text (FNV-1a). For indexes whose hits are compared in full afterwards. */
uint64_t text_hash(const char *text, size_t len, uint64_t seed);

/* "2026-11-21T05:36:08.123Z" into ret (at least 25 bytes); "-" for TIME_NONE and outside
 * the years 0 to 9999. */
void text_from_time(int64_t at_ms, char *ret, size_t ret_size);
/* "3d4h", "12m", "45s", "230ms": the largest unit and, unless 0, the next; for people. At least 32
 * bytes. */
void text_from_span(int64_t span_ms, char *ret, size_t ret_size);

#endif
