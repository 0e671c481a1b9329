#!/usr/bin/env bash
# The summary of a bundle that somebody else's job has made: verified here, and written here. Nothing but the bundle is taken from there.
#
#   ASSAY_FOLDER=assay-gate ASSAY_BUNDLE_KEY=KEYID ./summarise.sh       writes a file, and its path to GITHUB_OUTPUT as summary
#
# A bundle that is not there or does not hold makes a summary that says so: this ends with 0, and with 2 where nothing can be written.
set -uo pipefail
export LC_ALL=C.UTF-8

folder=${ASSAY_FOLDER:-} key=${ASSAY_BUNDLE_KEY:-}
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

for given in "$folder" "$key"; do
  case $given in -* | *[[:cntrl:]]*) echo "an input begins with a hyphen or has a control character" >&2; exit 2 ;; esac
done
[ -n "$folder" ] || { echo "name the folder with the evidence" >&2; exit 2; }
case $key in *[!0-9a-f]*) echo "a key id has hexadecimal digits only" >&2; exit 2 ;; esac
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
  if ! assay verify "${arguments[@]}" >"$said" 2>&1; then
    show
    say "The evidence does not hold$([ -n "$key" ] && echo ", or another key than the expected one signed it"). Nothing in it is to be relied on."
  elif ! assay export markdown "$made/evidence.jsonl" --out "$made/summary.md" >"$said" 2>&1; then
    show
    say "The evidence holds, and cannot be summarised. Its job has the report."
  elif [ -z "$key" ]; then
    printf '\nNobody said which key must have signed: this is what the pull request'"'"'s own job says of itself.\n' >>"$made/summary.md"
  fi
fi
if [ -n "${GITHUB_OUTPUT:-}" ]; then echo "summary=$made/summary.md" >>"$GITHUB_OUTPUT"; else cat "$made/summary.md"; fi
