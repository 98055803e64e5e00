/** A graph, its gradient, and both on ONNX Runtime: node examples/differentiate.js */

import * as k from "koala-diffusion/graph";

const values = { x: [1, 2, 3, 4], w: [0.5, -0.5], target: [1, 0] };
const shapes = { x: [2, 2], w: [2, 1], target: [2, 1] };
const [x, w, target] = Object.entries(shapes).map(([name, shape]) =>
  k.input(name, { dtype: "float32", shape }),
);

const difference = k.sub(k.matmul(x, w), target);
const loss = k.mean(k.mul(difference, difference), [0, 1]);
const [slope] = k.grad(loss, [w]);
console.log(k.print([loss]));

const none = { tensors: new Map(), read: () => Promise.reject(new Error("this graph has no weights")) };
const program = await k.compile({ loss, slope }, { engine: await k.host.engine("auto"), store: none });
const feeds = Object.entries(values).map(([name, v]) => [name, k.float32(shapes[name], v)]);
const results = await program.run(Object.fromEntries(feeds));
await program.dispose();
console.log(`loss ${results.loss.data}, slope ${results.slope.data}`);

const leaves = Object.entries(values).map(([name, v]) => [name, { shape: shapes[name], data: v }]);
console.log(`in float64: slope ${k.interpret([slope], new Map(leaves))[0].data}`);
