/** The large model on offer: what it needs, whether this browser has it, and if not, what is missing in numbers. */

import { useSignal } from "@preact/signals";
import type { Needs, Surroundings } from "koala-diffusion/web";
import { useEffect } from "preact/hooks";
import { problemOf, type Studio } from "../state.ts";

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;

/** What stands in the way; null where nothing does. */
export function refusal(needs: Needs, { adapter, quota, usage }: Surroundings): string | null {
  if (adapter === null) return "It needs a graphics adapter (WebGPU), and this browser offers none to pages.";
  if (adapter.bufferBytes < needs.bufferBytes)
    return `It needs buffers of ${gigabytes(needs.bufferBytes)} (${needs.bufferOf}), and this graphics adapter allows ${gigabytes(adapter.bufferBytes)}.`;
  if (adapter.isSoftware)
    return "It needs a graphics adapter, and this browser's is software: one picture would take hours.";
  if (quota !== null && quota - (usage ?? 0) < needs.downloadBytes)
    return `It needs ${gigabytes(needs.downloadBytes)} of storage, and this browser gives ${gigabytes(Math.max(0, quota - (usage ?? 0)))}.`;
  return null;
}

export function Offer({ studio, here }: { readonly studio: Studio; readonly here: Surroundings | null }) {
  const needs = useSignal<Needs | null>(null);
  const { engine, models, isBusy } = studio;
  useEffect(() => {
    void engine.storage?.needs().then(
      (found) => {
        needs.value = found;
      },
      (error: unknown) => {
        studio.problem.value = problemOf(error);
      },
    );
  }, []);
  const wanted = needs.value;
  const its = models.value.find(({ title }) => /koala.*700m/i.test(title));
  const why = wanted === null || here === null ? null : refusal(wanted, here);
  return (
    <section class="card" aria-label="Larger model">
      <h2>KOALA-Lightning-700M, 4 bits, 1024 px</h2>
      {wanted === null || here === null ? (
        <p class="hint">Counting what it needs…</p>
      ) : (
        <>
          <p class="hint">
            {gigabytes(wanted.downloadBytes)} to fetch, {gigabytes(wanted.memoryBytes)} of memory while it
            draws, buffers up to {gigabytes(wanted.bufferBytes)}.
          </p>
          {why !== null ? (
            <p>Not here. {why} koala serve draws with it on another machine.</p>
          ) : its === undefined ? (
            <p>
              This browser could run it, but this site has not got its files. Whoever keeps the site adds them
              with npm run site -- --model DIR.
            </p>
          ) : (
            <div class="row">
              <button type="button" disabled={isBusy.value} onClick={() => void studio.choose(its.name)}>
                Fetch and use
              </button>
            </div>
          )}
        </>
      )}
    </section>
  );
}
