/** The studio of `koala serve` in a real Chromium: drawn for by a server of its own. */

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Browser, Page } from "playwright-core";
import sharp from "sharp";
import { build } from "vite";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { emojiModel, writeInpainting } from "../model-folder.ts";
import { killAll, startKoala } from "../slow/server-processes.ts";
import { axeFindings } from "./axe.ts";
import { hasChromium, startChromium } from "./chromium.ts";
import { writeRun } from "./run-scene.ts";

let folder: string;
let runs: string;
let url: string;
let browser: Browser;
let page: Page;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "koala-server-page-"));
  runs = join(folder, "runs");
  await mkdir(runs);
  await build({
    configFile: resolve(import.meta.dirname, "../../studio/vite.config.ts"),
    mode: "server",
    logLevel: "error",
  });
  const server = await startKoala(
    "serve",
    "--port",
    "0",
    "--data",
    folder,
    "--token",
    "secret",
    "--runs",
    runs,
    "--model",
    emojiModel,
    "--model",
    writeInpainting(join(folder, "tiny-inpainting"), "sd15"),
  );
  url = server.line;
  browser = await startChromium();
}, 300_000);

afterAll(async () => {
  await browser?.close();
  await killAll();
  await rm(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(90_000); // a machine that is busy besides
  await page.goto(`${url}/?token=secret`);
  await page.getByText("koala-emoji is ready").waitFor();
  await page.getByLabel("Prompt", { exact: true }).fill("a red apple");
});

const draw = (): Promise<void> => page.getByRole("button", { name: "Draw" }).first().click();
const steps = (n: number): Promise<void> => page.getByLabel("Steps", { exact: true }).fill(String(n));
/** A job that is not over before a page is left and back. */
async function long(): Promise<void> {
  await steps(150);
  await page.getByLabel("Count", { exact: true }).fill("16");
}

describe.skipIf(!hasChromium)("the studio of koala serve", () => {
  test("takes the token out of the address, draws with previews, and keeps the picture", async () => {
    expect(page.url()).toBe(`${url}/`);
    await long(); // so that a preview is there to be seen, on a quick machine too
    await draw();
    await page.locator(".stage .frame img[alt=Preview]").waitFor();
    await page.keyboard.press("Escape");
    await steps(8);
    await page.getByLabel("Count", { exact: true }).fill("1");
    await draw();
    await page.getByText(/128 × 128 px · seed \d+ · 8 steps/).waitFor({ timeout: 120_000 });
    await page.reload();
    await page.getByRole("button", { name: "a red apple" }).first().waitFor();
  });

  test("a picture goes on while the page is away, and is followed again", async () => {
    await long();
    await draw();
    await page.getByText(/step \d+ of 150/).waitFor();
    await page.reload();
    await page.getByText(/step \d+ of 150/).waitFor();
    await page.keyboard.press("Escape"); // a picture that is followed again can be cancelled too
    await page.getByRole("button", { name: "Draw" }).first().waitFor();
    // the page waits for no answer to its cancelling
    const left = () => page.evaluate(async () => (await fetch("/api/jobs?state=running")).json());
    await expect.poll(left, { timeout: 90_000 }).toEqual({ jobs: [] });
  });

  test("starts from a picture, and takes it from the history again", async () => {
    await steps(4);
    await draw();
    await page.getByRole("button", { name: "Start from this" }).first().click();
    const start = page.getByAltText("What it starts from");
    await start.waitFor();
    await page.getByRole("button", { name: "Paint a part…" }).click();
    await page.getByRole("button", { name: "Picture to paint on" }).press(" ");
    await page.getByRole("button", { name: "Done" }).click();
    await page.getByLabel("Prompt", { exact: true }).fill("a pear with a hole");
    await draw();
    await page.getByRole("button", { name: "a pear with a hole" }).waitFor();
    await page.reload();
    await page.getByRole("button", { name: "a pear with a hole" }).click();
    await page.getByRole("button", { name: "Use settings" }).click();
    await start.waitFor();
    await page.getByRole("button", { name: "Paint on…" }).waitFor();
    expect(await page.getByLabel("Strength", { exact: true }).inputValue()).toBe("1");
  });

  test("draws with a model for inpainting, and says what that starts from", async () => {
    await page.locator("label.model select").selectOption("tiny-inpainting");
    await page.getByText("tiny-inpainting is ready").waitFor();
    await steps(2);
    await page.getByText("This model needs one, with a part painted").waitFor();
    await draw();
    const needed =
      "expected a picture and a mask of what is drawn anew, since this model is one for inpainting";
    await page.getByText(`image: ${needed}`).waitFor();
    const buffer = await sharp({ create: { width: 160, height: 104, channels: 3, background: "teal" } })
      .png()
      .toBuffer();
    const input = page.getByLabel("Picture to start from").locator("input[type=file]");
    await input.setInputFiles({ name: "given.png", mimeType: "image/png", buffer });
    await page.getByText("Paint the part that this model is to draw; the rest stays as it is.").waitFor();
    await draw();
    await page.getByText(`mask: ${needed}`).waitFor();
    await page.getByRole("button", { name: "Paint a part…" }).click();
    await page.getByRole("button", { name: "Picture to paint on" }).press(" ");
    await page.getByRole("button", { name: "Done" }).click();
    await draw();
    await page.getByText(/px · seed \d+ · 2 steps/).waitFor();
    await page.getByRole("link", { name: "Look inside" }).click();
    await page.getByText("This draws from noise alone, which a model for inpainting cannot.").waitFor();
    expect(await page.getByRole("button", { name: "Draw and look inside" }).isDisabled()).toBe(true);
    const refused = await page.evaluate(async () => {
      const body = JSON.stringify({ model: "tiny-inpainting", prompt: "a" });
      const headers = { "content-type": "application/json" };
      return (await (await fetch("/api/explore", { method: "POST", headers, body })).json()).error.message;
    });
    expect(refused).toBe(
      "tiny-inpainting: expected a model that draws from noise, to look inside, got one for inpainting, which draws a part of a picture [E_MODEL]",
    );
    await page.getByRole("link", { name: "Compare" }).click();
    await page.getByLabel("Values, with commas").first().fill("1, 2");
    await page.getByRole("button", { name: "Compare" }).click();
    await expect.poll(() => page.locator(".cell img").count(), { timeout: 120_000 }).toBe(2);
  });

  test("what the server refuses stands next to its field", async () => {
    await steps(151);
    await draw();
    await page.getByText("steps: expected at most 150 on this server, got 151").waitFor();
    expect(await page.getByLabel("Steps", { exact: true }).getAttribute("aria-invalid")).toBe("true");
  });

  test("compares the precisions that the model has here", async () => {
    await steps(1);
    await page.getByRole("link", { name: "Compare" }).click();
    await page.getByLabel("Across").selectOption("precision");
    expect(await page.getByLabel("Values, with commas").first().inputValue()).toBe("f32, int8, int4");
    await page.getByRole("button", { name: "Compare" }).click();
    await expect.poll(() => page.locator(".cell img").count(), { timeout: 240_000 }).toBe(3);
    const drawn = await page.evaluate(async () => {
      const { jobs } = (await (await fetch("/api/jobs?limit=3")).json()) as {
        jobs: { request: { precision?: string } }[];
      };
      return jobs.map(({ request }) => request.precision);
    });
    expect(drawn).toEqual(["int4", "int8", "f32"]); // newest first
    await page.getByLabel("Values, with commas").first().fill("f32, fp16");
    await page.getByRole("button", { name: "Compare" }).click();
    await page
      .getByRole("alert")
      .getByText('precision: expected one of f32, bf16, int8, int4, got "fp16". Did you mean bf16?')
      .waitFor();
  });

  test("compares with time and memory, looks inside, measures, and says how runs come here", async () => {
    await steps(2);
    await page.getByRole("link", { name: "Compare" }).click();
    await page.getByLabel("Values, with commas").first().fill("1, 2");
    await page.getByRole("button", { name: "Compare" }).click();
    await expect
      .poll(() => page.locator(".seconds").allTextContents(), { timeout: 120_000 })
      .toEqual([
        expect.stringMatching(/^\d+\.\d s · \d\.\d\d GB$/),
        expect.stringMatching(/^\d+\.\d s · \d\.\d\d GB$/),
      ]);
    await page.getByRole("link", { name: "Look inside" }).click();
    await page.getByRole("button", { name: "Draw and look inside" }).click();
    await page.getByLabel("Where a word is: apple, step 1").waitFor({ timeout: 120_000 });
    await page.getByRole("button", { name: "Measure time" }).click();
    await page.getByRole("columnheader", { name: "Time" }).waitFor({ timeout: 120_000 });
    await page.getByRole("link", { name: "Runs" }).click();
    await page.getByText("No training run is shown.").waitFor();
  });

  test("axe finds nothing serious, large and small, light and dark, and shows a run", async () => {
    for (const view of ["draw", "compare", "inside", "models", "runs"]) {
      await page.locator(`nav a[href="#${view}"]`).click();
      await page.locator(`nav a[href="#${view}"][aria-current]`).waitFor();
      if (view === "inside") await page.getByText(/parameters, .* operations a step/).waitFor();
      if (view === "runs") {
        await page.getByText("No training run is shown.").waitFor();
        expect(await axeFindings(page), "no runs").toEqual([]);
        await writeRun(runs, "student/first");
        await page.getByRole("button", { name: "student/first" }).waitFor(); // the list is read again by itself
        await page.getByLabel("Loss by step, from 0.").waitFor();
        await page.getByText("Samples at step 300").waitFor();
        await page.locator(".u-legend .u-value").getByText("300", { exact: true }).waitFor(); // the newest step
      }
      expect(await axeFindings(page), view).toEqual([]);
    }
  });

  test("says that the server is gone, and what becomes of the picture", async () => {
    await long();
    await draw();
    await page.getByText(/step \d+ of 150/).waitFor();
    await killAll();
    await page.getByRole("link", { name: "Models" }).click();
    await page.getByRole("link", { name: "Draw" }).click();
    await page.getByLabel("Search the gallery").fill("apple");
    await page
      .getByText("Is koala serve still running, and the network there? What was accepted is drawn anyway.")
      .waitFor();
  });
});
