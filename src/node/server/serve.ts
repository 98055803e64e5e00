/** An opened app behind a socket. */

import type { Server as HttpServer } from "node:http";
import { serve as listen } from "@hono/node-server";
import { KoalaError } from "../../core/errors.ts";
import { type AppOptions, openApp } from "./open.ts";

export interface ServeOptions extends AppOptions {
  /** 0: any that is free. */
  readonly port: number;
}

export interface RunningServer {
  readonly url: string;
  /** Whether the studio is there to be shown. */
  readonly hasPage: boolean;
  close(): Promise<void>;
}

/** Starts to listen once everything is open. @throws KoalaError for what cannot be opened or bound */
export async function startServer(o: ServeOptions): Promise<RunningServer> {
  const app = await openApp(o);
  let socket: HttpServer;
  try {
    socket = await bound(o, app.fetch);
  } catch (error) {
    await app.stop();
    app.release();
    throw error;
  }
  app.resume();
  const address = socket.address();
  const port = typeof address === "object" && address !== null ? address.port : o.port;
  return {
    url: `http://${o.host.includes(":") ? `[${o.host}]` : o.host}:${port}`,
    hasPage: app.hasPage,
    async close() {
      const closed = new Promise((resolve) => socket.close(resolve));
      await app.stop();
      socket.closeAllConnections();
      await closed;
      app.release();
    },
  };
}

type Fetch = Parameters<typeof listen>[0]["fetch"];

async function bound({ host, port }: ServeOptions, fetch: Fetch): Promise<HttpServer> {
  const words: Readonly<Record<string, string>> = {
    EADDRINUSE: "one in use",
    EADDRNOTAVAIL: "an address that this machine has not",
    EACCES: "no permission",
    ENOTFOUND: "an address that this machine has not",
  };
  return new Promise<HttpServer>((resolve, reject) => {
    const socket = listen({ fetch, hostname: host, port }, () => resolve(socket)) as HttpServer;
    socket.once("error", (cause: NodeJS.ErrnoException) =>
      reject(
        new KoalaError("E_FLAG", {
          where: "--host and --port",
          expected: "an address and a port that are free",
          got: `${host} ${port}: ${words[cause.code ?? ""] ?? cause.message}`,
          cause,
        }),
      ),
    );
  });
}
