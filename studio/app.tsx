/** The page: its views, what is said above them, keys that work everywhere. */

import { signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { Draw } from "./panels/draw.tsx";
import { remember, remembered } from "./remember.ts";
import type { Studio, View } from "./state.ts";

const titles: Readonly<Record<View, string>> = {
  draw: "Draw",
  compare: "Compare",
  inside: "Look inside",
  runs: "Runs",
  models: "Models",
};

type Panel = ComponentType<{ readonly studio: Studio }>;
/** The first view is there at once; what the others are made of is fetched apart, so that it does not wait for them. */
const fetched = signal<{ readonly [V in View]?: Panel }>({ draw: Draw });
const fetchers: { readonly [V in Exclude<View, "draw">]: () => Promise<Panel> } = {
  compare: async () => (await import("./panels/compare.tsx")).Compare,
  inside: async () => (await import("./panels/inside.tsx")).Inside,
  runs: async () => (await import("./panels/runs.tsx")).Runs,
  models: async () => (await import("./panels/models.tsx")).Models,
};

async function fetchPanel(view: View): Promise<void> {
  if (view === "draw" || fetched.value[view] !== undefined) return;
  const panel = await fetchers[view]();
  fetched.value = { ...fetched.value, [view]: panel };
}

const notFetched = {
  ...{ field: null, code: null, where: null },
  message: "This view could not be fetched",
  hint: "With a network again, reload the page.",
};

type Theme = "auto" | "light" | "dark";
const themes: readonly Theme[] = ["auto", "light", "dark"];
const isTheme = (text: string): text is Theme => themes.some((theme) => theme === text);
const lastTheme = remembered("theme", "");
const theme = signal<Theme>(isTheme(lastTheme) ? lastTheme : "auto");

const isTyping = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && target.matches("input, textarea, select");

export function App({ studio }: { readonly studio: Studio }) {
  const shown = (Object.keys(titles) as View[]).filter(
    (view) => view !== "runs" || studio.engine.runs !== null,
  );
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        if (studio.view.value === "draw") void studio.draw();
      } else if (event.key === "Escape") studio.cancel();
      else if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
      else if (event.key === "/") {
        const prompt = document.getElementById("prompt");
        if (prompt === null) return;
        event.preventDefault();
        prompt.focus();
      } else {
        const view = shown[Number(event.key) - 1];
        if (view !== undefined) location.hash = `#${view}`;
      }
    };
    const onDrag = (event: DragEvent): void => event.preventDefault(); // else no drop comes
    const onDrop = (event: DragEvent): void => dropped(event, studio);
    addEventListener("keydown", onKey);
    addEventListener("dragover", onDrag);
    addEventListener("drop", onDrop);
    return () => {
      removeEventListener("keydown", onKey);
      removeEventListener("dragover", onDrag);
      removeEventListener("drop", onDrop);
    };
  }, []);
  useEffect(() => {
    document.documentElement.dataset.theme = theme.value;
    remember("theme", theme.value);
  }, [theme.value]);

  const view = shown.includes(studio.view.value) ? studio.view.value : "draw";
  useEffect(() => {
    fetchPanel(view).catch(() => {
      studio.problem.value = notFetched;
    });
  }, [view]);
  const Panel = fetched.value[view];
  return (
    <div class="page">
      <header class="top">
        <a class="brand" href="#draw" aria-label="koala studio">
          <svg aria-hidden="true" width="26" height="24" viewBox="0 0 32 30">
            <g fill="var(--faint)">
              <circle cx="7" cy="9" r="6.5" />
              <circle cx="25" cy="9" r="6.5" />
              <circle cx="16" cy="17" r="12" />
            </g>
            <g fill="var(--card)">
              <circle cx="11" cy="14" r="1.8" />
              <circle cx="21" cy="14" r="1.8" />
              <ellipse cx="16" cy="19" rx="2.8" ry="4.4" />
            </g>
          </svg>
          <span>koala studio</span>
        </a>
        <nav aria-label="Views">
          {shown.map((name) => (
            <a key={name} href={`#${name}`} aria-current={view === name ? "page" : undefined}>
              {titles[name]}
            </a>
          ))}
        </nav>
        <ModelMenu studio={studio} />
        <label class="theme">
          <span class="sr">Colours</span>
          <select
            value={theme.value}
            onChange={(event) => {
              if (isTheme(event.currentTarget.value)) theme.value = event.currentTarget.value;
            }}
          >
            <option value="auto">Auto</option>
            <option value="light">Light</option>
            <option value="dark">Dark</option>
          </select>
        </label>
      </header>
      <Said studio={studio} />
      <main id="main">
        <h1 class="sr">{titles[view]}</h1>
        {Panel !== undefined && <Panel studio={studio} />}
      </main>
    </div>
  );
}

function dropped(event: DragEvent, studio: Studio): void {
  const file = event.dataTransfer?.files[0];
  if (file === undefined) return;
  event.preventDefault();
  location.hash = "#draw";
  void studio.readFile(file);
}

function ModelMenu({ studio }: { readonly studio: Studio }) {
  const { models, model, isBusy } = studio;
  return (
    <label class="model">
      <span class="sr">Model</span>
      <select
        disabled={isBusy.value || models.value.length === 0}
        value={model.value?.name ?? ""}
        onChange={(event) => void studio.choose(event.currentTarget.value)}
      >
        {model.value === null && <option value="">No model yet</option>}
        {models.value.map(({ name, title }) => (
          <option key={name} value={name}>
            {title}
          </option>
        ))}
      </select>
    </label>
  );
}

/** Warnings of the package begin small, as what follows a colon. */
const sentence = (text: string): string =>
  `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(0);

/** What the page has to say: a download on its way, warnings, what went wrong and the way on. */
function Said({ studio }: { readonly studio: Studio }) {
  const { engine, isOnline, loading, notes, problem, broken, model } = studio;
  const { value: failure } = problem;
  /** Next to its field, which Draw has all of and the other views only the prompt. */
  const isSaidThere = failure?.field != null && (studio.view.value === "draw" || failure.field === "prompt");
  return (
    <div class="said">
      <div role="status" aria-live="polite">
        {loading.value !== null && (
          <p class="note">
            Fetching the model, once: {megabytes(loading.value.bytes)} of {megabytes(loading.value.total)} MB{" "}
            <progress aria-label="Download" value={loading.value.bytes} max={loading.value.total} />
          </p>
        )}
        {!isOnline.value && (
          <p class="note">
            {engine.kind === "browser"
              ? "No network. Models that are kept here still draw; the gallery and looking inside work too."
              : "No network: the server cannot be reached. It goes on with what it has accepted."}
          </p>
        )}
        {notes.value.map((note) => (
          <p key={note} class="note">
            {sentence(note)}
          </p>
        ))}
      </div>
      <div role="alert">
        {failure !== null && !isSaidThere && (
          <p class="note bad">
            {failure.message}. {failure.hint}{" "}
            {broken.value !== null ? (
              <Reopen studio={studio} isWrong={failure.code === "E_FILE"} />
            ) : (
              model.value === null && (
                <button type="button" onClick={() => void studio.start()}>
                  Try again
                </button>
              )
            )}
            {failure.code === "E_DISK" && (
              <a class="button" href="#models">
                See what is kept
              </a>
            )}
            <button
              type="button"
              onClick={() => {
                problem.value = null;
              }}
            >
              Close
            </button>
          </p>
        )}
      </div>
    </div>
  );
}

interface ReopenProps {
  readonly studio: Studio;
  /** Whether a file is, and not only in use elsewhere. */
  readonly isWrong: boolean;
}

const Reopen = ({ studio, isWrong }: ReopenProps) => (
  <button type="button" onClick={() => void studio.reopen(isWrong ? "anew" : "as it is")}>
    {isWrong ? "Fetch it again" : "Try again"}
  </button>
);
