// Ask about a picture and print the answer: node client.mjs URL KEY-FILE PICTURE (node 18 or later, nothing to install)
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";

const [url, keyFile, picture] = process.argv.slice(2);
const key = (await readFile(keyFile, "utf8")).trim();

// Every request here may be sent twice, so whatever was lost or came too early is sent again.
async function ask(path, options = {}) {
  const headers = { Authorization: `Bearer ${key}`, ...options.headers };
  for (let tries = 5; ; tries--) {
    const answer = await fetch(url + path, { ...options, headers }).catch((error) => error);
    if (answer.ok) return answer.json();
    const isWorthIt = answer instanceof Error || answer.status === 429 || answer.status >= 500;
    if (!isWorthIt || tries === 1) {
      throw answer instanceof Error ? answer : new Error(`${answer.status} ${await answer.text()}`);
    }
    await pause(1000 * (Number(answer.headers?.get("retry-after")) || 1));
  }
}

const { reference } = await ask("/v1/uploads", {
  method: "POST",
  headers: { "Content-Type": "application/octet-stream" },
  body: await readFile(picture),
});
let job = await ask("/v1/jobs", {
  method: "POST",
  headers: { "Content-Type": "application/json", "Idempotency-Key": randomUUID() },
  body: JSON.stringify({
    images: [{ reference }],
    question: "Which stain is shown?",
    options: ["Hematoxylin and eosin", "Immunohistochemistry with DAB", "No tissue"],
    priority: "stat",
  }),
});
while (job.finished_at === null) {
  await pause(500);
  job = await ask(`/v1/jobs/${job.id}`);
}
console.log(job.reading?.answer ?? job.error?.code ?? job.status);
