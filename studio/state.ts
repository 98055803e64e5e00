/** The page's one store: what is typed, what runs, what was drawn. Panels read its signals and call its verbs. */

import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import {
  KoalaError,
  parseRequest,
  type RequestField,
  type RequestInput,
  requestFields,
} from "koala-diffusion";
import { maskFields } from "koala-diffusion/web";
import type { DrawEvent, Drawing, Engine, Model, Progress, Shown } from "./engines.ts";
import { titleOf } from "./names.ts";
import { remember, remembered } from "./remember.ts";
import { type StartPicture, startPicture } from "./start-picture.ts";

export const views = ["draw", "compare", "inside", "runs", "models"] as const;
export type View = (typeof views)[number];

/** What is typed, by field; an empty text leaves a field to the model. */
export type Form = Readonly<Record<string, unknown>>;

/** A picture on its way. */
export interface Work {
  readonly what: string;
  readonly step: number;
  readonly steps: number;
  readonly index: number;
  readonly secondsLeft: number | null;
  readonly shown: Shown | null;
}

/** Of pictures that are compared or looked into, where none is typed: they are to be the same the next time. */
export const usualSeed = 7;

/** What went wrong, for people. */
export interface Problem {
  readonly field: string | null;
  /** Null for what is no error of the package. */
  readonly code: KoalaError["code"] | null;
  /** Null as well then. Of a model's file it begins with the model's location. */
  readonly where: string | null;
  readonly message: string;
  readonly hint: string | null;
}

/** What stands beside a request's fields: files to start from. */
const isOfStart = (field: string): boolean => field === "image" || field === "mask";

export function problemOf(error: unknown): Problem {
  if (!(error instanceof KoalaError))
    return {
      ...{ field: null, code: null, where: null, hint: null },
      message: String((error as Error)?.message ?? error),
    };
  const { code, where, expected, got, hint = null } = error;
  const field = where.split(".")[0] ?? "";
  const isField = isOfStart(field) || requestFields().some(({ key }) => key === field);
  return {
    field: isField ? field : null,
    code,
    where,
    message: `${where}: expected ${expected}, got ${got}`,
    hint,
  };
}

const isAbort = (error: unknown): boolean => error instanceof DOMException && error.name === "AbortError";

export interface Studio {
  readonly engine: Engine;
  readonly fields: readonly RequestField[];
  readonly view: Signal<View>;
  readonly form: Signal<Form>;
  readonly startPicture: StartPicture;
  /** Whether the form is of a picture that started from one which is not here. */
  readonly lacksStart: ReadonlySignal<boolean>;
  /** What stands for a field that is left open, by the model and the picture to start from. */
  readonly usual: ReadonlySignal<Form>;
  readonly models: Signal<readonly Model[]>;
  readonly model: Signal<Model | null>;
  readonly loading: Signal<{ readonly bytes: number; readonly total: number } | null>;
  readonly work: Signal<Work | null>;
  readonly problem: Signal<Problem | null>;
  /** The name of the model that the problem is a file of, if this page keeps it; null: of none that is known. */
  readonly broken: ReadonlySignal<string | null>;
  readonly notes: Signal<readonly string[]>;
  readonly current: Signal<Drawing | null>;
  readonly drawings: Signal<readonly Drawing[]>;
  /** Whether there are older ones than the gallery shows. */
  readonly isMore: Signal<boolean>;
  readonly search: Signal<string>;
  readonly onlyFavourites: Signal<boolean>;
  readonly presets: Signal<Readonly<Record<string, Form>>>;
  readonly isBusy: ReadonlySignal<boolean>;
  readonly isOnline: Signal<boolean>;
  /** Says above the views what an engine tells of a model on its way. */
  readonly progress: Progress;
  start(): Promise<void>;
  set(key: string, value: unknown): void;
  /** Puts other values in place of all that is typed. */
  use(form: Form): void;
  /** The typed request. @throws KoalaError E_REQUEST */
  request(): RequestInput;
  choose(name: string): Promise<void>;
  /** Opens the broken model once more; anew: fetched again, for its files are taken out of the browser's storage first. */
  reopen(how: "anew" | "as it is"): Promise<void>;
  draw(): Promise<void>;
  cancel(): void;
  /**
   * Runs something else than `draw` with the page's one worker; `cancel` ends it. What has a name is spoken of when the page was
   * left meanwhile.
   */
  exclusively(work: (signal: AbortSignal) => Promise<void>, name?: Unfinished): Promise<void>;
  refresh(): Promise<void>;
  showMore(): Promise<void>;
  /** Changes the history, and shows it. */
  change(work: Promise<void>): Promise<void>;
  readFile(file: File): Promise<void>;
  /** Draws from a picture from now on. */
  startFrom(picture: Blob | Drawing): Promise<void>;
  startFromNoise(): void;
  /** Types a picture's settings, and chooses the model that drew it. */
  take(drawing: Drawing): Promise<void>;
  /** Draws by a picture's settings with another seed. */
  drawAnother(drawing: Drawing): Promise<void>;
  savePreset(name: string): void;
}

/** What may be half done when a page is left, and the button that starts it again. */
const restarts = { picture: "Draw", comparison: "Compare", "look inside": "Draw and look inside" };
type Unfinished = keyof typeof restarts;
const isUnfinished = (text: string): text is Unfinished => text in restarts;

/** Pictures that the gallery shows at first, and that are added at a time. */
const galleryPage = 100;

const usualPrompt = "a red apple";

const noWorkYet: Work = { what: "", step: 0, steps: 0, index: 0, secondsLeft: null, shown: null };

export function createStudio(engine: Engine): Studio {
  const fields = requestFields();
  const asView = (hash: string): View => views.find((name) => `#${name}` === hash) ?? "draw";
  const draft = remembered<Form>("form", { prompt: usualPrompt });
  const s = {
    view: signal(asView(location.hash)),
    form: signal<Form>(draft),
    models: signal<readonly Model[]>([]),
    model: signal<Model | null>(null),
    loading: signal<{ bytes: number; total: number } | null>(null),
    work: signal<Work | null>(null),
    problem: signal<Problem | null>(null),
    notes: signal<readonly string[]>([]),
    current: signal<Drawing | null>(null),
    drawings: signal<readonly Drawing[]>([]),
    isMore: signal(false),
    search: signal(""),
    onlyFavourites: signal(false),
    isOnline: signal(navigator.onLine),
    presets: signal(remembered<Readonly<Record<string, Form>>>("presets", {})),
  };
  const start = startPicture();
  const stop = signal<AbortController | null>(null);
  addEventListener("hashchange", () => {
    s.view.value = asView(location.hash);
  });
  for (const name of ["online", "offline"])
    addEventListener(name, () => {
      s.isOnline.value = navigator.onLine;
    });
  /** A page that is left loses its connections first: what it draws is not over by that. */
  let isLeaving = false;
  for (const name of ["beforeunload", "pagehide"])
    addEventListener(name, () => {
      isLeaving = true;
    });
  addEventListener("pageshow", () => {
    isLeaving = false;
  });
  // the page's life cycle: a browser may stop a tab that nobody looks at, and go on later
  document.addEventListener("resume", () => {
    if (stop.value !== null) note("The browser had suspended this tab; what it draws goes on now.");
  });

  function set(key: string, value: unknown): void {
    const { [key]: _, ...rest } = s.form.value;
    s.form.value =
      value === undefined || value === ""
        ? key === "prompt"
          ? { ...rest, prompt: "" }
          : rest
        : { ...rest, [key]: value };
    if (s.problem.value?.field === key) s.problem.value = null;
    remember("form", s.form.value);
  }

  function use(form: Form): void {
    s.form.value = form;
    remember("form", form);
    if (s.problem.value?.field != null) s.problem.value = null; // what was wrong is not there any more
  }

  function note(text: string): void {
    if (!s.notes.value.includes(text)) s.notes.value = [...s.notes.value, text];
  }

  const progress: Progress = {
    onBytes(bytes, total) {
      s.loading.value = { bytes, total };
    },
    onReady() {
      s.loading.value = null;
    },
    onWarning: note,
  };

  let most = galleryPage;
  let lists = 0;
  const refresh = async (): Promise<void> => {
    const own = ++lists;
    try {
      const found = await engine.history.list(s.search.value, s.onlyFavourites.value, most);
      if (own !== lists) return; // an answer that was overtaken
      s.drawings.value = found.drawings;
      s.isMore.value = found.isMore;
    } catch (error) {
      s.problem.value = problemOf(error);
    }
  };

  const exclusively: Studio["exclusively"] = async (work, name) => {
    if (stop.value !== null) return;
    const own = new AbortController();
    stop.value = own;
    s.problem.value = null;
    s.notes.value = [];
    if (name !== undefined) remember("unfinished", name, "tab");
    try {
      await work(own.signal);
    } catch (error) {
      if (!isAbort(error)) s.problem.value = problemOf(error);
    } finally {
      stop.value = null;
      s.work.value = null;
      s.loading.value = null;
      if (name !== undefined && !isLeaving) remember("unfinished", null, "tab");
    }
  };

  /** The one that is open, or that could not be opened. */
  let wantedModel: string | null = null;

  async function open(name: string, signal: AbortSignal): Promise<void> {
    wantedModel = name;
    s.model.value = await engine.open(name, { signal, ...progress });
    remember("model", name);
    s.models.value = await engine.models();
  }

  const broken = computed(() => {
    const { code = null, where } = s.problem.value ?? {};
    if (engine.storage === null || (code !== "E_FILE" && code !== "E_CONFLICT")) return null;
    const isIts = (location: string | null): boolean => where?.startsWith(`${location}/`) === true;
    const its = s.models.value.find(({ location }) => isIts(location));
    return its?.name ?? (isIts(wantedModel) ? wantedModel : null); // one of the hub is not listed before it is here
  });

  async function reopen(how: "anew" | "as it is"): Promise<void> {
    const name = broken.value;
    if (name === null) return;
    await exclusively(async (signal) => {
      if (how === "anew") await engine.storage?.remove(name);
      if (name === wantedModel) return open(name, signal);
      await engine.open(name, { signal, ...progress }); // of a comparison: the chosen one stays
      s.models.value = await engine.models();
    });
  }

  function hear(event: DrawEvent): void {
    const work = s.work.value ?? noWorkYet;
    switch (event.type) {
      case "waiting":
        s.work.value = { ...work, what: event.ahead > 0 ? `${event.ahead} before this one` : "Starting" };
        break;
      case "stage": {
        const words = {
          load: "Loading the model",
          text: "Reading the prompt",
          encode: "Looking at the picture",
          denoise: "Drawing",
          decode: "Decoding",
        };
        s.work.value = { ...work, what: words[event.stage] };
        break;
      }
      case "step": {
        const secondsLeft = event.seconds * (event.steps - event.step);
        s.work.value = {
          ...work,
          what: "Drawing",
          step: event.step,
          steps: event.steps,
          index: event.index,
          secondsLeft,
        };
        break;
      }
      case "preview":
        s.work.value = { ...work, shown: event.shown };
        break;
      case "warning":
        note(event.message);
        break;
      case "picture":
        s.current.value = event.drawing;
        void refresh();
    }
  }

  async function follow(events: AsyncGenerator<DrawEvent>): Promise<void> {
    for await (const event of events) hear(event);
  }

  const isSaid = (key: string): boolean =>
    start.marks.value.length > 0 || !maskFields.some((field) => field === key);
  const request = (): RequestInput =>
    parseRequest({
      ...Object.fromEntries(Object.entries(s.form.value).filter(([key]) => isSaid(key))),
      preview: true,
    });

  async function draw(signal: AbortSignal): Promise<void> {
    const asked = request();
    const model = s.model.value;
    if (model === null)
      throw new KoalaError("E_MODEL", {
        where: "model",
        expected: "one to draw with",
        got: "none",
        hint: "Choose one under Models.",
      });
    s.work.value = { ...noWorkYet, what: "Starting" };
    await follow(engine.draw(model.name, asked, { signal, start: await start.files(), ...progress }));
  }

  /** Says where settings are from, and which model they were for where that is not the one that is open. */
  function sayRead(from: string, maker: string | undefined): void {
    const { name, title } = s.model.value ?? {};
    const isOther = maker !== undefined && maker !== title && maker !== name;
    note(`Settings read from ${from}${isOther ? `, which ${maker} drew` : ""}.`);
  }

  function typeSettings({ request: its }: Drawing): void {
    const { preview: _, count: _count, ...kept } = its;
    use(kept);
    location.hash = "#draw";
  }

  /** Takes what a picture started from; what is not kept anywhere is not here then. */
  async function takeStart(drawing: Drawing): Promise<void> {
    start.remove();
    const files = drawing.request.strength === undefined ? null : await engine.history.startOf(drawing);
    if (files !== null) await start.put(files);
  }

  async function openMaker({ model: name }: Drawing, signal: AbortSignal): Promise<void> {
    if (name === s.model.value?.name) return;
    if (s.models.value.some((one) => one.name === name)) await open(name, signal);
    else sayRead("the picture", name.startsWith("./") ? titleOf(name) : name);
  }

  return {
    ...s,
    startPicture: start,
    lacksStart: computed(
      () => s.form.value.strength !== undefined && start.image.value === null && start.isRestored.value,
    ),
    usual: computed(() => ({ ...s.model.value?.defaults, ...start.usual(s.model.value, s.form.value) })),
    engine,
    fields,
    broken,
    progress,
    set,
    use,
    request,
    refresh,
    showMore() {
      most += galleryPage;
      return refresh();
    },
    async change(work) {
      try {
        await work;
      } catch (error) {
        s.problem.value = problemOf(error);
      }
      await refresh();
    },
    exclusively,
    isBusy: computed(() => stop.value !== null),
    async start() {
      const unfinished = remembered("unfinished", "", "tab");
      const left = isUnfinished(unfinished) ? unfinished : null;
      await Promise.all([
        refresh(),
        start.restore(),
        exclusively(async (signal) => {
          s.models.value = await engine.models();
          const wanted = remembered("model", "");
          const first = s.models.value.find(({ name }) => name === wanted) ?? s.models.value[0];
          if (first !== undefined) await open(first.name, signal);
        }),
      ]);
      const going = left === "picture" ? await engine.unfinished().catch(() => null) : null;
      if (going !== null) await exclusively((signal) => follow(going(signal)), "picture");
      else if (left !== null) {
        remember("unfinished", null, "tab");
        const wasDiscarded = (document as { wasDiscarded?: boolean }).wasDiscarded === true;
        s.notes.value = [
          wasDiscarded
            ? `The browser had put this tab away to save memory, with a ${left} half done. ${restarts[left]} starts it again.`
            : `A ${left} was not done when the page was left. ${restarts[left]} starts it again.`,
        ];
      }
    },
    choose: (name) => exclusively((signal) => open(name, signal)),
    reopen,
    draw: () => exclusively(draw, "picture"),
    cancel: () => stop.value?.abort(),
    async readFile(file) {
      try {
        const recorded = await engine.readPicture(file);
        use({ ...recorded.request });
        if (recorded.request.strength === undefined) start.remove();
        s.problem.value = null;
        s.notes.value = [];
        sayRead(file.name, recorded.model);
        for (const what of recorded.missing ?? []) note(`It was drawn with ${what}, which is not done here.`);
      } catch (error) {
        s.problem.value = problemOf(error);
      }
    },
    async startFrom(picture) {
      location.hash = "#draw";
      try {
        const image = picture instanceof Blob ? picture : await (await fetch(picture.url)).blob();
        await start.put({ image, mask: null });
        s.problem.value = null;
      } catch (error) {
        s.problem.value = problemOf(error);
      }
    },
    startFromNoise() {
      start.remove();
      for (const key of ["strength", ...maskFields]) set(key, undefined);
    },
    take(drawing) {
      typeSettings(drawing);
      return exclusively(async (signal) => {
        await takeStart(drawing);
        await openMaker(drawing, signal);
      });
    },
    drawAnother(drawing) {
      typeSettings(drawing);
      set("seed", undefined);
      return exclusively(async (signal) => {
        await takeStart(drawing);
        await openMaker(drawing, signal);
        await draw(signal);
      }, "picture");
    },
    savePreset(name) {
      const { prompt: _, seed: _seed, ...kept } = s.form.value;
      // another tab may have saved some since; a browser that remembers nothing has this page's alone
      s.presets.value = { ...s.presets.value, ...remembered("presets", {}), [name]: kept };
      remember("presets", s.presets.value);
    },
  };
}
