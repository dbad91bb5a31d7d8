#ifndef SUBRELAY_HTTP_ADDRESS_PRIVATE_H
#define SUBRELAY_HTTP_ADDRESS_PRIVATE_H

/*
 * Listening sockets: opened from a configured address, or passed in and checked.
 */

#include <stdbool.h>
#include <stdint.h>

struct conf_address;
struct error;

/* A non-blocking listening socket; -1 with err set when the address can't be had. Host "*" is any
 * address of both families. */
int address_listen(const struct conf_address *address, struct error *err);
/* Makes a passed socket usable; false with err set when it isn't a listening one. */
bool address_adopt(int fd, struct error *err);
/* The port of a bound socket; 0 when it isn't TCP. */
uint16_t address_port(int fd);

#endif
