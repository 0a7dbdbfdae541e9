// The page: one picture, one question, one answer, or two of them side by side.

import { model } from "./api.js";
import { GivenBoxes } from "./boxes.js";
import { copied } from "./clipboard.js";
import { EXAMPLES } from "./examples.js";
import { Failure } from "./failures.js";
import { Form } from "./form.js";
import * as formats from "./formats.js";
import { Knobs } from "./knobs.js";
import { smaller } from "./picture.js";
import { bodyOf } from "./request.js";
import { Side } from "./side.js";
import { listen, point, shipped } from "./sources.js";
import { SETTINGS, fresh, fromFragment, takesBoxes, toFragment } from "./state.js";

const by = (id) => document.getElementById(id);
const NAMES = EXAMPLES.map((example) => example.name);
const PATIENCE = 5; // times a busy server is asked again
const TOO_LARGE = ["body_too_large", "image_too_large", "image_bytes", "image_pixels"];

let state = fresh();
let picture = null;
let running = null; // the AbortController of what is being answered
let small = false; // whether the model is the one inside the package
let modelId = "";

const say = (text) => { by("live").textContent = text; };
const sides = [newSide(), newSide()];
const form = new Form(state, {
  run, stop, changed: arrange,
  add: () => sides[0].given.add(),
  remove: (index) => sides[0].given.remove(index),
});
const knobs = new Knobs(by("knobs"), () => {
  state.settings = knobs.read(0);
  if (state.other) state.other = knobs.read(1);
  name();
});

function newSide() {
  const side = new Side({ say, copy, scored: (score) => { state.score = score; remember(); } });
  side.given = new GivenBoxes(side.stage.frame, {
    say,
    wanted: (touch) => Boolean(picture) && (takesBoxes(state.task) || !touch),
    began: () => { if (!takesBoxes(state.task)) form.task = "describe"; },
    changed: (boxes) => {
      state.boxes = boxes;
      form.boxes = boxes;
      for (const other of sides) if (other !== side) other.given.boxes = boxes;
    },
  });
  return side;
}

/** Put on the page what the state says: one side or two, boxes or none. */
function arrange() {
  const two = Boolean(state.other);
  const places = two ? sides : [sides[0]];
  by("views").replaceChildren(...places.map((side) => side.view));
  sides.forEach((side, index) => {
    if (two) side.view.append(side.panel);
    else if (index) side.panel.remove();
    else by("right").append(side.panel);
    side.heading.hidden = !two;
    side.stage.frame.classList.toggle("draws", takesBoxes(state.task));
    side.view.classList.toggle("bare", !picture);
  });
  document.body.classList.toggle("two", two);
  name();
}

/** Say above each side which settings are its own. */
function name() {
  sides.forEach((side, index) => {
    side.heading.textContent = `${"AB"[index]} · ${knobs.told(index) || "the usual settings"}`;
  });
}

function restore(next) {
  state = next;
  form.state = state;
  form.boxes = state.boxes;
  knobs.write(0, state.settings);
  knobs.write(1, state.other ?? { ...SETTINGS, task: "" });
  by("compare").checked = Boolean(state.other);
  const unusual = Boolean(state.other) || Boolean(knobs.told(0));
  by("settings").open = by("settings").open || unusual;
  for (const side of sides) {
    side.given.boxes = state.boxes;
    side.score = state.score;
  }
  arrange();
}

function show(next) {
  stop();
  const before = picture;
  picture = next;
  state.example = next.example;
  for (const side of sides) {
    side.clear();
    side.stage.show(next);
  }
  if (before && before.element !== next.element) URL.revokeObjectURL(before.element.src);
  point(next.example);
  form.example = next.example;
  form.fail(null);
  form.status = "";
  const stranger = small && !next.example
    ? "This small model knows only drawn scenes like the examples. What it says of a photograph means nothing." : "";
  note([next.note, stranger].filter(Boolean).join(" "));
  arrange();
}

function note(text) {
  by("note").textContent = text;
  by("note").hidden = !text;
}

async function run() {
  stop();
  form.fail(null);
  const asked = state.other ? [state.settings, state.other] : [state.settings];
  let bodies;
  try {
    if (!picture) throw new Failure("Choose a picture first.");
    bodies = asked.map((settings) => bodyOf(state, settings, picture.address, modelId));
  } catch (error) {
    form.fail(error.message);
    return;
  }
  const mine = new AbortController();
  running = mine;
  form.busy = true;
  form.status = "Looking at the picture …";
  remember();
  const top = by("views").getBoundingClientRect().top;
  if (top < 0) by("views").scrollIntoView(); // the answer comes beside or below the picture
  const began = performance.now();
  const ends = await Promise.allSettled(
    bodies.map((body, index) => patiently(sides[index], body, mine.signal)),
  );
  if (running !== mine) return; // something else has begun meanwhile
  running = null;
  form.busy = false;
  const bad = ends.filter((end) => end.status === "rejected");
  if (bad.length) { form.status = ""; return; }
  form.status = `Done in ${((performance.now() - began) / 1000).toFixed(1)} s.`;
  say(sides.slice(0, ends.length).map((side) => `Answer: ${side.words.text}`).join(" "));
}

/** Ask; again after a while if the server is busy, and with a smaller copy if that is why. */
async function patiently(side, body, signal) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await side.ask(body, picture, signal, () => { form.status = "Answering …"; });
    } catch (error) {
      if (signal.aborted) { side.fail(null); throw error; }
      if (TOO_LARGE.includes(error.code) && !picture.note) {
        picture = await smaller(picture);
        note(picture.note);
        body.messages[0].content[0].image_url.url = picture.address;
      } else if (error.wait && tries < PATIENCE) {
        await wait(error, signal);
      } else {
        side.fail(error instanceof Failure ? error.message : "The answer could not be read.");
        throw error;
      }
    }
  }
}

async function wait(error, signal) {
  for (let left = error.wait; left > 0 && !signal.aborted; left -= 1) {
    form.status = `${error.message} Asking again in ${left} s …`;
    await new Promise((done) => { setTimeout(done, 1000); });
  }
  form.status = "Asking again …";
  signal.throwIfAborted();
}

function stop() {
  if (!running) return;
  running.abort();
  running = null;
  form.busy = false;
  form.status = "Stopped.";
}

function remember() {
  history.replaceState(null, "", `#${toFragment(state)}`);
}

async function copy(side, button) {
  const kind = button.dataset.copy;
  const origin = location.origin + location.pathname.replace(/\/$/, "");
  remember();
  const text = kind === "link" ? location.href
    : kind === "curl" ? formats.curl(side.shown, origin) : formats[kind](side.shown);
  const done = await copied(text);
  const usual = button.textContent;
  button.textContent = done ? "Copied" : "Not copied";
  setTimeout(() => { button.textContent = usual; }, 1500);
  const bare = kind === "link" && !picture.example
    ? " The link holds what was asked, never the picture." : "";
  say((done ? "Copied." : "The browser does not let this page copy.") + bare);
  if (bare && done) note(bare.trim());
}

/** The state that the address tells, and its answer where the picture is one of ours. */
async function open() {
  const linked = /[#&]task=/.test(location.hash);
  restore(linked ? fromFragment(location.hash, NAMES) : { ...fresh(), example: NAMES[0] });
  if (linked && !state.example) {
    note("This link has the question but not the picture, which links never hold. Choose a picture to go on.");
    return;
  }
  try {
    show(await shipped(state.example));
  } catch (error) {
    form.fail(error.message);
    return;
  }
  if (linked) run();
}

async function introduce() {
  const line = by("model");
  try {
    const { id } = await model();
    modelId = id;
    small = id.endsWith("-demo");
    line.textContent = small
      ? "A small model answers here, trained on drawn scenes: it knows our cartoon things, not photographs."
      : `The model here is ${id}.`;
  } catch (error) {
    line.textContent = error.message;
  }
}

function dress() {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const told = () => by("theme").setAttribute("aria-pressed", String(dark()));
  by("theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("kosmos2-theme", root.dataset.theme); } catch { /* then not kept */ }
    told();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", told);
  told();
}

by("compare").addEventListener("change", ({ target }) => {
  state.other = target.checked ? knobs.read(1) : null;
  if (picture) sides[1].stage.show(picture);
  arrange();
});
addEventListener("hashchange", open);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address is for what is asked
  by("ask").focus();
});
listen({ got: show, failed: (error) => form.fail(error.message) });
dress();
await Promise.all([introduce(), open()]);
document.body.dataset.ready = "";
