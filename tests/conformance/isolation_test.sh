#!/bin/sh
# The objects built for wide vectors define one symbol, their table. A weak function among them could be chosen by the
# linker for the whole program and fault on an older CPU.
#   isolation_test.sh ARCHIVE OBJECT...
archive=$1
shift
status=0
for object in "$@"; do
  symbols=$(nm --defined-only "$archive" 2>/dev/null | awk -v want="$object:" '
    NF == 1 { inside = ($1 == want); found = found || inside; next }
    inside && $2 ~ /^[A-Zuvw]$/ { print $2, $3 }
    END { if (!found) print "missing" }')
  count=$(printf '%s\n' "$symbols" | grep -c .)
  if [ "$count" -ne 1 ] || ! printf '%s' "$symbols" | grep -q -E '^D .*kLoops'; then
    echo "$object defines more than its table:"
    printf '%s\n' "$symbols"
    status=1
  else
    echo "$object defines only $symbols"
  fi
done
exit $status
