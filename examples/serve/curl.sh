#!/bin/sh
# Ask a running server with nothing but curl.
#
#     sh examples/serve/curl.sh [SERVER] [PICTURE]
#
# A key, where the server wants one, is taken from KOSMOS2_API_KEY.
set -eu

server=${1:-http://127.0.0.1:8000}
picture=${2:-$(dirname "$0")/../../src/kosmos2/assets/examples/snowman.jpg}
image="data:image/jpeg;base64,$(base64 <"$picture" | tr -d '\n')"

authorization=
if [ -n "${KOSMOS2_API_KEY:-}" ]; then
    authorization="header = \"Authorization: Bearer $KOSMOS2_API_KEY\""
fi

# The body comes on standard input, since a picture is too long for a word of a command; headers
# come as a file, since everybody on the machine can read the words of a command.
post() {
    curl --silent --show-error --fail-with-body --no-buffer --config /dev/fd/3 \
        --data-binary @- "$server$1" 3<<END
header = "Content-Type: application/json"
$authorization
END
    echo
}

# What is in the picture, with boxes in pixels.
printf '{"image": "%s", "coords": "px"}' "$image" | post /v1/caption

# Where things are; one that is not there has no boxes.
printf '{"image": "%s", "phrases": ["a snowman", "a zebra"]}' "$image" | post /v1/ground

# The same door as OpenAI's.
printf '{"messages": [{"role": "user", "content": [
    {"type": "image_url", "image_url": {"url": "%s"}},
    {"type": "text", "text": "What is below the snowman?"}]}]}' "$image" |
    post /v1/chat/completions

# An answer as it is written: words, each entity as soon as it is complete, and then the whole.
printf '{"image": "%s", "detailed": true, "stream": true}' "$image" | post /v1/caption
