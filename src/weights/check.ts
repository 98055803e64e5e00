/**
 * Whether weights are those that a model asks for: everything that is wrong, at once, in a page that can be read.
 */

import { check } from "../core/assert.ts";
import type { DType } from "../tensor/dtype.ts";
import { scaleName, storedForm } from "../tensor/quantized.ts";
import { type Shape, sameShape, show } from "../tensor/shape.ts";
import type { TensorStore } from "../tensor/stored.ts";

/** Lines of detail in the error, enough for a screen. */
const maxLines = 9;

const floats: ReadonlySet<DType> = new Set(["float32", "float16", "bfloat16"]);

/** Buffers and leftovers that many files carry and no model reads. */
export const ignorableNames: readonly RegExp[] = [
  /(^|\.)position_ids$/,
  /(^|\.)logit_scale$/,
  /(^|\.)num_batches_tracked$/,
];

interface Finding {
  readonly kind: "missing" | "surplus" | "shape" | "dtype";
  readonly name: string;
  /** What is to be said of this one beside its name. */
  readonly detail: string;
}

const labels: Readonly<Record<Finding["kind"], string>> = {
  missing: "missing",
  surplus: "not in the model",
  shape: "of another shape",
  dtype: "of another dtype",
};

/**
 * Compares a store with the parameters of a model.
 * @throws KoalaError E_WEIGHTS that tells all missing, surplus and misfitting tensors, grouped by place
 */
export function checkWeights(
  store: TensorStore,
  parameters: ReadonlyMap<string, Shape>,
  o: { where: string; ignorable?: readonly RegExp[]; mayBeIntegers?: boolean },
): void {
  check(store.recipe === undefined || o.mayBeIntegers === true, "E_WEIGHTS", () => ({
    where: o.where,
    expected: "weights in floats",
    got: "a quantized model's integers",
    hint: "Take the model that it was quantized from.",
  }));
  const ignorable = [...ignorableNames, ...(o.ignorable ?? [])];
  const expected = storedTensors(parameters, store.recipe);
  const findings: Finding[] = [];
  for (const [name, { shape, dtype }] of expected) {
    const stored = store.tensors.get(name);
    if (stored === undefined) findings.push({ kind: "missing", name, detail: "" });
    else if (!sameShape(stored.shape, shape)) {
      findings.push({ kind: "shape", name, detail: ` is ${show(stored.shape)}, not ${show(shape)}` });
    } else if (dtype === null ? !floats.has(stored.dtype) : stored.dtype !== dtype) {
      const wanted = dtype ?? "float32, float16 or bfloat16";
      findings.push({ kind: "dtype", name, detail: ` is ${stored.dtype}, not ${wanted}` });
    }
  }
  for (const name of store.tensors.keys()) {
    if (!expected.has(name) && !ignorable.some((pattern) => pattern.test(name))) {
      findings.push({ kind: "surplus", name, detail: "" });
    }
  }
  check(findings.length === 0, "E_WEIGHTS", () => ({
    where: o.where,
    expected: `the ${expected.size} tensors that its config asks for`,
    got: kinds
      .map((kind) => [findings.filter((f) => f.kind === kind).length, labels[kind]] as const)
      .filter(([n]) => n > 0)
      .map(([n, label]) => `${n} ${label}`)
      .join(", "),
    hint: describe(findings).join("\n"),
  }));
}

interface Expected {
  readonly shape: Shape;
  /** null: any float. */
  readonly dtype: DType | null;
}

/** What must lie in the file for these parameters: those that the recipe names as integers, with their scales. */
function storedTensors(
  parameters: ReadonlyMap<string, Shape>,
  recipe: TensorStore["recipe"],
): ReadonlyMap<string, Expected> {
  const expected = new Map<string, Expected>();
  for (const [name, shape] of parameters) {
    const how = recipe?.layers[name];
    const form = how === undefined ? { shape, dtype: null } : storedForm(shape, how);
    expected.set(name, form);
    if ("scale" in form) expected.set(scaleName(name), { shape: form.scale, dtype: null });
  }
  return expected;
}

const kinds: readonly Finding["kind"][] = ["missing", "surplus", "shape", "dtype"];

/** `down_blocks.1.resnets.0.conv1.weight` → `down_blocks.1`: the part of the model to look at. */
const placeOf = (name: string): string => /^[^.]+(\.\d+|\.[^.]+\.\d+)?/.exec(name)?.[0] ?? name;

/** One line a kind and place, at most `maxLines` of them. */
function describe(findings: readonly Finding[]): string[] {
  const groups = new Map<string, [Finding, ...Finding[]]>();
  for (const finding of findings) {
    const key = `${finding.kind} ${placeOf(finding.name)}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [finding]);
    else group.push(finding);
  }
  const lines = [...groups.values()].map((group) => {
    const [{ kind, name, detail }, ...others] = group;
    const more = others.length === 0 ? "" : ` and ${others.length} more in ${placeOf(name)}`;
    return `${labels[kind]}: ${name}${detail}${more}`;
  });
  if (lines.length <= maxLines) return lines;
  const left = [...groups.values()].slice(maxLines - 1).reduce((n, group) => n + group.length, 0);
  return [
    ...lines.slice(0, maxLines - 1),
    `and ${left} more tensors in ${lines.length - maxLines + 1} other places`,
  ];
}

/** Tells of tensors in a file that nothing reads, where there are any. */
export function tellUnread(names: readonly string[], where: string, warn: (message: string) => void): void {
  if (names.length > 0)
    warn(`${where} holds ${names.length} tensors that nothing reads, such as ${names[0]}`);
}
