// One side: a picture and what was answered about it, tied together. A comparison has two.

import { answer as ask, locate } from "./api.js";
import { Answer } from "./answer.js";
import { png } from "./drawing.js";
import { Failure } from "./failures.js";
import { Stage } from "./stage.js";
import { row } from "./things.js";

export class Side {
  #score = 0;
  #entities = [];
  #warmed = null; // the button whose map is shown
  #pinned = null;
  #say;

  constructor({ say, copy, scored }) {
    this.#say = say;
    this.view = clone("view");
    this.panel = clone("answer");
    this.stage = new Stage(this.view);
    this.words = new Answer(this.panel);
    this.run = null;
    this.heading = this.view.querySelector(".which");
    this.slider = this.panel.querySelector("input[type=range]");
    this.slider.addEventListener("input", () => {
      this.score = Number(this.slider.value);
      scored(this.#score);
    });
    for (const root of [this.stage.frame, this.panel]) this.#tie(root);
    for (const button of this.panel.querySelectorAll("[data-copy]")) {
      button.addEventListener("click", () => copy(this, button));
    }
    this.panel.querySelector("[data-save]").addEventListener("click", () => this.#save());
  }

  /** Forget the answer; the picture stays. */
  clear() {
    this.run = null;
    this.#entities = [];
    this.words.clear();
    this.fail(null);
    this.#warm(null);
    this.#light(null, true);
    this.panel.querySelector(".things").replaceChildren();
    this.panel.querySelector(".told").hidden = true;
    this.panel.querySelector(".warnings").hidden = true;
    this.panel.querySelector(".empty").hidden = false;
    this.panel.classList.add("blank");
    this.stage.outlines = [];
  }

  /** Ask, and show what comes as it comes; `heard` is called with the first of it. */
  async ask(body, picture, signal, heard) {
    this.clear();
    this.panel.querySelector(".empty").hidden = true;
    this.panel.classList.remove("blank");
    this.panel.classList.add("busy");
    this.stage.frame.classList.add("busy");
    const tell = {
      text: (text) => { heard(); this.words.add(text); },
      entities: (entities) => this.#found(entities),
    };
    try {
      const whole = await ask(body, tell, signal);
      this.#finish(whole, body, picture);
    } catch (error) {
      if (this.words.text) this.#finish({ finish: null, grounding: {} }, body, picture);
      throw error;
    } finally {
      this.panel.classList.remove("busy");
      this.stage.frame.classList.remove("busy");
    }
  }

  fail(message) {
    const alert = this.panel.querySelector(".alert");
    alert.textContent = message ?? "";
    alert.hidden = !message;
  }

  /** Boxes of a lower score are not shown. */
  set score(score) {
    this.#score = score;
    this.slider.value = String(score);
    this.panel.querySelector("output").textContent = score.toFixed(2);
    this.#outline();
  }

  /** What is shown, as it is to be taken away: without the boxes that the slider hides. */
  get shown() {
    const entities = this.#entities.map((one) => ({ ...one, boxes: one.boxes.filter(this.#sure) }));
    return { ...this.run, text: this.words.text, entities };
  }

  #sure = ({ score }) => score === null || score >= this.#score;

  #found(entities) {
    const added = entities.map((one) => {
      const entity = one.index ?? this.#entities.length;
      return { ...one, entity, boxes: one.boxes ?? [] };
    });
    this.#entities.push(...added);
    this.words.mark(added);
    const list = this.panel.querySelector(".things");
    list.append(...added.map((one) => row(one, (entity, button) => this.#heat(entity, button))));
    this.panel.querySelector(".told").hidden = false;
    this.#outline();
  }

  #finish(whole, body, picture) {
    const warnings = whole.grounding.warnings ?? [];
    this.run = {
      body, picture, warnings, finish: whole.finish, model: whole.model || body.model || "",
    };
    if (!this.words.text) this.words.add("(The model said nothing.)");
    const told = this.panel.querySelector(".warnings");
    const cut = whole.finish === "length" ? ["The answer was cut at its longest length (see the settings)."] : [];
    told.textContent = [...warnings, ...cut].join(" ");
    told.hidden = !told.textContent;
    this.panel.querySelector(".told").hidden = false;
    this.panel.querySelector(".score").hidden = !this.#entities.some((one) => one.boxes.length);
  }

  #outline() {
    this.stage.outlines = this.#entities.flatMap((one) => one.boxes.filter(this.#sure).map(
      ({ box, score }) => ({ box, score, name: one.phrase, entity: one.entity }),
    ));
    for (const { entity, boxes } of this.#entities) {
      const faint = boxes.length > 0 && !boxes.some(this.#sure);
      for (const part of this.panel.querySelectorAll(`[data-entity="${entity}"]`)) {
        part.classList.toggle("faint", faint);
      }
    }
  }

  /** Pointing at a part of an entity, or moving the focus there, lights all of it. */
  #tie(root) {
    const of = (target) => target.closest?.("[data-entity]")?.dataset.entity ?? null;
    for (const [event, lights] of [["pointerover", true], ["focusin", true], ["pointerout", false], ["focusout", false]]) {
      root.addEventListener(event, ({ target }) => this.#light(lights ? of(target) : null));
    }
    const pin = (target) => {
      if (target.closest("button")) return;
      const entity = of(target);
      this.#pinned = entity === this.#pinned ? null : entity;
      this.#light(entity);
    };
    root.addEventListener("click", ({ target }) => pin(target));
    root.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#light(null, true);
      if ((event.key !== "Enter" && event.key !== " ") || !of(event.target)) return;
      if (event.target.closest("button")) return;
      event.preventDefault();
      pin(event.target);
    });
  }

  #light(entity, unpin = false) {
    if (unpin) this.#pinned = null;
    const lit = entity ?? this.#pinned;
    for (const root of [this.stage.frame, this.panel]) {
      root.classList.toggle("lit", lit !== null);
      for (const part of root.querySelectorAll("[data-entity]")) {
        part.classList.toggle("on", part.dataset.entity === lit);
        if (part.hasAttribute("aria-pressed")) {
          part.setAttribute("aria-pressed", String(part.dataset.entity === this.#pinned));
        }
      }
    }
  }

  async #heat(entity, button) {
    if (this.#warmed === button) { this.#warm(null); return; }
    this.fail(null);
    button.disabled = true;
    const address = this.run?.picture.address;
    try {
      if (!address) throw new Failure("Wait until the answer is whole.");
      const place = await locate(address, entity.phrase);
      this.#warm(button, place.heat);
      const sure = place.presence.toFixed(2);
      const legend = this.panel.querySelector(".legend");
      legend.textContent = `Where “${entity.phrase}” may be, the brighter the likelier. How surely the model ties these words to a box at all: ${sure}.`;
      legend.hidden = false;
      this.#say(`Heat map of ${entity.phrase} is shown.`);
    } catch (error) {
      this.fail(error instanceof Failure ? error.message : "The heat map could not be made.");
    } finally {
      button.disabled = false;
    }
  }

  #warm(button, heat = null) {
    this.#warmed?.setAttribute("aria-pressed", "false");
    this.#warmed = button;
    button?.setAttribute("aria-pressed", "true");
    this.stage.heat = heat;
    this.panel.querySelector(".legend").hidden = true;
  }

  async #save() {
    const { picture, body } = this.run;
    const heat = this.stage.canvas.hidden ? null : this.stage.canvas;
    const blob = await png(picture, this.stage.outlines, body.grounding.boxes ?? [], heat);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${picture.name.replace(/\.\w+$/, "")}-answer.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    this.#say("The picture with its boxes is saved.");
  }
}

function clone(name) {
  return document.getElementById(name).content.firstElementChild.cloneNode(true);
}
