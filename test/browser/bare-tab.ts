/**
 * A tab without Playwright's hand on it, which keeps its own pages visible and focused: such pages Chromium never freezes. Spoken to
 * over the protocol alone.
 */

import type { Browser } from "playwright-core";

export interface BareTab {
  /** The value of an expression in the page, as JSON has it. */
  evaluate(expression: string): Promise<unknown>;
  /** Suspends the tab as Chromium does where nobody looks at it, or lets it go on. */
  setLifecycle(state: "frozen" | "active"): Promise<void>;
  close(): Promise<void>;
}

interface Answer {
  readonly id?: number;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

interface Evaluated {
  readonly result: { readonly value?: unknown };
  readonly exceptionDetails?: { readonly text: string };
}

export async function openBareTab(browser: Browser, url: string): Promise<BareTab> {
  const chromium = await browser.newBrowserCDPSession();
  const { targetId } = await chromium.send("Target.createTarget", { url });
  const { sessionId } = await chromium.send("Target.attachToTarget", { targetId, flatten: false });
  const waiting = new Map<number, (answer: Answer) => void>();
  chromium.on("Target.receivedMessageFromTarget", (event) => {
    const answer = JSON.parse(event.message) as Answer;
    if (event.sessionId === sessionId && answer.id !== undefined) waiting.get(answer.id)?.(answer);
  });
  let calls = 0;
  async function send(method: string, params: object): Promise<unknown> {
    const id = ++calls;
    const answered = new Promise<Answer>((resolve) => waiting.set(id, resolve));
    await chromium.send("Target.sendMessageToTarget", {
      sessionId,
      message: JSON.stringify({ id, method, params }),
    });
    const { result, error } = await answered;
    waiting.delete(id);
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result;
  }
  return {
    async evaluate(expression) {
      const answer = (await send("Runtime.evaluate", { expression, returnByValue: true })) as Evaluated;
      if (answer.exceptionDetails !== undefined) throw new Error(answer.exceptionDetails.text);
      return answer.result.value;
    },
    async setLifecycle(state) {
      await send("Page.setWebLifecycleState", { state });
    },
    async close() {
      await chromium.send("Target.closeTarget", { targetId });
      await chromium.detach();
    },
  };
}
