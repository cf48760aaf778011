// Notes: what was unusual about the open image and its segmentation, and what was done about it.
import { elements } from "./elements.js";

/** @type {Record<"image" | "segmentation", string[]>} Sentences by what they are about. */
const notes = { image: [], segmentation: [] };

/** @param {keyof typeof notes} kind @param {string[]} sentences in place of those of that kind */
export function showNotes(kind, sentences) {
  // What is there already is not announced again.
  if (sentences.join("\n") === notes[kind].join("\n")) return;
  notes[kind] = sentences;
  const paragraphs = [];
  for (const sentence of [...notes.image, ...notes.segmentation]) {
    const paragraph = document.createElement("p");
    paragraph.textContent = sentence;
    paragraphs.push(paragraph);
  }
  elements.notes.replaceChildren(...paragraphs);
}
