/**
 * Drawers on other machines: BullMQ on Redis. The server keeps the order and the bound of the queue and hands over a few
 * jobs at a time; BullMQ sees to it that a job whose worker fell silent goes to another one. A job's id is its id there,
 * so a server that comes back finds the jobs that it had handed over, drawn or not.
 */

import { type Job as BullJob, Queue, QueueEvents } from "bullmq";
import { Redis } from "ioredis";
import type { Logger } from "pino";
import { Closing, type Crew, type DrawEvent, EngineLost, errorFrom, type Task } from "./crew.ts";
import {
  cancelChannel,
  type Drawn,
  eventsChannel,
  type Failure,
  failureFrom,
  pictureFrom,
  picturesKey,
  picturesTtl,
  queueName,
  stalledCheckMs,
  toldFrom,
} from "./redis-wire.ts";

interface Line {
  readonly queue: Queue<Task, Drawn>;
  readonly events: QueueEvents;
  /** The one of `events`: BullMQ leaves those that it is given for us to close. */
  readonly connection: Redis;
}

/** How often the workers are counted, in milliseconds. */
const countMs = 2_000;

/** Drawers of a worker, by the name of its connection ("bull:QUEUE:w:NAME"); `startWorker` names it by their number. */
const drawersOf = ({ rawname = "" }: { readonly rawname?: string }): number =>
  Number(/:w:(\d+)$/.exec(rawname)?.[1] ?? 1);

export class RedisCrew implements Crew {
  private readonly redis: Redis;
  private readonly ear: Redis;
  private readonly lines: ReadonlyMap<string, Line>;
  private readonly listeners: (() => void)[] = [];
  private readonly tellers = new Map<string, (event: DrawEvent) => Promise<void>>();
  private readonly timer: NodeJS.Timeout;
  private handedOver = 0;
  private workers = 0;

  private constructor(redis: Redis, ear: Redis, lines: ReadonlyMap<string, Line>) {
    this.redis = redis;
    this.ear = ear;
    this.lines = lines;
    ear.on("message", (_channel, text) => {
      const { id, event } = toldFrom(text);
      void this.tellers.get(id)?.(event);
    });
    this.timer = setInterval(() => void this.count().catch(() => {}), countMs);
  }

  /** @throws Error of ioredis when there is no Redis at `url` */
  static async open(url: string, models: readonly string[], log: Logger): Promise<RedisCrew> {
    const redis = new Redis(url, { maxRetriesPerRequest: null, lazyConnect: true });
    await connect(redis, log);
    const ear = redis.duplicate();
    ear.on("error", () => {}); // told by the other connection
    await ear.subscribe(eventsChannel);
    const lines = new Map(
      models.map((model) => {
        const queue = new Queue<Task, Drawn>(queueName(model), { connection: redis });
        const connection = redis.duplicate();
        const events = new QueueEvents(queueName(model), { connection });
        queue.on("error", () => {});
        events.on("error", () => {});
        return [model, { queue, events, connection }];
      }),
    );
    await Promise.all([...lines.values()].map(({ events }) => events.waitUntilReady()));
    const crew = new RedisCrew(redis, ear, lines);
    await crew.count();
    return crew;
  }

  get size(): number {
    return this.workers;
  }

  /** One job more than there are drawers, so that none waits for the server between two jobs. */
  get free(): number {
    return Math.max(0, this.workers + 1 - this.handedOver);
  }

  onFree(listener: () => void): void {
    this.listeners.push(listener);
  }

  async draw(task: Task, tell: (event: DrawEvent) => Promise<void>, signal: AbortSignal): Promise<void> {
    const line = this.lines.get(task.model);
    if (line === undefined) throw new EngineLost(`no queue for ${task.model}`);
    this.handedOver++;
    this.tellers.set(task.id, tell);
    try {
      const job = await this.handOver(line.queue, task);
      const result = await this.result(job, line, signal);
      const key = picturesKey(task.id, result.attempt);
      const fields = await this.redis.hgetallBuffer(key);
      const pictures = Object.entries(fields).sort(([a], [b]) => Number(a) - Number(b));
      const isFailure = "koala" in result;
      if (!isFailure && pictures.length < task.request.count)
        throw await this.lost(job, "a result that Redis has dropped");
      for (const [index, field] of pictures) await tell(pictureFrom(Number(index), field));
      if (!isFailure) await job.remove().catch(() => {}); // its result is kept here; what is left there expires
      await this.redis.del(key);
      if (isFailure) throw errorFrom(result.koala);
    } finally {
      this.tellers.delete(task.id);
      this.handedOver--;
      for (const listener of this.listeners) listener();
    }
  }

  async close(): Promise<void> {
    clearInterval(this.timer);
    for (const { queue, events, connection } of this.lines.values()) {
      await events.close().catch(() => {});
      await queue.close().catch(() => {});
      connection.disconnect();
    }
    this.ear.disconnect();
    this.redis.disconnect();
  }

  /** The job in BullMQ: the one that an earlier server put there, or a new one. */
  private async handOver(queue: Queue<Task, Drawn>, task: Task): Promise<BullJob<Task, Drawn>> {
    const old = await queue.getJob(task.id);
    if (old !== undefined && (await old.isFailed())) await old.remove(); // a second try
    return queue.add("draw", task, {
      jobId: task.id,
      removeOnComplete: { age: picturesTtl },
      removeOnFail: { age: picturesTtl },
    });
  }

  /** How a try ended, that drew or that failed for good. @throws EngineLost */
  private async result(
    job: BullJob<Task, Drawn>,
    { events }: Line,
    signal: AbortSignal,
  ): Promise<Drawn | Failure> {
    const gone = new Promise<never>((_, reject) => {
      const stop = (): void => reject(signal.reason);
      if (signal.aborted) stop();
      signal.addEventListener("abort", stop, { once: true });
    });
    try {
      return await Promise.race([this.untilFinished(job, events), gone]);
    } catch (thrown) {
      if (signal.aborted && !(signal.reason instanceof Closing)) await this.callBack(job);
      if (signal.aborted) throw signal.reason;
      const reason = (thrown as Error).message;
      const failure = failureFrom(reason);
      if (failure === null) throw await this.lost(job, reason);
      return failure;
    }
  }

  /** BullMQ's events may be missed while Redis is away: the job itself is asked now and then. */
  private async untilFinished(job: BullJob<Task, Drawn>, events: QueueEvents): Promise<Drawn> {
    for (;;) {
      try {
        return await job.waitUntilFinished(events, stalledCheckMs);
      } catch (thrown) {
        const message = (thrown as Error).message;
        if (!/timed out before finishing/.test(message)) throw thrown;
      }
    }
  }

  private async callBack(job: BullJob<Task, Drawn>): Promise<void> {
    await this.redis.publish(cancelChannel, job.id ?? "");
    await job.remove().catch(() => {}); // one that runs cannot be removed; its worker has heard
  }

  private async lost(job: BullJob<Task, Drawn>, got: string): Promise<EngineLost> {
    await job.remove().catch(() => {});
    return new EngineLost(got);
  }

  private async count(): Promise<void> {
    const found = await Promise.all([...this.lines.values()].map(({ queue }) => queue.getWorkers()));
    const before = this.workers;
    this.workers = Math.max(
      0,
      ...found.map((workers) => workers.reduce((sum, its) => sum + drawersOf(its), 0)),
    );
    if (this.workers > before) for (const listener of this.listeners) listener();
  }
}

/** A first connection that says at once when there is none; later ones are tried again for ever, and their errors logged. */
export async function connect(redis: Redis, log: Logger): Promise<void> {
  let isConnected = false;
  redis.on("error", (err) => {
    if (isConnected) log.warn({ err }, "redis"); // the first one is thrown
  });
  const retry = redis.options.retryStrategy;
  redis.options.retryStrategy = () => null;
  try {
    await redis.connect();
    isConnected = true;
  } catch (error) {
    redis.disconnect();
    throw error;
  }
  if (retry !== undefined) redis.options.retryStrategy = retry;
}
