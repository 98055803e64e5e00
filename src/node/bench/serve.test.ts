import { describe, expect, it } from "vitest";
import { latencyOf, type Said, servedOf, serveTable } from "./serve.ts";

/** From 0.1 s to 10 s; a stride of 37 visits each of the hundred once, as answers do not come in order. */
const hundred = Array.from({ length: 100 }, (_, i) => (((i * 37) % 100) + 1) / 10);
const said: Said = {
  ...{ library: [2, 4], server: [3, 4.4] },
  load: {
    ...{ times: hundred, statuses: { 200: 100, 429: 7 }, picturesPerMinute: 99.6 },
    ...{ before: 119e6, after: 184e6 },
  },
};

describe("the latency of requests", () => {
  it("is told at p50 and p95 as NumPy's percentile does, whatever the order", () => {
    // numpy.percentile(numpy.arange(1, 101) / 10, [50, 95])
    expect(latencyOf(hundred)?.p50).toBeCloseTo(5.05, 12);
    expect(latencyOf(hundred)?.p95).toBeCloseTo(9.505, 12);
    expect(latencyOf([10, 9, 100])).toEqual({ p50: 10, p95: expect.closeTo(91, 12) }); // not as text, where 100 comes first
    expect(latencyOf([3])).toEqual({ p50: 3, p95: 3 });
  });

  it("is null where no request had a picture", () => {
    expect(latencyOf([])).toBeNull();
  });
});

describe("koala bench serve", () => {
  it("says the latency beside its other figures, in its JSON and in its table", () => {
    const served = servedOf(said);
    expect(JSON.parse(JSON.stringify(served))).toEqual({
      library: { median: 3, least: 2, most: 4, count: 2 },
      server: { median: 3.7, least: 3, most: 4.4, count: 2 },
      ratio: { median: 1.3, least: 1.1, most: 1.5, count: 2 },
      answer: { median: 5.05, least: 0.1, most: 10, count: 100 },
      latency: { p50: 5.05, p95: expect.closeTo(9.505, 12) },
      picturesPerMinute: 99.6,
      statuses: { 200: 100, 429: 7 },
      resident: [119e6, 184e6],
    });
    expect(serveTable(served)).toEqual({
      title: "A server beside the library, then 200 clients for 60 s",
      rows: [
        ["", ""],
        ["a picture by the library, s", "3.00 (2.00 to 4.00)"],
        ["the same by the server, s", "3.70 (3.00 to 4.40)"],
        ["server over library", "1.300 (1.100 to 1.500)"],
        ["under load: an answer, s", "5.0 (0.1 to 10.0)"],
        ["under load: latency p50, s", "5.0"],
        ["under load: latency p95, s", "9.5"],
        ["pictures a minute, 64 px, 4 steps", "100"],
        ["answers", "100 of 200, 7 of 429"],
        ["the server's memory, before and after", "119 MB, 184 MB"],
      ],
    });
  });

  it("has dashes where no request had a picture", () => {
    const load = { ...said.load, times: [], statuses: { 429: 7 }, picturesPerMinute: 0 };
    const { rows } = serveTable(servedOf({ ...said, load }));
    expect(rows.filter(([name]) => name?.startsWith("under load")).map(([, value]) => value)).toEqual([
      ...["-", "-", "-"],
    ]);
  });
});
