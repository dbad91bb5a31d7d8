#ifndef SUBRELAY_STORE_SCHEMA_H
#define SUBRELAY_STORE_SCHEMA_H

/*
 * The tables, as numbered migrations. Entry N - 1 of the list turns a database of version N - 1
 * into version N; an entry that was released is never changed again. PRAGMA user_version holds the
 * version.
 */

extern const char *const schema_migrations[];
extern const int schema_version; /* how many there are */

#endif
