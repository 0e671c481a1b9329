#!/usr/bin/env bash
# A pull request against a plan: run it, verify the bundle, write what others read. 0 approve, 10 delay, 20 halt, 1 does not hold, 2 bad input.
#
#   ASSAY_PLAN=base/plans/gate.yaml ASSAY_TARGET='https://models.example.org/v1#{model}@ASSAY_API_KEY' ASSAY_MODEL_FILE=models/next.txt ./gate.sh
#
# Plan and target come from the base branch: whom the gate should stop does not choose what it asks, nor where a key is sent. Of the pull
# request one line is read, the model's name, as data. Inputs come by the environment alone, so that none of them is ever read as code.
set -uo pipefail
export LC_ALL=C.UTF-8
umask 077

plan=${ASSAY_PLAN:-} target=${ASSAY_TARGET:-} model_file=${ASSAY_MODEL_FILE:-} head=${ASSAY_HEAD:-head} out=${ASSAY_OUT:-assay-gate}
policy=${ASSAY_POLICY:-} policy_key=${ASSAY_POLICY_KEY:-} allow_delay=${ASSAY_ALLOW_DELAY:-false} base=${ASSAY_BASE_SHA:-}
private=$(mktemp -d) || exit 1
said=$private/said
trap 'rm -rf "$private"' EXIT

# Prints what was said, as text that the runner takes no command from; into the job's summary and outputs; then ends.
finish() { # code verdict
  local code=$1 verdict=$2 mark name
  mark=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  [ -n "${GITHUB_ACTIONS:-}" ] && echo "::stop-commands::$mark"
  cat "$said"
  echo "assay: $verdict"
  [ -n "${GITHUB_ACTIONS:-}" ] && echo "::$mark::"
  if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
    if [ -s "$out/summary.md" ]; then
      cat "$out/summary.md"
    else
      printf '## Assay: %s\n\n<pre>\n' "$verdict"
      head -c 60000 "$said" | sed -e 's/&/\&amp;/g' -e 's/</\&lt;/g' -e 's/>/\&gt;/g'
      printf '\n</pre>\n'
    fi >>"$GITHUB_STEP_SUMMARY"
  fi
  if [ -n "${GITHUB_OUTPUT:-}" ]; then
    {
      echo "verdict=$verdict"
      for name in evidence.jsonl report.html junit.xml assay.sarif summary.md; do
        [ -s "$out/$name" ] && echo "${name%%.*}=$out/$name"
      done
    } >>"$GITHUB_OUTPUT"
  fi
  [ "$code" = 10 ] && [ "$allow_delay" = true ] && exit 0
  exit "$code"
}

refuse() { # words
  echo "$1" >"$said"
  out=$private/none
  finish 2 "bad input"
}

[ "$allow_delay" = true ] || [ "$allow_delay" = false ] || refuse "allow-delay is true or false"
[ -n "$plan" ] || refuse "nothing to decide by: name a plan"
for given in "$plan" "$target" "$model_file" "$head" "$out" "$policy" "$policy_key"; do
  case $given in -*) refuse "an input begins with a hyphen: $given" ;; esac
  case $given in *[[:cntrl:]]*) refuse "an input has a control character" ;; esac
done
[ ! -e "$out" ] || refuse "there is something at $out already: every gate has a folder of its own"
command -v assay >/dev/null || refuse "the command assay is not there; install it, or give the version to install"

# The base commit of a pull request, as the event says; a plan that is a file must be that commit's.
if [ -z "$base" ] && [ -f "${GITHUB_EVENT_PATH:-}" ]; then
  base=$(python3 -I -c '
import json, sys
event = json.load(open(sys.argv[1], encoding="utf-8"))
print(event["pull_request"]["base"]["sha"] if "pull_request" in event else "")
' "$GITHUB_EVENT_PATH" 2>/dev/null) || refuse "the event cannot be read"
fi
if [ -n "$base" ] && [ -e "$plan" ]; then
  folder=$(dirname -- "$plan") name=$(basename -- "$plan")
  found=$(git -C "$folder" rev-parse HEAD 2>/dev/null) || refuse "$plan is in no checkout, so nobody knows whose it is"
  [ "$found" = "$base" ] || refuse "$plan is of commit $found, not of the base branch ($base): check the base out, and name its plan"
  git -C "$folder" ls-files --error-unmatch -- "$name" >/dev/null 2>&1 || refuse "$plan is not part of the base commit"
  git -C "$folder" diff --quiet HEAD -- . 2>/dev/null || refuse "$plan, or something beside it, was changed after the checkout"
fi

# The model's name: one line of the pull request's, in letters that can name a model and nothing else. It stands where it chooses neither
# an address nor a key nor a provider.
at_address='^https?://[^#{}]+#([A-Za-z0-9._-]+/)*\{model\}(@[A-Za-z_][A-Za-z0-9_]*)?$'
at_provider='^[a-z][a-z0-9-]*:([A-Za-z0-9._-]+/)+\{model\}$'
case $target in
  *'{model}'*)
    [ -n "$model_file" ] || refuse "the target has {model}: name the model-file that says which"
    provided=false
    if [[ $target =~ $at_provider ]]; then
      provided=true
    elif ! [[ $target =~ $at_address ]]; then
      refuse "{model} stands once: after the # of an address or the / of a provider (http...#{model}@KEY, inspect:PROVIDER/{model})"
    fi
    model=$(python3 -I -c '
import os, re, sys
head, name = os.path.realpath(sys.argv[1]), sys.argv[2]
path = os.path.join(head, name)
if os.path.isabs(name) or os.path.realpath(path) != path:
    sys.exit("the model-file is a link, or leads out of the pull request")
with open(path, "rb") as file:
    text = file.read(301)
if len(text) > 300:
    sys.exit("the model-file is longer than 300 bytes")
found = re.fullmatch(rb"([A-Za-z0-9][A-Za-z0-9._:/-]{0,199})(\r?\n)?", text)
if not found:
    sys.exit("the model-file does not hold one name of a model (letters, digits, . _ : / -), and nothing else")
print(found[1].decode())
' "$head" "$model_file" 2>"$said") || refuse "$(tail -n 1 "$said" | cut -c 1-200)"
    if [ "$provided" = true ]; then
      case $model in */*) refuse "after a provider the name of a model has no /, which could name another service" ;; esac
    fi
    target=${target//'{model}'/"$model"}
    ;;
  *) [ -z "$model_file" ] || refuse "a model-file is read where the target has {model}" ;;
esac

export ASSAY_KEY=$private/key.pem
if [ -n "${ASSAY_SIGNING_KEY:-}" ]; then
  printf '%s\n' "$ASSAY_SIGNING_KEY" >"$ASSAY_KEY"
fi
unset ASSAY_SIGNING_KEY ASSAY_GITLAB_TOKEN CI_JOB_TOKEN GITHUB_TOKEN ACTIONS_RUNTIME_TOKEN ACTIONS_ID_TOKEN_REQUEST_TOKEN
arguments=("$plan" --out "$out" --quiet)
[ -n "$target" ] && arguments+=(--target "$target")
[ -n "$policy" ] && arguments+=(--policy "$policy")
[ -n "$policy_key" ] && arguments+=(--policy-key "$policy_key")
assay run "${arguments[@]}" >"$said" 2>&1
code=$?
unset ASSAY_API_KEY
rm -f "$ASSAY_KEY"
case $code in
  0) verdict=approve ;;
  10) verdict=delay ;;
  20) verdict=halt ;;
  2) finish 2 "bad input" ;;
  *) finish 1 "no decision" ;;
esac

# As the other party would: the bundle alone must say the same.
assay verify "$out/evidence.jsonl" --json >"$private/verified" 2>&1 || { cat "$private/verified" >>"$said"; finish 1 "does not hold"; }
checked=$(python3 -I -c '
import json, sys
value = json.load(open(sys.argv[1], encoding="utf-8"))
(found,) = [c["detail"] for c in value["checks"] if c["check"] == "decision recomputed"]
print(found if value["ok"] is True else "")
' "$private/verified" 2>/dev/null) || checked=
if [ "$checked" != "$verdict" ]; then
  echo "the run says $verdict, and its bundle '$checked'" >>"$said"
  finish 1 "does not hold"
fi
for form in junit:junit.xml sarif:assay.sarif markdown:summary.md; do
  assay export "${form%%:*}" "$out" --out "$out/${form#*:}" --without-transcripts >"$private/export" 2>&1 ||
    { cat "$private/export" >>"$said"; finish 1 "does not hold"; }
done
finish "$code" "$verdict"
