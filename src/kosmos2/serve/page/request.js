// From what the person set to the body of a request; or the reason why it cannot be asked yet.

import { Failure } from "./failures.js";
import { takesBoxes } from "./state.js";

/** The body of POST /v1/chat/completions for one of the sides of a comparison. */
export function bodyOf(state, settings, address, model) {
  const task = settings.task || state.task;
  const grounding = { task, enabled: settings.enabled, coords: "norm01" };
  const content = [{ type: "image_url", image_url: { url: address } }];
  const words = (state.words[task] ?? "").trim();
  if (task === "ground") grounding.phrases = phrasesOf(words);
  if (task === "ask") content.push({ type: "text", text: question(words, state.boxes) });
  if (task === "complete") {
    content.push({ type: "text", text: needed(words, "Write a prompt first.") });
    grounding.raw = true;
  }
  if (takesBoxes(task) && state.boxes.length) grounding.boxes = state.boxes.map(rounded);
  if (task === "describe" && !state.boxes.length) {
    throw new Failure("Draw a box on the picture first: drag over the part you mean.");
  }
  if (settings.max_boxes !== null) grounding.max_boxes = settings.max_boxes;
  if (settings.every) grounding.every = true;
  if (settings.min_score) grounding.min_score = settings.min_score;
  const body = { messages: [{ role: "user", content }], max_tokens: settings.max_tokens };
  if (model) body.model = model;
  if (settings.temperature) body.temperature = settings.temperature;
  if (settings.top_p !== 1) body.top_p = settings.top_p;
  if (settings.seed !== null) body.seed = settings.seed;
  return { ...body, grounding };
}

/** Phrases with commas or lines between them. */
export function phrasesOf(words) {
  const phrases = words.split(/[,\n]/).map((phrase) => phrase.trim()).filter(Boolean);
  if (!phrases.length) throw new Failure("Write what it should find, like: a snowman, a fire.");
  return phrases;
}

/** The question; one "this" or "it" gets the brackets that a box needs. */
function question(words, boxes) {
  needed(words, "Write a question first.");
  if (!boxes.length) return words;
  let brackets = words.match(/\[[^[\]]+\]/g)?.length ?? 0;
  if (!brackets && boxes.length === 1) {
    const marked = words.replace(/\b(this \w+|this|that|it)\b/i, (found) => {
      const verb = /^this (is|was|has|on|in|for|one)$/i.test(found);
      return verb ? `[${found.slice(0, 4)}]${found.slice(4)}` : `[${found}]`;
    });
    if (marked !== words) return marked;
  }
  if (brackets !== boxes.length) {
    const count = boxes.length === 1 ? "one box" : `${boxes.length} boxes`;
    throw new Failure(
      `You drew ${count}. Put the words that each box stands for in [brackets], `
      + "like: What is [this]?",
    );
  }
  return words;
}

function needed(words, otherwise) {
  if (!words) throw new Failure(otherwise);
  return words;
}

function rounded(box) {
  return box.map((edge) => Number(edge.toFixed(4)));
}
