/** A contender of `koala bench unet`: forwards of a model's denoiser, compiled as the pipeline compiles it. */

import { compileStepwise } from "../../../engine/stepwise.ts";
import { openDrawable } from "../../../pipeline/model.ts";
import { stepInputs } from "../../../pipeline/plan-request.ts";
import { host } from "../../../runtime/host.ts";
import { answer, asked, engineOf, sinceStart, timed, wave } from "./asked.ts";

const o = asked();
const { denoiser, texts, vae } = await openDrawable(await host.openModel(o.model), {
  openBase: (usual) => host.openModel(usual),
  warn: () => {},
});
const cells = o.size / vae.factor;
const tokens = texts[0]?.tokenizer.maxLength ?? 1;
const program = await compileStepwise(denoiser.graph({ batch: 1, height: cells, width: cells, tokens }), {
  ...{ engine: await engineOf(o), store: denoiser.store, changing: stepInputs },
  ...{ threads: o.threads, precision: o.precision },
});
const ready = sinceStart();
const feeds = Object.fromEntries(Object.entries(program.inputs).map(([name, type]) => [name, wave(type)]));
answer({ ready, ...(await timed(() => program.run(feeds), o.steps)) });
await program.dispose();
