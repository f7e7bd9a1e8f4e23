// Plain text: what a model, a message or a receiver wrote, with everything in it made visible that could make it
// read differently from what it is: control characters, and those that turn the direction of writing round.

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;

/** `plain("a\u202eb")` is `a[U+202E]b`. Line breaks and tabs stay. */
export function plain(text) {
  return String(text)
    .replace(/\r\n?/g, "\n")
    .replace(HIDDEN, (sign) => `[U+${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}]`);
}

/** The first `most` characters, without cutting one in two. */
export function shortened(text, most) {
  const signs = Array.from(text ?? "");
  return signs.length <= most ? signs.join("") : signs.slice(0, most - 1).join("").trimEnd() + "…";
}
