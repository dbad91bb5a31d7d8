#ifndef SUBRELAY_STORE_SCHEMA_H
#define SUBRELAY_STORE_SCHEMA_H

/*
 * The tables, as numbered migrations. Entry N - 1 of the list turns a database of version N - 1
 * into version N; an entry that was released is never changed again. PRAGMA user_version holds the
 * version. Each release's version has a file tests/support/schema/N.sql that it made, from which a
 * test migrates.
 */

extern const char *const schema_migrations[];
extern const int schema_version; /* how many there are */

/* PRAGMA application_id: "subr". Files that version 1 made first have 0 until they are migrated. */
#define SCHEMA_APPLICATION_ID 0x73756272

#endif
