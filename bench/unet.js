/** One contender of `bench unet`: the U-Net of MODEL at SIZE pixels, STEPS forwards on THREADS threads, by ENGINE in PRECISION. */

import { compileStepwise, host, openComponent } from "koala-diffusion/graph";
import { buildUNet, unetConfig } from "koala-diffusion/models";

const [model, size, steps, threads, engineName, precision] = process.argv.slice(2);
const sinceStart = () => Date.now() / 1000 - Number(process.env.BENCH_START);
const cells = Number(size) / 8;

const { config, store } = await openComponent(await host.openModel(model), "unet");
const { outputs } = buildUNet(unetConfig(config), { batch: 1, height: cells, width: cells, tokens: 77 });
const engine = await host.engine(engineName);
const changing = ["sample", "t_emb"];
const options = { engine, store, changing, threads: Number(threads), precision };
const program = await compileStepwise(outputs, options);
const ready = sinceStart();

const random = ({ dtype, shape }) => {
  const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i));
  return { dtype, shape, data };
};
const feeds = Object.fromEntries(Object.entries(program.inputs).map(([name, type]) => [name, random(type)]));
const times = [];
let first = 0;
for (let i = 0; i < Number(steps); i++) {
  const start = performance.now();
  await program.run(feeds);
  if (i === 0) first = sinceStart();
  else times.push((performance.now() - start) / 1000);
}
process.stdout.write(`${JSON.stringify({ ready, first, steps: times })}\n`);
await program.dispose();
