import { describe, expect, test } from "vitest";
import type { Shape } from "../tensor/shape.ts";
import type { TensorStore } from "../tensor/stored.ts";
import { inferUnetConfig } from "./infer.ts";

const store = (shapes: Iterable<readonly [string, Shape]>): TensorStore => ({
  tensors: new Map(
    [...shapes].map(([name, shape]) => [
      name,
      { dtype: "float16", shape, file: null, offset: 0, byteLength: 0 },
    ]),
  ),
  read: () => Promise.reject(new Error("looking must not read")),
});

interface Plan {
  readonly channels: readonly number[];
  /** Transformer blocks after each residual block. */
  readonly down: readonly (readonly number[])[];
  /** null: no middle block; 0: one residual block. */
  readonly mid: number | null;
  readonly up: readonly (readonly number[])[];
  readonly context: number;
  readonly isLinear: boolean;
  readonly hasTextTime: boolean;
}

/** The tensors of a U-Net that tell its structure, at their real shapes. */
function unet(plan: Plan): TensorStore {
  const shapes: [string, Shape][] = [
    ["conv_in.weight", [plan.channels[0] ?? 0, 4, 3, 3]],
    ["conv_out.weight", [4, plan.channels[0] ?? 0, 3, 3]],
  ];
  const layer = (block: string, j: number, depth: number, c: number): void => {
    shapes.push([`${block}.resnets.${j}.conv1.weight`, [c, c, 3, 3]]);
    if (depth > 0)
      shapes.push([`${block}.attentions.${j}.proj_in.weight`, plan.isLinear ? [c, c] : [c, c, 1, 1]]);
    for (let t = 0; t < depth; t++) {
      shapes.push([`${block}.attentions.${j}.transformer_blocks.${t}.attn2.to_k.weight`, [c, plan.context]]);
    }
  };
  const last = plan.channels.at(-1) ?? 0;
  plan.down.forEach((depths, i) => {
    depths.forEach((d, j) => {
      layer(`down_blocks.${i}`, j, d, plan.channels[i] ?? 0);
    });
  });
  plan.up.forEach((depths, i) => {
    depths.forEach((d, j) => {
      layer(`up_blocks.${i}`, j, d, plan.channels.at(-1 - i) ?? 0);
    });
  });
  if (plan.mid !== null) layer("mid_block", 0, plan.mid, last);
  if (plan.mid !== null && plan.mid > 0) layer("mid_block", 1, 0, last);
  if (plan.hasTextTime) shapes.push(["add_embedding.linear_1.weight", [1280, 2816]]);
  return store(shapes);
}

const xl = { channels: [320, 640, 1280], context: 2048, isLinear: true, hasTextTime: true } as const;

/** Structures by facts.md 1.1 and 2.7 to 2.11 (published configs; ComfyUI's for the SSD family). */
const families: Record<string, { plan: Plan; config: Record<string, unknown> }> = {
  "SD 1": {
    plan: {
      channels: [320, 640, 1280, 1280],
      down: [
        [1, 1],
        [1, 1],
        [1, 1],
        [0, 0],
      ],
      mid: 1,
      up: [
        [0, 0, 0],
        [1, 1, 1],
        [1, 1, 1],
        [1, 1, 1],
      ],
      context: 768,
      isLinear: false,
      hasTextTime: false,
    },
    config: {
      block_out_channels: [320, 640, 1280, 1280],
      down_block_types: [
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "CrossAttnDownBlock2D",
        "DownBlock2D",
      ],
      up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
      mid_block_type: "UNetMidBlock2DCrossAttn",
      layers_per_block: 2,
      transformer_layers_per_block: [1, 1, 1, 1],
      reverse_transformer_layers_per_block: null,
      attention_head_dim: 8,
      cross_attention_dim: 768,
      use_linear_projection: false,
      addition_embed_type: null,
    },
  },
  SDXL: {
    plan: {
      ...xl,
      down: [
        [0, 0],
        [2, 2],
        [10, 10],
      ],
      mid: 10,
      up: [
        [10, 10, 10],
        [2, 2, 2],
        [0, 0, 0],
      ],
    },
    config: {
      down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
      up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
      mid_block_type: "UNetMidBlock2DCrossAttn",
      layers_per_block: 2,
      transformer_layers_per_block: [1, 2, 10],
      reverse_transformer_layers_per_block: null,
      attention_head_dim: [5, 10, 20],
      cross_attention_dim: 2048,
      addition_embed_type: "text_time",
      addition_time_embed_dim: 256,
      projection_class_embeddings_input_dim: 2816,
    },
  },
  "KOALA-1B": {
    plan: {
      ...xl,
      down: [[0], [2], [6]],
      mid: 6,
      up: [
        [6, 6],
        [2, 2],
        [0, 0],
      ],
    },
    config: {
      mid_block_type: "UNetMidBlock2DCrossAttn",
      layers_per_block: 1,
      transformer_layers_per_block: [1, 2, 6],
    },
  },
  "KOALA-700M": {
    plan: {
      ...xl,
      down: [[0], [2], [5]],
      mid: null,
      up: [
        [5, 5],
        [2, 2],
        [0, 0],
      ],
    },
    config: { mid_block_type: null, layers_per_block: 1, transformer_layers_per_block: [1, 2, 5] },
  },
  "SSD-1B": {
    plan: {
      ...xl,
      down: [
        [0, 0],
        [2, 2],
        [4, 4],
      ],
      mid: 0,
      up: [
        [4, 4, 10],
        [2, 1, 1],
        [0, 0, 0],
      ],
    },
    config: {
      mid_block_type: "UNetMidBlock2D",
      transformer_layers_per_block: [1, 2, 4],
      reverse_transformer_layers_per_block: [[4, 4, 10], [2, 1, 1], 1],
    },
  },
  Vega: {
    plan: {
      ...xl,
      down: [
        [0, 0],
        [1, 1],
        [2, 2],
      ],
      mid: 0,
      up: [
        [2, 2, 2],
        [1, 1, 1],
        [0, 0, 0],
      ],
    },
    config: {
      mid_block_type: "UNetMidBlock2D",
      transformer_layers_per_block: [1, 1, 2],
      reverse_transformer_layers_per_block: null,
    },
  },
};

describe.each(Object.entries(families))("%s", (_, { plan, config }) => {
  test("is told by its names and shapes", () => {
    expect(inferUnetConfig(unet(plan), "m")).toMatchObject(config);
  });
});

test("attention after some layers of a level only is no diffusers U-Net", () => {
  const plan: Plan = {
    ...xl,
    down: [
      [0, 0],
      [2, 0],
      [4, 4],
    ],
    mid: 0,
    up: [
      [4, 4, 4],
      [2, 2, 2],
      [0, 0, 0],
    ],
  };
  expect(() => inferUnetConfig(unet(plan), "m")).toThrow(
    "m: down_blocks.1: expected attention after every residual block or after none, got transformer blocks 2, 0 [E_CONFIG]",
  );
});

test("a middle block deeper than the deepest level cannot be said in a config", () => {
  const plan: Plan = {
    ...xl,
    down: [[0], [2], [6]],
    mid: 4,
    up: [
      [6, 6],
      [2, 2],
      [0, 0],
    ],
  };
  expect(() => inferUnetConfig(unet(plan), "m")).toThrow(
    "m: mid_block: expected 6 transformer blocks, as in the deepest level, got 4 [E_CONFIG]",
  );
});

test("what is missing to tell the shape is named", () => {
  expect(() => inferUnetConfig(store([]), "m")).toThrow(
    "m: expected down_blocks of a U-Net, got none [E_WEIGHTS]",
  );
  const headless = unet({ ...xl, down: [[0], [0], [0]], mid: 0, up: [[0], [0], [0]] });
  expect(() => inferUnetConfig(headless, "m")).toThrow(
    "m: expected a U-Net with cross-attention, got none [E_WEIGHTS]",
  );
  const cut = new Map(unet(families.SDXL?.plan as Plan).tensors);
  cut.delete("conv_in.weight");
  expect(() => inferUnetConfig({ ...store([]), tensors: cut }, "m")).toThrow(
    "m: expected a tensor conv_in.weight of 2 axes or more, to tell the model's shape from, got none of that name [E_WEIGHTS]",
  );
  cut.set("conv_in.weight", { dtype: "float16", shape: [320], file: null, offset: 0, byteLength: 0 });
  expect(() => inferUnetConfig({ ...store([]), tensors: cut }, "m")).toThrow(
    "m: expected a tensor conv_in.weight of 2 axes or more, to tell the model's shape from, got fewer axes [E_WEIGHTS]",
  );
});
