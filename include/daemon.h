#ifndef SUBRELAY_DAEMON_H
#define SUBRELAY_DAEMON_H

/*
 * The daemon: owns all parts, starts them in order, stops them in reverse.
 *
 *   start   store -> dispatcher -> workers -> control socket -> listener -> ready
 *   stop    keep no connection (clients connect anew) -> stop listening -> answer what is in hand
 *           -> stop claiming -> finish or abandon what is in flight by a deadline -> write out ->
 *           close the store
 *
 * Threads, and what they may do:
 *   main          signals and this file; owns life and death
 *   listener's    run intake up to the store's queue; never speak to Intercom
 *   store's       the only one that writes; answers webhooks after the commit
 *   dispatcher's  reads waiting work
 *   workers       talk to Intercom, judge the answers
 *   control's     answers the command line
 * Signals are blocked in all of them but main.
 *
 * Locks: each part has one of its own, and none is held while another part is called; two are never
 * held at once. (store: its queue; dispatcher: lanes; listener: its connections.)
 */

#include <stdbool.h>

struct error;

/* Runs until SIGTERM or SIGINT. SIGHUP reloads. path: the INI file, may be NULL. False: it could
 * not start (err), everything that was started is stopped again. */
bool daemon_run(const char *config_path, struct error *err);

#endif
