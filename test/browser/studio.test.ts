/** The studio in a real Chromium, as someone uses it: the static site, drawn for by WebAssembly. */

import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, BrowserContext, Locator, Page } from "playwright-core";
import sharp from "sharp";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { buildSite } from "../../scripts/site/build.js";
import { readText } from "../../src/node/png-text.ts";
import { readPictureText } from "../../src/pipeline/request-text.ts";
import { axeFindings } from "./axe.ts";
import { openBareTab } from "./bare-tab.ts";
import { hasChromium, startChromium, startChromiumWith } from "./chromium.ts";
import { type Site, startSite } from "./site.ts";

let folder: string;
let site: Site;
let browser: Browser;
let context: BrowserContext;
let page: Page;
/** What the page should not have said. */
let complaints: string[];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "koala-studio-"));
  await buildSite(folder);
  browser = await startChromium();
}, 300_000);

afterAll(async () => {
  await browser?.close();
  await rm(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  site = await startSite(folder, {});
  context = await browser.newContext({ acceptDownloads: true });
  context.setDefaultTimeout(90_000); // a machine that is busy besides
  page = await context.newPage();
  complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
});

afterEach(async () => {
  await context.close();
  await site.stop();
});

const ready = (): Promise<void> => page.getByText("koala-emoji is ready").waitFor();

/** Opens the page and types a request of few steps. */
async function open(settings: { readonly prompt?: string; readonly steps?: number } = {}): Promise<void> {
  await page.goto(site.url);
  await ready();
  await page.getByLabel("Prompt", { exact: true }).fill(settings.prompt ?? "a red apple");
  await page.getByLabel("Steps", { exact: true }).fill(String(settings.steps ?? 3));
  await page.getByLabel("Seed", { exact: true }).fill("7");
}
const press = (name: string): Promise<void> =>
  page.getByRole("button", { name, exact: false }).first().click();
/** Steps that no machine is through with before a test has seen one; which one it sees is left open. */
const many = 1000;
const aStep = /step \d+ of 1000/;
const pictureDone = (): Promise<void> => page.locator(".stage .frame img").waitFor();

/** The file of the picture that is shown large. */
async function stagePicture(): Promise<Uint8Array> {
  const url = (await page.locator(".stage .frame img").getAttribute("src")) ?? "";
  return Uint8Array.from(
    await page.evaluate(async (from) => [...new Uint8Array(await (await fetch(from)).arrayBuffer())], url),
  );
}

const drop = (place: Locator, name: string, bytes: Uint8Array): Promise<void> =>
  place.evaluate(
    (element, [fileName, values]) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([new Uint8Array(values)], fileName));
      element.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    },
    [name, [...bytes]] as const,
  );

/** The site's first scripts: what `index.html` names. */
async function firstScripts(): Promise<number> {
  const html = await readFile(join(folder, "index.html"), "utf8");
  const paths = [...html.matchAll(/(?:src|href)="\.\/([^"]+\.js)"/g)].map(([, path = ""]) => path);
  expect(paths.length).toBeGreaterThan(0);
  const files = await Promise.all(paths.map((path) => readFile(join(folder, path))));
  return files.reduce((sum, { length }) => sum + length, 0);
}

describe.skipIf(!hasChromium)("the studio", () => {
  test("first loads at most 250 kB of script", async () => {
    expect(await firstScripts()).toBeLessThanOrEqual(250_000);
  });

  test("draws with previews, keeps the picture, and records its request in the download", async () => {
    await open({ steps: many }); // so that a preview is there to be seen, on a quick machine too
    await press("Draw");
    await page.locator(".stage canvas[aria-label=Preview]").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Draw" }).waitFor();
    await page.getByLabel("Steps", { exact: true }).fill("12");
    await press("Draw");
    await pictureDone();
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByText("Download").click()]);
    expect(download.suggestedFilename()).toBe("koala-7.png");
    const recorded = readPictureText(readText(await readFile(await download.path()), "download"), "download");
    expect(recorded.model).toBe("koala-emoji");
    expect(recorded.request).toMatchObject({
      prompt: "a red apple",
      steps: 12,
      seed: 7,
      width: 128,
      count: 1,
    });

    await page.reload();
    await page.getByRole("button", { name: "a red apple" }).click();
    await pictureDone();
    await page.getByLabel("Search the gallery").fill("pear");
    await page.getByText("Nothing matches.").waitFor();
    await page.getByLabel("Search the gallery").fill("");
    await page.getByRole("button", { name: "Favourite", exact: true }).click();
    await page.getByLabel("Favourites", { exact: true }).check();
    await page.getByRole("button", { name: "a red apple" }).waitFor();
    expect(complaints).toEqual([]);
  });

  test("cancels within a step, and draws again", async () => {
    await open({ steps: many });
    await page.getByLabel("Prompt", { exact: true }).press("Control+Enter");
    await page.getByText(aStep).waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Draw" }).waitFor();
    await page.getByLabel("Steps", { exact: true }).fill("2");
    await press("Draw");
    await pictureDone();
    expect(complaints).toEqual([]);
  });

  test.each(["Draw", "Compare", "Look inside"])("goes to the prompt of %s by a slash", async (view) => {
    await page.goto(site.url);
    await page.getByRole("link", { name: view, exact: true }).click();
    // until then there is the prompt of the view before
    await page.getByRole("heading", { name: view, level: 1, exact: true }).waitFor({ state: "attached" });
    const prompt = page.getByLabel("Prompt", { exact: true });
    await prompt.waitFor();
    await page.keyboard.press("/");
    expect(await prompt.evaluate((field) => field === document.activeElement)).toBe(true);
    expect(await prompt.inputValue()).not.toContain("/");
    expect(complaints).toEqual([]);
  });

  test("compares step counts side by side, with a time under each", async () => {
    await open();
    await page.getByRole("link", { name: "Compare" }).click();
    await page.getByLabel("Values, with commas").first().fill("1, 2");
    await press("Compare");
    await expect.poll(() => page.locator(".cell img").count(), { timeout: 120_000 }).toBe(2);
    for (const text of await page.locator(".seconds").allTextContents())
      expect(text).toMatch(/^\d+\.\d s · 0\.\d\d GB$/);
    expect(await page.locator("th[scope=col]").allTextContents()).toEqual(["Steps 1", "Steps 2"]);
  });

  test("compares precisions, and each picture records its own", async () => {
    await open({ steps: 1 });
    await page.getByRole("link", { name: "Compare" }).click();
    await page.getByLabel("Across").selectOption("precision");
    expect(await page.getByLabel("Values, with commas").first().inputValue()).toBe("f32, int8, int4");
    await press("Compare");
    await expect.poll(() => page.locator(".cell img").count(), { timeout: 240_000 }).toBe(3);
    const files = await page
      .locator(".cell img")
      .evaluateAll((images) =>
        Promise.all(
          images.map(async (one) => [
            ...new Uint8Array(await (await fetch((one as HTMLImageElement).src)).arrayBuffer()),
          ]),
        ),
      );
    const recorded = files.map((bytes) => readPictureText(readText(Uint8Array.from(bytes), "cell"), "cell"));
    expect(recorded.map(({ request }) => request.precision)).toEqual(["f32", "int8", "int4"]);
    expect(new Set(files.map((bytes) => bytes.join())).size).toBe(3);
  });

  test("looks inside: a word, a point, components, and the U-Net beside a published one", async () => {
    await open({ steps: 2 });
    await page.getByRole("link", { name: "Look inside" }).click();
    await press("Draw and look inside");
    await page.getByLabel("Where a word is: apple, step 1").waitFor({ timeout: 120_000 });
    await page.getByLabel("Choose the point").click({ position: { x: 20, y: 20 } });
    await page.getByLabel(/^Where a point looks: UP-\d, step 1$/).waitFor();
    await press("What is told apart");
    await page.getByLabel(/^What is told apart: UP-\d, step 1$/).waitFor();
    await page.getByLabel("Beside it").selectOption("koala-700m");
    await page.getByText(/^koala-700m: 782\.\d M parameters/).waitFor();
    await press("Measure time");
    await page.getByRole("columnheader", { name: "Time" }).waitFor({ timeout: 120_000 });
    expect(await page.locator(".bars").first().locator("tr:nth-child(1) td").last().textContent()).toMatch(
      /^\d+(\.\d)? (ms|s)$/,
    );
  });

  test("reloaded in the middle, it says so and has what was typed", async () => {
    await open({ prompt: "a blue house", steps: many });
    await press("Draw");
    await page.getByText(aStep).waitFor();
    await page.reload();
    await ready();
    await page.getByText("A picture was not done when the page was left. Draw starts it again.").waitFor();
    expect(await page.getByLabel("Prompt", { exact: true }).inputValue()).toBe("a blue house");
  });

  test("has the picture to start from and what is painted on it after a reload, until it is removed", async () => {
    await open({ steps: many });
    const buffer = await sharp({ create: { width: 160, height: 104, channels: 3, background: "teal" } })
      .png()
      .toBuffer();
    const start = page.getByAltText("What it starts from");
    const input = page.getByLabel("Picture to start from").locator("input[type=file]");
    await input.setInputFiles({ name: "given.png", mimeType: "image/png", buffer });
    await press("Paint a part…");
    const easel = page.getByRole("button", { name: "Picture to paint on" });
    await easel.press(" ");
    for (const key of ["ArrowRight", "ArrowRight", "ArrowRight", " "]) await easel.press(key);
    await press("Done");
    const painted = (): Promise<string> =>
      page.locator(".given canvas").evaluate((canvas) => (canvas as HTMLCanvasElement).toDataURL());
    const before = await painted();
    await press("Draw");
    await page.getByText(aStep).waitFor();
    await page.reload();
    await start.waitFor();
    await page.getByRole("button", { name: "Paint on…" }).waitFor();
    expect(await painted()).toBe(before);
    expect(await start.evaluate((image) => (image as HTMLImageElement).naturalWidth)).toBe(160);
    await press("Paint on…");
    await press("Undo"); // stroke by stroke, as before
    await press("Done");
    expect(await painted()).not.toBe(before);
    const after = await painted();
    await page.reload();
    await start.waitFor();
    await expect.poll(painted).toBe(after);
    await press("Remove");
    await page.reload();
    await ready();
    await page.getByText("or drop or paste one here").waitFor();
    expect(await start.count()).toBe(0);
    expect(complaints).toEqual([]);
  });

  test("leaves a number as it is typed, digit by digit", async () => {
    await open();
    const guidance = page.getByLabel("Guidance", { exact: true });
    await guidance.fill("");
    await guidance.pressSequentially("7.05");
    expect(await guidance.inputValue()).toBe("7.05");
  });

  test("goes to the field that is wrong, also one that is folded away", async () => {
    await open();
    const rescale = page.getByLabel("Guidance rescale", { exact: true });
    await page.getByText("More settings").click();
    await rescale.fill("2");
    await page.getByText("More settings").click();
    await expect.poll(() => rescale.isVisible()).toBe(false);
    await press("Draw");
    await page.getByText("a number from 0 to 1, got 2").waitFor();
    expect(await rescale.evaluate((field) => field === document.activeElement)).toBe(true);
  });

  test("shows a picture that the full storage does not keep, and says so", async () => {
    await page.addInitScript(() => {
      IDBObjectStore.prototype.put = () => {
        throw new DOMException("full", "QuotaExceededError");
      };
    });
    await open({ steps: 2 });
    await press("Draw");
    await pictureDone();
    await page.getByText("not kept, for this browser's storage is full: download it").first().waitFor();
    await page.getByRole("button", { name: "a red apple" }).waitFor();
    expect(complaints).toEqual([]);
  });

  test("draws without a network after the first load", async () => {
    await open({ steps: 12 });
    await press("Draw");
    await pictureDone();
    const kept = () =>
      page.evaluate(async () => {
        const [name = ""] = await caches.keys();
        return (await (await caches.open(name)).keys()).filter(({ url }) => url.endsWith(".wasm")).length;
      });
    await expect.poll(kept, { timeout: 60_000 }).toBe(1);
    site.isDown = true;
    await page.goto(site.url);
    await ready();
    await press("Draw");
    await pictureDone();
  });

  test("reads the settings of a dropped picture, and says what is wrong with another file", async () => {
    await open({ prompt: "something else" });
    await press("Draw");
    await pictureDone();
    const png = await stagePicture();
    await page.getByLabel("Prompt", { exact: true }).fill("changed");
    await drop(page.locator("body"), "kept.png", png);
    await page.getByText("Settings read from kept.png.").waitFor();
    expect(await page.getByLabel("Prompt", { exact: true }).inputValue()).toBe("something else");
    await drop(page.locator("body"), "notes.png", new TextEncoder().encode("no picture"));
    await page
      .getByText("notes.png: expected a PNG, JPEG or WebP picture, got a file that does not begin like one")
      .waitFor();
  });

  test("draws anew what is painted on a picture, leaves the rest as it was, and keeps both with the drawing", async () => {
    await open();
    const size = { width: 160, height: 104 };
    const given = Uint8Array.from({ length: 3 * size.width * size.height }, (_, i) => (i * 7) % 251);
    const raw = { ...size, channels: 3 } as const;
    const buffer = await sharp(given, { raw }).png().toBuffer();
    const input = page.getByLabel("Picture to start from").locator("input[type=file]");
    await input.setInputFiles({ name: "given.png", mimeType: "image/png", buffer });
    await page.getByAltText("What it starts from").waitFor();
    for (const [side, pixels] of Object.entries({ Width: "160", Height: "104", Strength: "0.75" }))
      expect(await page.getByLabel(side, { exact: true }).getAttribute("placeholder")).toBe(pixels);

    await press("Paint a part…");
    const easel = page.getByRole("button", { name: "Picture to paint on" });
    const box = (await easel.boundingBox()) ?? { x: 0, y: 0, width: 1, height: 1 };
    const drag = async (from: number, to: number): Promise<void> => {
      await page.mouse.move(box.x + from * box.width, box.y + box.height / 2);
      await page.mouse.down();
      await page.mouse.move(box.x + to * box.width, box.y + box.height / 2, { steps: 4 });
      await page.mouse.up();
    };
    await drag(0.1, 0.3);
    await drag(0.7, 0.9);
    await press("Undo");
    await easel.press(" "); // a dab where the brush is, at the right
    await press("Done");
    expect(await page.getByLabel("Strength", { exact: true }).getAttribute("placeholder")).toBe("1");
    await press("Draw");
    await pictureDone();

    const drawn = await stagePicture();
    expect(readPictureText(readText(drawn, "drawn"), "drawn").request).toMatchObject({
      ...size,
      strength: 1,
    });
    const { data } = await sharp(drawn).removeAlpha().raw().toBuffer({ resolveWithObject: true });
    const isLeft = (x: number, y: number): boolean => {
      const at = 3 * (Math.round(y * size.height) * size.width + Math.round(x * size.width));
      return Buffer.from(given)
        .subarray(at, at + 3)
        .equals(data.subarray(at, at + 3));
    };
    expect([0.15, 0.2, 0.25, 0.9].map((x) => isLeft(x, 0.5))).toEqual([false, false, false, false]);
    const untouched = [0.1, 0.3, 0.5, 0.7, 0.9].flatMap((x) => [0.1, 0.3, 0.7, 0.9].map((y) => isLeft(x, y)));
    expect(untouched).not.toContain(false);
    expect([0.4, 0.5, 0.6, 0.75].map((x) => isLeft(x, 0.5))).not.toContain(false);

    await press("Remove");
    await press("Use settings");
    await page.getByRole("button", { name: "Paint on…" }).waitFor();
    expect(await page.getByLabel("Strength", { exact: true }).inputValue()).toBe("1");
    expect(complaints).toEqual([]);
  });

  test("takes a picture from the gallery, a drop or the clipboard, and says where one is missing", async () => {
    await open({ steps: 4 });
    await press("Draw");
    await pictureDone();
    await page.getByRole("listitem").getByRole("button", { name: "Start from this" }).click();
    await page.getByAltText("What it starts from").waitFor();
    await page.getByLabel("Strength", { exact: true }).fill("0.1");
    await press("Draw");
    await page
      .getByText("strength: expected at least 0.25 at 4 steps, so that one is taken, got 0.1")
      .waitFor();
    await page.getByLabel("Strength", { exact: true }).fill("0.5");
    await press("Draw");
    await expect.poll(() => page.getByRole("listitem").count(), { timeout: 120_000 }).toBe(2);
    const started = await stagePicture();

    await press("Remove");
    await drop(page.locator("body"), "started.png", started); // elsewhere on the page its settings are read
    await page.getByText("which is not here. Give it, or start from noise.").waitFor();
    await press("Draw");
    await page.getByText("strength: expected a picture to start from beside it, got none.").waitFor();
    const place = page.getByLabel("Picture to start from", { exact: true }).first();
    await drop(place, "started.png", started);
    await page.getByAltText("What it starts from").waitFor();
    await press("Remove");
    await drop(place, "notes.txt", new TextEncoder().encode("no picture"));
    await page
      .getByText("image: expected a picture that this browser can show, got something else.")
      .waitFor();
    await page.evaluate(
      (bytes) => {
        const clipboardData = new DataTransfer();
        clipboardData.items.add(new File([new Uint8Array(bytes)], "x.png", { type: "image/png" }));
        document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
      },
      [...started],
    );
    await page.getByAltText("What it starts from").waitFor();
    expect(complaints).toEqual([]);
  });

  test("says what is wrong next to the field", async () => {
    await open();
    await page.getByLabel("Steps", { exact: true }).fill("5000");
    await press("Draw");
    await page.getByText("steps: expected a whole number from 1 to 1000, got 5000").waitFor();
    expect(await page.getByLabel("Steps", { exact: true }).getAttribute("aria-invalid")).toBe("true");
  });

  test("what the browser took away is fetched again by a button", async () => {
    await open();
    await page.evaluate(async () => {
      const root = await (await navigator.storage.getDirectory()).getDirectoryHandle("koala");
      for await (const folder of (root as unknown as { values(): AsyncIterable<FileSystemHandle> }).values())
        await (folder as FileSystemDirectoryHandle).removeEntry(
          encodeURIComponent("unet/diffusion_pytorch_model.safetensors"),
        );
    });
    await page.reload();
    await page.getByText("The browser has taken away what was stored: fetch the model again.").waitFor();
    await press("Fetch it again");
    await ready();
    await press("Draw");
    await pictureDone();
  });

  test("a storage too small for a model is said with the numbers and a way to what is kept", async () => {
    await context.route("**/koala-files.json", async (route) => {
      const list = (await (await route.fetch()).json()) as { files: { path: string; size: number }[] };
      const files = list.files.map((file) => ({ ...file, size: file.size * 1e6 }));
      await route.fulfill({ json: { files } });
    });
    await page.goto(site.url);
    const note = page.getByRole("alert");
    await note
      .getByText(
        /expected room for \d+ MB in this browser's storage, got \d+ MB\. Remove a model that is kept here/,
      )
      .waitFor();
    await note.getByRole("link", { name: "See what is kept" }).click();
    await page.getByRole("heading", { name: "What works here" }).waitFor();
  });

  test("the large model is refused with what this adapter lacks", async () => {
    await open();
    await page.getByRole("link", { name: "Models" }).click();
    await page
      .getByText(/^1\.0\d GB to fetch, \d\.\d\d GB of memory while it draws, buffers up to 1\.07 GB\.$/)
      .waitFor({ timeout: 60_000 });
    await page
      .getByText("It needs a graphics adapter, and this browser's is software: one picture would take hours.")
      .waitFor();
  });

  test("says what works still when the network goes, and when it is back", async () => {
    await open();
    const note = page.getByText("No network. Models that are kept here still draw");
    await context.setOffline(true);
    await note.waitFor();
    await context.setOffline(false);
    await note.waitFor({ state: "detached" });
  });

  test("where the browser keeps nothing, it draws, and says what is not kept", async () => {
    const profile = await mkdtemp(join(tmpdir(), "koala-profile-"));
    await mkdir(join(profile, "Default"));
    const blocked = { profile: { default_content_setting_values: { cookies: 2 } } }; // "block all site data"
    await writeFile(join(profile, "Default/Preferences"), JSON.stringify(blocked));
    const own = await startChromiumWith(profile);
    try {
      page = await own.newPage();
      await page.goto(site.url);
      await ready();
      await page.getByLabel("Steps", { exact: true }).fill("1");
      await press("Draw");
      await pictureDone();
      await page.getByRole("link", { name: "Models" }).click();
      await page
        .getByText("this window keeps no files: a model is fetched again each time; drawing works")
        .waitFor();
      await page.getByText("this window keeps nothing: download what you like").waitFor();
    } finally {
      await own.close();
      await rm(profile, { recursive: true, force: true });
    }
  });

  test("a suspended tab says so when it goes on, and does", async () => {
    const tab = await openBareTab(browser, site.url);
    const said = async (): Promise<string> => String(await tab.evaluate("document.body?.innerText"));
    const says = (text: string | RegExp) => expect.poll(said, { timeout: 90_000 }).toMatch(text);
    const stepOf = async (): Promise<number> => Number(/step (\d+) of 1000/.exec(await said())?.[1]);
    try {
      const canDraw = () => tab.evaluate(`document.querySelector("button[type=submit]:enabled") !== null`);
      await expect.poll(canDraw, { timeout: 90_000 }).toBe(true);
      await tab.evaluate(`{
        const steps = document.getElementById("steps");
        steps.value = "${many}";
        steps.dispatchEvent(new Event("input", { bubbles: true }));
        steps.form.requestSubmit();
      }`);
      await says(aStep);
      await tab.setLifecycle("frozen");
      await tab.setLifecycle("active");
      await says("The browser had suspended this tab; what it draws goes on now.");
      const before = await stepOf();
      await expect.poll(stepOf, { timeout: 90_000 }).toBeGreaterThan(before);
    } finally {
      await tab.close();
    }
  });

  test("a tab that was discarded says so, has what was typed, and draws it by one press", async () => {
    await open({ prompt: "a blue house", steps: many });
    await press("Draw");
    await page.getByText(aStep).waitFor();
    // a tab that Chromium takes away is loaded anew when it is looked at, and knows it
    await page.addInitScript(() => Object.defineProperty(document, "wasDiscarded", { value: true }));
    await page.reload();
    await ready();
    await page
      .getByText(
        "The browser had put this tab away to save memory, with a picture half done. Draw starts it again.",
      )
      .waitFor();
    expect(await page.getByLabel("Prompt", { exact: true }).inputValue()).toBe("a blue house");
    await page.getByLabel("Steps", { exact: true }).fill("1");
    await press("Draw");
    await pictureDone();
  });

  test("nothing jumps while a picture comes", async () => {
    await page.addInitScript(() => {
      const jumps: number[] = [];
      Object.assign(globalThis, { jumps });
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries() as (PerformanceEntry & {
          value: number;
          hadRecentInput: boolean;
        })[])
          if (!entry.hadRecentInput) jumps.push(entry.value);
      }).observe({ type: "layout-shift", buffered: true });
    });
    await open();
    await press("Draw");
    await pictureDone();
    const jumps = await page.evaluate(() => (globalThis as unknown as { jumps: number[] }).jumps);
    expect(jumps.reduce((a, b) => a + b, 0)).toBeLessThan(0.1); // web.dev/articles/cls: good
  });

  test("axe finds nothing serious, large and small, light and dark", async () => {
    await open({ steps: 1 });
    expect(await axeFindings(page), "before the first picture").toEqual([]);
    await press("Draw");
    await pictureDone();
    for (const view of ["draw", "compare", "inside", "models"]) {
      await page.evaluate((name) => {
        location.hash = `#${name}`;
      }, view);
      await page.locator(`nav a[href="#${view}"][aria-current]`).waitFor();
      if (view === "compare") {
        await page.getByLabel("Values, with commas").first().fill("1, 2");
        await press("Compare");
        await expect.poll(() => page.locator(".cell img").count(), { timeout: 120_000 }).toBe(2);
      }
      if (view === "inside") {
        await press("Draw and look inside");
        await page.locator(".maps").waitFor({ timeout: 120_000 });
      }
      expect(await axeFindings(page), view).toEqual([]);
    }
    await page.evaluate(() => {
      location.hash = "#draw";
    });
    await page.getByLabel("Steps", { exact: true }).fill("5000");
    await press("Draw");
    await page.getByText("steps: expected a whole number from 1 to 1000, got 5000").waitFor();
    expect(await axeFindings(page), "with an error").toEqual([]);
    await press("Start from this");
    await page.getByAltText("What it starts from").waitFor();
    expect(await axeFindings(page), "with a picture to start from").toEqual([]);
    await press("Paint a part…");
    expect(await axeFindings(page), "painting").toEqual([]);
  });
});
