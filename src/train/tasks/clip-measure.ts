/** How well CLIP tells pictures apart by their captions, of data that it learns from or not. */

import { compile } from "../../engine/compile.ts";
import { type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import { type PreparedData, type PreparedSample, pictureBatch } from "../data/loader.ts";
import { noStore, type TrainEngine } from "../flat.ts";
import { type ClipTaskOptions, clipGraph, pairFeeds } from "./clip.ts";

/** Captions that each picture chooses among, one its own: as many as R-precision is usually told for. */
const ways = 32;
/** Pictures of a set that are asked: a share of them is then known to about 3 %. */
const mostPictures = 8 * ways;

export interface ClipMeter {
  /** Share of pictures, spread evenly over `data`, that find their own among captions: the first of each. */
  accuracy(data: PreparedData, weights: ReadonlyMap<string, Tensor>): Promise<number>;
  dispose(): Promise<void>;
}

/** @throws KoalaError E_ENGINE */
export async function clipMeter(
  task: Pick<ClipTaskOptions, "config" | "tokenizer" | "norm">,
  o: TrainEngine,
): Promise<ClipMeter> {
  const { objective } = clipGraph(task.config, ways);
  const program = await compile({ accuracy: objective.terms.accuracy }, { ...o, store: noStore });
  return {
    async accuracy(data, weights) {
      const { samples } = data;
      const count = Math.max(1, Math.floor(Math.min(mostPictures, samples.length) / ways));
      // every count-th picture: neighbours are often variants of one
      const chosen = (batch: number): PreparedSample[] =>
        Array.from({ length: ways }, (_, i) => {
          const place = Math.floor(((i * count + batch) * samples.length) / (count * ways));
          return samples[place] as PreparedSample;
        });
      const loader = {
        async at(batch: number) {
          const own = chosen(batch);
          return {
            pictures: pictureBatch(await Promise.all(own.map((sample) => data.picture(sample, 0)))),
            captions: own.map(({ captions }) => captions[0] ?? ""),
            ids: own.map(({ id }) => id),
          };
        },
      };
      let sum = 0;
      for (let batch = 0; batch < count; batch++) {
        const feeds = await pairFeeds(batch, { ...task, loader, leastCrop: 1, seed: 0 });
        const read = Object.keys(program.inputs).map((name) => [name, feeds[name] ?? weights.get(name)]);
        const made = await program.run(Object.fromEntries(read) as Record<string, Tensor>);
        sum += toFloat32(made.accuracy as Tensor)[0] ?? 0;
      }
      return sum / count;
    },
    dispose: () => program.dispose(),
  };
}
