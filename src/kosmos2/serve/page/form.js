// The form: what to do with the picture, the words that it takes, the boxes that it takes.

import { told } from "./boxes.js";
import { EXAMPLES } from "./examples.js";
import { takesBoxes } from "./state.js";

const TASKS = {
  caption: { go: "Caption the picture", hint: "One sentence, with a box for each thing it names." },
  detailed: { go: "Describe in detail", hint: "Everything it sees, one thing after the other." },
  ground: {
    go: "Find", label: "What should it find?", example: "a snowman, the balloon below the snowman",
    hint: "Several things? Put commas between them.",
  },
  describe: { go: "Describe the box", hint: "Draw a box on the picture: drag over the part you mean." },
  ask: {
    go: "Ask", label: "Your question", example: "What is below the fire?",
    hint: "Draw a box to ask about a part, and say [this] for it: What is [this]?",
  },
  complete: {
    go: "Complete", label: "Prompt, in the model’s own markup", example: "<grounding> An image of",
    hint: "The model goes on from here. <grounding> at the start asks for boxes.",
  },
};

const by = (id) => document.getElementById(id);

export class Form {
  #state;
  #example = null;

  /** @param {{run: Function, stop: Function, changed: Function, add: Function, remove: Function}} tell */
  constructor(state, { run, stop, changed, add, remove }) {
    this.#state = state;
    this.remove = remove;
    this.changed = changed;
    const form = by("ask");
    form.addEventListener("submit", (event) => { event.preventDefault(); run(); });
    form.addEventListener("change", ({ target }) => {
      if (target.name === "task") this.task = target.value;
    });
    by("words").addEventListener("input", ({ target }) => {
      this.#state.words[this.#state.task] = target.value;
      this.#suggest();
    });
    by("words").addEventListener("keydown", (event) => {
      const free = this.#state.task === "complete" && !event.ctrlKey && !event.metaKey;
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || free) return;
      event.preventDefault();
      form.requestSubmit();
    });
    by("stop").addEventListener("click", stop);
    by("add-box").addEventListener("click", add);
  }

  set state(state) {
    this.#state = state;
    this.task = state.task;
  }

  set task(task) {
    this.#state.task = task;
    document.querySelector(`[name=task][value=${task}]`).checked = true;
    const { go, label, hint, example } = TASKS[task];
    by("run").textContent = go;
    by("hint").textContent = hint;
    for (const id of ["words", "words-label"]) by(id).hidden = !label;
    by("words-label").textContent = label ?? "";
    by("words").placeholder = example ?? "";
    by("words").value = this.#state.words[task] ?? "";
    by("boxes").hidden = !takesBoxes(task);
    this.#suggest();
    this.changed();
  }

  set example(name) {
    this.#example = EXAMPLES.find((example) => example.name === name) ?? null;
    this.#suggest();
  }

  set boxes(boxes) {
    by("box-list").replaceChildren(...boxes.map((box, index) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "small";
      button.textContent = "✕";
      button.setAttribute("aria-label", `Remove box ${index + 1}`);
      button.addEventListener("click", () => this.remove(index));
      item.append(`Box ${index + 1}: ${told(box)} `, button);
      return item;
    }));
  }

  /** While an answer is made there is a way to stop it. */
  set busy(busy) {
    const focused = [by("run"), by("stop")].includes(document.activeElement);
    by("run").hidden = busy;
    by("stop").hidden = !busy;
    if (focused) by(busy ? "stop" : "run").focus();
    by("ask").setAttribute("aria-busy", String(busy));
  }

  set status(text) {
    by("status").textContent = text;
  }

  fail(message) {
    by("alert").textContent = message ?? "";
    by("alert").hidden = !message;
  }

  /** Offer what can be asked of an example, without what is there already. */
  #suggest() {
    const { task, words } = this.#state;
    const kind = { ground: "find", ask: "ask" }[task];
    const all = (kind && this.#example?.[kind]) || [];
    const ideas = all.filter((idea) => !words[task].includes(idea));
    by("ideas").hidden = !ideas.length;
    by("ideas").replaceChildren(...ideas.map((idea) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "small idea";
      button.textContent = idea;
      button.addEventListener("click", () => this.#take(idea));
      return button;
    }));
  }

  #take(idea) {
    const { task, words } = this.#state;
    const there = words[task].split(",").map((phrase) => phrase.trim()).filter(Boolean);
    if (task === "ask") words.ask = idea;
    else if (!there.includes(idea)) words.ground = [...there, idea].join(", ");
    by("words").value = words[task];
    by("words").focus();
    this.#suggest();
  }
}
