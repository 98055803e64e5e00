/** The page's one store: what is typed, what runs, what was drawn. Panels read its signals and call its verbs. */

import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import {
  KoalaError,
  parseRequest,
  type RequestField,
  type RequestInput,
  requestFields,
} from "koala-diffusion";
import type { DrawEvent, Drawing, Engine, Model, Shown } from "./engines.ts";
import { remember, remembered } from "./remember.ts";

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
  readonly message: string;
  readonly hint: string | null;
}

export function problemOf(error: unknown): Problem {
  if (!(error instanceof KoalaError))
    return { field: null, code: null, message: String((error as Error)?.message ?? error), hint: null };
  const { code, where, expected, got, hint = null } = error;
  const field = where.split(".")[0] ?? "";
  const isField = requestFields().some(({ key }) => key === field);
  return { field: isField ? field : null, code, message: `${where}: expected ${expected}, got ${got}`, hint };
}

const isAbort = (error: unknown): boolean => error instanceof DOMException && error.name === "AbortError";

export interface Studio {
  readonly engine: Engine;
  readonly fields: readonly RequestField[];
  readonly view: Signal<View>;
  readonly form: Signal<Form>;
  readonly models: Signal<readonly Model[]>;
  readonly model: Signal<Model | null>;
  readonly loading: Signal<{ readonly bytes: number; readonly total: number } | null>;
  readonly work: Signal<Work | null>;
  readonly problem: Signal<Problem | null>;
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
  start(): Promise<void>;
  set(key: string, value: unknown): void;
  /** The typed request. @throws KoalaError E_REQUEST */
  request(): RequestInput;
  choose(name: string): Promise<void>;
  /** Takes the chosen model out of the browser's storage and fetches it again. */
  fetchAgain(): Promise<void>;
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
  take(drawing: Drawing): void;
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
    if (stop.value !== null)
      s.notes.value = [...s.notes.value, "The browser had suspended this tab; what it draws goes on now."];
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
  let wantedModel = "";

  async function open(name: string, signal: AbortSignal): Promise<void> {
    wantedModel = name;
    s.model.value = await engine.open(name, {
      signal,
      onBytes: (bytes, total) => {
        s.loading.value = { bytes, total };
      },
      onWarning: (message) => {
        s.notes.value = [...s.notes.value, message];
      },
    });
    s.loading.value = null;
    remember("model", name);
    s.models.value = await engine.models();
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
        s.notes.value = [...s.notes.value, event.message];
        break;
      case "picture":
        s.current.value = event.drawing;
        void refresh();
    }
  }

  async function follow(events: AsyncGenerator<DrawEvent>): Promise<void> {
    for await (const event of events) hear(event);
  }

  const request = (): RequestInput => parseRequest({ ...s.form.value, preview: true });

  return {
    ...s,
    engine,
    fields,
    set,
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
    fetchAgain: () =>
      exclusively(async (signal) => {
        await engine.storage?.remove(wantedModel);
        await open(wantedModel, signal);
      }),
    draw: () =>
      exclusively(async (signal) => {
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
        await follow(engine.draw(model.name, asked, { signal }));
      }, "picture"),
    cancel: () => stop.value?.abort(),
    async readFile(file) {
      try {
        const recorded = await engine.readPicture(file);
        s.form.value = { ...recorded.request };
        remember("form", s.form.value);
        s.problem.value = null;
        const other =
          recorded.model !== undefined &&
          recorded.model !== s.model.value?.title &&
          recorded.model !== s.model.value?.name;
        s.notes.value = [
          `Settings read from ${file.name}${other ? `, which ${recorded.model} drew` : ""}.`,
          ...(recorded.missing ?? []).map((what) => `It was drawn with ${what}, which is not done here.`),
        ];
      } catch (error) {
        s.problem.value = problemOf(error);
      }
    },
    take(drawing) {
      const { preview: _, count: _count, ...kept } = drawing.request;
      s.form.value = kept;
      remember("form", kept);
      location.hash = "#draw";
    },
    savePreset(name) {
      const { prompt: _, seed: _seed, ...kept } = s.form.value;
      s.presets.value = { ...s.presets.value, [name]: kept };
      remember("presets", s.presets.value);
    },
  };
}
