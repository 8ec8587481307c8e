#!/bin/sh
# protoc for dependencies that call it while they are built: no such program need be on the machine.
# Builds the real thing once, in a folder of its own (the build that calls this holds its own locked).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target="${CARGO_TARGET_DIR:-$here/../../target}/protoc"
binary="$target/debug/protoc"
if [ ! -x "$binary" ]; then
    # Not the settings of the build that calls this: it may be for another machine.
    env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_TARGET \
        "${CARGO:-cargo}" build --quiet --locked --manifest-path "$here/Cargo.toml" --target-dir "$target" >&2
fi
exec "$binary" "$@"
