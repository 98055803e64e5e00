/**
 * A look at whether an engine computes right, before a picture depends on it: graphics drivers are known to fail
 * silently. A small network with one of each kind of heavy kernel runs on the engine and in float64.
 */

import { KoalaError } from "../core/errors.ts";
import { interpret } from "../graph/interpret.ts";
import type { Target, Value } from "../graph/op.ts";
import { attention, conv, groupNorm, input, linear, reshape, silu, transpose } from "../ops/index.ts";
import type { Engine } from "../runtime/session.ts";
import { size } from "../tensor/shape.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { float32, type Tensor, toFloat32 } from "../tensor/tensor.ts";
import { compile } from "./compile.ts";

/** Of the largest element. Kernels in float32 stay below 1e-5, in half precision below 5e-3. */
const tolerance = 1e-2;

/** Tokens and head size at which fused attention kernels are chosen, as in the networks. */
const side = 8;
const heads = 2;
const channels = 64;

/** Numbers in −1 to 1 without a pattern that a wrong stride would keep. */
const numbers = (shape: readonly number[], seed: number): Tensor =>
  float32(
    shape,
    Float32Array.from({ length: size(shape) }, (_, i) => Math.sin(12.9898 * (i + 1) + 78.233 * seed)),
  );

function network(): { outputs: Record<string, Value>; feeds: Record<string, Tensor> } {
  const feeds: Record<string, Tensor> = {};
  const leaf = (name: string, shape: readonly number[]): Value => {
    feeds[name] = numbers(shape, Object.keys(feeds).length);
    return input(name, { shape: [...shape] });
  };
  const x = leaf("x", [1, channels, side, side]);
  const convolved = conv(x, leaf("kernel", [channels, channels, 3, 3]), null, { pad: 1 });
  const normed = silu(
    groupNorm(convolved, leaf("gain", [channels]), leaf("shift", [channels]), { groups: 8, eps: 1e-5 }),
  );
  const tokens = transpose(reshape(normed, [1, channels, side * side]), [0, 2, 1]); // [1, S, C]
  const projected = linear(tokens, leaf("weight", [channels, channels]), null);
  const attended = attention(projected, tokens, tokens, { heads });
  return { outputs: { convolved, normed, projected, attended }, feeds };
}

const noWeights: TensorStore = {
  tensors: new Map(),
  read: (name) => Promise.reject(new Error(`no weight ${name}`)),
};

/** The first kernel whose result is off, with by how much; null when all are right. */
async function firstWrong(engine: Engine): Promise<{ name: string; error: number } | null> {
  const { outputs, feeds } = network();
  const leaves = new Map(
    Object.entries(feeds).map(([name, t]) => [
      name,
      { shape: t.shape, data: Float64Array.from(toFloat32(t)) },
    ]),
  );
  const expected = interpret(Object.values(outputs), leaves);
  const program = await compile(outputs, { engine, store: noWeights });
  const results = await program.run(feeds).finally(() => program.dispose());
  for (const [i, name] of Object.keys(outputs).entries()) {
    const right = expected[i]?.data ?? new Float64Array(0);
    const got = toFloat32(results[name] as Tensor);
    const scale = right.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
    const error =
      right.reduce((most, v, j) => Math.max(most, Math.abs(v - (got[j] ?? Number.NaN))), 0) / scale;
    if (!(error < tolerance)) return { name, error };
  }
  return null;
}

const withTarget = (engine: Engine, target: Target): Engine => ({
  name: engine.name,
  target,
  load: (model, o) => engine.load(model, o),
});

/**
 * The engine, if it computes right; the engine with plain kernels only, if its fused ones are wrong or fail.
 * @throws KoalaError E_ENGINE when both are wrong, and as the engine does where both fail
 */
export async function checkedEngine(engine: Engine): Promise<Engine> {
  const isRight = await firstWrong(engine).then(
    (wrong) => wrong === null,
    () => false, // a fused kernel that the device does not take
  );
  if (isRight) return engine;
  const plain = withTarget(engine, "portable");
  const wrong = await firstWrong(plain);
  if (wrong === null) return plain;
  throw new KoalaError("E_ENGINE", {
    where: `engine ${engine.name}`,
    expected: "the results of the processor on this graphics device",
    got: `an error of ${(100 * wrong.error).toPrecision(2)} % in a small test (${wrong.name})`,
    hint: "Update the graphics driver, or choose another engine.",
  });
}
