/** A job's log as server-sent events. A client that comes back with Last-Event-ID goes on where it was. */

import type { Context } from "hono";
import { streamSSE } from "hono/streaming";
import type { JobView } from "./job.ts";
import type { JobLog } from "./job-log.ts";

/** Tells numbers of this server from those of the one before it, whose logs are gone. */
const epoch = Date.now().toString(36);
/** Proxies cut connections that are silent for a minute or so. */
const heartbeatMs = 15_000;

/** The number up to which a client has seen this server's log. */
function seenUpTo(lastEventId: string | undefined): number {
  const [, from, number] = /^(\w+)-(\d{1,9})$/.exec(lastEventId ?? "") ?? [];
  return from === epoch ? Number(number) : 0;
}

/** Streams until the job's end. `log` is null for a job that ended before this server began: then its end is all there is. */
export function streamJob(c: Context, job: JobView, log: JobLog | null): Response {
  let seen = seenUpTo(c.req.header("last-event-id"));
  return streamSSE(c, async (stream) => {
    if (log === null) {
      await stream.writeSSE({ event: "end", data: JSON.stringify(job), id: `${epoch}-1` });
      return;
    }
    const gone = new AbortController();
    stream.onAbort(() => gone.abort());
    while (!gone.signal.aborted) {
      for (const { number, name, data } of log.after(seen)) {
        await stream.writeSSE({ event: name, data: JSON.stringify(data), id: `${epoch}-${number}` });
        seen = number;
      }
      if (log.isOver && log.after(seen).length === 0) return;
      const beat = AbortSignal.any([gone.signal, AbortSignal.timeout(heartbeatMs)]);
      await log.changed(seen, beat);
      if (beat.aborted && !gone.signal.aborted) await stream.write(": still here\n\n");
    }
  });
}
