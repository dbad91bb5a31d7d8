#ifndef SUBRELAY_HTTP_ROUTES_H
#define SUBRELAY_HTTP_ROUTES_H

/*
 * Which path leads where: one POST route for each source's section, /healthz and /readyz.
 *
 * The table belongs to a configuration; a reload swaps it, and requests that began under the old
 * one end under it.
 *
 * Threads: the router's functions from listener threads, routes_reload from main.
 */

#include "http/listener.h"

struct conf;
struct intake;
struct routes;
struct store;

struct routes *routes_create(struct conf *conf, struct intake *intake, struct store *store);
/* After the listener is gone. */
void routes_destroy(struct routes *routes);
void routes_reload(struct routes *routes, struct conf *conf);
struct http_router routes_router(struct routes *routes);

#endif
