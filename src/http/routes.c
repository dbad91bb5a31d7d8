/*
 * Route tables by configuration, counted by the requests that use them.
 */

#include "http/routes.h"

#include "base/error.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "intake.h"
#include "store/store.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* One route's context: which section of which configuration. */
struct route_context {
	struct table *table;
	const struct conf_source *section;
};

/* The routes of one configuration. `rows` comes first: the listener hands it back. */
struct table {
	struct http_route *rows;
	struct route_context *contexts;
	struct routes *routes;
	struct conf *conf;
	unsigned users;     /* routes->lock; the current table has one more */
	struct table *next; /* tables in use, newest first */
};

struct routes {
	struct intake *intake;
	struct store *store;
	pthread_mutex_t lock;
	struct table *tables; /* lock; the first is the current one */
};

/* ---- handlers ---- */

static const char *header_of(void *context, const char *name)
{
	return exchange_header(context, name);
}

static void pass_answer(void *context, const struct intake_answer *answer)
{
	exchange_answer(context,
		&(struct http_answer){.status = answer->status,
			.body = answer->body,
			.body_len = strlen(answer->body),
			.retry_after_s = answer->retry_after_s,
			.close = answer->status >= 400 && answer->status < 500,
			.is_known = answer->status == 200});
}

static bool screen_webhook(void *context, struct exchange *exchange)
{
	const struct route_context *route = context;

	return intake_screen(route->table->routes->intake,
		&(struct intake_request){.conf = route->table->conf,
			.section = route->section,
			.header = header_of,
			.context = exchange});
}

static void handle_webhook(
	void *context, struct exchange *exchange, const struct http_request *request)
{
	const struct route_context *route = context;

	intake_receive(route->table->routes->intake,
		&(struct intake_request){.conf = route->table->conf,
			.section = route->section,
			.header = header_of,
			.body = request->body,
			.body_len = request->body_len,
			.answer = pass_answer,
			.context = exchange});
}

static void answer_text(struct exchange *exchange, unsigned status, const char *body)
{
	exchange_answer(exchange,
		&(struct http_answer){.status = status,
			.body = body,
			.body_len = strlen(body),
			.retry_after_s = status == 503 ? 5 : 0,
			/* Nobody had to show who they are, so nothing more is read from them. */
			.close = true});
}

static void handle_healthz(
	void *context, struct exchange *exchange, const struct http_request *request)
{
	(void)context;
	(void)request;
	answer_text(exchange, 200, "{\"status\":\"ok\"}");
}

static void handle_readyz(
	void *context, struct exchange *exchange, const struct http_request *request)
{
	struct table *table = context;
	struct error err = {0};

	(void)request;
	/* The reason is in the log; a stranger learns only that it isn't ready. */
	if (store_is_ready(table->routes->store, &err))
		answer_text(exchange, 200, "{\"status\":\"ready\"}");
	else
		answer_text(exchange, 503, "{\"error\":\"events can't be stored\"}");
}

/* ---- tables ---- */

static struct table *table_create(struct routes *routes, struct conf *conf)
{
	struct table *table = xcalloc(1, sizeof(*table));
	size_t row = 0;

	table->routes = routes;
	table->conf = conf_ref(conf);
	table->users = 1;
	table->rows = xcalloc(conf->source_count + 3, sizeof(*table->rows));
	table->contexts = xcalloc(conf->source_count + 1, sizeof(*table->contexts));
	for (size_t i = 0; i < conf->source_count; i++) {
		table->contexts[i] =
			(struct route_context){.table = table, .section = &conf->sources[i]};
		table->rows[row++] = (struct http_route){.method = "POST",
			.path = conf->sources[i].path,
			.handle = handle_webhook,
			.screen = screen_webhook,
			.context = &table->contexts[i]};
	}
	table->rows[row++] = (struct http_route){
		.method = "GET", .path = "/healthz", .handle = handle_healthz, .context = table};
	table->rows[row++] = (struct http_route){
		.method = "GET", .path = "/readyz", .handle = handle_readyz, .context = table};
	return table;
}

static void table_destroy(struct table *table)
{
	conf_unref(table->conf);
	free(table->contexts);
	free(table->rows);
	free(table);
}

/* Under the lock: takes a table that nobody uses out of the list. */
static struct table *unlink_if_unused(struct routes *routes, struct table *table)
{
	struct table **link = &routes->tables;

	if (--table->users > 0)
		return NULL;
	while (*link != table)
		link = &(*link)->next;
	*link = table->next;
	return table;
}

static const struct http_route *acquire(void *context)
{
	struct routes *routes = context;

	(void)pthread_mutex_lock(&routes->lock);
	struct table *table = routes->tables;
	table->users++;
	(void)pthread_mutex_unlock(&routes->lock);
	return table->rows;
}

static void release(void *context, const struct http_route *rows)
{
	struct routes *routes = context;

	(void)pthread_mutex_lock(&routes->lock);
	struct table *table = routes->tables;
	while (table->rows != rows)
		table = table->next;
	struct table *unused = unlink_if_unused(routes, table);
	(void)pthread_mutex_unlock(&routes->lock);
	if (unused != NULL)
		table_destroy(unused);
}

void routes_reload(struct routes *routes, struct conf *conf)
{
	struct table *table = table_create(routes, conf);

	(void)pthread_mutex_lock(&routes->lock);
	struct table *before = routes->tables;
	table->next = before;
	routes->tables = table;
	struct table *unused = unlink_if_unused(routes, before);
	(void)pthread_mutex_unlock(&routes->lock);
	if (unused != NULL)
		table_destroy(unused);
}

struct http_router routes_router(struct routes *routes)
{
	return (struct http_router){.acquire = acquire, .release = release, .context = routes};
}

struct routes *routes_create(struct conf *conf, struct intake *intake, struct store *store)
{
	struct routes *routes = xcalloc(1, sizeof(*routes));

	routes->intake = intake;
	routes->store = store;
	(void)pthread_mutex_init(&routes->lock, NULL);
	routes->tables = table_create(routes, conf);
	return routes;
}

void routes_destroy(struct routes *routes)
{
	if (routes == NULL)
		return;
	while (routes->tables != NULL) {
		struct table *table = routes->tables;

		routes->tables = table->next;
		table_destroy(table);
	}
	(void)pthread_mutex_destroy(&routes->lock);
	free(routes);
}
