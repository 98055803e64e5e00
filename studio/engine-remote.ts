/** Draws on the server that the page came from, by its own API; a job goes on when the page is left. */

import { KoalaError, type Request, type RequestInput } from "koala-diffusion";
import {
  type Exploration,
  type Recorded,
  type StartFiles,
  type Structure,
  unpack,
} from "koala-diffusion/web";
import type { DrawEvent, Drawing, Engine, Model, Run, RunDetails } from "./engines.ts";
import { inAddress } from "./names.ts";
import { remember, remembered } from "./remember.ts";

interface JobView {
  readonly id: string;
  readonly model: string;
  readonly request: Request;
  readonly start: { readonly image: string; readonly mask: string | null } | null;
  readonly state: "waiting" | "running" | "done" | "failed" | "cancelled";
  readonly position: number | null;
  readonly created: number;
  readonly started: number | null;
  readonly ended: number | null;
  readonly error: Fault | null;
  readonly pictures: readonly {
    readonly index: number;
    readonly seed: number;
    readonly url: string;
    readonly isFavourite: boolean;
    readonly residentBytes?: number;
    readonly nsfw?: { readonly isExplicit: boolean; readonly policy: "flag" | "blur" | "refuse" };
  }[];
}

interface Fault {
  readonly code: KoalaError["code"];
  readonly where?: string;
  readonly field?: string;
  readonly expected: string;
  readonly got?: string;
  readonly found?: string;
  readonly hint?: string;
}

const errorOf = (f: Fault): KoalaError =>
  new KoalaError(f.code, {
    where: f.where ?? f.field ?? "server",
    expected: f.expected,
    got: f.got ?? f.found ?? "",
    ...(f.hint === undefined ? {} : { hint: f.hint }),
  });

/** Calls the API. @throws KoalaError that the server gave, E_OFFLINE where it does not answer */
async function reach(path: string, init: RequestInit = {}): Promise<Response> {
  const answer = await fetch(path, init).catch((cause: unknown) => {
    if (init.signal?.aborted === true) throw cause;
    throw new KoalaError("E_OFFLINE", {
      where: "server",
      expected: "an answer",
      got: "none",
      hint: "Is koala serve still running, and the network there? What was accepted is drawn anyway.",
    });
  });
  if (answer.ok) return answer;
  const fault = ((await answer.json().catch(() => null)) as { error?: Fault } | null)?.error;
  if (fault !== undefined) throw errorOf(fault);
  throw new KoalaError("E_HUB", { where: "server", expected: "an answer", got: `${answer.status}` });
}

/** The same, for what is JSON. */
async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  const answer = await reach(path, init);
  return (answer.status === 204 ? null : await answer.json()) as T;
}

const json = (method: string, body: unknown): RequestInit => ({
  method,
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
});

const base64Of = async (file: Blob): Promise<string> => {
  let text = "";
  for (const byte of new Uint8Array(await file.arrayBuffer())) text += String.fromCharCode(byte);
  return btoa(text);
};

/** Pictures to start from, as fields of a job. */
const sent = async ({ image, mask }: StartFiles): Promise<object> => ({
  image: await base64Of(image),
  ...(mask === null ? {} : { mask: await base64Of(mask) }),
});

const fileAt = async (url: string): Promise<Blob> => (await reach(`.${url}`)).blob();

const noteOf = ({ nsfw }: JobView["pictures"][number]): string | null =>
  nsfw?.isExplicit === true ? `found explicit${nsfw.policy === "blur" ? ", so blurred" : ""}` : null;

const drawingOf = (job: JobView, picture: JobView["pictures"][number]): Drawing => ({
  ...{ id: `${job.id}/${picture.index}`, model: job.model, url: `.${picture.url}` },
  request: { ...job.request, seed: picture.seed, count: 1 },
  seconds:
    job.state !== "done" || job.started === null || job.ended === null
      ? null // of what was ended early nobody knows how much went into this picture
      : (job.ended - job.started) / 1000 / job.request.count, // not those that are left: some may be removed
  ...{ created: job.created, isFavourite: picture.isFavourite },
  ...{ bytes: picture.residentBytes ?? null, note: noteOf(picture) },
});

/** The events of a job until its end; a broken connection is taken up where it was. */
async function* follow(job: JobView, signal: AbortSignal): AsyncGenerator<DrawEvent> {
  const waiting: { name: string; data: unknown }[] = [];
  let wake = (): void => {};
  let isLost = false;
  const told = new Set<number>();
  const source = new EventSource(`api/jobs/${job.id}/events`);
  const stop = (): void => {
    void fetch(`api/jobs/${job.id}/cancel`, { method: "POST" }).catch(() => {});
    wake();
  };
  for (const name of ["state", "stage", "step", "warning", "preview", "picture", "end"])
    source.addEventListener(name, (event) => {
      waiting.push({ name, data: JSON.parse((event as MessageEvent<string>).data) });
      wake();
    });
  source.addEventListener("error", () => {
    isLost = source.readyState === EventSource.CLOSED; // else it tries again by itself
    wake();
  });
  signal.addEventListener("abort", stop, { once: true });
  try {
    for (;;) {
      signal.throwIfAborted();
      const next = waiting.shift();
      if (next === undefined && isLost)
        throw new KoalaError("E_OFFLINE", {
          where: "server",
          expected: "the job's events",
          got: "no answer",
          hint: "Its picture appears in the gallery when it is done.",
        });
      if (next === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      if (next.name === "end") {
        const end = next.data as JobView;
        if (end.error !== null) throw errorOf(end.error);
        if (end.state === "cancelled") throw new DOMException("cancelled elsewhere", "AbortError");
        for (const picture of end.pictures)
          if (!told.has(picture.index)) yield { type: "picture", drawing: drawingOf(end, picture) };
        return;
      }
      if (next.name === "state") yield { type: "waiting", ahead: (next.data as JobView).position ?? 0 };
      else if (next.name === "preview") {
        const { index, step, png } = next.data as { index: number; step: number; png: string };
        yield { type: "preview", index, step, shown: { url: `data:image/png;base64,${png}` } };
      } else if (next.name === "picture") {
        const picture = next.data as JobView["pictures"][number];
        // the last one comes with the end, which knows how long it took; after a break all are told again
        if (picture.index === job.request.count - 1 || told.has(picture.index)) continue;
        told.add(picture.index);
        yield { type: "picture", drawing: drawingOf(job, picture) };
      } else yield next.data as DrawEvent;
    }
  } finally {
    signal.removeEventListener("abort", stop);
    source.close();
  }
}

/** Of one list of jobs; the server's own bound. */
const largestPage = 500;

const pathOf = ({ id }: Drawing): string => `api/jobs/${id.replace("/", "/pictures/")}`;
const jobOf = ({ id }: Drawing): string => `api/jobs/${id.split("/")[0]}`;

export function remoteEngine(): Engine {
  const models = async (): Promise<readonly Model[]> =>
    (await ask<{ models: readonly Omit<Model, "title" | "location">[] }>("api/models")).models.map(
      (model) => ({ ...model, title: model.name, location: model.name }),
    );
  return {
    kind: "server",
    models,
    async open(name) {
      const found = (await models()).find((model) => model.name === name);
      if (found !== undefined) return found;
      throw new KoalaError("E_MODEL", { where: "model", expected: "one that the server offers", got: name });
    },
    async *draw(model, request: RequestInput, { signal, start }) {
      const pictures = start === null ? {} : await sent(start);
      const body = { model, ...request, ...pictures };
      const job = await ask<JobView>("api/jobs", { ...json("POST", body), signal });
      remember("job", job.id, "tab");
      yield* follow(job, signal);
    },
    history: {
      async list(search, onlyFavourites, most) {
        const limit = Math.min(most + 1, largestPage);
        const query = new URLSearchParams({ limit: String(limit) });
        if (search.trim() !== "") query.set("search", search.trim());
        if (onlyFavourites) query.set("favourite", "true");
        const seen = new Set<string>();
        const drawings: Drawing[] = [];
        // pictures of any state: those that were done before a cancel are there too
        while (drawings.length <= most) {
          const { jobs } = await ask<{ jobs: readonly JobView[] }>(`api/jobs?${query}`);
          const fresh = jobs.filter(({ id }) => !seen.has(id));
          for (const job of fresh) {
            seen.add(job.id);
            for (const picture of job.pictures)
              if (!onlyFavourites || picture.isFavourite) drawings.push(drawingOf(job, picture));
          }
          if (jobs.length < limit || fresh.length === 0) break;
          query.set("before", String((jobs.at(-1)?.created ?? 0) + 1)); // some of one moment may be on both pages
        }
        return { drawings: drawings.slice(0, most), isMore: drawings.length > most };
      },
      setFavourite: async (drawing, isFavourite) =>
        void (await ask(pathOf(drawing), json("PATCH", { isFavourite }))),
      remove: async (drawing) => void (await ask(pathOf(drawing), { method: "DELETE" })),
      async startOf(drawing) {
        const { start } = await ask<JobView>(jobOf(drawing));
        if (start === null) return null;
        const { image, mask } = start;
        return { image: await fileAt(image), mask: mask === null ? null : await fileAt(mask) };
      },
      isKept: async () => true,
    },
    readPicture: (file) => ask<Recorded>("api/png-info", { method: "POST", body: file }),
    async structure(of) {
      return ask<Structure>(
        "model" in of ? `api/structure/model/${inAddress(of.model)}` : `api/structure/preset/${of.preset}`,
      );
    },
    async times(name, { signal }) {
      const answer = await ask<{ stages: Readonly<Record<string, number>> }>(`api/times/${inAddress(name)}`, {
        ...{ method: "POST", signal },
      });
      return answer.stages;
    },
    async explore(model, request, { signal }) {
      const answer = await reach("api/explore", { ...json("POST", { model, ...request }), signal });
      return unpack(new Uint8Array(await answer.arrayBuffer())) as Exploration;
    },
    storage: null,
    runs: {
      list: async () => (await ask<{ runs: readonly Run[] }>("api/runs")).runs,
      read: (name) => ask<RunDetails>(`api/runs/${encodeURIComponent(name)}`),
    },
    async unfinished() {
      const id = remembered("job", "", "tab"); // this tab's own: the server has jobs of others too
      const job = id === "" ? null : await ask<JobView>(`api/jobs/${id}`);
      return job?.state === "waiting" || job?.state === "running" ? (signal) => follow(job, signal) : null;
    },
  };
}
