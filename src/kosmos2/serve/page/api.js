// The public routes of the server, and nothing else: what it has, an answer as it comes, a map.

import { BROKEN_OFF, Failure, UNREACHABLE, ofError, ofReply } from "./failures.js";

/** The model that answers: {id, ...}. */
export async function model() {
  const reply = await asked("v1/models");
  return (await reply.json()).data[0];
}

/**
 * Ask, and tell what comes as it comes.
 * @param {object} body  of POST /v1/chat/completions; `stream` is added
 * @param {{text: Function, entities: Function}} tell
 * @returns {Promise<{finish: ?string, usage: ?object, grounding: object, model: string}>}
 */
export async function answer(body, tell, signal) {
  const reply = await asked("v1/chat/completions", {
    ...body, stream: true, stream_options: { include_usage: true },
  }, signal);
  const whole = { finish: null, usage: null, model: "", grounding: {} };
  for await (const data of events(reply, signal)) {
    if (data === "[DONE]") return whole;
    const chunk = JSON.parse(data);
    if (chunk.error) throw ofError(chunk.error);
    whole.model = chunk.model ?? whole.model;
    whole.usage = chunk.usage ?? whole.usage;
    const choice = chunk.choices?.[0];
    if (!choice) continue;
    if (choice.delta.content) tell.text(choice.delta.content);
    if (choice.delta.grounding) {
      const { entities = [], warnings = [], ...rest } = choice.delta.grounding;
      const before = whole.grounding.warnings ?? [];
      whole.grounding = { ...whole.grounding, ...rest, warnings: [...before, ...warnings] };
      if (entities.length) tell.entities(entities);
    }
    whole.finish = choice.finish_reason ?? whole.finish;
  }
  throw new Failure(BROKEN_OFF);
}

/** Where one phrase may be: {phrase, presence, boxes, heat}. */
export async function locate(image, phrase, signal) {
  const reply = await asked("v1/locate", { image, phrase, heatmap: true }, signal);
  return (await reply.json()).places[0];
}

async function asked(path, body, signal) {
  const request = body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  };
  let reply;
  try {
    reply = await fetch(path, { cache: "no-store", ...request });
  } catch (error) {
    throw signal?.aborted ? error : new Failure(UNREACHABLE, { code: "unreachable" });
  }
  if (!reply.ok) throw await ofReply(reply);
  return reply;
}

/** The data of each server-sent event. */
async function* events(reply, signal) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (true) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      throw signal?.aborted ? error : new Failure(BROKEN_OFF);
    }
    if (part.done) return;
    const whole = (rest + part.value).split(/\r?\n\r?\n/);
    rest = whole.pop();
    for (const event of whole) {
      const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
      if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
    }
  }
}
