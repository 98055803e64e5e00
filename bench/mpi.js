/**
 * What sharing a step costs: AdamW steps of the U-Net in MODEL on its share of BATCH latents of 16 x 16, STEPS of them, on
 * THREADS threads a process. Alone: node bench/mpi.js MODEL BATCH STEPS THREADS; two of them: mpirun --bind-to none -n 2 node
 * bench/mpi.js …. The last line is JSON, in seconds: of each step `steps` all, `reduce` the sum of gradients, `waits` the rest
 * of what processes do with each other, waiting for the slower one among it.
 */

import { host, input, openComponent, Scope } from "koala-diffusion/graph";
import { unet, unetConfig, unetInputs } from "koala-diffusion/models";
import { adamW, createTrainer } from "koala-diffusion/train";
import { fedLeaf } from "../dist/nn/index.js";
import { openMpi } from "../dist/node/mpi.js";
import { weightedMse } from "../dist/train/objective.js";

const [model, batch, steps, threads] = process.argv.slice(2);
const job = await openMpi(); // before the engine
const size = job?.size ?? 1;
if (Number(batch) % size !== 0) throw new Error(`${batch} pictures have no ${size} equal shares`);

/** Seconds of the step at hand. */
const spent = { reduce: 0, waits: 0 };
async function timed(what, work) {
  const start = performance.now();
  await work();
  spent[what] += (performance.now() - start) / 1000;
}
const elements = (arrays) => arrays.reduce((sum, { length }) => sum + length, 0);
const communicator = job && {
  rank: job.rank,
  size,
  allReduceSum: (arrays) =>
    timed(elements(arrays) > 1000 ? "reduce" : "waits", () => job.allReduceSum(arrays)),
  broadcast: (arrays, root) => timed("waits", () => job.broadcast(arrays, root)),
  barrier: () => timed("waits", () => job.barrier()),
};

const own = Number(batch) / size;
const { config, store } = await openComponent(await host.openModel(model), "unet");
const types = unetInputs(unetConfig(config), { batch: own, height: 16, width: 16, tokens: 32 });
const inputs = Object.fromEntries(Object.entries(types).map(([name, type]) => [name, input(name, type)]));
const scope = new Scope("", new Map(), fedLeaf);
const prediction = unet(scope, inputs, unetConfig(config));
const target = input("target", { shape: prediction.shape });
const weights = new Map([...scope.parameters].map(([name, { value }]) => [name, value]));
const trainer = await createTrainer(
  { terms: { task: weightedMse(prediction, target, input("weight", { shape: [own] })) } },
  weights,
  store,
  {
    ...{ engine: await host.engine("ort"), store, threads: Number(threads) },
    ...{ optimizer: adamW(), rate: () => 1e-4, maxNorm: 1 },
    ...(communicator ? { communicator } : {}),
  },
);
const wave = ({ dtype, shape }) => {
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i));
  return { dtype, shape, data };
};
const feeds = Object.fromEntries(Object.entries(trainer.inputs).map(([name, type]) => [name, wave(type)]));

const rows = [];
for (let i = 0; i <= Number(steps); i++) {
  Object.assign(spent, { reduce: 0, waits: 0 });
  const start = performance.now();
  await trainer.train([feeds]);
  if (i > 0) rows.push({ ...spent, whole: (performance.now() - start) / 1000 }); // the first one takes memory
}
if (job === null || job.rank === 0) {
  const parameters = [...weights.values()].reduce(
    (sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1),
    0,
  );
  const column = (key) => rows.map((row) => row[key]);
  const said = { size, parameters, steps: column("whole"), reduce: column("reduce"), waits: column("waits") };
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
await trainer.dispose();
await job?.finish();
