/**
 * Whether a picture shows nudity or sex, by the MobileNetV2 that the npm package nsfwjs brings. Its network and weights are
 * read from there and run on our own engine, so TensorFlow.js, which nsfwjs itself runs on, is not needed.
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { KoalaError } from "../../core/errors.ts";
import { compile } from "../../engine/compile.ts";
import type { Picture } from "../../image/pixels.ts";
import { type KerasModel, kerasGraph } from "../../models/keras.ts";
import type { Engine } from "../../runtime/session.ts";
import { float32, toFloat32 } from "../../tensor/tensor.ts";
import { ortEngine } from "../ort-node.ts";
import type { NsfwPolicy, NsfwVerdict } from "./policy.ts";

/** In the order of the network's output; nsfwjs 4.4.0, nsfw_classes.ts. */
const classes = ["drawing", "hentai", "neutral", "porn", "sexy"] as const;
type Scores = NsfwVerdict["scores"];

/** The network and its weights as a package of nsfwjs's form has them. */
export interface Bundle {
  readonly version: string;
  readonly model: KerasModel;
  readonly weights: Uint8Array;
}

const absent = (cause: unknown): KoalaError =>
  new KoalaError("E_ENGINE", {
    where: "--nsfw",
    expected: "the package nsfwjs",
    got: (cause as NodeJS.ErrnoException).code === "MODULE_NOT_FOUND" ? "none" : String(cause),
    hint: "It is optional: npm install nsfwjs --legacy-peer-deps (without TensorFlow.js, which is not needed).",
    cause,
  });

/** nsfwjs as it lies beside `from`; absent: beside this package. @throws KoalaError E_ENGINE when it is not installed */
export function nsfwBundle(from: string = import.meta.url): Bundle {
  try {
    const load = createRequire(from);
    const root = join(dirname(load.resolve("nsfwjs/core")), "../..");
    const read = (name: string): unknown => load(join(root, "dist/models/mobilenet_v2", name));
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
    return {
      version,
      model: read("model.min.js") as KerasModel,
      weights: Buffer.from(read("group1-shard1of1.min.js") as string, "base64"),
    };
  } catch (cause) {
    throw absent(cause);
  }
}

/**
 * Pixels as the network wants them, [1, 3, side, side] from 0 to 1, by tf.image.resizeBilinear with corners aligned: no
 * smoothing, as nsfwjs does.
 */
function seen({ width, height, data }: Picture, side: number): Float32Array {
  const out = new Float32Array(3 * side * side);
  const place = (i: number, length: number): readonly [number, number, number] => {
    const at = (i * (length - 1)) / (side - 1);
    const first = Math.floor(at);
    return [first, Math.min(first + 1, length - 1), at - first];
  };
  const pixel = (y: number, x: number, c: number): number => data[3 * (y * width + x) + c] ?? 0;
  for (let i = 0; i < side; i++) {
    const [top, bottom, down] = place(i, height);
    for (let j = 0; j < side; j++) {
      const [left, right, across] = place(j, width);
      for (let c = 0; c < 3; c++) {
        const above = pixel(top, left, c) * (1 - across) + pixel(top, right, c) * across;
        const below = pixel(bottom, left, c) * (1 - across) + pixel(bottom, right, c) * across;
        out[(c * side + i) * side + j] = (above * (1 - down) + below * down) / 255;
      }
    }
  }
  return out;
}

/** How likely a picture is each of the classes. */
export type Classify = (picture: Picture) => Promise<Scores>;

export async function nsfwClassifier(
  { model, weights }: Bundle,
  engine: Engine = ortEngine(),
): Promise<Classify> {
  const { side, said, store } = kerasGraph(model, weights);
  const program = await compile({ said }, { engine, store });
  return async (picture) => {
    const feeds = { picture: float32([1, 3, side, side], seen(picture, side)) };
    const found = toFloat32((await program.run(feeds)).said ?? float32([0], []));
    return Object.fromEntries(classes.map((name, i) => [name, found[i] ?? 0])) as Scores;
  };
}

/** Likelier than not. */
const threshold = 0.5;
/** Of the longer side: no more than patches of colour are left. */
const blurShare = 1 / 16;

let opened: Promise<{ readonly by: string; readonly classify: Classify }> | null = null;

async function open(): Promise<{ readonly by: string; readonly classify: Classify }> {
  const bundle = nsfwBundle();
  return { by: `nsfwjs ${bundle.version} MobileNetV2`, classify: await nsfwClassifier(bundle) };
}

/** So blurred that nothing can be made out. */
export async function blurred({ width, height, data }: Picture): Promise<Picture> {
  const { default: sharp } = await import("sharp");
  const image = sharp(data, { raw: { width, height, channels: 3 } });
  const bytes = await image
    .blur(Math.max(1, blurShare * Math.max(width, height)))
    .raw()
    .toBuffer();
  return { width, height, data: new Uint8Array(bytes) };
}

/**
 * A picture as it may leave, and what is recorded of it. `classifier` is for tests.
 * @throws KoalaError E_REFUSED by policy `refuse`, E_ENGINE when nsfwjs is not installed
 */
export async function judged(
  picture: Picture,
  policy: Exclude<NsfwPolicy, "off">,
  classifier?: { readonly by: string; readonly classify: Classify },
): Promise<{ readonly picture: Picture; readonly verdict: NsfwVerdict }> {
  opened ??= classifier === undefined ? open() : null;
  const { by, classify } = classifier ?? ((await opened) as NonNullable<typeof classifier>);
  const scores = await classify(picture);
  const explicit = scores.hentai + scores.porn;
  const isExplicit = explicit >= threshold;
  if (isExplicit && policy === "refuse")
    throw new KoalaError("E_REFUSED", {
      where: "picture",
      expected: "one that this server may show",
      got: `one that is explicit with a likelihood of ${explicit.toFixed(2)}`,
      hint: "Another prompt or seed draws another picture.",
    });
  const round = (p: number): number => Math.round(p * 1e4) / 1e4;
  const rounded = Object.fromEntries(classes.map((name) => [name, round(scores[name])])) as Scores;
  return {
    picture: isExplicit && policy === "blur" ? await blurred(picture) : picture,
    verdict: { by, isExplicit, scores: rounded, policy },
  };
}
