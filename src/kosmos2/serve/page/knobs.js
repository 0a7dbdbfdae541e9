// The settings of both sides: a row for each, with a field for A and, in a comparison, one for B.

import { SETTINGS, within } from "./state.js";

const ROWS = {
  temperature: { label: "Temperature", step: 0.1, told: (value) => `temperature ${value}` },
  top_p: { label: "Top p", step: 0.05, told: (value) => `top p ${value}` },
  seed: { label: "Seed", step: 1, told: (value) => `seed ${value}` },
  max_tokens: { label: "Tokens, at most", step: 1, told: (value) => `at most ${value} tokens` },
  max_boxes: { label: "Boxes, at most", step: 1, told: (value) => `at most ${value} boxes` },
  min_score: { label: "Least score", step: 0.05, told: (value) => `no box below ${value}` },
  every: { label: "Every match", told: () => "every thing meant" },
  enabled: { label: "With boxes", told: () => "without boxes" },
};
const TASKS = { "": "as A", caption: "Caption", detailed: "Details" };

export class Knobs {
  #fields = [new Map(), new Map()];

  /** @param {Function} changed  called after every change */
  constructor(place, changed) {
    const task = row("Task", "only-b");
    task.append(document.createElement("span"), this.#tasks());
    place.append(task);
    for (const [name, { label, step }] of Object.entries(ROWS)) {
      const line = row(label, "");
      for (const side of [0, 1]) line.append(this.#field(name, label, step, side));
      place.append(line);
    }
    place.addEventListener("change", () => {
      for (const side of [0, 1]) this.write(side, this.read(side)); // back within their bounds
      changed();
    });
  }

  read(side) {
    const settings = {};
    for (const [name, field] of this.#fields[side]) {
      if (field.type === "checkbox") settings[name] = field.checked;
      else settings[name] = name === "task" ? field.value : within(name, field.value);
    }
    return settings;
  }

  write(side, settings) {
    for (const [name, field] of this.#fields[side]) {
      if (field.type === "checkbox") field.checked = settings[name];
      else field.value = settings[name] ?? "";
    }
  }

  /** What differs from the usual, in a few words. */
  told(side) {
    const settings = this.read(side);
    const names = Object.keys(SETTINGS).filter((name) => settings[name] !== SETTINGS[name]);
    const task = settings.task ? [TASKS[settings.task]] : [];
    return [...task, ...names.map((name) => ROWS[name].told(settings[name]))].join(", ");
  }

  #field(name, label, step, side) {
    const field = document.createElement("input");
    const usual = SETTINGS[name];
    field.name = `${"ab"[side]}-${name}`;
    field.className = "ab"[side];
    field.setAttribute("aria-label", side ? `${label}, B` : label);
    if (typeof usual === "boolean") field.type = "checkbox";
    else Object.assign(field, { type: "number", step, placeholder: usual === null ? "any" : "" });
    this.#fields[side].set(name, field);
    return field;
  }

  #tasks() {
    const select = document.createElement("select");
    select.name = "b-task";
    select.className = "b";
    select.setAttribute("aria-label", "Task, B");
    for (const [value, text] of Object.entries(TASKS)) select.append(new Option(text, value));
    this.#fields[1].set("task", select);
    return select;
  }
}

function row(label, kind) {
  const line = document.createElement("label");
  line.className = kind;
  line.append(Object.assign(document.createElement("span"), { textContent: label }));
  return line;
}
