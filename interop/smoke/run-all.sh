#!/bin/bash
# Runs the smoke programs, or the ones named, one after another. Exit status 0 only if all passed.
cd "$(dirname "$0")" || exit 1
[ $# -gt 0 ] || set -- java-remoting go-remoting
bad=0
for t in "$@"; do ./"$t"/run.sh || bad=1; done
exit $bad
