import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FairQueue } from "./queue.ts";

describe("FairQueue", () => {
  it("lets clients take turns, and keeps each one's order", () => {
    const queue = new FairQueue<string>(10);
    for (const item of ["a1", "a2", "a3"]) queue.push("a", item);
    for (const item of ["b1", "c1", "b2"]) queue.push(item.charAt(0), item);
    const taken = Array.from({ length: 7 }, () => queue.take());
    expect(taken).toEqual(["a1", "b1", "c1", "a2", "b2", "a3", undefined]);
  });

  it("is full at its capacity", () => {
    const queue = new FairQueue<number>(2);
    queue.push("a", 1);
    expect(queue.isFull).toBe(false);
    queue.push("b", 2);
    expect(queue.isFull).toBe(true);
    expect(queue.remove("a", 1)).toBe(true);
    expect([queue.isFull, queue.remove("a", 1), queue.length]).toEqual([false, false, 1]);
  });

  it("tells the position at which each item is then taken", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 4 })), fc.nat(20), (clients, takes) => {
        const queue = new FairQueue<number>(100);
        clients.forEach((client, item) => {
          queue.push(String(client), item);
        });
        for (let i = 0; i < takes; i++) queue.take();
        const told = clients.map((client, item) => queue.position(String(client), item));
        const order: number[] = [];
        for (let item = queue.take(); item !== undefined; item = queue.take()) order.push(item);
        expect(told).toEqual(clients.map((_, item) => (order.includes(item) ? order.indexOf(item) : null)));
      }),
    );
  });
});
