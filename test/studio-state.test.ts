/** The studio's store over an engine that is a stand-in: what a press of each button comes to. */

import { beforeEach, expect, it, vi } from "vitest";
import { KoalaError } from "../src/core/errors.ts";
import type { StartFiles } from "../src/web/start-files.ts";
import type { DrawEvent, Drawing, Engine, Model } from "../studio/engines.ts";
import { createStudio, type Studio } from "../studio/state.ts";

const defaults = { width: 128, height: 128, steps: 8 } as Model["defaults"];

const modelOf = (name: string): Model => ({
  ...{ name, title: name, location: `/${name}`, family: null, engine: null },
  ...{ defaults, precisions: null, unit: 8, isInpainting: false },
});

const drawingBy = (model: string): Drawing => ({
  ...{ id: "1", model, url: "", seconds: null, bytes: null, note: null, created: 0, isFavourite: false },
  request: { prompt: "a pear", seed: 5, steps: 3, count: 1, preview: true } as unknown as Drawing["request"],
});

/** What the engine was asked, and what of it fails. */
let asked: string[];
/** What it was given to start from, and what its history knows of that. */
let starts: (StartFiles | null)[];
let keptStart: StartFiles | null;
let failing: Map<string, KoalaError>;
let stored: Map<string, string>;

const engine: Engine = {
  kind: "browser",
  models: async () => ["a", "my-a", "b"].map(modelOf),
  async open(name, o) {
    asked.push(`open ${name}`);
    const error = failing.get(name);
    if (error !== undefined) throw error;
    o.onWarning(`${name} is slow`);
    return modelOf(name);
  },
  async *draw(name, request, { start }): AsyncGenerator<DrawEvent> {
    starts.push(start);
    asked.push(`draw ${name} ${request.prompt} ${request.seed}`);
    yield { type: "warning", message: `${name} is slow` };
  },
  history: {
    list: async () => ({ drawings: [], isMore: false }),
    setFavourite: async () => {},
    remove: async () => {},
    startOf: async () => keptStart,
    isKept: async () => true,
  },
  storage: {
    surroundings: () => Promise.reject(new Error("not asked")),
    needs: () => Promise.reject(new Error("not asked")),
    async remove(name) {
      asked.push(`remove ${name}`);
      failing.delete(name);
    },
  },
  readPicture: async ({ name }) =>
    name === "started.png"
      ? { request: { prompt: "read", strength: 0.5 } }
      : { request: { prompt: "read" }, model: "c", missing: ["Clip skip: 2"] },
  structure: () => Promise.reject(new Error("not asked")),
  times: () => Promise.reject(new Error("not asked")),
  explore: () => Promise.reject(new Error("not asked")),
  runs: null,
  unfinished: async () => null,
};

/** A page that has opened model a. */
async function opened(): Promise<Studio> {
  const studio = createStudio(engine);
  await studio.start();
  expect(asked.splice(0)).toEqual(["open a"]);
  return studio;
}

const gone = (name: string): KoalaError =>
  new KoalaError("E_FILE", { where: `/${name}/unet/x.safetensors`, expected: "9 bytes", got: "nothing" });
const locked = (name: string): KoalaError =>
  new KoalaError("E_CONFLICT", { where: `/${name}/x.json`, expected: "a file", got: "one in use" });

/** A picture file of the width and height that it says. */
const fileOf = (width: number, height: number): Blob => new Blob([`${width} ${height}`]);

/** Stand-ins for the browser's: a file is decoded to the size that it says, and every pixel is painted. */
function stubPictures(): void {
  vi.stubGlobal("createImageBitmap", async (file: Blob) => {
    const [width = 0, height = 0] = (await file.text()).split(" ").map(Number);
    if (!(width > 0)) throw new Error("no picture");
    return { width, height };
  });
  vi.stubGlobal(
    "OffscreenCanvas",
    class {
      readonly width: number;
      readonly height: number;
      constructor(width: number, height: number) {
        this.width = width;
        this.height = height;
      }
      getContext(): object {
        const drawing = ["setTransform", "clearRect", "fillRect", "drawImage", "putImageData"];
        const path = ["beginPath", "lineTo", "stroke"];
        return {
          canvas: this,
          getImageData: () => ({ data: Uint8ClampedArray.of(255, 255, 255, 255) }),
          ...Object.fromEntries([...drawing, ...path].map((name) => [name, () => {}])),
        };
      }
      async convertToBlob(): Promise<Blob> {
        return fileOf(this.width, this.height);
      }
    },
  );
}

const sizeOf = (blob: Blob | null | undefined): Promise<string> | undefined => blob?.text();
const stroke = { points: [{ x: 1, y: 1 }], width: 9, isErasing: false };

/** A drawing that started from a picture. */
const startedDrawing = (): Drawing => {
  const drawing = drawingBy("a");
  return { ...drawing, request: { ...drawing.request, strength: 0.5 } };
};

beforeEach(() => {
  asked = [];
  starts = [];
  keptStart = null;
  stubPictures();
  failing = new Map();
  stored = new Map();
  const storage = {
    getItem: (key: string) => stored.get(key) ?? null,
    setItem: (key: string, text: string) => stored.set(key, text),
  };
  vi.stubGlobal("localStorage", storage);
  vi.stubGlobal("sessionStorage", { getItem: () => null, setItem() {} });
  vi.stubGlobal("location", { hash: "#compare" });
  vi.stubGlobal("navigator", { onLine: true });
  vi.stubGlobal("addEventListener", () => {});
  vi.stubGlobal("document", { addEventListener() {} });
});

it("fetches the model again whose file is wrong, not the one that was chosen", async () => {
  const studio = await opened();
  failing.set("my-a", gone("my-a"));
  const compare = () =>
    studio.exclusively(async (signal) => {
      await engine.open("my-a", { signal, ...studio.progress });
    });
  await compare();
  expect(studio.broken.value).toBe("my-a");
  await studio.reopen("anew");
  expect(asked).toEqual(["open my-a", "remove my-a", "open my-a"]);
  expect([studio.model.value?.name, studio.problem.value]).toEqual(["a", null]);
});

it("chooses a model that was to be chosen once it is fetched again", async () => {
  const studio = await opened();
  failing.set("b", gone("b"));
  await studio.choose("b");
  expect(studio.model.value?.name).toBe("a");
  await studio.reopen("anew");
  expect(studio.model.value?.name).toBe("b");
});

it("tries a model again that another tab was writing, and takes nothing away", async () => {
  failing.set("a", locked("a"));
  const studio = createStudio(engine);
  await studio.start();
  expect(studio.broken.value).toBe("a");
  failing.clear();
  await studio.reopen("as it is");
  expect(asked).toEqual(["open a", "open a"]);
  expect(studio.model.value?.name).toBe("a");
});

it("knows a model of the hub that is not listed yet, and takes no other away for it", async () => {
  const studio = await opened();
  failing.set("owner/name", new KoalaError("E_FILE", { where: "owner/name/x", expected: "1", got: "0" }));
  await studio.choose("owner/name");
  expect(studio.broken.value).toBe("owner/name");
  failing.set("owner/name", gone("elsewhere"));
  await studio.choose("owner/name");
  expect(studio.broken.value).toBeNull();
  await studio.reopen("anew");
  expect(asked).not.toContain("remove owner/name");
});

it("draws with another seed by the model that drew, and takes settings with it", async () => {
  const studio = await opened();
  await studio.drawAnother(drawingBy("b"));
  expect(asked).toEqual(["open b", "draw b a pear undefined"]);
  expect(studio.form.value).toEqual({ prompt: "a pear", steps: 3 });
  await studio.take(drawingBy("a"));
  expect(studio.model.value?.name).toBe("a");
  expect(studio.form.value).toEqual({ prompt: "a pear", seed: 5, steps: 3 });
  expect(JSON.parse(stored.get("koala-form") ?? "")).toEqual(studio.form.value);
});

it("draws nothing by another model where the one that drew cannot be opened", async () => {
  const studio = await opened();
  failing.set("b", gone("b"));
  await studio.drawAnother(drawingBy("b"));
  expect(asked).toEqual(["open b"]);
  expect(studio.broken.value).toBe("b");
});

it("says which model drew where that one is not offered", async () => {
  const studio = await opened();
  const said = "Settings read from the picture, which old one drew.";
  await studio.take(drawingBy("./models/old%20one"));
  expect(studio.notes.value).toEqual([said]);
  await studio.drawAnother(drawingBy("./models/old%20one"));
  expect(asked).toEqual(["draw a a pear undefined"]);
  expect(studio.notes.value).toEqual([said, "a is slow"]);
  await studio.readFile(new File([], "it.png"));
  expect(studio.notes.value).toEqual([
    "Settings read from it.png, which c drew.",
    "It was drawn with Clip skip: 2, which is not done here.",
  ]);
});

it("says a warning once that comes with a model and its pictures", async () => {
  const studio = await opened();
  await studio.drawAnother(drawingBy("b"));
  expect(studio.notes.value).toEqual(["b is slow"]);
});

it("keeps a preset that was chosen over a reload, and forgets what was wrong with a field", async () => {
  const studio = await opened();
  studio.set("steps", 5000);
  await studio.draw();
  expect(studio.problem.value?.field).toBe("steps");
  studio.use({ prompt: "a pear", steps: 5 });
  expect(studio.problem.value).toBeNull();
  expect(createStudio(engine).form.value).toEqual({ prompt: "a pear", steps: 5 });
});

it("saves a preset beside those that another tab has saved since", async () => {
  const [one, other] = [await opened(), createStudio(engine)];
  one.use({ prompt: "", steps: 1 });
  one.savePreset("quick");
  other.use({ prompt: "", steps: 90 });
  other.savePreset("careful");
  expect(createStudio(engine).presets.value).toEqual({ quick: { steps: 1 }, careful: { steps: 90 } });
  vi.stubGlobal("localStorage", undefined); // where the browser remembers nothing they last as long as the page
  other.savePreset("third");
  expect(Object.keys(other.presets.value)).toEqual(["quick", "careful", "third"]);
});

it("draws from a picture that was given, with the mask that was painted on it, and shows its shape", async () => {
  const studio = await opened();
  await studio.startFrom(fileOf(400, 200));
  expect(studio.usual.value).toMatchObject({ width: 184, height: 88, strength: 0.75, steps: 8 });
  studio.set("height", 64);
  expect(studio.usual.value).toMatchObject({ width: 128, height: 64 });
  studio.set("height", undefined);
  studio.set("paddingMaskCrop", 8);
  expect(studio.usual.value).toMatchObject({ width: 184, height: 88 });
  expect(studio.request()).not.toHaveProperty("paddingMaskCrop"); // nothing is painted
  await studio.draw();
  studio.startPicture.marks.value = [stroke]; // what is drawn has not the picture's shape then, but the model's
  expect(studio.usual.value).toMatchObject({ width: 128, height: 128 });
  expect(studio.request()).toMatchObject({ paddingMaskCrop: 8 });
  expect(studio.usual.value.strength).toBe(1);
  await studio.draw();
  const sizes = starts.map((start) => Promise.all([start?.image, start?.mask].map(sizeOf)));
  expect(await Promise.all(sizes)).toEqual([
    ["400 200", undefined],
    ["400 200", "400 200"],
  ]);
});

it("makes a large picture smaller as it comes", async () => {
  const studio = await opened();
  await studio.startFrom(fileOf(4096, 1024));
  expect(studio.startPicture.image.value).toMatchObject({ width: 2048, height: 512 });
});

it("says where a file is no picture, and keeps the one before", async () => {
  const studio = await opened();
  await studio.startFrom(fileOf(64, 64));
  await studio.startFrom(new Blob(["a text"]));
  expect(studio.problem.value).toMatchObject({
    field: "image",
    message: "image: expected a picture that this browser can show, got something else",
  });
  expect(studio.startPicture.image.value).toMatchObject({ width: 64 });
});

it("forgets a picture's strength and mask with the picture", async () => {
  const studio = await opened();
  await studio.startFrom(fileOf(64, 64));
  studio.startPicture.marks.value = [stroke];
  for (const [key, value] of Object.entries({ strength: 0.4, paddingMaskCrop: 8, maskedContent: "fill" }))
    studio.set(key, value);
  studio.startFromNoise();
  await studio.draw();
  expect(starts).toEqual([null]);
  expect(studio.form.value).toEqual({ prompt: "a red apple" });
  expect(studio.startPicture.marks.value).toEqual([]);
  expect(studio.lacksStart.value).toBe(false);
});

it("takes a drawing's start with its settings, where it is kept", async () => {
  const studio = await opened();
  keptStart = { image: fileOf(128, 64), mask: fileOf(128, 64) };
  await studio.take(startedDrawing());
  expect(studio.form.value.strength).toBe(0.5);
  expect(studio.startPicture.image.value).toMatchObject({ width: 128, height: 64 });
  expect(studio.startPicture.marks.value).toHaveLength(1);
  await studio.drawAnother(startedDrawing());
  expect(await sizeOf(starts[0]?.mask)).toBe("128 64");
  await studio.take(drawingBy("a"));
  expect(studio.startPicture.image.value).toBeNull();
});

it("says that settings lack the picture that they started from, until one is given", async () => {
  const studio = await opened();
  await studio.startFrom(fileOf(64, 64));
  await studio.take(startedDrawing());
  expect([studio.startPicture.image.value, studio.lacksStart.value]).toEqual([null, true]);
  await studio.startFrom(fileOf(32, 32));
  expect(studio.lacksStart.value).toBe(false);
  await studio.readFile(new File([], "started.png"));
  expect(studio.startPicture.image.value).toMatchObject({ width: 32 });
  await studio.readFile(new File([], "it.png"));
  expect([studio.startPicture.image.value, studio.lacksStart.value]).toEqual([null, false]);
});
