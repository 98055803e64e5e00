/** A worker: takes jobs of its models out of Redis, draws them in a child process, and leaves the pictures in Redis. */

import { randomBytes } from "node:crypto";
import { Worker } from "bullmq";
import { Redis } from "ioredis";
import type { Logger } from "pino";
import { type Crew, type DrawEvent, EngineLost, errorData, type Task } from "./crew.ts";
import { connect } from "./redis-crew.ts";
import {
  cancelChannel,
  type Drawn,
  eventsChannel,
  failureText,
  lockMs,
  pictureField,
  picturesKey,
  picturesTtl,
  queueName,
  stalledCheckMs,
  toldText,
} from "./redis-wire.ts";

/** A job whose worker dies this often takes its next one along too. */
const mostStalls = 20;

export interface RunningWorker {
  /** Gives back what it has: another worker takes it. */
  close(): Promise<void>;
}

/** @throws Error of ioredis when there is no Redis at `url` */
export async function startWorker(
  url: string,
  models: readonly string[],
  crew: Crew,
  log: Logger,
): Promise<RunningWorker> {
  const redis = new Redis(url, { maxRetriesPerRequest: null, lazyConnect: true });
  await connect(redis, log);
  const ear = redis.duplicate();
  ear.on("error", () => {});
  await ear.subscribe(cancelChannel);
  const stops = new Map<string, AbortController>();
  ear.on("message", (_channel, id) => stops.get(id)?.abort(new Error("cancelled")));

  /** Jobs of several models share the drawers. */
  let free = crew.size;
  const turns: (() => void)[] = [];
  async function withDrawer(draw: () => Promise<void>): Promise<void> {
    if (free === 0) await new Promise<void>((resolve) => turns.push(resolve));
    else free--;
    try {
      await draw();
    } finally {
      const next = turns.shift();
      if (next === undefined) free++;
      else next();
    }
  }

  async function draw(task: Task): Promise<Drawn> {
    const stop = new AbortController();
    stops.set(task.id, stop);
    const attempt = randomBytes(8).toString("hex");
    const key = picturesKey(task.id, attempt);
    log.info({ job: task.id, model: task.model }, "job taken");
    const tell = async (event: DrawEvent): Promise<void> => {
      if (event.type !== "picture") {
        await redis.publish(eventsChannel, toldText(task, event));
        return;
      }
      await redis.hset(key, String(event.index), pictureField(event));
      await redis.expire(key, picturesTtl);
    };
    try {
      await withDrawer(() => crew.draw(task, tell, stop.signal));
      log.info({ job: task.id }, "job drawn");
      return { attempt };
    } catch (thrown) {
      log.warn({ job: task.id, err: thrown }, "job not drawn");
      const isWanted = !(thrown instanceof EngineLost) && !stop.signal.aborted;
      if (!isWanted) await redis.del(key); // another try draws them again; a job that was cancelled takes no more
      if (thrown instanceof EngineLost) throw thrown; // the server lets it be tried again
      throw new Error(failureText({ koala: errorData(thrown), attempt }));
    } finally {
      stops.delete(task.id);
    }
  }

  const lines = models.map(() => redis.duplicate()); // BullMQ leaves those that it is given for us to close
  const workers = models.map((model, i) => {
    const worker = new Worker<Task, Drawn>(queueName(model), (job) => draw(job.data), {
      connection: lines[i] as Redis,
      concurrency: crew.size,
      name: String(crew.size), // the server counts drawers by it
      lockDuration: lockMs,
      stalledInterval: stalledCheckMs,
      maxStalledCount: mostStalls,
    });
    worker.on("error", (err) => log.warn({ err }, "queue"));
    return worker;
  });
  await Promise.all(workers.map((worker) => worker.waitUntilReady()));

  return {
    async close() {
      // `true`: not to wait for what runs; its lock runs out, and another worker takes it
      await Promise.all(workers.map((worker) => worker.close(true)));
      await crew.close();
      for (const connection of [...lines, ear, redis]) connection.disconnect();
    },
  };
}
