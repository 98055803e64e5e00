/**
 * The one file that speaks protobuf: a plain description of an ONNX model to bytes, and back.
 * Source: onnx.proto, package onnx; IR version and operator sets are the caller's.
 */

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { check } from "../core/assert.ts";
import type { OnnxAttr } from "../graph/op.ts";
import { type DType, dtypes } from "../tensor/dtype.ts";
import type { Shape } from "../tensor/shape.ts";
import {
  AttributeProto_AttributeType as AttributeKind,
  type AttributeProto,
  AttributeProtoSchema,
  TensorProto_DataLocation as DataLocation,
  GraphProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  OperatorSetIdProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  TensorShapeProto_DimensionSchema,
  TensorShapeProtoSchema,
  TypeProto_TensorSchema,
  TypeProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from "./onnx_pb.ts";

export interface ProtoNode {
  readonly name: string;
  readonly type: string;
  /** "" is ONNX's own. */
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attrs: Readonly<Record<string, OnnxAttr>>;
}

/** Where the bytes of an initializer are: here, or in a file beside the model. */
export type ProtoData =
  | { readonly kind: "inline"; readonly bytes: Uint8Array }
  | {
      readonly kind: "external";
      readonly location: string;
      readonly offset: number;
      readonly length: number;
    };

export interface ProtoTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  readonly data: ProtoData;
}

export interface ProtoPort {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
}

export interface ProtoModel {
  readonly irVersion: number;
  /** Version of each operator set by its domain. */
  readonly opsets: Readonly<Record<string, number>>;
  readonly nodes: readonly ProtoNode[];
  readonly initializers: readonly ProtoTensor[];
  readonly inputs: readonly ProtoPort[];
  readonly outputs: readonly ProtoPort[];
}

/** A serialized `ModelProto`. */
export function encodeModel(m: ProtoModel): Uint8Array<ArrayBuffer> {
  const graph = create(GraphProtoSchema, {
    name: "koala",
    node: m.nodes.map((node) =>
      create(NodeProtoSchema, {
        name: node.name,
        opType: node.type,
        domain: node.domain,
        input: [...node.inputs],
        output: [...node.outputs],
        attribute: Object.entries(node.attrs).map(([name, value]) => encodeAttr(name, value)),
      }),
    ),
    initializer: m.initializers.map(encodeTensor),
    input: m.inputs.map(encodePort),
    output: m.outputs.map(encodePort),
  });
  const opsetImport = Object.entries(m.opsets).map(([domain, version]) =>
    create(OperatorSetIdProtoSchema, { domain, version: BigInt(version) }),
  );
  const model = create(ModelProtoSchema, {
    irVersion: BigInt(m.irVersion),
    producerName: "koala-diffusion",
    opsetImport,
    graph,
  });
  return toBinary(ModelProtoSchema, model);
}

/**
 * Bytes to put after those of a model, which add initializers to its graph: protobuf merges the fields of
 * messages that follow one another ("Message merging", protobuf encoding guide).
 */
export function encodeInitializers(tensors: readonly ProtoTensor[]): Uint8Array<ArrayBuffer> {
  const graph = create(GraphProtoSchema, { initializer: tensors.map(encodeTensor) });
  return toBinary(ModelProtoSchema, create(ModelProtoSchema, { graph }));
}

const ascii = (text: string): Uint8Array<ArrayBuffer> => Uint8Array.from(text, (c) => c.charCodeAt(0));
const fromAscii = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

function encodeAttr(name: string, value: OnnxAttr): AttributeProto {
  if (typeof value === "string")
    return create(AttributeProtoSchema, { name, type: AttributeKind.STRING, s: ascii(value) });
  if (typeof value === "bigint")
    return create(AttributeProtoSchema, { name, type: AttributeKind.INT, i: value });
  if (typeof value === "number")
    return create(AttributeProtoSchema, { name, type: AttributeKind.FLOAT, f: value });
  return isIntegers(value)
    ? create(AttributeProtoSchema, { name, type: AttributeKind.INTS, ints: [...value] })
    : create(AttributeProtoSchema, { name, type: AttributeKind.FLOATS, floats: [...value] });
}

const isIntegers = (value: readonly number[] | readonly bigint[]): value is readonly bigint[] =>
  typeof value[0] === "bigint";

function encodeTensor(t: ProtoTensor): TensorProto {
  const base = { name: t.name, dims: t.shape.map(BigInt), dataType: dtypes[t.dtype].onnx };
  if (t.data.kind === "inline") return create(TensorProtoSchema, { ...base, rawData: t.data.bytes });
  const { location, offset, length } = t.data;
  const entries = { location, offset: String(offset), length: String(length) };
  return create(TensorProtoSchema, {
    ...base,
    dataLocation: DataLocation.EXTERNAL,
    externalData: Object.entries(entries).map(([key, value]) =>
      create(StringStringEntryProtoSchema, { key, value }),
    ),
  });
}

function encodePort({ name, dtype, shape }: ProtoPort): ValueInfoProto {
  const dim = shape.map((d) =>
    create(TensorShapeProto_DimensionSchema, { value: { case: "dimValue", value: BigInt(d) } }),
  );
  const tensorType = create(TypeProto_TensorSchema, {
    elemType: dtypes[dtype].onnx,
    shape: create(TensorShapeProtoSchema, { dim }),
  });
  const type = create(TypeProtoSchema, { value: { case: "tensorType", value: tensorType } });
  return create(ValueInfoProtoSchema, { name, type });
}

/**
 * A model as its parts; what this package never writes (subgraphs, sequences, named dimensions) is an error.
 * @throws KoalaError E_ONNX
 */
export function decodeModel(bytes: Uint8Array, where: string): ProtoModel {
  const model = fromBinary(ModelProtoSchema, bytes);
  const graph = model.graph ?? create(GraphProtoSchema);
  return {
    irVersion: Number(model.irVersion),
    opsets: Object.fromEntries(model.opsetImport.map(({ domain, version }) => [domain, Number(version)])),
    nodes: graph.node.map((node) => ({
      name: node.name,
      type: node.opType,
      domain: node.domain,
      inputs: node.input,
      outputs: node.output,
      attrs: Object.fromEntries(node.attribute.map((a) => [a.name, decodeAttr(a, `${where}: ${node.name}`)])),
    })),
    initializers: graph.initializer.map((t) => decodeTensor(t, where)),
    inputs: graph.input.map((port) => decodePort(port, where)),
    outputs: graph.output.map((port) => decodePort(port, where)),
  };
}

function decodeAttr(a: AttributeProto, where: string): OnnxAttr {
  switch (a.type) {
    case AttributeKind.STRING:
      return fromAscii(a.s);
    case AttributeKind.INT:
      return a.i;
    case AttributeKind.FLOAT:
      return a.f;
    case AttributeKind.INTS:
      return a.ints;
    default:
      check(a.type === AttributeKind.FLOATS, "E_ONNX", () => ({
        where,
        expected: `attribute ${a.name} to be a number, a text or a list of numbers`,
        got: `attribute type ${a.type}`,
      }));
      return a.floats;
  }
}

function decodeTensor(t: TensorProto, where: string): ProtoTensor {
  const external = new Map(t.externalData.map(({ key, value }) => [key, value]));
  const data: ProtoData =
    t.dataLocation === DataLocation.EXTERNAL
      ? {
          kind: "external",
          location: external.get("location") ?? "",
          offset: Number(external.get("offset") ?? 0),
          length: Number(external.get("length") ?? 0),
        }
      : { kind: "inline", bytes: t.rawData };
  return {
    name: t.name,
    dtype: dtypeOf(t.dataType, `${where}: ${t.name}`),
    shape: t.dims.map(Number),
    data,
  };
}

function decodePort(port: ValueInfoProto, where: string): ProtoPort {
  const type = port.type?.value;
  check(type?.case === "tensorType", "E_ONNX", () => ({
    where: `${where}: ${port.name}`,
    expected: "a tensor",
    got: type?.case ?? "no type",
  }));
  return {
    name: port.name,
    dtype: dtypeOf(type.value.elemType, `${where}: ${port.name}`),
    shape: (type.value.shape?.dim ?? []).map(({ value }) =>
      value.case === "dimValue" ? Number(value.value) : 0,
    ),
  };
}

function dtypeOf(onnx: number, where: string): DType {
  const found = (Object.keys(dtypes) as DType[]).find((name) => dtypes[name].onnx === onnx);
  check(found !== undefined, "E_ONNX", () => ({
    where,
    expected: "an element type that this package knows",
    got: `ONNX type ${onnx}`,
  }));
  return found;
}
