/** What Prometheus reads: queue, jobs, steps, times, memory. Steps a second are `rate(koala_steps_total[1m])`. */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

/** From a step of the emoji model to one of SDXL at 1024 px on few cores, in seconds. */
const stepBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60];
/** From one small picture to a long queue, in seconds. */
const jobBuckets = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600, 1800];

/** What is read when Prometheus asks. */
export interface Levels {
  waiting(): number;
  running(): number;
  workers(): number;
}

export class Meters {
  readonly registry: Registry = new Registry();
  readonly jobs: Counter<"state">;
  readonly pictures: Counter;
  readonly explicit: Counter;
  readonly steps: Counter;
  readonly stepSeconds: Histogram;
  /** From acceptance to the end. */
  readonly jobSeconds: Histogram;
  readonly waitSeconds: Histogram;
  readonly engineBytes: Gauge;
  readonly httpSeconds: Histogram<"method" | "route" | "status">;

  constructor() {
    const registers = [this.registry];
    const name = (what: string, help: string) => ({ name: `koala_${what}`, help, registers });
    this.jobs = new Counter({ ...name("jobs_total", "Jobs by how they ended"), labelNames: ["state"] });
    this.pictures = new Counter(name("pictures_total", "Pictures drawn"));
    this.explicit = new Counter(name("explicit_pictures_total", "Pictures that the check found explicit"));
    this.steps = new Counter(name("steps_total", "Denoising steps"));
    this.stepSeconds = new Histogram({
      ...name("step_seconds", "Of a denoising step"),
      buckets: stepBuckets,
    });
    this.jobSeconds = new Histogram({
      ...name("job_seconds", "From acceptance to result"),
      buckets: jobBuckets,
    });
    this.waitSeconds = new Histogram({ ...name("job_wait_seconds", "In the queue"), buckets: jobBuckets });
    this.engineBytes = new Gauge(
      name("engine_resident_bytes", "Memory of the process that drew last, when it did"),
    );
    this.httpSeconds = new Histogram({
      ...name("http_request_seconds", "Of a request until its answer begins"),
      labelNames: ["method", "route", "status"],
    });
    collectDefaultMetrics({ register: this.registry });
  }

  /** Shows levels that belong to the jobs. */
  watch(levels: Levels): void {
    const gauge = (what: string, help: string, read: () => number): void => {
      const shown: Gauge = new Gauge({
        ...{ name: `koala_${what}`, help, registers: [this.registry] },
        collect: () => shown.set(read()),
      });
    };
    gauge("queue_length", "Jobs that wait", levels.waiting);
    gauge("jobs_running", "Jobs that run", levels.running);
    gauge("workers", "Processes that draw", levels.workers);
  }
}
