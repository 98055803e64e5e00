/** The studio of `koala serve`: the same page, drawn for by a server. */

import { render } from "preact";
import { App } from "./app.tsx";
import { remoteEngine } from "./engine-remote.ts";
import { createStudio } from "./state.ts";
import "./style.css";

const studio = createStudio(remoteEngine());
render(<App studio={studio} />, document.getElementById("app") as HTMLElement);
void studio.start();
