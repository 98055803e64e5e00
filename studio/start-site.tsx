/** The studio that draws in the browser alone. */

import { render } from "preact";
import { App } from "./app.tsx";
import { localEngine } from "./engine-local.ts";
import { isolate, keepOffline } from "./offline.ts";
import { createStudio } from "./state.ts";
import "./style.css";

if (!(await isolate())) {
  const studio = createStudio(localEngine());
  render(<App studio={studio} />, document.getElementById("app") as HTMLElement);
  void studio.start().then(keepOffline);
}
