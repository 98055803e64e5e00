/** A hub on this machine that speaks the part of the interface that koala uses, and fails as it is told. */

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const commit = "0123456789abcdef0123456789abcdef01234567";
export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
export const gitHash = (bytes: Uint8Array): string =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

/** What goes wrong with one request; each is used up by it. */
export type Fault =
  | { readonly kind: "cut"; readonly after: number }
  | { readonly kind: "truncate"; readonly to: number }
  | { readonly kind: "corrupt" }
  | { readonly kind: "longer" }
  | { readonly kind: "html" }
  | { readonly kind: "stall"; readonly after: number }
  | { readonly kind: "ignore range" }
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "status"; readonly status: number; readonly headers?: Record<string, string> };

export const weights = Buffer.alloc(300_000, "weights of the U-Net ");
const index = {
  _class_name: "StableDiffusionXLPipeline",
  unet: ["diffusers", "UNet2DConditionModel"],
  tokenizer: ["transformers", "CLIPTokenizer"],
  scheduler: ["diffusers", "EulerDiscreteScheduler"],
  safety_checker: ["stable_diffusion", "StableDiffusionSafetyChecker"],
};

/** A hub that speaks the part of the interface that is used, with faults by path. */
export class FakeHub {
  files = new Map<string, Buffer>([
    ["model_index.json", Buffer.from(JSON.stringify(index))],
    ["README.md", Buffer.from("# read me")],
    ["sd_xl_base.safetensors", Buffer.alloc(10)],
    ["unet/config.json", Buffer.from('{"a":1}')],
    ["unet/diffusion_pytorch_model.safetensors", Buffer.alloc(1000, 7)],
    ["unet/diffusion_pytorch_model.fp16.safetensors", weights],
    ["unet/diffusion_pytorch_model.bin", Buffer.alloc(10)],
    ["unet/model.onnx", Buffer.alloc(10)],
    ["tokenizer/vocab.json", Buffer.from("{}")],
    ["tokenizer/merges.txt", Buffer.from("#version")],
    ["scheduler/scheduler_config.json", Buffer.from("{}")],
    ["safety_checker/model.safetensors", Buffer.alloc(10)],
    ["vae_1_0/config.json", Buffer.from("{}")],
  ]);
  /** By path, or "api" for the lists. */
  readonly faults = new Map<string, Fault[]>();
  /** `GET /path range authorization`, of everything asked. */
  readonly asked: { path: string; range: string | undefined; token: string | undefined }[] = [];
  private server: Server | undefined;

  async start(): Promise<string> {
    const server = createServer((request, response) => this.answer(request, response));
    this.server = server;
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server?.closeAllConnections();
    await new Promise((resolve) => this.server?.close(resolve));
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "", "http://hub");
    const file = url.pathname.split(`/resolve/${commit}/`)[1];
    const path = file === undefined ? "api" : decodeURIComponent(file);
    const { range, authorization: token } = request.headers;
    this.asked.push({ path: file === undefined ? url.pathname : path, range, token });
    const fault = this.faults.get(path)?.shift();
    if (fault?.kind === "status") {
      response.writeHead(fault.status, fault.headers).end();
    } else if (fault?.kind === "html") {
      response
        .writeHead(200, { "content-type": "text/html; charset=utf-8" })
        .end("<!doctype html>Please log in");
    } else if (fault?.kind === "text") {
      response.end(fault.text);
    } else if (file !== undefined) {
      this.sendFile(this.files.get(path), range, fault, response);
    } else if (url.pathname.startsWith("/api/models/owner/name/revision/")) {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ _id: "1", id: "owner/name", sha: commit }));
    } else if (url.pathname === `/api/models/owner/name/tree/${commit}`) {
      this.sendTree(url, response);
    } else response.writeHead(404).end();
  }

  /** Two pages, as the hub gives long lists. */
  private sendTree(url: URL, response: ServerResponse): void {
    const all = [...this.files].map(([path, bytes]) => ({
      type: "file",
      path,
      size: bytes.length,
      oid: gitHash(bytes),
      ...(path.endsWith(".safetensors")
        ? { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } }
        : {}),
    }));
    const isSecond = url.searchParams.has("cursor");
    response.setHeader("content-type", "application/json");
    url.searchParams.set("cursor", "2");
    if (!isSecond)
      response.setHeader(
        "link",
        `<http://${response.req.headers.host}${url.pathname}${url.search}>; rel="next"`,
      );
    response.end(
      JSON.stringify(
        isSecond ? all.slice(5) : [{ type: "directory", path: "unet", size: 0, oid: "" }, ...all.slice(0, 5)],
      ),
    );
  }

  private sendFile(
    bytes: Buffer | undefined,
    range: string | undefined,
    fault: Fault | undefined,
    response: ServerResponse,
  ): void {
    if (bytes === undefined) return void response.writeHead(404).end();
    const start = fault?.kind === "ignore range" ? 0 : Number(/^bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0);
    if (start >= bytes.length && bytes.length > 0) return void response.writeHead(416).end();
    let body = bytes.subarray(start);
    if (fault?.kind === "corrupt") body = Buffer.concat([Buffer.from("X"), body.subarray(1)]);
    if (fault?.kind === "longer") body = Buffer.concat([body, body]);
    if (fault?.kind === "truncate") body = body.subarray(0, fault.to);
    const headers = { "content-type": "application/octet-stream", "content-length": body.length };
    if (start > 0)
      response.writeHead(206, {
        ...headers,
        "content-range": `bytes ${start}-${bytes.length - 1}/${bytes.length}`,
      });
    else response.writeHead(200, headers);
    if (fault?.kind === "cut" || fault?.kind === "stall") {
      response.write(body.subarray(0, fault.after), () => {
        if (fault.kind === "cut") setTimeout(() => response.destroy(), 20);
      });
    } else response.end(body);
  }
}
