/*
 * build/tests/support/standin: the Intercom stand-in on a loopback port.
 *
 *   standin --port 0 --token secret --limit 100 --window-ms 1000
 *   listening on 127.0.0.1:41234
 *   control on 127.0.0.1:41235
 *
 * One thread, one epoll: HTTP/1.1 with kept connections, one request at a time on each. An answer
 * that is delayed waits in a heap by its due time, so hundreds can wait at once; a connection that
 * a fault drops is closed when its answer would have been due.
 *
 * Tests steer it under /_standin/, on the same port or, when that one is down, on the control port:
 *
 *   POST /_standin/rules      scripted faults, see standin_add_rules; DELETE removes them all
 *   POST /_standin/contact    presets a contact; answers {"id":"…"}
 *   POST /_standin/attribute  presets a custom attribute {"name":"…","data_type":"…"}
 *   POST /_standin/options    any of limit, window_ms, reset_offset_ms, delay_ms, token (null: none
 *                             needed), no_headers, strict_attributes, light, and down:
 *                             "reset" (or true) resets every connection as it comes, "refuse"
 * doesn't listen, "hang" takes connections and says nothing; false: up again POST /_standin/reset
 * forgets everything but the options GET  /_standin/state      all of it, see standin_report.c;
 * /_standin/totals: the numbers
 *
 * Ends on SIGTERM, SIGINT, and when its stdin closes, so that no test leaves it behind.
 */

#include "support/standin.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/heap.h"
#include "base/text.h"
#include "base/xalloc.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX ((size_t)8 * 1024 * 1024)
#define OUT_MAX ((size_t)1024 * 1024 * 1024)
#define EVENTS_MAX 256
#define BACKLOG 4096
#define CONTROL "/_standin/"

enum watch_kind { WATCH_LISTENER, WATCH_CONTROL, WATCH_SIGNALS, WATCH_STDIN, WATCH_CONNECTION };

enum down { UP, DOWN_RESET, DOWN_REFUSE, DOWN_HANG };

/* What an epoll event points at. */
struct watch {
	enum watch_kind kind;
	int fd;
};

struct connection {
	struct watch watch; /* first; fd -1: closed, freed at the end of the round */
	struct connection *previous;
	struct connection *next;
	struct buf in;
	struct buf out;
	size_t sent;
	struct heap_item due; /* of a delayed answer */
	bool is_control;      /* came by the control port */
	bool waits;           /* for `due` */
	bool close_after;
	bool drop;      /* close instead of sending */
	bool wants_out; /* EPOLLOUT is asked for */
};

struct server {
	int epoll;
	struct watch listener;
	struct watch control;
	struct watch signals;
	struct watch input;
	struct standin *standin;
	struct standin_answer answer;
	struct heap due;
	struct connection *connections;
	struct connection *closed;
	enum down down;
	int64_t wall_ms;
	int64_t mono_ms;
	bool ends;
};

/* One request as it lies in a connection's buffer; the strings are NUL-terminated in place. */
struct parsed {
	struct standin_request request;
	size_t size; /* of all of it */
	bool keep_alive;
	bool expects_continue;
};

/* ---- connections ---- */

static void watch_add(struct server *server, struct watch *watch)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch};
	/* EPERM: a plain file (stdin) has nothing to wait for. */
	if (epoll_ctl(server->epoll, EPOLL_CTL_ADD, watch->fd, &event) != 0 && errno != EPERM) {
		perror("standin: epoll_ctl");
		exit(1);
	}
}

static void want_out(struct server *server, struct connection *connection, bool wants)
{
	if (connection->wants_out == wants)
		return;
	connection->wants_out = wants;
	struct epoll_event event = {
		.events = EPOLLIN | (wants ? EPOLLOUT : 0u),
		.data.ptr = &connection->watch,
	};
	(void)epoll_ctl(
		server->epoll, EPOLL_CTL_MOD, connection->watch.fd, &event); /* it is in there */
}

static void connection_close(struct server *server, struct connection *connection, bool reset)
{
	if (connection->watch.fd < 0)
		return;
	if (reset) {
		const struct linger hard = {.l_onoff = 1, .l_linger = 0};
		(void)setsockopt(connection->watch.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	}
	(void)close(connection->watch.fd); /* the peer sees to the rest */
	connection->watch.fd = -1;
	if (heap_item_is_in(&connection->due))
		heap_remove(&server->due, &connection->due);
	if (connection->previous)
		connection->previous->next = connection->next;
	else
		server->connections = connection->next;
	if (connection->next)
		connection->next->previous = connection->previous;
	connection->next = server->closed;
	server->closed = connection;
}

static void free_closed(struct server *server)
{
	while (server->closed) {
		struct connection *connection = server->closed;
		server->closed = connection->next;
		buf_finish(&connection->in);
		buf_finish(&connection->out);
		free(connection);
	}
}

static void accept_one(struct server *server, int fd, bool is_control)
{
	const int on = 1;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* only slower without */
	struct connection *connection = xcalloc(1, sizeof(*connection));
	connection->watch = (struct watch){.kind = WATCH_CONNECTION, .fd = fd};
	connection->is_control = is_control;
	connection->due.owner = connection;
	buf_init(&connection->in, REQUEST_MAX);
	buf_init(&connection->out, OUT_MAX);
	connection->next = server->connections;
	if (connection->next)
		connection->next->previous = connection;
	server->connections = connection;
	if (server->down == DOWN_RESET && !is_control)
		connection_close(server, connection, true);
	else if (server->down != DOWN_HANG || is_control)
		watch_add(server, &connection->watch);
}

static void accept_all(struct server *server, const struct watch *watch)
{
	for (;;) {
		const int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		accept_one(server, fd, watch->kind == WATCH_CONTROL);
	}
}

/* ---- going down and up ---- */

static void go_down(struct server *server, enum down down, const struct connection *but)
{
	struct connection *next = NULL;
	const bool was_refusing = server->down == DOWN_REFUSE;
	server->down = down;
	for (struct connection *connection = server->connections; connection; connection = next) {
		next = connection->next;
		if (connection == but || connection->is_control)
			continue;
		/* One that hung stays mute for ever: reset it, so that the client notices. */
		connection_close(server, connection, true);
	}
	if (down == DOWN_REFUSE)
		(void)shutdown(
			server->listener.fd, SHUT_RD); /* Linux: listens no more, keeps the port */
	else if (was_refusing && listen(server->listener.fd, BACKLOG) != 0)
		perror("standin: listen");
}

static bool read_down(const json_t *value, enum down *ret_down)
{
	static const char *const names[] = {"", "reset", "refuse", "hang", NULL};
	if (json_is_boolean(value)) {
		*ret_down = json_is_true(value) ? DOWN_RESET : UP;
		return true;
	}
	for (int i = DOWN_RESET; names[i]; i++)
		if (text_equal(json_string_value(value), names[i])) {
			*ret_down = (enum down)i;
			return true;
		}
	return false;
}

/* ---- the control API ---- */

static void read_number(const json_t *object, const char *key, int64_t *value)
{
	const json_t *given = json_object_get(object, key);
	if (json_is_integer(given))
		*value = json_integer_value(given);
}

static void read_flag(const json_t *object, const char *key, bool *value)
{
	const json_t *given = json_object_get(object, key);
	if (json_is_boolean(given))
		*value = json_is_true(given);
}

static bool change_options(struct server *server, const json_t *json,
	const struct connection *connection, struct error *err)
{
	struct standin_options options = *standin_get_options(server->standin);
	read_number(json, "limit", &options.limit);
	read_number(json, "window_ms", &options.window_ms);
	read_number(json, "reset_offset_ms", &options.reset_offset_ms);
	read_number(json, "delay_ms", &options.delay_ms);
	read_flag(json, "no_headers", &options.no_headers);
	read_flag(json, "strict_attributes", &options.strict_attributes);
	read_flag(json, "light", &options.light);
	const json_t *token = json_object_get(json, "token");
	if (token)
		options.token = json_string_value(token); /* null: NULL */
	standin_configure(server->standin, &options);
	const json_t *down = json_object_get(json, "down");
	enum down new_down = UP;
	if (down && !read_down(down, &new_down))
		return error_set(err, "down is true, false, reset, refuse or hang");
	if (down)
		go_down(server, new_down, connection);
	return true;
}

static bool preset_attribute(struct server *server, const json_t *json, struct error *err)
{
	const char *name = json_string_value(json_object_get(json, "name"));
	const char *type = json_string_value(json_object_get(json, "data_type"));
	if (!name || !type)
		return error_set(err, "name and data_type are wanted");
	standin_add_attribute(server->standin, name, type);
	return true;
}

static bool control_with_json(struct server *server, const struct standin_request *request,
	const struct connection *connection, struct error *err)
{
	json_error_t where;
	json_t *json = json_loadb(request->body, request->body_len, 0, &where);
	bool ok = false;
	if (!json)
		(void)error_set(err, "not JSON: %s", where.text);
	else if (strcmp(request->path, CONTROL "options") == 0)
		ok = change_options(server, json, connection, err);
	else
		ok = preset_attribute(server, json, err);
	json_decref(json);
	return ok;
}

/* Answers into server->answer. */
static void control(struct server *server, const struct standin_request *request,
	const struct connection *connection)
{
	struct standin_answer *answer = &server->answer;
	struct error err = {0};
	char id[32] = "";
	const char *what = request->path + strlen(CONTROL);
	const bool is_get = strcmp(request->method, "GET") == 0;
	bool ok = true;
	buf_clear(&answer->headers);
	buf_add_text(&answer->headers, "Content-Type: application/json\r\n");
	buf_clear(&answer->body);
	answer->status = 200;
	answer->delay_ms = 0;
	answer->drop = STANDIN_ANSWER;
	if (is_get && strcmp(what, "state") == 0)
		standin_write_state(server->standin, &answer->body);
	else if (is_get && strcmp(what, "totals") == 0)
		standin_write_totals(server->standin, &answer->body);
	else if (is_get)
		ok = error_set(&err, "no such thing to get: %s", what);
	else if (strcmp(what, "rules") == 0 && strcmp(request->method, "DELETE") == 0)
		standin_clear_rules(server->standin);
	else if (strcmp(what, "rules") == 0)
		ok = standin_add_rules(server->standin, request->body, request->body_len, &err);
	else if (strcmp(what, "reset") == 0)
		standin_reset(server->standin);
	else if (strcmp(what, "contact") == 0)
		ok = standin_add_contact(
			server->standin, request->body, request->body_len, id, &err);
	else if (strcmp(what, "options") == 0 || strcmp(what, "attribute") == 0)
		ok = control_with_json(server, request, connection, &err);
	else
		ok = error_set(&err, "no such thing: %s", what);
	if (!ok) {
		answer->status = 400;
		buf_addf(&answer->body, "{\"error\":\"%s\"}", err.text);
	} else if (!answer->body.len) {
		buf_addf(&answer->body, "{\"id\":\"%s\"}", id);
	}
}

/* ---- HTTP ---- */

static const char *reason_of(int status)
{
	switch (status) {
	case 200: return "OK";
	case 202: return "Accepted";
	case 400: return "Bad Request";
	case 401: return "Unauthorized";
	case 404: return "Not Found";
	case 409: return "Conflict";
	case 429: return "Too Many Requests";
	default: return "Whatever";
	}
}

/* The value of a header line if it is `name` (lower case, with the colon); else NULL. */
static char *value_of(char *line, const char *name)
{
	const size_t len = strlen(name);
	if (strncasecmp(line, name, len) != 0)
		return NULL;
	return line + len + strspn(line + len, " \t");
}

static bool read_header(char *line, struct parsed *parsed, size_t *body_len)
{
	struct standin_request *request = &parsed->request;
	char *value = NULL;
	switch (line[0] | 0x20) {
	case 'a':
		if ((value = value_of(line, "authorization:")))
			request->authorization = value;
		else if ((value = value_of(line, "accept:")))
			request->accept = value;
		return true;
	case 'c':
		if ((value = value_of(line, "content-length:"))) {
			int64_t number = 0;
			if (!text_to_int64(value, &number) || number < 0)
				return false;
			*body_len = (size_t)number;
		} else if ((value = value_of(line, "content-type:"))) {
			request->content_type = value;
		} else if ((value = value_of(line, "connection:"))) {
			parsed->keep_alive = strcasecmp(value, "close") != 0;
		}
		return true;
	case 'e': parsed->expects_continue = value_of(line, "expect:") != NULL; return true;
	case 'i':
		if ((value = value_of(line, "intercom-version:")))
			request->intercom_version = value;
		return true;
	case 't': return !value_of(line, "transfer-encoding:"); /* no client here needs it */
	default: return true;
	}
}

enum parse { PARSE_MORE, PARSE_DONE, PARSE_BAD };

static bool read_request_line(char *line, struct parsed *parsed)
{
	char *path = strchr(line, ' ');
	char *version = path ? strchr(path + 1, ' ') : NULL;
	if (!version || path[1] != '/')
		return false;
	*path++ = '\0';
	*version++ = '\0';
	parsed->request.method = line;
	parsed->request.path = path;
	parsed->keep_alive = strcmp(version, "HTTP/1.1") == 0;
	return true;
}

/* Looks at the head in a scratch copy, so that a request that isn't whole yet stays as it came. */
static enum parse parse(struct buf *in, char *scratch, size_t scratch_size, struct parsed *ret)
{
	*ret = (struct parsed){0};
	const char *end = in->len ? memmem(in->data, in->len, "\r\n\r\n", 4) : NULL;
	if (!end)
		return in->len < scratch_size ? PARSE_MORE : PARSE_BAD;
	const size_t head_len = (size_t)(end - in->data) + 2; /* with the last line's end */
	if (head_len >= scratch_size)
		return PARSE_BAD;
	memcpy(scratch, in->data, head_len);
	scratch[head_len] = '\0';
	size_t body_len = 0;
	char *line = scratch;
	for (char *line_end = strstr(line, "\r\n"); line_end; line_end = strstr(line, "\r\n")) {
		*line_end = '\0';
		const bool ok = line == scratch ? read_request_line(line, ret)
						: read_header(line, ret, &body_len);
		if (!ok)
			return PARSE_BAD;
		line = line_end + 2;
	}
	ret->size = head_len + 2 + body_len;
	if (ret->size > REQUEST_MAX)
		return PARSE_BAD;
	ret->request.body = in->data + head_len + 2;
	ret->request.body_len = body_len;
	return in->len < ret->size ? PARSE_MORE : PARSE_DONE;
}

static void send_out(struct server *server, struct connection *connection)
{
	while (connection->sent < connection->out.len) {
		const ssize_t n =
			send(connection->watch.fd, connection->out.data + connection->sent,
				connection->out.len - connection->sent, MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			want_out(server, connection, true);
			return;
		}
		if (n < 0) {
			connection_close(server, connection, false);
			return;
		}
		connection->sent += (size_t)n;
	}
	buf_clear(&connection->out);
	connection->sent = 0;
	want_out(server, connection, false);
	if (connection->close_after)
		connection_close(server, connection, false);
}

static void put_answer(struct server *server, struct connection *connection, bool keep_alive)
{
	const struct standin_answer *answer = &server->answer;
	struct buf *out = &connection->out;
	const size_t start = out->len;
	connection->close_after = !keep_alive;
	connection->drop =
		answer->drop == STANDIN_DROP_BEFORE || answer->drop == STANDIN_DROP_AFTER;
	buf_add_text(out, "HTTP/1.1 ");
	buf_add_integer(out, answer->status);
	buf_add_char(out, ' ');
	buf_add_text(out, reason_of(answer->status));
	buf_add_text(out, "\r\n");
	buf_add(out, buf_text(&answer->headers), answer->headers.len);
	buf_add_text(
		out, keep_alive ? "Content-Length: " : "Connection: close\r\nContent-Length: ");
	buf_add_integer(out, (long long)answer->body.len);
	buf_add_text(out, "\r\n\r\n");
	const size_t head_end = out->len;
	buf_add(out, buf_text(&answer->body), answer->body.len);
	if (answer->drop == STANDIN_DROP_MIDWAY) {
		const size_t body_len = answer->body.len;
		out->len = body_len ? head_end + body_len / 2 : start + (head_end - start) / 2;
		connection->close_after = true;
	}
}

static void answer_now(struct server *server, struct connection *connection)
{
	connection->waits = false;
	if (connection->drop)
		connection_close(server, connection, false);
	else
		send_out(server, connection);
}

static void handle_request(
	struct server *server, struct connection *connection, struct parsed *parsed)
{
	if (text_starts_with(parsed->request.path, CONTROL))
		control(server, &parsed->request, connection);
	else
		standin_handle(server->standin, server->wall_ms, &parsed->request, &server->answer);
	put_answer(server, connection, parsed->keep_alive);
	if (parsed->size < connection->in.len)
		memmove(connection->in.data, connection->in.data + parsed->size,
			connection->in.len - parsed->size);
	connection->in.len -= parsed->size;
	if (server->answer.delay_ms > 0) {
		connection->waits = true;
		heap_insert(
			&server->due, &connection->due, server->mono_ms + server->answer.delay_ms);
	} else {
		answer_now(server, connection);
	}
}

static void handle_requests(struct server *server, struct connection *connection)
{
	char scratch[32 * 1024];
	while (connection->watch.fd >= 0 && !connection->waits && !connection->out.len) {
		struct parsed parsed;
		const enum parse state = parse(&connection->in, scratch, sizeof(scratch), &parsed);
		if (state == PARSE_BAD) {
			buf_add_text(&connection->out,
				"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: "
				"0\r\n\r\n");
			connection->close_after = true;
			send_out(server, connection);
			return;
		}
		if (state == PARSE_MORE && parsed.expects_continue && parsed.request.body)
			(void)!send(connection->watch.fd, "HTTP/1.1 100 Continue\r\n\r\n", 25,
				MSG_NOSIGNAL);
		if (state == PARSE_MORE)
			return;
		handle_request(server, connection, &parsed);
	}
}

static void read_in(struct server *server, struct connection *connection)
{
	static char chunk[64 * 1024];
	const ssize_t n = recv(connection->watch.fd, chunk, sizeof(chunk), 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || !buf_add(&connection->in, chunk, (size_t)n)) {
		connection_close(server, connection, false);
		return;
	}
	handle_requests(server, connection);
}

/* ---- the loop ---- */

static void handle_event(struct server *server, const struct epoll_event *event)
{
	struct watch *watch = event->data.ptr;
	struct connection *connection = event->data.ptr; /* its first member is a watch */
	char byte[64];
	switch (watch->kind) {
	case WATCH_LISTENER:
	case WATCH_CONTROL: accept_all(server, watch); return;
	case WATCH_SIGNALS: server->ends = true; return;
	case WATCH_STDIN: server->ends = read(watch->fd, byte, sizeof(byte)) <= 0; return;
	case WATCH_CONNECTION: break;
	}
	if (watch->fd >= 0 && event->events & EPOLLOUT) {
		send_out(server, connection);
		if (watch->fd >= 0)
			handle_requests(server, connection);
	}
	if (watch->fd >= 0 && event->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		read_in(server, connection);
}

static int wait_ms(const struct server *server)
{
	const struct heap_item *first = heap_peek(&server->due);
	if (!first)
		return -1;
	const int64_t span_ms = first->key - clock_mono_ms(&clock_system);
	return span_ms <= 0 ? 0 : (int)(span_ms > 60000 ? 60000 : span_ms);
}

static void send_due(struct server *server)
{
	struct heap_item *first = NULL;
	while ((first = heap_peek(&server->due)) && first->key <= server->mono_ms) {
		struct connection *connection = heap_pop(&server->due)->owner;
		answer_now(server, connection);
		if (connection->watch.fd >= 0)
			handle_requests(server, connection);
	}
}

static void run(struct server *server)
{
	struct epoll_event events[EVENTS_MAX];
	while (!server->ends) {
		const int count = epoll_wait(server->epoll, events, EVENTS_MAX, wait_ms(server));
		server->wall_ms = clock_wall_ms(&clock_system);
		server->mono_ms = clock_mono_ms(&clock_system);
		for (int i = 0; i < count; i++)
			handle_event(server, &events[i]);
		send_due(server);
		free_closed(server);
	}
}

/* ---- start ---- */

static int bound_socket(uint16_t *port)
{
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	const int on = 1;
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(*port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(address);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
		bind(fd, (const struct sockaddr *)&address, len) != 0 ||
		getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
		perror("standin: bind");
		exit(1);
	}
	*port = ntohs(address.sin_port);
	return fd;
}

/* Binds to the port by its number even when any will do: only then does the kernel keep it for a
 * socket that stops listening for a while (down = refuse). */
static uint16_t listen_on(
	struct server *server, struct watch *watch, enum watch_kind kind, uint16_t port)
{
	const int finder = bound_socket(&port);
	*watch = (struct watch){.kind = kind, .fd = bound_socket(&port)};
	(void)close(finder); /* it was never used */
	if (listen(watch->fd, BACKLOG) != 0) {
		perror("standin: listen");
		exit(1);
	}
	watch_add(server, watch);
	return port;
}

static void allow_many_files(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit); /* else fewer connections */
}

static void start(struct server *server, const struct standin_options *options, uint16_t port)
{
	sigset_t ending;
	sigemptyset(&ending);
	sigaddset(&ending, SIGTERM);
	sigaddset(&ending, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &ending, NULL); /* these arguments can't fail */
	allow_many_files();
	heap_init(&server->due);
	standin_answer_init(&server->answer);
	server->answer.body.max = OUT_MAX; /* for /_standin/state */
	server->standin = standin_create(options);
	server->epoll = epoll_create1(EPOLL_CLOEXEC);
	server->signals =
		(struct watch){.kind = WATCH_SIGNALS, .fd = signalfd(-1, &ending, SFD_CLOEXEC)};
	server->input = (struct watch){.kind = WATCH_STDIN, .fd = STDIN_FILENO};
	watch_add(server, &server->signals);
	watch_add(server, &server->input);
	port = listen_on(server, &server->listener, WATCH_LISTENER, port);
	const uint16_t control_port = listen_on(server, &server->control, WATCH_CONTROL, 0);
	printf("listening on 127.0.0.1:%u\ncontrol on 127.0.0.1:%u\n", port, control_port);
	(void)fflush(stdout); /* whoever waits for it will notice */
}

static void stop(struct server *server)
{
	while (server->connections)
		connection_close(server, server->connections, false);
	free_closed(server);
	heap_finish(&server->due);
	standin_answer_finish(&server->answer);
	standin_destroy(server->standin);
	(void)close(server->listener.fd);
	(void)close(server->control.fd);
	(void)close(server->signals.fd);
	(void)close(server->epoll);
}

static const char help[] =
	"usage: standin [options]: a stand-in for Intercom on 127.0.0.1\n"
	"  --port N             0: any free one, printed on stdout (default 0)\n"
	"  --token TEXT         the access token that is asked for (default: any)\n"
	"  --limit N            calls per window; 0: no limit and no X-RateLimit headers (default "
	"0)\n"
	"  --window-ms N        (default 10000)\n"
	"  --reset-offset-ms N  X-RateLimit-Reset comes so long after the window's end (default "
	"0)\n"
	"  --no-headers         keep the limit, leave out the headers\n"
	"  --delay-ms N         answer so late (default 0)\n"
	"  --strict-attributes  custom attributes must exist and have the right type\n"
	"  --light              for the bench: no validation, keep contacts and numbers only\n"
	"  --help\n";

static int64_t number_or_die(const char *text)
{
	int64_t number = 0;
	if (!text_to_int64(text, &number) || number < 0) {
		fprintf(stderr, "standin: not a number: %s\n", text);
		exit(2);
	}
	return number;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"port", required_argument, NULL, 'p'},
		{"token", required_argument, NULL, 't'},
		{"limit", required_argument, NULL, 'l'},
		{"window-ms", required_argument, NULL, 'w'},
		{"reset-offset-ms", required_argument, NULL, 'o'},
		{"no-headers", no_argument, NULL, 'n'},
		{"delay-ms", required_argument, NULL, 'd'},
		{"strict-attributes", no_argument, NULL, 's'},
		{"light", no_argument, NULL, 'L'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct standin_options options = {0};
	int64_t port = 0;
	for (int c = 0; (c = getopt_long(argc, argv, "h", long_options, NULL)) != -1;) {
		switch (c) {
		case 'p': port = number_or_die(optarg); break;
		case 't': options.token = optarg; break;
		case 'l': options.limit = number_or_die(optarg); break;
		case 'w': options.window_ms = number_or_die(optarg); break;
		case 'o': options.reset_offset_ms = number_or_die(optarg); break;
		case 'n': options.no_headers = true; break;
		case 'd': options.delay_ms = number_or_die(optarg); break;
		case 's': options.strict_attributes = true; break;
		case 'L': options.light = true; break;
		case 'h': fputs(help, stdout); return 0;
		default: fputs(help, stderr); return 2;
		}
	}
	struct server server = {0};
	start(&server, &options, (uint16_t)port);
	run(&server);
	stop(&server);
	return 0;
}
