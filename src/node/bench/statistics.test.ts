import { describe, expect, it } from "vitest";
import { median, ratioOf, spreadOf } from "./statistics.ts";

describe("statistics of runs", () => {
  it("take the middle, or the mean of the two in the middle, whatever the order", () => {
    expect(median([5, 1, 3])).toBe(3);
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([10, 9, 100])).toBe(10); // not as text, where 100 comes first
  });

  it("tell how far runs lie apart, and nothing of none", () => {
    expect(spreadOf([2, 8, 4])).toEqual({ median: 4, least: 2, most: 8, count: 3 });
    expect(spreadOf([])).toBeNull();
  });

  it("compare within rounds, so that a machine that slows down between them changes nothing", () => {
    const ours = [[1, 1.1, 0.9], [10], [2]];
    const theirs = [[2], [20], [4]];
    expect(ratioOf(ours, theirs)).toEqual({ median: 0.5, least: 0.5, most: 0.5, count: 3 });
  });

  it("leave a round out of the ratio that only one has numbers of", () => {
    expect(ratioOf([[1], [], [3]], [[2], [5]])).toEqual({ median: 0.5, least: 0.5, most: 0.5, count: 1 });
    expect(ratioOf([[1]], [[]])).toBeNull();
  });
});
