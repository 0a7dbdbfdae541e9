// What is asked, as one plain value; as a link, and back. A link never holds the picture itself.

export const TASKS = ["caption", "detailed", "ground", "describe", "ask", "complete"];
export const MOST_BOXES = 8;
const MOST_WORDS = 4000;

export const SETTINGS = Object.freeze({
  temperature: 0, top_p: 1, seed: null, max_tokens: 128,
  max_boxes: null, min_score: 0, every: false, enabled: true,
});
// Least, most, whole: what a number of the settings may be.
const BOUNDS = {
  temperature: [0, 2, false], top_p: [0.01, 1, false], seed: [0, 2147483647, true],
  max_tokens: [1, 1024, true], max_boxes: [1, 64, true], min_score: [0, 1, false],
};
export const FIRST_PROMPT = "<grounding> An image of";

/** Everything that a link restores. */
export function fresh() {
  return {
    example: null,
    task: "caption",
    words: { ground: "", ask: "", complete: FIRST_PROMPT },
    boxes: [],
    settings: { ...SETTINGS },
    other: null, // the second settings of a comparison, with a `task` of its own or ""
    score: 0,
  };
}

/** A number as the settings allow it, or what is there without one. */
export function within(name, value) {
  const [least, most, whole] = BOUNDS[name];
  const number = typeof value === "string" && !value.trim() ? NaN : Number(value);
  if (!Number.isFinite(number)) return SETTINGS[name];
  const inside = Math.min(Math.max(number, least), most);
  return whole ? Math.round(inside) : inside;
}

export function toFragment(state) {
  const said = new URLSearchParams();
  if (state.example) said.set("example", state.example);
  said.set("task", state.task);
  const words = state.words[state.task];
  if (words) said.set("words", words);
  if (takesBoxes(state.task)) {
    for (const box of state.boxes) said.append("box", box.map((edge) => edge.toFixed(4)).join(","));
  }
  writeSettings(said, "", state.settings);
  if (state.other) {
    said.set("compare", state.other.task || "same");
    writeSettings(said, "b.", state.other);
  }
  if (state.score) said.set("score", String(state.score));
  return said.toString();
}

/** The state that a link tells; what it gets wrong is as if it were not there. */
export function fromFragment(fragment, examples) {
  const said = new URLSearchParams(fragment.replace(/^#/, ""));
  const state = fresh();
  if (examples.includes(said.get("example"))) state.example = said.get("example");
  if (TASKS.includes(said.get("task"))) state.task = said.get("task");
  if (state.task in state.words && said.has("words")) {
    state.words[state.task] = said.get("words").slice(0, MOST_WORDS);
  }
  const boxes = said.getAll("box").map((text) => text.split(",").map(Number));
  state.boxes = boxes.filter(isBox).slice(0, MOST_BOXES);
  state.settings = readSettings(said, "");
  if (said.has("compare")) {
    const task = said.get("compare");
    const known = task === "caption" || task === "detailed";
    state.other = { ...readSettings(said, "b."), task: known ? task : "" };
  }
  const score = Number(said.get("score"));
  if (score >= 0 && score <= 1) state.score = score;
  return state;
}

/** Whether boxes drawn on the picture are a part of what is asked. */
export function takesBoxes(task) {
  return task === "describe" || task === "ask";
}

function isBox(box) {
  const [x1, y1, x2, y2] = box;
  const inside = box.length === 4 && box.every((edge) => edge >= 0 && edge <= 1);
  return inside && x1 < x2 && y1 < y2;
}

function writeSettings(said, prefix, settings) {
  for (const [name, usual] of Object.entries(SETTINGS)) {
    if (settings[name] !== usual) said.set(prefix + name, String(settings[name]));
  }
}

function readSettings(said, prefix) {
  const settings = { ...SETTINGS };
  for (const [name, usual] of Object.entries(SETTINGS)) {
    const value = said.get(prefix + name);
    if (value === null) continue;
    settings[name] = typeof usual === "boolean" ? value === "true" : within(name, value);
  }
  return settings;
}
