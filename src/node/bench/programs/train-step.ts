/** A contender of `koala bench train-step`: AdamW steps of a U-Net on latents of no meaning. */

import { fedLeaf, Scope } from "../../../nn/index.ts";
import { input } from "../../../ops/index.ts";
import { host } from "../../../runtime/host.ts";
import { networkInputs } from "../../../train/networks/network.ts";
import { unetNetwork } from "../../../train/networks/unet.ts";
import { weightedMse } from "../../../train/objective.ts";
import { adamW } from "../../../train/optim/adam.ts";
import { fedWeights } from "../../../train/tasks/denoiser.ts";
import { createTrainer } from "../../../train/trainer.ts";
import { openComponent } from "../../../weights/layout.ts";
import { answer, asked, engineOf, sinceStart, timed, wave } from "./asked.ts";

const o = asked<{ readonly batch: number; readonly cells: number; readonly tokens: number }>();
const { batch, cells, tokens } = o;
const { config, store } = await openComponent(await host.openModel(o.model), "unet");
const network = unetNetwork(config, store);
const scope = new Scope("", new Map(), fedLeaf);
const size = { batch, height: cells, width: cells, tokens };
const prediction = network.predict(scope, networkInputs(network, size));
const target = input("target", { shape: prediction.shape });
const weight = input("weight", { shape: [batch] });
const trainer = await createTrainer(
  { terms: { task: weightedMse(prediction, target, weight) } },
  fedWeights(scope),
  store,
  {
    ...{ engine: await engineOf(o), store, threads: o.threads, precision: o.precision },
    ...{ optimizer: adamW(), rate: () => 1e-4, maxNorm: 1 },
  },
);
const ready = sinceStart();
const feeds = Object.fromEntries(Object.entries(trainer.inputs).map(([name, type]) => [name, wave(type)]));
answer({ ready, ...(await timed(() => trainer.train([feeds]), o.steps)) });
await trainer.dispose();
