import { expect, test } from "vitest";
import { encodeInitializers, encodeModel, type ProtoModel } from "./proto.ts";
import { nodeTypes, readModel } from "./read.ts";

const model: ProtoModel = {
  irVersion: 10,
  opsets: { "": 21, "com.microsoft": 1 },
  nodes: [
    {
      name: "a/Pad_0",
      type: "Pad",
      domain: "",
      inputs: ["x", "", "w"],
      outputs: ["%0"],
      attrs: { mode: "edge", axis: -1n, alpha: 0.5, perm: [0n, 2n, 1n], scales: [1.5, 2] },
    },
    {
      name: "QuickGelu_1",
      type: "QuickGelu",
      domain: "com.microsoft",
      inputs: ["%0"],
      outputs: ["y"],
      attrs: {},
    },
  ],
  initializers: [
    { name: "w", dtype: "float16", shape: [2], data: { kind: "inline", bytes: Uint8Array.of(1, 2, 3, 4) } },
    {
      name: "v",
      dtype: "bfloat16",
      shape: [3, 1],
      data: { kind: "external", location: "a/b", offset: 7, length: 6 },
    },
  ],
  inputs: [{ name: "x", dtype: "float32", shape: [1, 4] }],
  outputs: [{ name: "y", dtype: "int64", shape: [] }],
};

test("a model survives bytes", () => {
  expect(readModel(encodeModel(model))).toEqual(model);
});

test("the smallest model has the bytes that onnx.proto's field numbers say", () => {
  const empty = { irVersion: 10, opsets: {}, nodes: [], initializers: [], inputs: [], outputs: [] };
  const text = [..."koala-diffusion"].map((c) => c.charCodeAt(0));
  const graph = [0x12, 5, ...[..."koala"].map((c) => c.charCodeAt(0))]; // GraphProto.name = 2
  // ModelProto: ir_version = 1 (varint), producer_name = 2, graph = 7
  expect([...encodeModel(empty)]).toEqual([
    0x08,
    10,
    0x12,
    text.length,
    ...text,
    0x3a,
    graph.length,
    ...graph,
  ]);
});

test("bytes of initializers that follow a model's are its initializers", () => {
  const [first, second] = model.initializers;
  const head = encodeModel({ ...model, initializers: first === undefined ? [] : [first] });
  const tail = encodeInitializers(second === undefined ? [] : [second]);
  expect(readModel(Uint8Array.of(...head, ...tail))).toEqual(model);
});

test("node types are counted, most frequent first, with their domain", () => {
  const [pad, gelu] = model.nodes as [ProtoModel["nodes"][number], ProtoModel["nodes"][number]];
  expect(nodeTypes({ ...model, nodes: [pad, gelu, gelu] })).toEqual([
    ["com.microsoft.QuickGelu", 2],
    ["Pad", 1],
  ]);
});

/** A ModelProto whose graph (field 7) holds `field` with these bytes. */
const withGraph = (field: number, bytes: readonly number[]): Uint8Array => {
  const graph = [(field << 3) | 2, bytes.length, ...bytes];
  return Uint8Array.of(0x3a, graph.length, ...graph);
};
const letter = (field: number, c: string): number[] => [(field << 3) | 2, 1, c.charCodeAt(0)];

test("what this package never writes is named", () => {
  // NodeProto: name = 3, attribute = 5; AttributeProto: name = 1, type = 20 (varint) with GRAPH = 5
  const attribute = [...letter(1, "g"), 0xa0, 0x01, 5];
  const node = [...letter(3, "n"), (5 << 3) | 2, attribute.length, ...attribute];
  expect(() => readModel(withGraph(1, node))).toThrow(
    "model.onnx: n: expected attribute g to be a number, a text or a list of numbers, got attribute type 5 [E_ONNX]",
  );
  // TensorProto: data_type = 2 (varint) with COMPLEX64 = 14, name = 8
  expect(() => readModel(withGraph(5, [0x10, 14, ...letter(8, "c")]), "m")).toThrow(
    "m: c: expected an element type that this package knows, got ONNX type 14 [E_ONNX]",
  );
  expect(() => readModel(withGraph(11, letter(1, "x")), "m")).toThrow(
    "m: x: expected a tensor, got no type [E_ONNX]",
  );
});
