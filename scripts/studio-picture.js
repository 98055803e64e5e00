// Makes docs/studio.webp: node scripts/studio-picture.js, on a machine with Chromium that does nothing else, after npm ci.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import sharp from "sharp";

const root = fileURLToPath(new URL("..", import.meta.url));
const before = [
  "castle",
  "person biking",
  "stopwatch",
  "police officer",
  "rocket",
  "mouth",
  "office building",
  "house",
  "red apple",
];
const face = { prompt: "grinning face with smiling eyes", over: "smiling face with sunglasses" };

const data = await mkdtemp(join(tmpdir(), "koala-studio-picture-"));
const server = spawn(process.execPath, [join(root, "bin/koala.js"), "serve", "--port", "0", "--data", data], {
  stdio: ["ignore", "pipe", "ignore"],
});
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  const [url] = await new Promise((resolve) =>
    createInterface(server.stdout).once("line", (line) => resolve([line])),
  );
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  page.setDefaultTimeout(120_000);
  await page.goto(url);
  await page.getByText("koala-emoji is ready").waitFor();
  const draw = async (prompt, seed) => {
    await page.getByLabel("Prompt", { exact: true }).fill(prompt);
    await page.getByLabel("Seed", { exact: true }).fill(`${seed}`);
    await page.getByRole("button", { name: "Draw" }).first().click();
    await page.getByRole("button", { name: prompt, exact: true }).first().waitFor();
  };
  for (const [i, prompt] of before.entries()) await draw(prompt, i + 1);
  await draw(face.prompt, 4);
  await page.getByRole("button", { name: "Start from this" }).first().click();
  await page.getByRole("button", { name: "Paint a part…" }).click();
  await page.getByLabel("Brush", { exact: true }).fill("0.25");
  const canvas = await page.getByRole("button", { name: "Picture to paint on" }).boundingBox();
  const at = (x, y) => [canvas.x + x * canvas.width, canvas.y + y * canvas.height];
  await page.mouse.move(...at(0.08, 0.385));
  await page.mouse.down();
  await page.mouse.move(...at(0.92, 0.385), { steps: 30 });
  await page.mouse.up();
  await page.getByRole("button", { name: "Done" }).click();
  await draw(face.over, 4);
  await page.mouse.move(0, 0);
  await page.evaluate(() => scrollTo(0, 0));
  await sharp(await page.screenshot())
    .webp({ quality: 90 })
    .toFile(join(root, "docs/studio.webp"));
} finally {
  await browser.close();
  const ended = new Promise((resolve) => server.once("exit", resolve));
  server.kill();
  await ended;
  await rm(data, { recursive: true, force: true });
}
