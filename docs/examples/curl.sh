#!/usr/bin/env bash
# Ask about a picture and print the answer: curl.sh URL KEY-FILE PICTURE
set -euo pipefail
url=$1 key_file=$2 picture=$3

# The key goes by a file: what stands on a command line, every user of the machine can read.
ask() {
    curl --silent --show-error --fail-with-body --retry 5 \
        --header @<(printf 'Authorization: Bearer %s\n' "$(cat "$key_file")") "$@"
}

reference=$(ask --data-binary "@$picture" --header 'Content-Type: application/octet-stream' \
    "$url/v1/uploads" | jq --raw-output .reference)

# The same key and request give the same job, so that all of this can be tried again.
request=$(jq --null-input --arg reference "$reference" '{
    images: [{reference: $reference}],
    question: "Which stain is shown?",
    options: ["Hematoxylin and eosin", "Immunohistochemistry with DAB", "No tissue"],
    priority: "stat",
    idempotency_key: $reference
}')
job=$(ask --json "$request" "$url/v1/jobs" | jq --raw-output .id)

# A stream of events ends with its job; it also ends after ten minutes.
until ask "$url/v1/jobs/$job" | jq --exit-status '.finished_at' >/dev/null; do
    ask --no-buffer --max-time 600 "$url/v1/jobs/$job/events" >/dev/null || sleep 1
done
ask "$url/v1/jobs/$job" | jq --raw-output '.reading.answer // .error.code // .status'
