// Ask a running server from JavaScript, with fetch alone: in Node.js 18 or newer, Deno, Bun.
//
//     node examples/serve/with_javascript.mjs [SERVER] [PICTURE]
//
// A key, where the server wants one, is taken from KOSMOS2_API_KEY. (A page of another site cannot
// ask: the server refuses browsers that come from elsewhere.)

import { readFile } from "node:fs/promises";
import { argv, env, stdout } from "node:process";

const example = new URL("../../src/kosmos2/assets/examples/snowman.jpg", import.meta.url);
const [server = "http://127.0.0.1:8000", picture = example] = argv.slice(2);
const image = `data:image/jpeg;base64,${(await readFile(picture)).toString("base64")}`;

async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  if (env.KOSMOS2_API_KEY) headers.Authorization = `Bearer ${env.KOSMOS2_API_KEY}`;
  const reply = await fetch(server + path, {
    method: "POST", headers, body: JSON.stringify(body),
  });
  if (reply.ok) return reply;
  const { error } = await reply.json();
  throw new Error(`${error.code}: ${error.message}`);
}

/** The name and the data of each server-sent event. */
async function* events(reply) {
  let rest = "";
  for await (const part of reply.body.pipeThrough(new TextDecoderStream())) {
    const whole = (rest + part).split("\n\n");
    rest = whole.pop();
    for (const event of whole) {
      const fields = event.split("\n").map((line) => line.split(/: (.*)/s));
      const { event: name, data } = Object.fromEntries(fields);
      yield [name, JSON.parse(data)];
    }
  }
}

function show({ phrase, boxes }) {
  for (const { box, score } of boxes) console.log(`  ${phrase}: ${box}, score ${score.toFixed(2)}`);
}

// What is in the picture, with boxes in pixels.
const caption = await (await post("/v1/caption", { image, coords: "px" })).json();
console.log(caption.text);
caption.entities.forEach(show);

// Words as they come, and each entity as soon as it is complete.
const entities = [];
const stream = await post("/v1/caption", { image, detailed: true, stream: true });
for await (const [name, data] of events(stream)) {
  if (name === "text") stdout.write(data.text);
  if (name === "entity") entities.push(data.entity);
  if (name === "error") throw new Error(data.error.message);
}
stdout.write("\n");
entities.forEach(show);

// Where something may be that you name: the best boxes, and how surely it is there at all.
const located = await post("/v1/locate", { image, phrases: ["a snowman", "a zebra"] });
for (const { phrase, presence, boxes } of (await located.json()).places) {
  console.log(`${phrase}: ${(100 * presence).toFixed(0)} %`);
  show({ phrase, boxes: boxes.slice(0, 1) });
}

// The same door as OpenAI's.
const content = [
  { type: "image_url", image_url: { url: image } },
  { type: "text", text: "What is below the snowman?" },
];
const messages = [{ role: "user", content }];
const chat = await (await post("/v1/chat/completions", { messages })).json();
console.log(chat.choices[0].message.content);

// Faults have a code.
await post("/v1/caption", { image: "https://example.com/a.jpg" })
  .catch((error) => console.log(error.message));
