import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { KoalaError } from "../../core/errors.ts";
import type { Bench, BenchOptions, OwnEngine } from "./bench.ts";
import type { Command } from "./child.ts";
import { ownEntries, ownName, peerEntries, peerField, peerName } from "./contenders.ts";
import type { Python } from "./peers.ts";
import type { Subject } from "./subject.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "koala-contenders-"));
  mkdirSync(join(folder, "int8"));
  writeFileSync(join(folder, "int8", "koala_quantization.json"), '{"format": "int8"}');
});
afterAll(() => rmSync(folder, { recursive: true }));

const ort: OwnEngine = { name: "ort", precisions: ["f32"] };
const openvino: OwnEngine = { name: "openvino", precisions: ["f32", "bf16"] };
const python: Python = {
  program: "/env/bin/python3",
  versions: { torch: "2", diffusers: "0.42", transformers: "5", openvino: "2026" },
};

const subject = (format: Subject["format"] = null): Subject => ({
  ...{
    name: "model",
    folder: "/model",
    format,
    files: join(folder, "made"),
    hasUNet: true,
    hasTwoEncoders: true,
  },
  defaults: {
    ...{ family: "koala", steps: 25, guidance: 7.5, width: 1024, height: 1024 },
    ...{ scheduler: "euler", spacing: "leading", prediction: "epsilon" },
  },
});

function bench(
  o: Partial<BenchOptions>,
  run: Bench["run"] = () => Promise.reject(new Error("no run")),
): Bench {
  return {
    o: {
      models: [],
      against: [{ peer: "diffusers" }, { peer: "openvino" }],
      threads: 2,
      quantized: [],
      ...o,
    },
    ...{
      signal: new AbortController().signal,
      root: "/koala",
      cache: folder,
      temporary: folder,
      out: folder,
    },
    ...{ python, engines: [ort, openvino], version: "1", run, note() {}, stage() {}, count() {} },
  };
}

const usual = ["f32", "bf16", "int8"] as const;

describe("who takes part", () => {
  it("is every engine in what it has: integers from the folder that was named, floats between in the fewest bits", async () => {
    const { entries, missing } = await ownEntries(
      subject(),
      usual,
      bench({ quantized: [join(folder, "int8")] }),
    );
    expect(entries.map((entry) => [ownName(entry), entry.computes, entry.model])).toEqual([
      ["koala ort f32", "f32", "/model"],
      ["koala ort int8", "f32", join(folder, "int8")],
      ["koala openvino f32", "f32", "/model"],
      ["koala openvino bf16", "bf16", "/model"],
      ["koala openvino int8", "bf16", join(folder, "int8")],
    ]);
    expect(missing).toEqual([]); // nobody asked for bf16 of ONNX Runtime
  });

  it("says why an engine has not what was asked for", async () => {
    const { entries, missing } = await ownEntries(subject(), usual, bench({ precisions: ["bf16"] }));
    expect(entries.map(ownName)).toEqual(["koala openvino bf16"]);
    expect(missing).toEqual([{ name: "koala ort bf16", why: "that engine computes in f32 here" }]);
  });

  it("makes integers once where no folder was named, and is without them where that fails", async () => {
    const ran: Command[] = [];
    const failing = bench({ precisions: ["int8"] }, async (command) => {
      ran.push(command);
      throw new KoalaError("E_ENGINE", { where: "x", expected: "a run", got: "exit code 2: no memory" });
    });
    const { entries, missing } = await ownEntries(subject(), usual, { ...failing, engines: [ort] });
    expect([entries, missing]).toEqual([[], [{ name: "koala ort int8", why: "exit code 2: no memory" }]]);
    expect(ran[0]?.args.slice(1, 6)).toEqual([
      "quantize",
      "/model",
      join(folder, "made", "int8"),
      "--to",
      "int8",
    ]);
  });

  it("is of a folder of integers only that form, and nobody else", async () => {
    const its = bench({});
    const ours = await ownEntries(subject("int4"), usual, its);
    expect(ours.entries.map(ownName)).toEqual(["koala ort int4", "koala openvino int4"]);
    expect(peerEntries(subject("int4"), usual, its)).toEqual({
      entries: [],
      missing: [
        { name: "diffusers", why: "it cannot read int4 folders of koala's" },
        { name: "OpenVINO", why: "it cannot read int4 folders of koala's" },
      ],
    });
  });

  it("is each peer in what is installed for it", () => {
    const { entries, missing } = peerEntries(subject(), usual, bench({}));
    expect(entries.map(peerName)).toEqual([
      "diffusers f32",
      "diffusers bf16",
      "OpenVINO f32",
      "OpenVINO bf16",
    ]);
    expect(missing).toEqual([
      { name: "OpenVINO int8", why: "/env/bin/python3 has no nncf; scripts/peers/install.sh installs it" },
    ]);
    const one = bench({ against: [{ peer: "diffusers", precision: "bf16" }], precisions: ["int8"] });
    expect(peerEntries(subject(), usual, one).entries.map(peerName)).toEqual(["diffusers bf16"]);
    const none = peerEntries(subject(), usual, { ...bench({}), python: null });
    expect(none.missing.map(({ name }) => name)).toEqual(["diffusers", "OpenVINO"]);
  });

  it("is without OpenVINO where its converter fails, with the reason, and with the others", async () => {
    const failing = bench({}, () =>
      Promise.reject(new KoalaError("E_ENGINE", { where: "x", expected: "a run", got: "killed" })),
    );
    const peers = peerEntries(subject(), usual, failing);
    const command = { program: "x", args: [] };
    const field = await peerField(
      peers,
      { subject: subject(), parts: ["unet"], command: () => command },
      failing,
    );
    expect(field.contenders.map(({ name }) => name)).toEqual(["diffusers f32", "diffusers bf16"]);
    expect(field.missing.slice(1)).toEqual([
      { name: "OpenVINO f32", why: "killed" },
      { name: "OpenVINO bf16", why: "killed" },
    ]);
  });
});
