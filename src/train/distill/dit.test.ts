/** Students of diffusion transformers: how they are cut, what they learn, and the loss against PyTorch in float64 (test/golden/README.md, `dit/`). */

import { describe, expect, it } from "vitest";
import { fill } from "../../../test/fill.ts";
import { goldenJson, goldenTensors } from "../../../test/golden.ts";
import { grad } from "../../autodiff/grad.ts";
import type { KoalaError } from "../../core/errors.ts";
import { compile } from "../../engine/compile.ts";
import type { Value } from "../../graph/op.ts";
import { countParameters } from "../../models/census.ts";
import { MASKED } from "../../models/dit.ts";
import { pixartPresets } from "../../models/pixart-presets.ts";
import { presets } from "../../models/presets.ts";
import { Scope } from "../../nn/index.ts";
import { input } from "../../ops/index.ts";
import { host } from "../../runtime/host.ts";
import type { TensorStore } from "../../tensor/stored.ts";
import { float32, type Tensor, toFloat32 } from "../../tensor/tensor.ts";
import type { Batch as Loaded } from "../data/loader.ts";
import { noStore } from "../flat.ts";
import { ditNetwork } from "../networks/dit.ts";
import { networkInputs } from "../networks/network.ts";
import { unetNetwork } from "../networks/unet.ts";
import type { Cut, CutOptions } from "./cut.ts";
import { cutRows } from "./cut-table.ts";
import { featurePairs } from "./features.ts";
import { distillLoss } from "./loss.ts";
import { cutRecord, planFromRecord } from "./record.ts";
import { networkSide } from "./sides.ts";
import type { FeatureSet } from "./sites.ts";

const golden = goldenJson("dit/index.json");
const { loss: setup } = golden;
const teacher = ditNetwork(setup.teacher, noStore);
const size = { batch: 2, height: 8, width: 12, tokens: 9 };

const errorOf = (act: () => unknown): string => {
  try {
    act();
  } catch (error) {
    return (error as KoalaError).message;
  }
  return "no error";
};

/** What both networks are fed, by the batch that a loader would give. */
function feedsOf(): Record<string, Tensor> {
  const [n, tokens] = setup.inputs.encoder_hidden_states;
  const given = (name: string): Tensor =>
    float32(setup.inputs[name], fill(`input.${name}`, setup.inputs[name]));
  const loaded: Loaded = {
    ...{ step: 0, epoch: 0, size: { width: 96, height: 64 }, ids: ["a", "b"], captions: ["a", "b"] },
    pictures: float32([], [0]),
    text: given("encoder_hidden_states"),
    mask: float32(
      [n, tokens],
      setup.seen.flatMap((seen: number) => Array.from({ length: tokens }, (_, i) => (i < seen ? 0 : MASKED))),
    ),
    ...{ pooled: null, sizes: setup.sizes.flat() },
  };
  return {
    sample: given("sample"),
    noise: given("noise"),
    t_emb: teacher.timeFeatures(setup.timesteps),
    ...teacher.conditions(loaded, false),
  };
}

/** The teacher's weights by the rule of fill.ts, the student's cut from them. */
function storeOf(cut: Cut, own: Scope, theirs: Scope): TensorStore {
  const named = [
    ...[...theirs.parameters.values()].map(({ name, value }) => ({
      name,
      from: name.replace(/^teacher\./, ""),
      value,
    })),
    ...[...own.parameters.values()].map(({ name, value }) => ({
      name,
      from: cut.sources.get(name) ?? "",
      value,
    })),
  ];
  const sources = new Map(named.map((entry) => [entry.name, entry]));
  const stored = ({ shape }: Value) => ({
    dtype: "float32" as const,
    shape,
    file: null,
    offset: 0,
    byteLength: 0,
  });
  return {
    tensors: new Map(named.map(({ name, value }) => [name, stored(value)])),
    read: async (name) => {
      const { from = "", value } = sources.get(name) ?? {};
      return float32(value?.shape ?? [], fill(from, value?.shape ?? []));
    },
  };
}

const norm = (values: Iterable<number>): number => Math.hypot(...values);

describe("the distillation loss is PyTorch's, term by term, and so is the gradient of every parameter", () => {
  const expected = goldenTensors("dit/gradients.safetensors");
  it.each(Object.keys(golden.cases))("%s", async (set) => {
    const { keep, terms: wanted, pairs: compared } = golden.cases[set];
    const cut = teacher.cut("pixart-4", { keep });
    const student = ditNetwork(cut.config, noStore);
    const pairs = featurePairs(teacher, student, { features: set as FeatureSet, plan: cut.plan, size });
    const byName = (a: readonly string[], b: readonly string[]): number => (a.join() < b.join() ? -1 : 1);
    const named = pairs.map(({ kind, stage, student: own, teacher: theirs }) => [kind, stage, own, theirs]);
    expect(named.sort(byName)).toEqual(compared.sort(byName));

    const inputs = networkInputs(student, size);
    const [own, theirs] = [new Scope(), new Scope("teacher")];
    const [side, other] = [networkSide(own, inputs, student), networkSide(theirs, inputs, teacher)];
    const noise = input("noise", { shape: setup.inputs.noise });
    const { loss, terms } = distillLoss(side, other, noise, {
      pairs,
      weights: setup.weights,
      detail: "stage",
    });
    const parameters = [...own.parameters.values()];
    const gradients = grad(
      loss,
      parameters.map(({ value }) => value),
    );
    const program = await compile(
      {
        ...{ loss, ...Object.fromEntries(terms) },
        ...Object.fromEntries(parameters.map(({ name }, i) => [`d ${name}`, gradients[i] as Value])),
      },
      { engine: await host.engine("ort"), store: storeOf(cut, own, theirs), threads: 1 },
    );
    const results = await program.run(feedsOf());
    await program.dispose();
    const numbers = (name: string): Float32Array => toFloat32(results[name] as Tensor);

    expect(["loss", ...terms.keys()].sort()).toEqual(Object.keys(wanted).sort());
    for (const [name, value] of Object.entries(wanted as Record<string, number>))
      expect(Math.abs((numbers(name)[0] ?? Number.NaN) - value), name).toBeLessThanOrEqual(
        1e-5 * value + 1e-12,
      );

    const names: string[] = setup.parameters;
    expect(parameters.map(({ name }) => name).sort()).toEqual(names);
    const norms = expected.get(`${set}.norms`)?.data as Float32Array;
    const along = expected.get(`${set}.projections`)?.data as Float32Array;
    const all = norm(norms);
    for (const [i, name] of names.entries()) {
      const g = numbers(`d ${name}`);
      const shape = own.parameters.get(name)?.value.shape ?? [];
      const off = Array.from({ length: setup.directions }, (_, k) => {
        const direction = fill(`input.direction.${k}.${name}`, shape);
        const projection = Math.sqrt(3) * g.reduce((sum, x, j) => sum + x * (direction[j] ?? 0), 0);
        return projection - (along[i * setup.directions + k] ?? 0);
      });
      const bound = 1e-4 * (norms[i] ?? 0) + 1e-6 * all;
      // the mean square along directions of variance 1 is that of the whole error
      expect(norm(off) / Math.sqrt(setup.directions), name).toBeLessThanOrEqual(bound);
      expect(Math.abs(norm(g) - (norms[i] ?? 0)), name).toBeLessThanOrEqual(bound);
    }
  });
});

describe("a cut transformer", () => {
  const sigma = ditNetwork(pixartPresets["pixart-sigma"].transformer, noStore);
  const kept = (rule: string, o: CutOptions = {}) => {
    const { plan } = sigma.cut(rule, o);
    return "blocks" in plan ? plan.blocks : [];
  };

  it("keeps the blocks that were asked for, and everything outside them", () => {
    expect(kept("pixart-4")).toEqual([0, 1, 2, 3]);
    expect(kept("pixart-4", { keep: "last" })).toEqual([24, 25, 26, 27]);
    expect(kept("pixart-14", { keep: "interleaved" })).toEqual([
      0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26,
    ]);
    const random = kept("pixart-14", { keep: "random", seed: 3 });
    expect(random).toEqual(kept("pixart-14", { keep: "random", seed: 3 }));
    expect(random).not.toEqual(kept("pixart-14", { keep: "random", seed: 4 }));
    expect([random.length, new Set(random).size]).toEqual([14, 14]);

    const { config, sources, parameters } = sigma.cut("pixart-14", { keep: "last" });
    expect(config).toEqual({ ...sigma.json, num_layers: 14 });
    expect(sources.get("transformer_blocks.0.attn1.to_q.weight")).toBe(
      "transformer_blocks.14.attn1.to_q.weight",
    );
    expect(sources.get("proj_out.bias")).toBe("proj_out.bias");
    // a block: attentions 2 · (4 · 1152² + 4 · 1152), feed-forward 8 · 1152² + 5 · 1152, its table 6 · 1152
    const block = 16 * 1152 ** 2 + 19 * 1152;
    expect(countParameters(parameters)).toBe(610_856_096 - 14 * block);
  });

  it("has rows, one a block, and a record that gives the plan back", () => {
    const cut = sigma.cut("pixart-2", { keep: "random", seed: 5 });
    const { blocks } = planFromRecord(JSON.parse(JSON.stringify(cutRecord(cut, "t"))), "r") as {
      blocks: number[];
    };
    expect({ blocks }).toEqual(cut.plan);
    expect(cutRecord(cut, "t")).toMatchObject({
      ...{ teacher: "t", rule: "pixart-2", keep: "random", seed: 5 },
      source: "https://arxiv.org/abs/2312.04005",
    });
    const rows = cutRows(cut);
    expect(rows.map(({ student }) => student)).toEqual([
      "adaln_single",
      "caption_projection",
      "pos_embed",
      "transformer_blocks.0",
      "transformer_blocks.1",
      "scale_shift_table",
      "proj_out",
    ]);
    expect(rows[4]).toEqual({
      ...{ student: "transformer_blocks.1", teacher: `transformer_blocks.${blocks[1]}` },
      ...{ blocks: [], parameters: 16 * 1152 ** 2 + 19 * 1152 },
    });
  });

  it.each([
    [
      () => sigma.cut("koala-1b"),
      "koala-1b: expected a teacher with a U-Net, got a teacher with a transformer [E_MODEL]\nFrom a transformer cut pixart-N, N being how many of its blocks stay.",
    ],
    [
      () => unetNetwork(presets.sdxl.unet, noStore).cut("pixart-14"),
      "pixart-14: expected a teacher with a transformer, got a teacher with a U-Net [E_MODEL]\nFrom a U-Net cut koala-1b, koala-700m, bk-sdm-base, bk-sdm-small, bk-sdm-tiny.",
    ],
    [
      () => sigma.cut("pixart-29"),
      "pixart-29: expected 1 to 28 blocks, since the teacher has 28, got 29 [E_MODEL]",
    ],
    [
      () => sigma.cut("pixart-0"),
      "pixart-0: expected 1 to 28 blocks, since the teacher has 28, got 0 [E_MODEL]",
    ],
    [
      () => sigma.cut("pixart-14", { depth: 3 }),
      "depth: expected a student of a U-Net, got pixart-14, whose name says how many blocks stay [E_MODEL]",
    ],
    [
      () => sigma.cut("pixart-14", { hasMid: true }),
      "mid: expected a student of a U-Net, got pixart-14, whose name says how many blocks stay [E_MODEL]",
    ],
    [
      () => sigma.cut("pixart"),
      "student: expected one of koala-1b, koala-700m, bk-sdm-base, bk-sdm-small, bk-sdm-tiny, pixart-N, got pixart [E_MODEL]\nDid you mean pixart-N?",
    ],
  ])("that cannot be is refused: %#", (act, sentence) => expect(errorOf(act)).toBe(sentence));
});

describe("features of a transformer", () => {
  const small = { batch: 1, height: 8, width: 8, tokens: 3 };
  const pairs = (layers: number, o: Omit<Parameters<typeof featurePairs>[2], "size">) =>
    featurePairs(teacher, ditNetwork({ ...setup.teacher, num_layers: layers }, noStore), {
      size: small,
      ...o,
    }).map(
      ({ kind, stage, student, teacher: theirs }) =>
        `${kind} ${stage} ${student.replace("transformer_blocks.", "")} ← ${theirs.replace("transformer_blocks.", "")}`,
    );

  it("are those of the blocks that a map gives: of the same index, the last, spread, or all shared out", () => {
    const of = (map: "first" | "last" | "interleaved" | "one-to-many") =>
      pairs(3, { features: { CA: "all" }, map });
    expect(of("first")).toEqual([
      "CA TX-1 0.attn2 ← 0.attn2",
      "CA TX-2 1.attn2 ← 1.attn2",
      "CA TX-3 2.attn2 ← 2.attn2",
    ]);
    expect(of("last")).toEqual([
      "CA TX-1 0.attn2 ← 4.attn2",
      "CA TX-2 1.attn2 ← 5.attn2",
      "CA TX-3 2.attn2 ← 6.attn2",
    ]);
    expect(of("interleaved")).toEqual([
      "CA TX-1 0.attn2 ← 0.attn2",
      "CA TX-2 1.attn2 ← 2.attn2",
      "CA TX-3 2.attn2 ← 4.attn2",
    ]);
    expect(of("one-to-many")).toEqual([
      ...["CA TX-1 0.attn2 ← 0.attn2", "CA TX-1 0.attn2 ← 1.attn2"],
      ...["CA TX-2 1.attn2 ← 2.attn2", "CA TX-2 1.attn2 ← 3.attn2"],
      ...["CA TX-3 2.attn2 ← 4.attn2", "CA TX-3 2.attn2 ← 5.attn2", "CA TX-3 2.attn2 ← 6.attn2"],
    ]);
  });

  it("are of one stage where that is asked for, and a map goes over the cut", () => {
    const { plan } = teacher.cut("pixart-4", { keep: "last" });
    expect(pairs(4, { features: { FFN: ["TX-2"] }, plan })).toEqual(["FFN TX-2 2.ff ← 5.ff"]);
    expect(pairs(4, { features: { FFN: ["TX-2"] }, plan, map: "first" })).toEqual(["FFN TX-2 2.ff ← 2.ff"]);
  });

  it("end with the network's last on both sides, also in a student of fewer blocks than thirds", () => {
    const last = (layers: number) => pairs(layers, { features: { LF: "all" } });
    expect(last(1)).toEqual(["LF TX-1 0 ← 6"]);
    expect(last(2)).toEqual(["LF TX-1 0 ← 3", "LF TX-2 1 ← 6"]);
    expect(last(5)).toEqual(["LF TX-1 1 ← 2", "LF TX-2 3 ← 4", "LF TX-3 4 ← 6"]);
  });

  it.each([
    [{ Res: ["TX-1"] }, "Res at TX-1: there is none to learn from"],
    [{ SA: ["DW-1"] }, "SA at DW-1: no such stage on both sides; they are TX-1, TX-2, TX-3"],
  ])("that are not there are told: %j", (features, line) => {
    expect(errorOf(() => pairs(4, { features }))).toBe(
      `features: expected features that student and teacher both have, of one shape, got one that does not fit [E_CONFIG]\n${line}`,
    );
  });

  it("of a student that another kind of network was cut to are refused", () => {
    const unet = unetNetwork(presets.sdxl.unet, noStore);
    expect(errorOf(() => pairs(4, { plan: unet.cut("koala-1b").plan }))).toBe(
      "student: expected one that was cut out of a transformer, got blocks of a U-Net [E_CONFIG]",
    );
    const { plan } = teacher.cut("pixart-4");
    expect(errorOf(() => featurePairs(unet, unet, { plan, size: small }))).toBe(
      "student: expected one that was cut out of a U-Net, got blocks of a transformer [E_CONFIG]",
    );
  });
});
