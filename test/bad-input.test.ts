/** What a user gets for input that cannot work: through the command line and a real pipeline, one sentence each, whole. */

import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { realWorld } from "../src/node/cli/world.ts";
import { FakeHub } from "./fake-hub.ts";
import { inEmptyFolders, run } from "./fake-world.ts";
import { readJsonFile, writeFamily } from "./model-folder.ts";

let work = "";
let whole = "";
beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "koala-bad-"));
  whole = writeFamily(join(work, "whole"), "koala-700m");
});
afterAll(() => rmSync(work, { recursive: true, force: true }));
inEmptyFolders();

const unet = "bad/unet/diffusion_pytorch_model.safetensors";
const vae = "bad/vae/diffusion_pytorch_model.safetensors";
const text = "bad/text_encoder/model.safetensors";

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** Rewrites the header of a safetensors file; `change` may also touch the data behind it. */
function alter(path: string, change: (header: Record<string, Entry>, data: Buffer) => void): void {
  const bytes = readFileSync(path);
  const end = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, end));
  const data = bytes.subarray(end);
  change(header, data);
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(path, Buffer.concat([length, json, data]));
}

const entry = (header: Record<string, Entry>, name: string): Entry => header[name] as Entry;

/** Puts one NaN into a weight. */
const spoil = (path: string, name: string, value = Number.NaN): void =>
  alter(path, (header, data) => data.writeFloatLE(value, entry(header, name).data_offsets[0]));

const editJson = (path: string, change: object): void =>
  writeFileSync(path, JSON.stringify({ ...readJsonFile(path), ...change }));

const drop = (name: string): void => rmSync(`bad/${name}`, { recursive: true });

const generate = (...flags: string[]) => [
  ...["generate", "apple", "--model", "bad", "--quiet", "--steps", "2", "--output", "o.png"],
  ...flags,
];
const real = { world: { load: realWorld.load, openModel: realWorld.openModel, engines: realWorld.engines } };

const others = "scheduler, text_encoder, text_encoder_2, tokenizer, tokenizer_2";
const classes =
  "EulerDiscreteScheduler, EulerAncestralDiscreteScheduler, HeunDiscreteScheduler, DDIMScheduler, PNDMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler, LCMScheduler, TCDScheduler";
const damaged = "The weights may be damaged, or stored in float16 where they need float32.";

interface Case {
  readonly what: string;
  mend(): void;
  readonly says: string;
  readonly flags?: readonly string[];
  /** 2 by default. */
  readonly code?: number;
}

const cases: readonly Case[] = [
  {
    what: "a folder that lacks a component",
    mend: () => drop("unet"),
    says: `bad: expected a folder unet with config.json and weights, got only ${others}, vae [E_MODEL]`,
  },
  {
    what: "a component without weights",
    mend: () => rmSync(unet),
    says: "bad/unet: expected weights in safetensors, got none [E_MODEL]",
  },
  {
    what: "weights as a pickle",
    mend: () => renameSync(unet, "bad/unet/diffusion_pytorch_model.bin"),
    says: "bad/unet: expected weights in safetensors, got only diffusion_pytorch_model.bin [E_MODEL]\nOther formats are not read (a pickle can run code when it is opened): convert the weights to safetensors first.",
  },
  {
    what: "a component without its config",
    mend: () => drop("vae/config.json"),
    says: "bad/vae: expected a config.json, got none [E_MODEL]",
  },
  {
    what: "a folder without a scheduler",
    mend: () => drop("scheduler"),
    says: "bad/scheduler/scheduler_config.json: expected a file, got no such file or folder [E_FILE]",
  },
  {
    what: "a folder without a tokenizer",
    mend: () => drop("tokenizer_2"),
    says: "bad/tokenizer_2: expected vocab.json and merges.txt, tokenizer.json, or spiece.model, got none of them [E_TOKENIZER]",
  },
  {
    what: "a folder without model_index.json",
    mend: () => drop("model_index.json"),
    says: "bad: expected a model_index.json that names the parts of the pipeline, got folders of parts without it [E_MODEL]\nThe folder may be the rest of a broken download: fetch it again.",
  },
  {
    what: "a pipeline of another kind",
    mend: () => editJson("bad/model_index.json", { _class_name: "FluxPipeline" }),
    says: "bad/model_index.json: expected a pipeline that koala runs: StableDiffusionXLPipeline, StableDiffusionPipeline, StableDiffusionXLInpaintPipeline, StableDiffusionInpaintPipeline, LatentConsistencyModelPipeline, PixArtAlphaPipeline, PixArtSigmaPipeline, got FluxPipeline [E_MODEL]",
  },
  {
    what: "a config that is no JSON",
    mend: () => writeFileSync("bad/model_index.json", "{"),
    says: "bad/model_index.json: expected JSON, got text that is not JSON [E_CONFIG]",
  },
  {
    what: "a missing tensor",
    mend: () =>
      alter(unet, (header) => {
        header["conv_inn.bias"] = entry(header, "conv_in.bias");
        delete header["conv_in.bias"];
      }),
    says: "bad/unet: expected the 584 tensors that its config asks for, got 1 missing, 1 not in the model [E_WEIGHTS]\nmissing: conv_in.bias\nnot in the model: conv_inn.bias",
  },
  {
    what: "a config that does not fit the weights",
    mend: () => editJson("bad/unet/config.json", { in_channels: 9 }),
    says: "bad/unet: expected the 584 tensors that its config asks for, got 1 of another shape [E_WEIGHTS]\nof another shape: conv_in.weight is [32, 4, 3, 3], not [32, 9, 3, 3]",
  },
  {
    what: "a config with a value that is not supported",
    mend: () => editJson("bad/unet/config.json", { class_embed_type: "timestep" }),
    says: 'bad/unet/config.json (class_embed_type): expected null, got "timestep" [E_CONFIG]',
  },
  {
    what: "a config with a field that nobody knows",
    mend: () => editJson("bad/unet/config.json", { magic: 3 }),
    says: "bad/unet/config.json (magic): expected only fields that this model knows, got 3 [E_CONFIG]\nIf it does not change what the network computes, remove it from the file.",
  },
  {
    what: "networks that do not fit each other",
    mend: () => editJson("bad/model_index.json", { text_encoder_2: [null, null] }),
    says: "bad: expected text encoders that give the 80 channels that the U-Net reads, got 32 [E_CONFIG]",
  },
  {
    what: "a scheduler file that is no object",
    mend: () => writeFileSync("bad/scheduler/scheduler_config.json", "null"),
    says: "bad/scheduler/scheduler_config.json: expected a JSON object, got null [E_CONFIG]",
  },
  {
    what: "a scheduler that koala has not",
    mend: () =>
      editJson("bad/scheduler/scheduler_config.json", { _class_name: "FlowMatchEulerDiscreteScheduler" }),
    says: `bad/scheduler/scheduler_config.json (_class_name): expected one of ${classes}, got "FlowMatchEulerDiscreteScheduler" [E_CONFIG]\nAny model can be sampled by another method: set the scheduler to one of euler, euler-a, heun, ddim, pndm, dpmpp-2m, dpmpp-2m-karras, dpmpp-2m-sde, dpmpp-2m-sde-karras, dpmpp-3m, unipc, lcm, tcd.`,
  },
  {
    what: "whole numbers as weights",
    mend: () =>
      alter(unet, (header) => {
        entry(header, "conv_in.weight").dtype = "I32";
      }),
    says: "bad/unet: expected the 584 tensors that its config asks for, got 1 of another dtype [E_WEIGHTS]\nof another dtype: conv_in.weight is int32, not float32, float16 or bfloat16",
  },
  {
    what: "weights of a dtype that is not read",
    mend: () =>
      alter(unet, (header) => {
        entry(header, "conv_in.weight").dtype = "F8_E4M3";
      }),
    says: `${unet}: conv_in.weight: expected a dtype of F32, F16, BF16, F64, I64, I32, U16, I16, U8, I8, BOOL, got F8_E4M3, which koala does not read [E_SAFETENSORS]`,
  },
  {
    what: "a header that lies about a shape",
    mend: () =>
      alter(unet, (header) => {
        entry(header, "conv_in.weight").shape = [2 ** 40, 2 ** 40];
      }),
    says: `${unet}: conv_in.weight: expected 4.835703278458517e+24 bytes for F32 [1099511627776, 1099511627776], got 4608 [E_SAFETENSORS]`,
  },
  {
    what: "a header that promises more than a file has",
    mend: () => writeFileSync(unet, Buffer.from([0, 0, 0xf0, 5, 0, 0, 0, 0, 123, 125])),
    says: `${unet}: expected a header of 99614720 bytes, got a file of 10 bytes [E_SAFETENSORS]\nThe file is truncated: fetch it again.`,
  },
  {
    what: "a header length that nobody should allocate",
    mend: () => writeFileSync(unet, Buffer.alloc(16, 0xff)),
    says: `${unet}: expected a header of at most 100000000 bytes, got a header length of 18446744073709551615 [E_SAFETENSORS]`,
  },
  {
    what: "an empty file",
    mend: () => truncateSync(unet, 0),
    says: `${unet}: expected a safetensors file, which begins with 8 bytes of header length, got a file of 0 bytes [E_SAFETENSORS]`,
  },
  {
    what: "a web page in a file's place",
    mend: () => writeFileSync(unet, "<!DOCTYPE html><html>Please log in</html>"),
    says: `${unet}: expected a header of at most 100000000 bytes, got a header length of 5789751444030890300 [E_SAFETENSORS]\nIt looks like a web page saved in the file's place: fetch the file again.`,
  },
  {
    what: "an engine that nobody knows",
    mend() {},
    flags: ["--engine", "ortt"],
    says: "engine: expected one of auto, ort, openvino, webgpu, cuda, got ortt [E_ENGINE]\nDid you mean ort?",
  },
  {
    what: "NaN in a weight of the U-Net",
    mend: () => spoil(unet, "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"),
    says: `down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k: expected finite numbers at timestep 999, got NaN or infinity [E_NAN]\n${damaged}`,
    code: 1,
  },
  {
    what: "infinity in a weight of the U-Net",
    mend: () => spoil(unet, "up_blocks.0.resnets.0.conv1.bias", Number.POSITIVE_INFINITY),
    says: `up_blocks.0.resnets.0: expected finite numbers at timestep 999, got NaN or infinity [E_NAN]\n${damaged}`,
    code: 1,
  },
  {
    what: "NaN in a text encoder",
    mend: () => spoil(text, "text_model.encoder.layers.0.mlp.fc1.bias"),
    says: `text_encoder: text_model.encoder.layers.0: expected finite numbers, got NaN or infinity [E_NAN]\n${damaged}`,
    code: 1,
  },
  {
    what: "NaN in the VAE",
    mend: () => spoil(vae, "decoder.up_blocks.1.resnets.0.conv1.bias"),
    says: "vae: decoder.up_blocks.1.resnets.0: expected finite numbers, got NaN or infinity [E_NAN]\nThe weights may be damaged, or stored in float16 where they need float32 (SDXL's own VAE is known for it).",
    code: 1,
  },
];

describe("koala generate with", () => {
  beforeEach(() => cpSync(whole, "bad", { recursive: true }));

  it.each(cases)("$what", async ({ mend, says, flags = [], code = 2 }) => {
    mend();
    const ran = await run(generate(...flags), real);
    expect(ran.err).toBe(`${says}\n`);
    expect([ran.code, ran.out, readdirSync(".")]).toEqual([code, "", ["bad"]]);
  });

  it("a file cut off in its data", async () => {
    const { length } = readFileSync(unet);
    truncateSync(unet, length - 100);
    const { err, code } = await run(generate(), real);
    expect(err).toMatch(
      /^bad\/unet\/diffusion_pytorch_model\.safetensors: [\w.]+: expected its data within the \d+ bytes after the header, got an end at byte \d+ \[E_SAFETENSORS\]\nThe file is truncated or its header is wrong: fetch it again\.\n$/,
    );
    expect(code).toBe(2);
  });

  it("two tensors in one place", async () => {
    alter(unet, (header) => {
      const { data_offsets } = entry(header, "add_embedding.linear_1.weight");
      entry(header, "add_embedding.linear_1.weight").data_offsets = [
        data_offsets[0] - 4,
        data_offsets[1] - 4,
      ];
    });
    const { err, code } = await run(generate(), real);
    expect(err).toMatch(
      /^bad\/unet\/diffusion_pytorch_model\.safetensors: add_embedding\.linear_1\.weight: expected data after that of add_embedding\.linear_1\.bias, from byte \d+, got an overlap from byte \d+ \[E_SAFETENSORS\]\n$/,
    );
    expect(code).toBe(2);
  });

  it("a model that is not there", async () => {
    const { err, code } = await run(["generate", "apple", "--quiet", "--model", "./badd"], real);
    expect(err).toBe(
      "./badd: expected a model's folder, a .safetensors file, or a hub id (owner/name), got no file or folder of that name [E_MODEL]\nDid you mean bad?\n",
    );
    expect(code).toBe(2);
  });

  it("a file that is no model", async () => {
    const { err, code } = await run(
      ["generate", "apple", "--quiet", "--model", "bad/model_index.json"],
      real,
    );
    expect(err).toBe(
      "bad/model_index.json: expected a folder or a .safetensors file, got another kind of file [E_MODEL]\n",
    );
    expect(code).toBe(2);
  });

  it("--output below a file, before anything is loaded", async () => {
    const { err, code, loaded } = await run(["generate", "apple", "--output", "bad/model_index.json/o.png"]);
    expect(err).toBe(
      "bad/model_index.json/o.png: expected a file that can be written, got a file in a folder's place [E_OUTPUT]\n",
    );
    expect([code, loaded]).toEqual([2, []]);
  });

  it.skipIf(process.platform !== "linux")("--output into a folder that takes no files", async () => {
    const { err, code } = await run(["generate", "apple", "--output", "/proc/o.png"]);
    expect(err).toBe(
      "/proc/o.png: expected a file that can be written, got a folder that takes none [E_OUTPUT]\n",
    );
    expect(code).toBe(2);
  });

  it("an engine whose device is missing: why, and which are there", async () => {
    const { engine, engines } = await import("../src/node/engines.ts");
    const webgpu = (await engines()).find(({ name }) => name === "webgpu");
    if (webgpu?.isAvailable === true) return; // then there is nothing to refuse
    await expect(engine("webgpu")).rejects.toThrow(
      `engine webgpu: expected an engine that runs on this machine, got ${webgpu?.detail} [E_ENGINE]\nHere runs ort.`,
    );
  });
});

describe("a hub that", () => {
  const hub = new FakeHub();
  let endpoint = "";
  beforeAll(async () => {
    endpoint = await hub.start();
  });
  afterAll(() => hub.stop());
  beforeEach(() => {
    vi.stubEnv("HF_ENDPOINT", endpoint);
    vi.stubEnv("HF_HUB_CACHE", join(work, "hub"));
    vi.stubEnv("HF_TOKEN", ""); // none, as for huggingface_hub
    vi.stubEnv("HF_TOKEN_PATH", join(work, "no token"));
  });

  const page =
    "Something answers in the hub's place, such as the login page of a network, or HF_ENDPOINT names no hub.";
  it.each([
    [
      "wants a token",
      { kind: "status", status: 401 },
      "owner/name: expected a folder, a .safetensors file, or a model on HUB, got no such file or folder, and from the hub 401 Unauthorized [E_MODEL]\nCheck the name. A private or gated model needs a token: set HF_TOKEN.",
    ],
    [
      "has no such model",
      { kind: "status", status: 404 },
      "owner/name: expected a folder, a .safetensors file, or a model on HUB, got no such file or folder, and from the hub 404 Not Found [E_MODEL]\nCheck the name, the revision and the file.",
    ],
    [
      "asks to come back much later",
      { kind: "status", status: 429, headers: { "retry-after": "300" } },
      "owner/name: expected an answer of HUB, got 429 Too Many Requests, to be asked again in 300 s [E_HUB]\nWait some minutes, or set HF_TOKEN: who signs in may ask more often.",
    ],
    [
      "is a web page",
      { kind: "html" },
      `owner/name: expected an answer of HUB, got a web page [E_HUB]\n${page}`,
    ],
  ] as const)("%s", async (_, fault, says) => {
    hub.faults.set("api", [fault]);
    const { err, code } = await run(["generate", "apple", "--quiet", "--model", "owner/name"], real);
    expect([err.replaceAll(endpoint, "HUB"), code]).toEqual([`${says}\n`, 2]);
  });

  it("sends another file than it promised", async () => {
    const path = "unet/config.json";
    hub.faults.set(path, [{ kind: "corrupt" }, { kind: "corrupt" }]);
    const { err, code } = await run(["download", "owner/name", "--quiet"], real);
    expect(err).toMatch(
      /^owner\/name\/unet\/config\.json: expected git hash [0-9a-f]{40}, got [0-9a-f]{40}, twice \[E_CHECKSUM\]\n/,
    );
    expect(code).toBe(2);
  });
});
