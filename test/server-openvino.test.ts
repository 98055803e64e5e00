/** Requests of different precision to one server, where OpenVINO is installed and the CPU has bf16. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Picture } from "../src/image/pixels.ts";
import { psnr } from "../src/image/psnr.ts";
import { readPicture } from "../src/node/image-file.ts";
import { openvinoEngine, openvinoStatus } from "../src/node/openvino.ts";
import { readText } from "../src/node/png-text.ts";
import { type KoalaServer, openServer } from "../src/node/server/index.ts";
import { emojiModel } from "./model-folder.ts";

const { isAvailable, detail } = await openvinoStatus();
const hasBfloat16 = isAvailable && (await openvinoEngine()).precisions?.includes("bf16") === true;
if (!hasBfloat16)
  process.stderr.write(
    `Served pictures in bf16 are skipped: ${isAvailable ? "this CPU has none" : detail}\n`,
  );

describe.skipIf(!hasBfloat16)("a server on OpenVINO", () => {
  let data = "";
  let koala: KoalaServer;
  beforeAll(async () => {
    data = mkdtempSync(join(tmpdir(), "koala-openvino-"));
    koala = await openServer({
      ...{ data, models: [emojiModel], engine: "openvino" },
      workers: 1, // one process draws all of them, with the model that it has loaded
    });
  });
  afterAll(async () => {
    await koala?.close();
    rmSync(data, { recursive: true, force: true });
  });

  interface Served {
    readonly picture: Picture;
    /** What the picture says of how it was made. */
    readonly parameters: string;
  }

  async function drawn(precision: "f32" | "bf16"): Promise<Served> {
    const response = await koala.fetch(
      new Request("http://127.0.0.1/v1/images/generations", {
        method: "POST",
        body: JSON.stringify({
          ...{ prompt: "a red apple", seed: 0, size: "128x128", steps: 20 },
          ...{ precision, response_format: "b64_json" },
        }),
      }),
    );
    const answer = (await response.json()) as { readonly data?: readonly { readonly b64_json: string }[] };
    expect([response.status, answer.data?.length]).toEqual([200, 1]);
    const png = Buffer.from(answer.data?.[0]?.b64_json ?? "", "base64");
    const path = join(data, `${precision}.png`);
    writeFileSync(path, png);
    return { picture: await readPicture(path), parameters: readText(png, path).parameters ?? "" };
  }

  it("draws in bf16 what it draws in f32, nearly, and in f32 as before afterwards", async () => {
    const exact = await drawn("f32");
    const near = await drawn("bf16");
    expect(near.parameters).toContain("Precision: bf16");
    const db = psnr(near.picture, exact.picture);
    expect(db).toBeGreaterThanOrEqual(40); // 48.2 dB with OpenVINO 2026.4.1 on Zen 5; other CPUs round in other places
    expect(db).toBeLessThan(Number.POSITIVE_INFINITY); // it was not f32 under another name
    const again = await drawn("f32");
    expect(Buffer.compare(again.picture.data, exact.picture.data)).toBe(0);
  });
});
