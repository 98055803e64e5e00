/** The life of jobs: accepted, waiting their turn, drawn, ended once. The store decides; what is in memory follows it. */

import type { Logger } from "pino";
import { check } from "../../core/assert.ts";
import type { Request } from "../../pipeline/request.ts";
import type { NsfwPolicy } from "../nsfw/policy.ts";
import { Closing, type Crew, type DrawEvent, EngineLost, errorData } from "./crew.ts";
import { isOver, type Job, type JobError, type JobView, newJobId, picturePath, viewOf } from "./job.ts";
import { JobLog } from "./job-log.ts";
import type { Meters } from "./metrics.ts";
import { FairQueue } from "./queue.ts";
import { type StartPngs, sentStart } from "./start-pictures.ts";
import type { Store } from "./store.ts";

/** A request that takes its engine or the whole server along this often is not tried again. */
const mostTries = 3;
/** How often a full disk is tried again, in milliseconds. */
const keepMs = 5_000;
/** Logs kept after their job's end, for clients that come back to the stream. */
const endedLogs = 256;

export interface JobsOptions {
  readonly store: Store;
  readonly crew: Crew;
  /** Jobs that may wait. */
  readonly capacity: number;
  /** What is done about explicit pictures. */
  readonly nsfw?: NsfwPolicy;
  readonly meters: Meters;
  readonly log: Logger;
}

export interface NewJob {
  readonly owner: string;
  readonly client: string;
  readonly isAwaited: boolean;
  readonly model: string;
  readonly request: Request;
  /** What it starts from; null, or absent: noise. */
  readonly start?: StartPngs | null;
}

/** How a job ended. */
type End = Pick<Job, "error"> & {
  readonly state: "done" | "failed" | "cancelled";
  readonly ended: number;
};

/** Those whose client is gone with the old server. */
const isOrphan = (job: Job): boolean => job.isAwaited;

export class Jobs {
  private readonly o: JobsOptions;
  private readonly queue: FairQueue<string>;
  private readonly running = new Map<string, { stop: AbortController; ended: Promise<void> }>();
  private readonly logs = new Map<string, JobLog>();
  private readonly listeners = new Map<string, (() => void)[]>();
  /** Of the last jobs, for the answer to how long a full queue takes. */
  private meanSeconds = 1;
  /** Ends that the disk had no room for. */
  private readonly unkept = new Map<string, End>();
  private keeping: NodeJS.Timeout | null = null;
  private isClosing = false;

  constructor(o: JobsOptions) {
    this.o = o;
    this.queue = new FairQueue(o.capacity);
    o.meters.watch({
      waiting: () => this.queue.length,
      running: () => this.running.size,
      workers: () => o.crew.size,
    });
    o.crew.onFree(() => this.pump());
  }

  /** Takes up what a crash or stop left behind, but for what may have been the reason of several crashes. */
  resume(): void {
    for (const job of this.o.store.unfinished()) {
      if (isOrphan(job)) {
        this.o.store.end(job.id, "cancelled", Date.now());
        continue;
      }
      if (job.tries >= mostTries) {
        this.fail(job.id, new EngineLost(`an end before it, in each of ${job.tries} tries`));
        continue;
      }
      this.o.store.putBack(job.id);
      this.logOf(job.id).append("state", this.view({ ...job, state: "waiting" }));
      this.queue.push(job.client, job.id);
    }
    if (this.queue.length > 0) this.o.log.info({ jobs: this.queue.length }, "jobs taken up again");
    this.pump();
  }

  /** @throws KoalaError E_BUSY when the queue is full */
  create({ owner, client, isAwaited, model, request, start = null }: NewJob): Job {
    check(!this.queue.isFull && !this.isClosing, "E_BUSY", () => ({
      where: "queue",
      expected: `at most ${this.queue.capacity} waiting jobs`,
      got: "one more",
      hint: `Try again in ${this.retryAfterSeconds()} s.`,
    }));
    const job: Job = {
      ...{ id: newJobId(), owner, client, isAwaited, model, request },
      ...{ state: "waiting", isFavourite: false, created: Date.now(), started: null, ended: null },
      ...{ error: null, tries: 0, pictures: [] },
      start: start && { hasMask: start.mask !== null },
    };
    this.o.store.add(job, start);
    this.queue.push(client, job.id);
    this.logOf(job.id).append("state", this.view(job));
    this.o.log.info({ job: job.id, model, client }, "job accepted");
    queueMicrotask(() => this.pump());
    return job;
  }

  /** Ends a job without a result. @throws KoalaError E_CONFLICT when it has ended */
  cancel(job: Job): void {
    const isFirst = this.end(job.id, "cancelled");
    check(isFirst, "E_CONFLICT", () => ({
      where: `job ${job.id}`,
      expected: "a job that waits or runs",
      got: this.o.store.get(job.id)?.state ?? "none",
    }));
    this.queue.remove(job.client, job.id);
    this.running.get(job.id)?.stop.abort(new Error("cancelled"));
    this.finish(job.id);
  }

  /** Resolves with the job when it has ended. */
  async ended(id: string): Promise<Job | null> {
    const job = this.get(id);
    if (job === null || isOver(job.state)) return job;
    await new Promise<void>((resolve) => {
      this.listeners.set(id, [...(this.listeners.get(id) ?? []), resolve]);
    });
    return this.get(id);
  }

  view(job: Job): JobView {
    return viewOf(job, this.queue.position(job.client, job.id));
  }

  /** What happened to a job since this server began; null where that was nothing. */
  logFor(id: string): JobLog | null {
    return this.logs.get(id) ?? null;
  }

  /** Jobs that run now, oldest first. */
  runningIds(): string[] {
    return [...this.running.keys()];
  }

  /** How long until there is room in a full queue, by the mean of late; at least a second. */
  retryAfterSeconds(): number {
    return Math.max(1, Math.ceil(this.meanSeconds / Math.max(1, this.o.crew.size)));
  }

  /** Stops drawing; what was running waits for the next start. */
  async close(): Promise<void> {
    this.isClosing = true;
    if (this.keeping !== null) clearTimeout(this.keeping);
    const running = [...this.running.values()];
    for (const { stop } of running) stop.abort(new Closing("the server closes"));
    await this.o.crew.close();
    await Promise.all(running.map(({ ended }) => ended));
  }

  private logOf(id: string): JobLog {
    let log = this.logs.get(id);
    if (log === undefined) {
      log = new JobLog();
      this.logs.set(id, log);
    }
    return log;
  }

  private pump(): void {
    while (!this.isClosing && this.o.crew.free > 0) {
      const id = this.queue.take();
      if (id === undefined) return;
      const now = Date.now();
      const waiting = this.o.store.get(id);
      try {
        if (waiting === null || !this.o.store.start(id, now)) continue; // cancelled
      } catch (thrown) {
        this.fail(id, thrown); // the disk is full, say
        continue;
      }
      const job: Job = { ...waiting, state: "running", started: now, tries: waiting.tries + 1 };
      const stop = new AbortController();
      this.o.meters.waitSeconds.observe((now - job.created) / 1000);
      this.logOf(id).append("state", this.view(job));
      const drawn = this.run(job, stop.signal).catch((thrown: unknown) => this.fail(id, thrown));
      const ended = drawn.finally(() => {
        if (this.running.get(id)?.stop === stop) this.running.delete(id); // a second try may run already
        this.pump();
      });
      this.running.set(id, { stop, ended });
    }
  }

  private async run(job: Job, signal: AbortSignal): Promise<void> {
    const { store, crew, log, meters } = this.o;
    const { id, model, request, tries } = job;
    const { nsfw = "off" } = this.o;
    const start = job.start && store.startOf(id);
    const task = {
      ...{ id, model, request },
      ...(start === null ? {} : { start: sentStart(start) }),
      ...(nsfw === "off" ? {} : { nsfw }),
    };
    try {
      await crew.draw(task, (event) => this.tell(job, event, signal), signal);
      if (!this.end(id, "done")) return; // cancelled meanwhile
      meters.jobSeconds.observe((Date.now() - job.created) / 1000);
      const seconds = (Date.now() - (job.started ?? job.created)) / 1000;
      this.meanSeconds += (seconds - this.meanSeconds) / 8;
      log.info({ job: id, seconds }, "job done");
      this.finish(id);
    } catch (thrown) {
      if (signal.aborted && !(signal.reason instanceof Closing)) return; // `cancel` has ended it
      const isLost = thrown instanceof EngineLost;
      if (signal.aborted) return this.keep(job, isLost);
      if (isLost && tries < mostTries && store.putBack(id)) {
        log.warn({ job: id, tries, error: thrown.message }, "engine lost, job waits for another");
        this.queue.push(job.client, id);
        return;
      }
      this.fail(id, thrown);
    }
  }

  private fail(id: string, thrown: unknown): void {
    this.o.log.error({ job: id, err: thrown }, "job failed");
    if (this.end(id, "failed", errorData(thrown))) this.finish(id);
  }

  /** False where it has ended already. What a full disk has no room for is told now, and kept as soon as there is some. */
  private end(id: string, state: End["state"], error: JobError | null = null): boolean {
    const ended = Date.now();
    try {
      return this.o.store.end(id, state, ended, error);
    } catch (err) {
      this.o.log.error({ job: id, err }, `${state}, which is not kept yet`);
      this.unkept.set(id, { state, ended, error });
      this.keepLater();
      return true;
    }
  }

  private keepLater(): void {
    if (this.keeping !== null || this.isClosing) return;
    this.keeping = setTimeout(() => {
      this.keeping = null;
      try {
        for (const [id, { state, ended, error }] of this.unkept) {
          this.o.store.end(id, state, ended, error);
          this.unkept.delete(id);
        }
      } catch {
        this.keepLater();
      }
    }, keepMs).unref();
  }

  /** As the store has it, or as it will have it. */
  private get(id: string): Job | null {
    const job = this.o.store.get(id);
    return job === null ? null : { ...job, ...this.unkept.get(id) };
  }

  /**
   * The server closes: the job waits for the next one, unless its client goes with this one. What was cut short is no
   * try of the job's, unless its engine was lost at that moment.
   */
  private keep(job: Job, isLost: boolean): void {
    if (!isOrphan(job)) this.o.store.putBack(job.id, isLost);
    else if (this.end(job.id, "cancelled")) this.finish(job.id);
  }

  private async tell({ id }: Job, event: DrawEvent, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { meters, store } = this.o;
    const log = this.logOf(id);
    switch (event.type) {
      case "step":
        meters.steps.inc();
        meters.stepSeconds.observe(event.seconds);
        log.append("step", event);
        break;
      case "preview": {
        const { type: _, png, ...place } = event;
        log.append("preview", { ...place, png: Buffer.from(png).toString("base64") });
        break;
      }
      case "picture": {
        const { type: _, png, ...picture } = event;
        meters.engineBytes.set(picture.residentBytes);
        if (!(await store.addPicture(id, picture, png))) break; // kept before the engine or the server died
        meters.pictures.inc();
        if (picture.nsfw?.isExplicit === true) meters.explicit.inc();
        log.append("picture", { ...picture, isFavourite: false, url: picturePath(id, picture.index) });
        break;
      }
      default:
        log.append(event.type, event);
    }
  }

  /** Tells everyone that a job has ended. */
  private finish(id: string): void {
    const job = this.get(id);
    if (job === null) return;
    this.o.meters.jobs.inc({ state: job.state });
    this.logOf(id).append("end", this.view(job));
    for (const listener of this.listeners.get(id) ?? []) listener();
    this.listeners.delete(id);
    const over = [...this.logs].filter(([, log]) => log.isOver).map(([key]) => key);
    for (const key of over.slice(0, Math.max(0, over.length - endedLogs))) this.logs.delete(key);
  }
}
