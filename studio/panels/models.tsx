/** Models: what is kept here, what else can be fetched, and what this browser can do. */

import { useSignal } from "@preact/signals";
import type { Surroundings } from "koala-diffusion/web";
import { useEffect } from "preact/hooks";
import { problemOf, type Studio } from "../state.ts";
import { Offer } from "./offer.tsx";

const sizeText = (bytes: number): string =>
  bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.ceil(bytes / 1e6)} MB`;

export function Models({ studio }: { readonly studio: Studio }) {
  const { engine, isBusy, models, model } = studio;
  const here = useSignal<Surroundings | null>(null);
  const isHistoryKept = useSignal(true);
  const hub = useSignal("");
  const read = async (): Promise<void> => {
    try {
      isHistoryKept.value = await engine.history.isKept();
      here.value = (await engine.storage?.surroundings()) ?? null;
    } catch (error) {
      studio.problem.value = problemOf(error);
    }
  };
  async function remove(name: string): Promise<void> {
    try {
      await engine.storage?.remove(name);
      if (model.value?.name === name) model.value = null;
      models.value = await engine.models();
    } catch (error) {
      studio.problem.value = problemOf(error);
    }
    await read(); // what a failed removal left is still here
  }
  const busy = isBusy.value;
  useEffect(() => {
    if (!busy) void read();
  }, [busy]);

  return (
    <div class="models">
      <section class="card" aria-label="Models">
        <h2>Models</h2>
        <ul class="list">
          {models.value.map(({ name, title, location, family, engine: by, defaults, precisions }) => {
            const kept = here.value?.models.find((one) => one.location === location);
            return (
              <li key={name}>
                <div>
                  <strong>{title}</strong>
                  <span>
                    {[
                      family,
                      by,
                      defaults && `${defaults.width} × ${defaults.height} px, ${defaults.steps} steps`,
                      precisions?.join(", "),
                    ]
                      .filter(Boolean)
                      .join(" · ")}
                    {kept !== undefined &&
                      ` · ${sizeText(kept.hereBytes)}${kept.hereBytes < kept.bytes ? ` of ${sizeText(kept.bytes)}` : ""} kept here`}
                  </span>
                </div>
                <div class="row">
                  {model.value?.name !== name && (
                    <button type="button" disabled={busy} onClick={() => void studio.choose(name)}>
                      Use
                    </button>
                  )}
                  {kept !== undefined && engine.storage !== null && (
                    <button type="button" disabled={busy} onClick={() => void remove(name)}>
                      Remove
                    </button>
                  )}
                </div>
              </li>
            );
          })}
        </ul>
        {engine.storage !== null && (
          <form
            class="row"
            onSubmit={(event) => {
              event.preventDefault();
              void studio.choose(hub.value.trim());
            }}
          >
            <label class="grow">
              <span class="sr">Hub id of another model</span>
              <input
                type="text"
                placeholder="From the hub: etri-vilab/koala-lightning-700m"
                value={hub.value}
                onInput={(event) => {
                  hub.value = event.currentTarget.value;
                }}
              />
            </label>
            <button type="submit" disabled={busy || hub.value.trim() === ""}>
              Fetch
            </button>
          </form>
        )}
      </section>
      {engine.storage !== null && <Offer studio={studio} here={here.value} />}
      <Abilities here={here.value} isHistoryKept={isHistoryKept.value} isServer={engine.kind === "server"} />
      <section class="card keyboard" aria-label="Keys">
        <h2>Keys</h2>
        <dl class="keys">
          <dt>
            <kbd>Ctrl</kbd> <kbd>↵</kbd>
          </dt>
          <dd>draw</dd>
          <dt>
            <kbd>Esc</kbd>
          </dt>
          <dd>cancel what runs</dd>
          <dt>
            <kbd>/</kbd>
          </dt>
          <dd>to the prompt</dd>
          <dt>
            <kbd>1</kbd> … <kbd>5</kbd>
          </dt>
          <dd>the views</dd>
          <dt>
            <kbd>←</kbd> <kbd>↑</kbd> <kbd>→</kbd> <kbd>↓</kbd>
          </dt>
          <dd>move the point in Look inside</dd>
        </dl>
      </section>
    </div>
  );
}

interface AbilitiesProps {
  readonly here: Surroundings | null;
  readonly isHistoryKept: boolean;
  readonly isServer: boolean;
}

/** What works here, and what works still where something is missing. */
function Abilities({ here, isHistoryKept, isServer }: AbilitiesProps) {
  const webgpu = here?.engines.find(({ name }) => name === "webgpu");
  const wasm = here?.engines.find(({ name }) => name === "wasm");
  const lines: readonly (readonly [string, boolean, string])[] = isServer
    ? [["Drawing", true, "on the server; the page can be left meanwhile"]]
    : here === null
      ? []
      : [
          [
            "Graphics adapter",
            webgpu?.isAvailable === true,
            webgpu?.isAvailable
              ? webgpu.detail
              : `${webgpu?.detail}: WebAssembly draws instead, slower; small models are quick enough`,
          ],
          ["WebAssembly", wasm?.isAvailable === true, wasm?.detail ?? ""],
          [
            "Models outlive the page",
            here.isKept,
            here.isKept
              ? `${sizeText(here.usage ?? 0)} used${here.quota === null ? "" : ` of ${sizeText(here.quota)}`}`
              : "this window keeps no files: a model is fetched again each time; drawing works",
          ],
          [
            "Gallery outlives the page",
            isHistoryKept,
            isHistoryKept ? "in this browser" : "this window keeps nothing: download what you like",
          ],
          [
            "Network",
            navigator.onLine,
            navigator.onLine
              ? "there; needed only to fetch models"
              : "gone: models that are kept here still draw",
          ],
        ];
  return (
    <section class="card" aria-label="What works here">
      <h2>What works here</h2>
      {lines.length === 0 && <p class="empty">Asking the browser…</p>}
      <ul class="list">
        {lines.map(([what, isThere, detail]) => (
          <li key={what}>
            <div>
              <strong>
                {isThere ? "✓" : "–"} {what}
              </strong>
              <span>{detail}</span>
            </div>
          </li>
        ))}
      </ul>
    </section>
  );
}
