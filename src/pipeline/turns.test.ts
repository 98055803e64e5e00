import { expect, it } from "vitest";
import { Turns } from "./turns.ts";

const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

it("come in the order of the calls, each after the one before has ended", async () => {
  const turns = new Turns();
  const order: number[] = [];
  const run = async (n: number): Promise<void> => {
    const end = await turns.take();
    order.push(n);
    await settled();
    order.push(n);
    end();
  };
  await Promise.all([run(1), run(2), run(3)]);
  expect(order).toEqual([1, 1, 2, 2, 3, 3]);
});

it("are given up at once by an abort, and who came later waits for who came before", async () => {
  const turns = new Turns();
  const end = await turns.take();
  const stop = new AbortController();
  const given = turns.take(stop.signal);
  let isLater = false;
  const later = turns.take().then((ends) => {
    isLater = true;
    ends();
  });
  stop.abort(new Error("enough"));
  await expect(given).rejects.toThrow("enough");
  await settled();
  expect(isLater).toBe(false);
  end();
  await later;
});

it("are not taken by who was aborted before, nor is a signal that is aborted later of any effect", async () => {
  const turns = new Turns();
  await expect(turns.take(AbortSignal.abort(new Error("no")))).rejects.toThrow("no");
  const stop = new AbortController();
  const end = await turns.take(stop.signal);
  stop.abort();
  end();
  (await turns.take())();
});
