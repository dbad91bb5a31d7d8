#!/bin/sh
# `make run`: starts the daemon for a look, with config/subrelay.ini and everything that it writes
# under build/var. $1: the program. What is set in the environment already is left as it is.
set -eu
program=${1:?usage: run.sh PROGRAM}
shown=$program
case $program in /*) ;; *) program=$PWD/$program ;; esac
cd "$(dirname "$0")/../.."
mkdir -p build/var

: "${SUBRELAY_STORE_PATH:=build/var/subrelay.db}"
: "${SUBRELAY_CONTROL_SOCKET:=build/var/control.sock}"
export SUBRELAY_STORE_PATH SUBRELAY_CONTROL_SOCKET

if [ -z "${SUBRELAY_REVENUECAT_AUTHORIZATION:-}${SUBRELAY_REVENUECAT_AUTHORIZATION_FILE:-}" ]; then
	export SUBRELAY_REVENUECAT_AUTHORIZATION='Bearer demo'
fi
# A secret that was given is not shown.
case ${SUBRELAY_REVENUECAT_AUTHORIZATION:-} in
'Bearer demo') header="'Authorization: Bearer demo'" ;;
*) header='"Authorization: $SUBRELAY_REVENUECAT_AUTHORIZATION"' ;;
esac
address=${SUBRELAY_SERVER_LISTEN:-127.0.0.1:8080}
path=${SUBRELAY_REVENUECAT_PATH:-/webhooks/revenuecat}

cat <<END
A purchase to try, from another terminal in this directory; each run of the line is a new event:

  sed "s/1FD3B8A20000/00\$(date +%s)/" tests/support/sample-initial-purchase.json |
    curl -sS --data-binary @- -H $header http://$address$path

What became of it:

  export SUBRELAY_CONTROL_SOCKET=$SUBRELAY_CONTROL_SOCKET
  $shown status
  $shown events

END
if [ -z "${SUBRELAY_INTERCOM_ACCESS_TOKEN:-}${SUBRELAY_INTERCOM_ACCESS_TOKEN_FILE:-}" ]; then
	cat <<END
No Intercom token is given, so this is a dry run: every call is made up to its last byte and then
printed here instead of sent. For the real thing: SUBRELAY_INTERCOM_ACCESS_TOKEN=... make run

END
fi
exec "$program" serve -c config/subrelay.ini
