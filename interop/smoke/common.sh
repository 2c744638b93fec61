# Sourced by every run.sh. Sets defaults and the build cache.
set -u
export NAMESRV_ADDR="${NAMESRV_ADDR:-127.0.0.1:9876}"
export TIMEOUT_S="${TIMEOUT_S:-60}"
export RUN_ID="${RUN_ID:-$(date +%s%N | cut -c1-13)}"
INTEROP_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
CACHE="${INTEROP_CACHE:-$HOME/.cache/ferromq-java/smoke}"
HERE="$(cd "$(dirname "$0")" && pwd)"
NAME="$(basename "$HERE")"
BUILD="$CACHE/$NAME"
mkdir -p "$BUILD"
export TOPIC="${TOPIC:-smoke_$(echo "$NAME" | tr - _)}"
export GROUP="${GROUP:-GID_smoke_$(echo "$NAME" | tr - _)_$RUN_ID}"
# Called when the program is built. BUILD_ONLY=1 stops here; CREATE_TOPIC=0 leaves it to the broker to create the topic.
make_topic() {
  [ "${BUILD_ONLY:-0}" = 0 ] || exit 0
  [ "${CREATE_TOPIC:-1}" = 1 ] || return 0
  python3 "$INTEROP_ROOT/tools/mktopic.py" "$TOPIC" "$GROUP" >&2 || { echo "FAIL $NAME could not create topic $TOPIC or group $GROUP"; exit 1; }
}
# Runs the program under a hard limit, so that a client that hangs counts as a failure.
run_smoke() {
  timeout -k 5 $((TIMEOUT_S + 60)) "$@"
  local rc=$?
  [ $rc -lt 124 ] || echo "FAIL $NAME stopped after $((TIMEOUT_S + 60)) s or killed (status $rc)"
  [ $rc -eq 0 ] || exit 1
  exit 0
}
