#!/usr/bin/env bash
# The summary of a bundle that somebody else's job has made: verified here, and written here. Nothing but the bundle is taken from there.
#
#   ASSAY_FOLDER=assay-gate ASSAY_BUNDLE_KEY=KEYID ASSAY_GATE=success ./summarise.sh       writes a file, and its path to GITHUB_OUTPUT as summary
#
# ASSAY_GATE is how the gate's own job ended, as the forge says it: success, or anything else. A bundle that says otherwise is not that job's.
# A bundle that is not there or does not hold makes a summary that says so: this ends with 0, and with 2 where nothing can be written.
set -uo pipefail
export LC_ALL=C.UTF-8

folder=${ASSAY_FOLDER:-} key=${ASSAY_BUNDLE_KEY:-} gate=${ASSAY_GATE:-}
most=$((512 * 1024 * 1024))
made=$(mktemp -d) || exit 2
said=$made/said

# What was said, as text that the runner takes no command from.
show() {
  local mark
  mark=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  [ -n "${GITHUB_ACTIONS:-}" ] && echo "::stop-commands::$mark"
  cat "$said"
  [ -n "${GITHUB_ACTIONS:-}" ] && echo "::$mark::"
} >&2

say() { # words
  printf '## Assay: no decision\n\n%s\n' "$1" >"$made/summary.md"
}

# What a bundle decides, made again from what is signed; fails where it does not hold.
decided() {
  assay verify "${arguments[@]}" --json >"$said" 2>&1 || return 1
  python3 -I -c '
import json, sys
value = json.load(open(sys.argv[1], encoding="utf-8"))
(found,) = [c["detail"] for c in value["checks"] if c["check"] == "decision recomputed"]
sys.exit(1) if value["ok"] is not True else print(found)
' "$said" 2>/dev/null
}

for given in "$folder" "$key" "$gate"; do
  case $given in -* | *[[:cntrl:]]*) echo "an input begins with a hyphen or has a control character" >&2; exit 2 ;; esac
done
[ -n "$folder" ] || { echo "name the folder with the evidence" >&2; exit 2; }
case $key in *[!0-9a-f]*) echo "a key id has hexadecimal digits only" >&2; exit 2 ;; esac
case $gate in *[!a-z_]*) echo "how the gate ended is one word, such as success" >&2; exit 2 ;; esac
command -v assay >/dev/null || { echo "the command assay is not there; install it, or give the version to install" >&2; exit 2; }

bundle=$folder/evidence.jsonl
if [ -L "$bundle" ] || [ ! -f "$bundle" ]; then
  say "The gate left no evidence. Its job says why."
elif [ "$(wc -c <"$bundle")" -gt $most ]; then
  say "The evidence is larger than 512 MiB, and was not read."
else
  # apart from what lies beside it
  cp -- "$bundle" "$made/evidence.jsonl" || exit 2
  arguments=("$made/evidence.jsonl")
  [ -n "$key" ] && arguments+=(--key "$key")
  if ! verdict=$(decided); then
    show
    say "The evidence does not hold$([ -n "$key" ] && echo ", or another key than the expected one signed it"). Nothing in it is to be relied on."
  elif [ "$verdict" = approve ] && [ -n "$gate" ] && [ "$gate" != success ]; then
    say "The bundle says approve, and the gate's job ended with \`$gate\`. The bundle is not what that job decided, or something went wrong after it: nothing here is to be relied on."
  elif [ "$verdict" = halt ] && [ "$gate" = success ]; then
    say "The gate's job passed, and the bundle says halt, which never passes: it is not what that job decided. Nothing here is to be relied on."
  elif ! assay export markdown "$made/evidence.jsonl" --out "$made/summary.md" >"$said" 2>&1; then
    show
    say "The evidence holds, and cannot be summarised. Its job has the report."
  else
    {
      [ -n "$key" ] || printf '\nNobody said which key must have signed: this is what the pull request'"'"'s own job says of itself.\n'
      [ -n "$gate" ] || printf '\nNobody said how the gate'"'"'s own job ended: this is what the bundle says, and no more.\n'
    } >>"$made/summary.md"
  fi
fi
if [ -n "${GITHUB_OUTPUT:-}" ]; then echo "summary=$made/summary.md" >>"$GITHUB_OUTPUT"; else cat "$made/summary.md"; fi
