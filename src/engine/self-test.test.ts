import { expect, test } from "vitest";
import { ortEngine } from "../node/ort-node.ts";
import type { Engine } from "../runtime/session.ts";
import { float32, toFloat32 } from "../tensor/tensor.ts";
import { checkedEngine } from "./self-test.ts";

const ort = ortEngine();

/** ONNX Runtime with a kernel that is off where `isBroken` says so. */
const broken = (isBroken: (target: string) => boolean): Engine => {
  const make = (target: Engine["target"]): Engine => ({
    name: "sick",
    target,
    async load(model, o) {
      const session = await ort.load(model, o);
      const isFused = new TextDecoder().decode(model.bytes).includes("MultiHeadAttention");
      return {
        dispose: () => session.dispose(),
        async run(feeds) {
          const results = await session.run(feeds);
          const { attended } = results;
          if (attended === undefined || !isBroken(isFused ? "ort-cpu" : "portable")) return results;
          return {
            ...results,
            attended: float32(
              attended.shape,
              toFloat32(attended).map((x) => 1.1 * x),
            ),
          };
        },
      };
    },
  });
  return make("ort-cpu");
};

test("an engine that computes right is taken as it is", async () => {
  expect(await checkedEngine(ort)).toBe(ort);
});

test("where fused kernels are wrong, plain ones are taken", async () => {
  const engine = await checkedEngine(broken((target) => target === "ort-cpu"));
  expect([engine.name, engine.target]).toEqual(["sick", "portable"]);
});

test("an engine that computes wrong is refused", async () => {
  const failure = await checkedEngine(broken(() => true)).catch((error: Error) => error.message);
  expect(failure).toBe(
    "engine sick: expected the results of the processor on this graphics device, got an error of 10 % in a small test (attended) [E_ENGINE]\nUpdate the graphics driver, or choose another engine.",
  );
});

test("where fused kernels fail, plain ones are taken, and nothing of them stays", async () => {
  let open = 0;
  const failing = (target: Engine["target"]): Engine => ({
    ...{ name: "sick", target },
    async load(model, o) {
      const session = await ort.load(model, o);
      const isFused = new TextDecoder().decode(model.bytes).includes("MultiHeadAttention");
      open++;
      return {
        async dispose() {
          open--;
          await session.dispose();
        },
        run: (feeds) => (isFused ? Promise.reject(new Error("no such kernel")) : session.run(feeds)),
      };
    },
  });
  const engine = await checkedEngine(failing("ort-cpu"));
  expect([engine.target, open]).toEqual(["portable", 0]);
});
