// test/golden/nsfw-tiny.json: a small network in the form of nsfwjs's bundles, every kind of layer that MobileNetV2 there has,
// with what nsfwjs says of three pictures. In an empty folder:
//   npm install nsfwjs@4.4.0 @tensorflow/tfjs@4.22.0 buffer@6 && node …/scripts/oracle/nsfw-tiny.js > nsfw-tiny.json
// The last lines are what the bundled MobileNetV2 says of the same pictures: test/slow/nsfw.test.ts.

import { createRequire } from "node:module";
import { join } from "node:path";

console.info = () => {};
console.warn = () => {};
const require = createRequire(join(process.cwd(), "here.js"));
const tf = require("@tensorflow/tfjs");
const { load } = require("nsfwjs/core");
const { MobileNetV2Model } = require("nsfwjs/models/mobilenet_v2");

/** Side of the small network's pictures. */
const size = 15;

/** Three pictures that a line of arithmetic makes: the same in test/nsfw-pictures.ts. */
function picture(kind, width, height) {
  const data = new Int32Array(3 * width * height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < 3; c++)
        data[3 * (y * width + x) + c] =
          kind === 0
            ? [(255 * x) / (width - 1), (255 * y) / (height - 1), 128][c]
            : kind === 1
              ? (Math.hypot(x - width / 2, y - height / 2) < 0.4 * width ? [224, 172, 140] : [90, 60, 60])[c]
              : (7 * x + 13 * y + 31 * c) % 256;
  return tf.tensor3d(data, [height, width, 3], "int32");
}
const pictures = [
  [0, 64, 48],
  [1, 128, 128],
  [2, 300, 200],
];

/** Uniform in [-1, 1), by a linear congruence: Numerical Recipes, section 7.1. */
let state = 1;
const random = () => {
  state = (1664525 * state + 1013904223) % 2 ** 32;
  return state / 2 ** 31 - 1;
};

const { layers } = tf;
const x = tf.input({ shape: [size, size, 3], name: "input_1" });
let h = layers
  .zeroPadding2d({
    padding: [
      [0, 1],
      [0, 1],
    ],
    name: "pad",
  })
  .apply(x);
h = layers.conv2d({ filters: 6, kernelSize: 3, strides: 2, useBias: false, name: "conv" }).apply(h);
h = layers.batchNormalization({ name: "bn", epsilon: 0.001 }).apply(h);
const a = layers.reLU({ maxValue: 6, name: "relu" }).apply(h);
h = layers.depthwiseConv2d({ kernelSize: 3, padding: "same", useBias: false, name: "depth" }).apply(a);
h = layers.batchNormalization({ name: "bn_depth", epsilon: 0.001 }).apply(h);
h = layers.add({ name: "add" }).apply([a, h]);
h = layers
  .zeroPadding2d({
    padding: [
      [0, 1],
      [0, 1],
    ],
    name: "pad_2",
  })
  .apply(h);
h = layers.depthwiseConv2d({ kernelSize: 3, strides: 2, useBias: false, name: "depth_2" }).apply(h);
h = layers.conv2d({ filters: 5, kernelSize: 1, padding: "same", useBias: false, name: "project" }).apply(h);
h = layers.averagePooling2d({ poolSize: 3, strides: 3, name: "pool" }).apply(h);
h = layers.flatten({ name: "flatten" }).apply(h);
h = layers.dense({ units: 4, activation: "relu", name: "dense" }).apply(h);
h = layers.dropout({ rate: 0.5, name: "dropout" }).apply(h);
h = layers.dense({ units: 5, activation: "softmax", name: "said" }).apply(h);
const model = tf.model({ inputs: x, outputs: h });

const bytes = [];
const weights = model.weights.map((weight) => {
  const { shape } = weight;
  const values = Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, random);
  const isVariance = weight.originalName.includes("variance");
  const [min, scale] = isVariance ? [0.5, 0.004] : [-1, 2 / 255];
  const codes = Uint8Array.from(values, (v) => Math.round(127.5 * (v + 1)));
  bytes.push(...codes);
  return {
    name: weight.originalName,
    shape,
    dtype: "float32",
    quantization: { min, scale, dtype: "uint8" },
  };
});
const named = model.toJSON(null, false);
const modelJson = {
  modelTopology: { keras_version: "2.1.6", backend: "tensorflow", model_config: named },
  weightsManifest: [{ paths: ["group1-shard1of1"], weights }],
};
const weightsBase64 = Buffer.from(bytes).toString("base64");

async function said(net) {
  const all = [];
  for (const [kind, width, height] of pictures) {
    const found = await net.classify(picture(kind, width, height));
    all.push(Object.fromEntries(found.map((f) => [f.className, f.probability])));
  }
  return all;
}
const tiny = await load("MobileNetV2", {
  size,
  modelDefinitions: [
    {
      name: "MobileNetV2",
      numOfWeightBundles: 1,
      modelJson: async () => ({ default: modelJson }),
      weightBundles: [async () => ({ default: weightsBase64 })],
    },
  ],
});
const whole = await load("MobileNetV2", { modelDefinitions: [MobileNetV2Model] });
process.stdout.write(
  `${JSON.stringify({
    made: "scripts/oracle/nsfw-tiny.js: nsfwjs 4.4.0, @tensorflow/tfjs 4.22.0 (its CPU backend, float32); tolerance 1e-5",
    pictures,
    modelJson,
    weights: weightsBase64,
    said: await said(tiny),
    mobilenet: await said(whole),
  })}\n`,
);
