#ifndef SUBRELAY_ADMIN_CLIENT_PRIVATE_H
#define SUBRELAY_ADMIN_CLIENT_PRIVATE_H

/*
 * The asking side of the control socket, for the verbs: finds the socket, sends a request, reads
 * the whole answer before anything of it is printed, and says what went wrong.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf;
struct cli_command;
struct error;

/* Where to ask, as the command line says it. */
struct client_place {
	const char *config; /* never NULL */
	const char *socket; /* NULL: find it */
};

#define CLIENT_PLACE ((struct client_place){.config = CLI_DEFAULT_CONFIG})
/* Rows of a verb's cli_flag list. */
#define CLIENT_FLAGS(place)                                           \
	{.name = "config", .letter = 'c', .value = &(place)->config}, \
	{                                                             \
		.name = "socket", .value = &(place)->socket           \
	}
#define CLIENT_HELP                                                                          \
	"  -c, --config FILE   where [control] socket is looked up; default\n"               \
	"                      " CLI_DEFAULT_CONFIG "\n"                                     \
	"      --socket PATH   the control socket itself ($SUBRELAY_CONTROL_SOCKET does as " \
	"well)\n"

/*
 * The control socket's path into `ret`: as given, else by the environment, else what the file says
 * of [control] socket, whatever else is wrong with the file. True when it is known; false when the
 * file couldn't be read (err says why) and the default is a guess.
 */
bool client_find_socket(const struct client_place *place, struct buf *ret, struct error *err);

/* The rows of the answer, a JSON array that the caller owns; NULL: err says why there is none. */
json_t *client_ask(const char *path, const json_t *request, struct error *err);

/* Both, with the words on stderr where it fails. Takes the request. */
json_t *client_run_take(
	const struct cli_command *command, const struct client_place *place, json_t *request);

/* Connects and sends; the caller reads the answer and closes. -1, with the words on stderr, where it
 * fails. Takes the request. */
int client_open_take(
	const struct cli_command *command, const struct client_place *place, json_t *request);

/* ---- printing ---- */

/* Indented, with a newline, on stdout. */
void client_print_json(const json_t *json);

/* Borrowed; "" when it isn't there, null or no string. */
const char *client_text(const json_t *object, const char *key);
/* Text from outside, so that nothing of it steers the terminal. */
void client_print_text(const char *text);
int64_t client_integer(const json_t *object, const char *key);
/* "2026-11-21 05:36:08" of an ISO time; "-" of none. */
const char *client_time(const json_t *object, const char *key, char ret[32]);

#endif
