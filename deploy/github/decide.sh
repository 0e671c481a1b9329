#!/usr/bin/env bash
# The decision in a pipeline: 0 approve, 10 delay, 20 halt, 1 a check failed, 2 bad input. Whatever else happens is 1.
#
#   ASSAY_RUN=runs/m7 ./decide.sh                                            the run's own decision; its bundle is verified if it is there
#   ASSAY_BUNDLE=evidence.jsonl ASSAY_BUNDLE_KEY=KEYID ./decide.sh           an evaluator's bundle, everything recomputed
#   ASSAY_RELEASE=release.intoto.jsonl ASSAY_ROLES=roles.signed.json ASSAY_OWNERS="ID ID" ./decide.sh     what the authority has released
#
# Inputs come by the environment alone, so that none of them is ever read as code.
set -uo pipefail
export LC_ALL=C.UTF-8

run=${ASSAY_RUN:-} bundle=${ASSAY_BUNDLE:-} release=${ASSAY_RELEASE:-} roles=${ASSAY_ROLES:-} owners=${ASSAY_OWNERS:-}
state=${ASSAY_STATE:-} key=${ASSAY_BUNDLE_KEY:-} policy=${ASSAY_POLICY_DIGEST:-} target=${ASSAY_TARGET_DIGEST:-}
allow_delay=${ASSAY_ALLOW_DELAY:-false}
said=$(mktemp) || exit 1
trap 'rm -f "$said"' EXIT

# Prints what was said, as text that the runner takes no command from, and into the job's summary; then ends.
finish() { # code verdict
  local code=$1 verdict=$2 mark
  mark=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  [ -n "${GITHUB_ACTIONS:-}" ] && echo "::stop-commands::$mark"
  cat "$said"
  echo "assay: $verdict"
  [ -n "${GITHUB_ACTIONS:-}" ] && echo "::$mark::"
  if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
    {
      echo "## Assay: $verdict"
      echo
      printf '<pre>\n'
      head -c 60000 "$said" | sed -e 's/&/\&amp;/g' -e 's/</\&lt;/g' -e 's/>/\&gt;/g'
      printf '\n</pre>\n'
    } >>"$GITHUB_STEP_SUMMARY"
  fi
  [ -n "${GITHUB_OUTPUT:-}" ] && echo "verdict=$verdict" >>"$GITHUB_OUTPUT"
  [ "$code" = 10 ] && [ "$allow_delay" = true ] && exit 0
  exit "$code"
}

refuse() { # words
  echo "$1" >"$said"
  finish 2 "bad input"
}

by_code() { # code
  case $1 in
    0) finish 0 approve ;;
    10) finish 10 delay ;;
    20) finish 20 halt ;;
    2) finish 2 "bad input" ;;
    *) finish 1 "does not hold" ;;
  esac
}

verified() { # bundle
  local arguments=("$1" --json)
  [ -n "$key" ] && arguments+=(--key "$key")
  assay verify "${arguments[@]}" >"$said" 2>&1
}

[ "$allow_delay" = true ] || [ "$allow_delay" = false ] || refuse "allow-delay is true or false"
for name in "$run" "$bundle" "$release" "$roles" "$state" "$policy" "$target" "$key"; do
  case $name in -*) refuse "an input begins with a hyphen: $name" ;; esac
done
command -v assay >/dev/null || refuse "the command assay is not there; install it, or give the version to install"
if [ -z "$release" ] && [ -n "$roles$owners$state$policy$target" ]; then
  refuse "roles, owners, state, policy and target digests go with a release: a run by itself is held to none of them"
fi

if [ -n "$release" ]; then
  [ -n "$roles" ] || refuse "a release is worth what its roles are: give them"
  [ -n "$owners$state" ] || refuse "give the owners' key ids, or the state that knows them"
  arguments=("$release" --roles "$roles")
  read -r -a ids <<<"$owners"
  for id in "${ids[@]}"; do
    case $id in *[!0-9a-fA-F]*) refuse "an owner's key id has hexadecimal digits only" ;; esac
    arguments+=(--owner "$id")
  done
  [ -n "$state" ] && arguments+=(--state "$state")
  [ -n "$bundle" ] && arguments+=(--bundle "$bundle")
  [ -n "$policy" ] && arguments+=(--policy-digest "$policy")
  [ -n "$target" ] && arguments+=(--target-digest "$target")
  assay release verify "${arguments[@]}" >"$said" 2>&1
  by_code $?
fi

folder=$run # a run is its folder or the file in it, by whatever link
[ -f "$run" ] && folder=$(dirname -- "$(readlink -f -- "$run")")
[ -z "$bundle" ] && [ -n "$folder" ] && [ -e "$folder/evidence.jsonl" ] && bundle=$folder/evidence.jsonl
verdict=
if [ -n "$bundle" ]; then
  verified "$bundle"
  code=$?
  [ $code = 0 ] || by_code "$([ $code = 2 ] && echo 2 || echo 1)"
  verdict=$(python3 -I -c '
import json, sys
value = json.load(open(sys.argv[1], encoding="utf-8"))
(found,) = [c["detail"] for c in value["checks"] if c["check"] == "decision recomputed"]
print(found if value["ok"] is True and found in ("approve", "delay", "halt") else "")
' "$said") || verdict=
  case $verdict in
    approve) code=0 ;;
    delay) code=10 ;;
    halt) code=20 ;;
    *) code=1 ;;
  esac
  [ -n "$run" ] || by_code $code
elif [ -z "$run" ]; then
  refuse "nothing to decide on: give a run, a bundle or a release"
elif [ -n "$key" ]; then
  refuse "the run has no bundle that a key could have signed"
fi

assay decide "$run" >"$said" 2>&1
decided=$?
if [ -n "$verdict" ] && [ "$decided" != "$code" ]; then
  echo "the run says $decided, and its bundle $code: they are not of one run, or the run went on" >>"$said"
  finish 1 "does not hold"
fi
by_code $decided
