// What went wrong, in words for the person at the page.

/** Something that is told to the person; `wait` is in seconds, where waiting helps. */
export class Failure extends Error {
  constructor(message, { code = "", wait = 0 } = {}) {
    super(message);
    this.code = code;
    this.wait = wait;
  }
}

const BY_CODE = {
  invalid_api_key: "This server wants a key. Reload the page and give your key as the password.",
  prompt_invalid: "The model cannot read this prompt. Give it some words; with boxes, put the words that each box stands for in [brackets], like: What is [this]?",
  phrase_invalid: "There is nothing to find yet. Write what it should look for.",
  context_length_exceeded: "That is longer than the model can read. Shorten the words, or the longest answer in the settings.",
  image_format_unsupported: "The server does not read pictures of this kind. Save it as PNG or JPEG and try again.",
  image_invalid: "The server cannot open this picture: it is damaged or cut short.",
  draining: "The server is about to stop. Ask again when it is back.",
  loading: "The server is still loading its model. Ask again in a moment.",
  deadline_exceeded: "The answer took longer than the server allows. Ask for less, or try again.",
  engine_dead: "The model has stopped working. The server has to be started again.",
};

export const UNREACHABLE = "The server does not answer. Is it still running? Your picture and settings are kept: start it, then try again.";
export const BROKEN_OFF = "The answer broke off: the connection to the server was lost.";

/** A reply that is no answer, as a Failure. */
export async function ofReply(reply) {
  let error = null;
  try {
    error = (await reply.json()).error;
  } catch { /* no JSON: the status has to do */ }
  return ofError(error, reply.status, Number(reply.headers.get("Retry-After")) || 0);
}

/** An error object of the server, as a Failure. */
export function ofError(error, status = 0, wait = 0) {
  const code = typeof error?.code === "string" ? error.code : "";
  if (BY_CODE[code]) return new Failure(BY_CODE[code], { code, wait });
  if (status === 401) return new Failure(BY_CODE.invalid_api_key, { code });
  if (status === 429) {
    return new Failure("The server is busy with other questions.", { code, wait: wait || 1 });
  }
  if (status === 413) {
    return new Failure("The picture is larger than the server takes.", { code: "body_too_large" });
  }
  const told = typeof error?.message === "string" ? error.message : "";
  return new Failure(told || `The server refused this (status ${status}).`, { code, wait });
}
