#ifndef SUBRELAY_CONF_CONF_PRIVATE_H
#define SUBRELAY_CONF_CONF_PRIVATE_H

/*
 * What the files of conf/ share. The way of a value:
 *
 *   ini_file.c, environment.c  what was written, checked against the vocabulary (tables.c, kinds.c)
 * only
 *        -> given.c            sections of settings, each knowing its place; environment over file
 *        -> fill.c             one section's struct by its table (options.c reads one value)
 *        -> names.c            [event_names] and [attributes]
 *        -> check.c            what must hold between options
 *        -> conf.c             all of it, in order
 */

#include "conf/conf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct secret;

/* Where something was written: a line, a variable, or (neither) the file as a whole. */
struct place {
	const char *file; /* NULL: there is no file */
	int line;
	const char *variable;
};

/* report.c */
void conf_report_problem(struct conf_report *report, struct place place, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void conf_report_warning(struct conf_report *report, struct place place, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void conf_report_sort(struct conf_report *report);

/* "did you mean": offer every candidate, then ask. */
struct guess {
	const char *text;
	const char *best;
	size_t distance;
};
void guess_init(struct guess *guess, const char *text);
void guess_offer(struct guess *guess, const char *candidate);
/* "; did you mean 'x'?" into ret, or "" when nothing came near. */
void guess_say(const struct guess *guess, char *ret, size_t ret_size);

/* A value of the user's for a message: cut, and without bytes that don't print. */
struct shown {
	char text[72];
};
struct shown conf_show(const char *value);

/* tables.c, kinds.c: the vocabulary. A kind is what stands in a section's name before the dot. */
enum kind_class { KIND_SINGLE, KIND_WORKSPACE, KIND_SOURCE, KIND_EVENT_NAMES, KIND_ATTRIBUTES };

struct kind {
	const char *stem;
	enum kind_class class;
	const struct option *table;  /* NULL for the two lists of names */
	size_t offset;               /* KIND_SINGLE: of its struct in struct conf */
	const struct source *source; /* KIND_SOURCE */
};

bool kind_at(size_t index, struct kind *ret_kind); /* false past the last */
bool kind_find(const char *stem, size_t stem_len, struct kind *ret_kind);
bool kind_has_suffixes(const struct kind *kind);
/* NULL past the last. A secret's KEY_file is not listed. */
const char *kind_key_at(const struct kind *kind, size_t index, bool *ret_is_secret);
bool kind_has_key(const struct kind *kind, const char *key);

extern const struct kind conf_own_kinds[]; /* ends with a NULL stem */
extern const struct option conf_workspace_table[];

/* addresses.c: readers for OPTION_CUSTOM. */
bool address_parse(const char *text, void *member, struct error *err);
bool address_equal(const void *a, const void *b);
bool base_url_parse(const char *text, void *member, struct error *err);

/* given.c: what was written. */
struct setting {
	char *key;
	char *value; /* "" when blank; wiped when freed */
	int line;
	char *variable; /* NULL: from the file */
};

struct section {
	char *name;
	const char *suffix; /* points into name; "" when there is none */
	struct kind kind;
	int line;
	char *variable; /* of the environment, when it is not in the file */
	struct setting *settings;
	size_t setting_count;
};

struct given {
	const char *path; /* of the INI file; NULL: none */
	const char *credentials_directory;
	struct conf_report *report;
	bool for_map;             /* a missing secret or source is no problem */
	struct section *sections; /* in the order of their first appearance */
	size_t section_count;
	bool has_unknown_section;
	bool warned_world_readable;
	bool file_is_world_readable;
};

void given_finish(struct given *given);
struct section *given_section_get(const struct given *given, const char *name);
struct section *given_section_add(struct given *given, const char *name, const struct kind *kind);
/* Reports an unknown section, key, … and takes what is known. */
void given_open_section(struct given *given, const char *name, int line);
void given_add(struct given *given, const char *section_name, const char *key, const char *value,
	int line);
/* The environment's word replaces the file's KEY and KEY_file. */
void given_override(struct section *section, const char *key, const char *base_key,
	const char *value, const char *variable);
/* NULL when it is absent or blank; `ending` is put after the key. */
const struct setting *given_setting_get(
	const struct section *section, const char *key, const char *ending);

struct place given_place_of_setting(const struct given *given, const struct setting *setting);
struct place given_place_of_section(const struct given *given, const struct section *section);
/* Of the key's setting; of its section when it isn't given; of line 1 when that isn't either. */
struct place given_place_of_key(
	const struct given *given, const struct section *section, const char *key);

#define KEY_FILE_ENDING "_file"
#define SECRET_STAND_IN "?" /* for one that is missing, while the rest is checked */
#define SUFFIX_LEN_MAX 32

/* ini_file.c: false when the file can't be read at all (which is reported). */
bool ini_file_read(struct given *given);
/* environment.c */
void environment_read(struct given *given, char *const *environment);

/* secret_file.c */
bool secret_file_read(const struct given *given, const char *path, struct secret *ret_secret,
	bool *ret_is_world_readable, struct error *err);

/* options.c: one value by its row. */
bool option_read(const struct option *row, const char *text, void *options, struct error *err);
bool option_equal(const struct option *row, const void *a, const void *b);
const struct option *option_find(const struct option *table, const char *key);
void options_init(const struct option *table, void *options); /* defaults into a zeroed struct */
void options_finish(const struct option *table, void *options);

/* fill.c: into a zeroed struct; `section` NULL: defaults. */
void fill_options(struct given *given, const struct section *section, const char *section_name,
	const struct option *table, void *options);

/* names.c */
void names_fill(struct given *given, struct conf *conf);
void names_finish(struct conf_name *names, size_t count);

/* check.c */
void check_all(const struct given *given, struct conf *conf);

#endif
