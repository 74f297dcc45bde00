#!/usr/bin/env bash
# Installs the client from BUILD, builds PROJECT against it with CMake and once more with pkg-config, and runs both
# against a stepbackd. Usage: consumer_test.sh BUILD PROJECT STEPBACKD WORK
set -euo pipefail
build=$1 project=$2 stepbackd=$3 work=$4
prefix=$work/prefix
rm -rf "$work/prefix" "$work/build" "$work/ports.json"

cmake --install "$build" --prefix "$prefix" --component client > /dev/null
cmake -S "$project" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release > /dev/null
cmake --build "$work/build"

"$stepbackd" --listen 127.0.0.1:0 --http-listen "" --log-level error --port-file "$work/ports.json" &
server=$!
trap 'kill $server' EXIT
for _ in $(seq 300); do
  [[ -s $work/ports.json ]] && break
  kill -0 $server
  sleep 0.1
done
address=127.0.0.1:$(sed -E 's/.*"grpc": ([0-9]+).*/\1/' "$work/ports.json")

"$work/build/consumer" "$address"

# The paths in the .pc file are those of the configured prefix; --define-variable moves them.
library_dir=$(dirname "$(find "$prefix" -name stepback-client.pc)")
export PKG_CONFIG_PATH=$library_dir
# shellcheck disable=SC2046  # flags are words
"${CXX:-c++}" -O1 "$project/main.cc" -o "$work/build/consumer_pc" \
  $(pkg-config --define-variable=prefix="$prefix" --cflags --libs stepback-client) \
  -Wl,-rpath,"$(dirname "$library_dir")"
"$work/build/consumer_pc" "$address"

# Nothing but the client's own names leaves the library.
if nm -DC --defined-only "$prefix"/lib*/libstepback_client.so "$prefix"/lib/*/libstepback_client.so 2> /dev/null |
   grep -E ' [TWV] ' | grep -vE 'stepback::client::' | grep -q .; then
  echo "the library exports names that are not the client's" >&2
  exit 1
fi
echo "consumer built, linked and trained"
