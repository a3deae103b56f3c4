#!/bin/bash
# SPDX-License-Identifier: MIT
#
# 60_examples [BIN] - the example programs, run and asked as a user would: `index` against grep, sort and uniq, and by curl
#
# BIN is the directory of the programs: $WEFT_BIN, else build/release/bin. Prints 'N passed, N failed'. WEFT_SEED picks the random
# bytes of the tree that is counted.
set -u
cd "$(dirname "$0")/.." || exit 1
bin=$(cd "${1:-${WEFT_BIN:-build/release/bin}}" && pwd) || exit 1
command -v curl >/dev/null || { echo "no curl here"; exit 77; }
seed=${WEFT_SEED:-$RANDOM}
echo "seed $seed"
dir=$(mktemp -d) || exit 1
server=
trap '[ -z "$server" ] || kill -9 "$server" 2>/dev/null; chmod -R u+rwx "$dir"; rm -rf "$dir"' EXIT
passed=0 failed=0

check() { # WHAT COMMAND...: one check, good if the command is
    local what=$1
    shift
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL: $what"; fi
}
is() { [ "$1" = "$2" ] || { printf '  wanted: %s\n  got:    %s\n' "$2" "$1"; false; }; }
has() { case $1 in *"$2"*) ;; *) printf '  wanted in it: %s\n  got: %s\n' "$2" "$1"; false ;; esac; }
lines() { [ "$(wc -l <<<"$1")" -eq "$2" ] || { printf '  wanted %s lines, got:\n%s\n' "$2" "$1"; false; }; }

said() { sed '/^WEFT_SHAKE_SEED=/d' "$@"; }                     # what the shake flavour says goes to stderr, too

# answers CODE TEXT COMMAND...: its exit code, and TEXT in the one line that it says on stderr (with TEXT "-": nothing)
answers() {
    local code=$1 text=$2 err got
    shift 2
    err=$(timeout 60 "$@" 2>&1 >"$dir/out")
    got=$?
    err=$(said <<<"$err")
    is "$got" "$code" || { echo "$err"; return 1; }
    if [ "$text" = - ]; then is "$err" ''; else has "$err" "$text" && lines "$err" 1; fi
}

# ---- index --counts ----

reference() { LC_ALL=C grep -rhoaE '[A-Za-z_][A-Za-z0-9_]*' "$1" | LC_ALL=C sort | LC_ALL=C uniq -c | sed 's/^ *//'; }
same() { # DIR [WORKERS]: as the reference, to the byte
    reference "$1" >"$dir/wanted" 2>/dev/null
    env ${2:+WEFT_WORKERS=$2} timeout 120 "$bin/index" --counts "$1" >"$dir/got" 2>"$dir/err" &&
        is "$(said "$dir/err")" '' && cmp "$dir/got" "$dir/wanted"
}

awk_words() { awk -v n="$1" -v seed="$seed" 'BEGIN { srand(seed); for (i = 0; i < n; i++)
    printf "%s%c", "w" int(rand() * 3000) "_" int(i / 97), i % 11 ? 32 : 10 }'; }

tree=$dir/tree
mkdir -p "$tree/a/b" "$tree/.hidden" "$tree/empty" "$tree/with space" "$tree"/$'new\nline' "$tree"/$'bad\377utf'
deep=$tree
for i in $(seq 60); do deep=$deep/deep_$i; done
mkdir -p "$deep"
printf 'end of the deep\n' >"$deep/leaf"
: >"$tree/nothing"
printf 'no_newline_at_the_end' >"$tree/a/no_newline"
printf 'dos line\r\ntwo_lines\r\n\r\n' >"$tree/a/crlf"
printf 'nul\0inside nul\0\0of_it\0\nx\0' >"$tree/a/nul"
printf '0x1F 12ab 3.14e5 _ __ _1 a1b2 9 99z 1e+5f \303\251t\303\251 \377\376x\n' >"$tree/a/b/digits"
printf 'a-b.c->d a$b "q" #if(X)\\n\tend\n' >"$tree/a/b/punctuation"
printf 'spaces\n' >"$tree/with space/a file"
printf 'newlines\n' >"$tree"/$'new\nline'/$'f\nile'
printf 'bytes\n' >"$tree"/$'bad\377utf'/f
printf 'hidden\n' >"$tree/.hidden/.file"
head -c 100000 /dev/urandom >"$tree/a/random"
awk_words 200000 >"$tree/a/words"                              # some blocks of 256 KiB, cut anywhere
awk_words 1000 | tr -d '\n' >"$tree/a/b/one_line"
for n in 262143 262144 262145; do                               # words that end at the end of a block, and around it
    { head -c $((n - 5)) /dev/zero | tr '\0' ' '; printf 'cut_here and_on\n'; } >"$tree/a/edge_$n"
    { head -c "$n" /dev/zero | tr '\0' L; printf ' after\n'; } >"$tree/a/long_$n"
done
{ printf 'start '; head -c 1500000 /dev/zero | tr '\0' x; printf '\nend '; head -c 600000 /dev/zero | tr '\0' 7; printf 'a'; } \
    >"$tree/a/very_long"
for i in $(seq 300); do printf 'many files_%d\n' "$i" >"$tree/with space/f$i"; done
ln "$tree/a/crlf" "$tree/a/hard"
ln -s crlf "$tree/a/soft"
ln -s ../a "$tree/a/loop"
ln -s /nonexistent "$tree/a/dangling"
mkfifo "$tree/a/fifo"
ln -s "$tree" "$dir/link"

check 'counts of a tricky tree' same "$tree"
for n in 1 3 8; do check "counts with $n workers" same "$tree" "$n"; done
check 'counts of the same by a link' same "$dir/link"
check 'counts of a tree named with a slash' same "$tree/"
check 'counts of one file' same "$tree/a/words"
check 'counts of a file by a link' same "$tree/a/soft"
check 'counts of an empty directory' same "$tree/empty"
check 'counts of an empty file' same "$tree/nothing"
for d in /usr/include/linux /usr/include/c++ /usr/include/x86_64-linux-gnu /usr/share/perl; do
    [ ! -d "$d" ] || check "counts of $d" same "$d"
done
few() { (ulimit -n 64 && same "$tree"); }
check 'counts with 64 descriptors' few
quiet() { is "$(timeout 60 "$bin/index" --counts "$tree" 2>&1 >/dev/null | said)" ''; }
check 'no progress in a pipe' quiet

# ---- mistakes ----

closed() { answers "$1" "$2" bash -c '"$@" >&-' - "${@:3}"; }
full() { answers "$1" "$2" bash -c '"$@" >/dev/full' - "${@:3}"; }
memory() { (ulimit -v "$1" && { timeout 60 "$bin/index" --counts "$tree" >/dev/null; } 2>&1); }
clear_line() { # or enough memory: no crash, at most one line
    local err code
    err=$(memory "$1")
    code=$?
    if [ $code -eq 0 ]; then is "$err" ''; else is $code 1 && lines "$err" 1 && has "$err" 'index: '; fi
}
check 'unknown option' answers 2 "unrecognized option '--nonsense'" "$bin/index" --nonsense
check 'unknown letter' answers 2 'invalid option' "$bin/index" -q
check 'an option without its argument' answers 2 'requires an argument' "$bin/index" --serve
check 'two directories' answers 2 'more than one DIR' "$bin/index" "$tree" "$tree"
check 'both modes' answers 2 'not both' "$bin/index" --counts --serve tcp:127.0.0.1:0
check 'bad address' answers 2 'bad ADDRESS' "$bin/index" --serve nonsense "$tree"
check 'bad port' answers 2 'bad ADDRESS' "$bin/index" --serve tcp:127.0.0.1:99999 "$tree"
check 'missing directory' answers 1 'No such file or directory' "$bin/index" --counts "$dir/missing"
check 'missing directory, measured' answers 1 'No such file or directory' "$bin/index" "$dir/missing"
check 'a device' answers 1 'Not a directory' "$bin/index" --counts /dev/null
check 'bad WEFT_WORKERS' answers 1 'WEFT_WORKERS' env WEFT_WORKERS=some "$bin/index" --counts "$tree"
check 'full disk' full 1 'No space left on device' "$bin/index" --counts "$tree"
check 'full disk, help' full 1 'No space left on device' "$bin/index" --help
check 'closed output' closed 1 'standard output is closed' "$bin/index" --counts "$tree"
check 'help' answers 0 - "$bin/index" --help
check 'help names the modes' has "$(cat "$dir/out")" '--serve ADDRESS'
check 'version' answers 0 - "$bin/index" --version
check 'version is one' has "$(cat "$dir/out")" 'index (weft '
case ${WEFT_FLAVOR:-release} in
release|debug) for kib in 30000 60000 100000 200000 400000; do check "little memory: $kib KiB" clear_line $kib; done ;;
esac

# Files that cannot be read are named, the rest is counted. Root can read all, so it becomes somebody else.
mkdir -p "$dir/partly/closed"
printf 'open\n' >"$dir/partly/a"
printf 'shut\n' >"$dir/partly/b"
chmod 755 "$dir" "$dir/partly"
chmod 0 "$dir/partly/b" "$dir/partly/closed"
cp "$bin/index" "$dir/index"
somebody=()
[ "$(id -u)" -ne 0 ] || somebody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
if "${somebody[@]}" true 2>/dev/null && ! "${somebody[@]}" cat "$dir/partly/b" >/dev/null 2>&1; then
    "${somebody[@]}" "$dir/index" --counts "$dir/partly" 2>"$dir/err" >"$dir/out"
    check 'exit 1 if a file cannot be read' is $? 1
    check 'each is named' lines "$(said "$dir/err")" 2
    check 'the file is named' has "$(cat "$dir/err")" "$dir/partly/b: Permission denied"
    check 'the directory is named' has "$(cat "$dir/err")" "$dir/partly/closed: Permission denied"
    check 'the rest is counted' is "$(cat "$dir/out")" '1 open'
    check 'an unreadable root' answers 1 'Permission denied' "${somebody[@]}" "$dir/index" --counts "$dir/partly/closed"
fi

# ---- the report ----

report() { # DIR
    timeout 120 "$bin/index" "$1" >"$dir/out" 2>"$dir/err"
    is $? 0 && is "$(said "$dir/err")" '' && is "$(grep -c $'[\033\r]' "$dir/out")" 0
}
check 'report' report "$tree"
for word in files bytes tokens counted speed-up 'queries     20,000 by 100 clients' p50 p99 steal 'worker 0'; do
    check "report: $word" has "$(cat "$dir/out")" "$word"
done
check 'report: as many tokens as grep' has "$(tr -d , <"$dir/out")" \
    "tokens      $(LC_ALL=C grep -rhoaE '[A-Za-z_][A-Za-z0-9_]*' "$tree" 2>/dev/null | wc -l) "
few_report() { (ulimit -n 64 && report "$tree/a"); }
check 'report with 64 descriptors' few_report
one_report() { (export WEFT_WORKERS=1 && report "$tree/a" && has "$(cat "$dir/out")" 'n/a with one worker'); }
check 'report with one worker' one_report

# ---- index --serve ----

ready() { # FILE: wait for its first line, at most 30 s
    for _ in $(seq 300); do
        [ ! -s "$1" ] || return 0
        sleep 0.1
    done
    false
}
get() { curl -s -m 20 "$@"; }
status() { get -o /dev/null -w '%{http_code}' "$@"; }
raw() { # REQUEST: what the server answers to these bytes, until it closes; a format of printf
    exec 9<>"/dev/tcp/127.0.0.1/$port" || return 1
    # shellcheck disable=SC2059
    printf "$1" >&9
    timeout 20 cat <&9
    exec 9>&-
}
stopped() { # within 10 s, by itself, with exit code 0
    local code
    for _ in $(seq 100); do
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    wait "$server"
    code=$?
    server=
    is $code 0 && has "$(cat "$dir/log")" 'index: stopped after'
}
serve() { # SIGNALS ADDRESS
    : >"$dir/log"
    "$bin/index" --serve "$2" "$tree" >"$dir/log" 2>"$dir/err" &
    server=$!
    ready "$dir/log"
    port=$(sed -n 's|.*://.*:\([0-9]*\)/$|\1|p' "$dir/log")
    url=http://127.0.0.1:$port
}

serve - tcp:127.0.0.1:0
check 'the address is announced' has "$(cat "$dir/log")" 'at http://127.0.0.1:'
check '/' has "$(get "$url/")" '/word/NAME'
check '/word/NAME' is "$(get "$url/word/hidden")" \
    "{\"word\":\"hidden\",\"count\":1,\"files\":[{\"file\":\"$tree/.hidden/.file\",\"count\":1}]}"
check 'a word of 300 files' is "$(get "$url/word/many" | grep -o '"file":' | wc -l)" 300
check 'a word of a hard link' is "$(get "$url/word/two_lines" | grep -o '"count":[0-9]*' | head -n 1)" '"count":2'
check 'a long file counts once' is "$(get "$url/word/w7_7" | grep -o '/a/words"' | wc -l)" "$(grep -cw w7_7 "$tree/a/words" | head -c 1 | tr 2-9 1)"
check 'escapes in the request' has "$(get "$url/word/%68idden")" '"word":"hidden"'
check 'a query is ignored' has "$(get "$url/word/hidden?x=1")" '"word":"hidden"'
check 'escapes in the answer' has "$(get "$url/word/newlines")" 'new\u000aline/f\u000aile'
check 'not UTF-8 in the answer' has "$(get "$url/word/bytes")" $'bad\xef\xbf\xbdutf/f'
check '/stats' has "$(get "$url/stats")" '"workers":[{"dispatched":'
if command -v python3 >/dev/null; then
    json() { get "$1" | python3 -c 'import json, sys; json.load(sys.stdin)'; }
    for path in /word/newlines /word/bytes /word/many /stats /word/none; do check "JSON of $path" json "$url$path"; done
fi
check '200' is "$(status "$url/word/many")" 200
check '404 of a word' is "$(status "$url/word/no_such_word")" 404
check '404 of no word' is "$(status "$url/word/")" 404
check '404 of a path' is "$(status "$url/other")" 404
check '400 of an escape' is "$(status "$url/word/%zz")" 400
check '400 of a NUL' is "$(status "$url/word/a%00b")" 400
check '400 of a body' is "$(status -X GET -d body "$url/")" 400
check '405' is "$(status -X DELETE "$url/")" 405
check 'HEAD' is "$(get -I "$url/word/many" | grep -c 'HTTP/1.1 200')" 1
check '431' is "$(status -H "X: $(printf '%09000d' 0)" "$url/")" 431
check '400 of noise' has "$(raw 'noise\r\n\r\n')" 'HTTP/1.1 400 '
check '400 of an empty line' has "$(raw '\n')" 'HTTP/1.1 400 '
check '400 without a host' has "$(raw 'GET / HTTP/1.1\r\n\r\n')" 'HTTP/1.1 400 '
check '400 of a field without a colon' has "$(raw 'GET / HTTP/1.1\r\nHost x\r\n\r\n')" 'HTTP/1.1 400 '
check '400 of a NUL in the head' has "$(raw 'GET / HTTP/1.1\r\nHost: x\0\r\n\r\n')" 'HTTP/1.1 400 '
check '505' has "$(raw 'GET / HTTP/3.0\r\nHost: x\r\n\r\n')" 'HTTP/1.1 505 '
check 'HTTP/1.0' has "$(raw 'GET / HTTP/1.0\n\n')" 'HTTP/1.1 200 '
pipelined='GET /word/hidden HTTP/1.1\r\nHost: x\r\n\r\nGET /word/none HTTP/1.1\r\nHost: x\r\n\r\n'
pipelined+='HEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
check 'pipelining' is "$(raw "$pipelined" | grep -ao 'HTTP/1.1 [0-9]*' | tr '\n' ' ')" \
    'HTTP/1.1 200 HTTP/1.1 404 HTTP/1.1 200 HTTP/1.1 200 '
check 'keep-alive' has "$(curl -sv -m 20 "$url/" "$url/stats" 2>&1 >/dev/null)" 'Re-using existing connection'
check 'a port in use' answers 1 'Address already in use' "$bin/index" --serve "tcp:127.0.0.1:$port" "$tree"
crowd() {
    for i in $(seq 40); do get "$url/word/files_$i" & done | grep -c '"count":1,' >"$dir/out"
    is "$(cat "$dir/out")" 40
}
check '40 at one time' crowd
exec 8<>"/dev/tcp/127.0.0.1/$port"                              # a silent connection does not hold up the stop
kill -INT "$server"
check 'Ctrl-C' stopped
exec 8>&-
check 'nothing on stderr' is "$(said "$dir/err")" ''

serve - "unix:$dir/socket"
check 'a Unix socket' has "$(get --unix-socket "$dir/socket" http://x/word/hidden)" '"word":"hidden"'
kill -TERM "$server"
check 'SIGTERM' stopped
check 'the socket is gone' [ ! -e "$dir/socket" ]

# ---- the small ones ----

check 'fib' answers 0 - "$bin/fib" 27 10
check 'fib is right' has "$(cat "$dir/out")" 'fib(27) = 196418'
check 'fib with fibers to the end' has "$("$bin/fib" 15 0)" 'fib(15) = 610'
check 'fib of no number' answers 2 'usage: fib' "$bin/fib" many
check 'pipeline' answers 0 - "$bin/pipeline" 100000
check 'pipeline is right' is "$(cat "$dir/out")" '9592 primes below 100000'
check 'pipeline of nothing' is "$("$bin/pipeline" 0)" '0 primes below 0'
check 'pipeline out of time' answers 1 'the deadline came' "$bin/pipeline" 500000000 50
check 'pipeline of no number' answers 2 'usage: pipeline' "$bin/pipeline" -
check 'echo without an address' answers 2 'usage: echo' "$bin/echo"
check 'echo of a bad address' answers 1 'Invalid argument' "$bin/echo" nonsense
for port in $(seq 20100 20140); do
    "$bin/echo" "tcp:127.0.0.1:$port" 2>/dev/null &
    server=$!
    for _ in $(seq 50); do
        kill -0 "$server" 2>/dev/null || continue 2             # the port is taken
        ! true 2>/dev/null <"/dev/tcp/127.0.0.1/$port" || break 2
        sleep 0.1
    done
done
check 'echo of a port in use' answers 1 'Address already in use' "$bin/echo" "tcp:127.0.0.1:$port"
echoes() { # FILE
    exec 9<>"/dev/tcp/127.0.0.1/$port" || return 1
    cat "$1" >&9 &
    timeout 20 head -c "$(wc -c <"$1")" <&9 | cmp - "$1"
    local good=$?
    exec 9>&-
    return $good
}
check 'echo by curl' is "$( (echo hello; sleep 1) | curl -s -m 20 -N "telnet://127.0.0.1:$port")" hello
check 'echo of 100 KB' echoes "$tree/a/random"
check 'echo of 2 MB' echoes "$tree/a/very_long"
kill "$server"
wait "$server" 2>/dev/null
server=

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
