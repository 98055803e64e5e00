#!/bin/sh
# Regenerates src/onnx/onnx_pb.ts from ONNX's own schema.
#   usage: scripts/onnx-proto.sh path/to/onnx.proto     (it lies in the pip package `onnx`, 1.23.2 for the committed file)
# Enums become constant objects: TypeScript enums are not erasable. Comments go: the schema is the place to read them.
set -eu
proto=$(realpath "$1")
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y > /dev/null
npm install --silent @bufbuild/buf@1.75.0 @bufbuild/protoc-gen-es@2.13.0
mkdir proto && cp "$proto" proto/onnx.proto
cat > buf.gen.yaml <<'YAML'
version: v2
plugins:
  - local: protoc-gen-es
    out: out
    opt: [target=ts]
YAML
PATH="$work/node_modules/.bin:$PATH" npx buf generate proto
node -e '
const text = require("fs").readFileSync("out/onnx_pb.ts", "utf8");
process.stdout.write(
  text
    .replace(/^ *\/\*\*\n(?: *\*.*\n)*? *\*\/\n/gm, "")
    .replace(/export enum (\w+) \{\n([^}]*)\}/g, (_, name, body) =>
      `export const ${name} = {\n${body.replace(/ = (-?\d+),/g, ": $1,")}} as const;\n` +
      `export type ${name} = (typeof ${name})[keyof typeof ${name}];`)
    .replace(/\n{3,}/g, "\n\n"),
);
' > "$root/src/onnx/onnx_pb.ts"
