/** `koala engines`: what can run a model here, and why the others cannot. */

import type { Command } from "commander";
import type { World } from "../world.ts";

export function define(command: Command, world: World): void {
  command.option("--json", "print a JSON array").action(async (o: { json?: true }) => {
    const engines = await world.engines();
    if (o.json) {
      world.stdout.write(`${JSON.stringify(engines)}\n`);
      return;
    }
    const width = Math.max(...engines.map(({ name }) => name.length));
    for (const { name, isAvailable, detail } of engines) {
      world.stdout.write(`${name.padEnd(width)}  ${isAvailable ? "yes" : "no "}  ${detail}\n`);
    }
  });
}
