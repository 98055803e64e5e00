/** Debian's Chromium, headless, with WebGPU on SwiftShader. */

import { existsSync } from "node:fs";
import { type Browser, type BrowserContext, chromium } from "playwright-core";

const path = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);

/** Whether a browser is on this machine. */
export const hasChromium = path !== undefined;

const options = {
  ...(path === undefined ? {} : { executablePath: path }),
  args: ["--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
};

export const startChromium = (): Promise<Browser> => chromium.launch(options);

/** With the settings that a profile's folder has. */
export const startChromiumWith = (profile: string): Promise<BrowserContext> =>
  chromium.launchPersistentContext(profile, options);
