/** Everything that `inspect` says of a model, as data: the command prints it, the server sends it. */

import { type UNetCensus, unetCensus } from "../../models/census.ts";
import { defaultsFor, type ModelDefaults } from "../../models/detect.ts";
import type { Size } from "../../pipeline/request.ts";
import type { ModelFiles } from "../../weights/files.ts";
import { type Anatomy, type Measured, measure, modelAnatomy, workloadOf } from "./anatomy.ts";

export interface Facts {
  readonly model: string;
  readonly pipeline: string | null;
  readonly networks: readonly Omit<Measured, "graphParameters">[];
  readonly parameters: number;
  /** Of all weights on disk. */
  readonly bytes: number;
  /** The picture's size, in pixels, at which operations are counted. */
  readonly size: Size;
  readonly unet: UNetCensus | null;
  /** Bytes. */
  readonly memory: { readonly weightsInFloat32: number; readonly largestNetworkInFloat32: number };
  readonly defaults: ModelDefaults | null;
}

/** `sizeFor` chooses the size at which operations are counted; without, it is the model's, or 512 px. */
export function factsOf(
  what: string,
  anatomy: Anatomy,
  sizeFor: (defaults: ModelDefaults | null) => Size = (defaults) => defaults ?? { width: 512, height: 512 },
): Facts {
  const { organs, modelIndex, scheduler, pipeline } = anatomy;
  const { factor } = workloadOf(organs, 0, 0);
  const unet = organs.find(({ className }) => className === "UNet2DConditionModel")?.config;
  const transformer = organs.find(({ name }) => name === "transformer")?.config;
  const denoiser = transformer === undefined ? { unet } : { transformer };
  const defaults =
    unet === undefined && transformer === undefined
      ? null
      : defaultsFor({ location: what, modelIndex, ...denoiser, scheduler, factor });
  const { width, height } = sizeFor(defaults);
  const size = { width, height };
  const work = workloadOf(organs, width, height);
  const measured = organs.map((organ) => measure(organ, work));
  const graph = measured.find(({ className }) => className === "UNet2DConditionModel")?.graphParameters;
  const networks = measured.map(({ graphParameters: _, ...rest }) => rest);
  const counts = networks.map(({ parameters }) => parameters);
  const parameters = counts.reduce((sum, n) => sum + n, 0);
  return {
    ...{ model: what, pipeline, networks, parameters, size, defaults },
    bytes: networks.reduce((sum, network) => sum + network.bytes, 0),
    unet: graph === undefined ? null : unetCensus(graph),
    memory: { weightsInFloat32: 4 * parameters, largestNetworkInFloat32: 4 * Math.max(0, ...counts) },
  };
}

/** Of a model's files. @throws KoalaError as `modelAnatomy` */
export const modelFacts = async (what: string, files: ModelFiles): Promise<Facts> =>
  factsOf(what, await modelAnatomy(files));
