/** One contender of `bench train`: AdamW steps of the U-Net in MODEL on BATCH latents of 16 x 16, STEPS of them on THREADS threads. */

import { fedLeaf, host, input, openComponent, Scope } from "koala-diffusion/graph";
import { unet, unetConfig, unetInputs } from "koala-diffusion/models";
import { adamW, createTrainer, weightedMse } from "koala-diffusion/train";

const [model, batch, steps, threads] = process.argv.slice(2);
const sinceStart = () => Date.now() / 1000 - Number(process.env.BENCH_START);

const { config, store } = await openComponent(await host.openModel(model), "unet");
const types = unetInputs(unetConfig(config), { batch: Number(batch), height: 16, width: 16, tokens: 32 });
const inputs = Object.fromEntries(Object.entries(types).map(([name, type]) => [name, input(name, type)]));
const scope = new Scope("", new Map(), fedLeaf);
const prediction = unet(scope, inputs, unetConfig(config));
const target = input("target", { shape: prediction.shape });
const weight = input("weight", { shape: [Number(batch)] });
const weights = new Map([...scope.parameters].map(([name, { value }]) => [name, value]));
const trainer = await createTrainer(
  { terms: { task: weightedMse(prediction, target, weight) } },
  weights,
  store,
  {
    engine: await host.engine("ort"),
    store,
    threads: Number(threads),
    optimizer: adamW(),
    rate: () => 1e-4,
    maxNorm: 1,
  },
);
const ready = sinceStart();

const wave = ({ dtype, shape }) => {
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i));
  return { dtype, shape, data };
};
const feeds = Object.fromEntries(Object.entries(trainer.inputs).map(([name, type]) => [name, wave(type)]));
const times = [];
const cpu = [];
let first = 0;
for (let i = 0; i < Number(steps); i++) {
  const start = performance.now();
  const used = process.cpuUsage();
  await trainer.train([feeds]);
  const { user, system } = process.cpuUsage(used);
  if (i === 0) first = sinceStart();
  else {
    times.push((performance.now() - start) / 1000);
    cpu.push((user + system) / 1e6);
  }
}
process.stdout.write(`${JSON.stringify({ ready, first, steps: times, cpu })}\n`);
await trainer.dispose();
