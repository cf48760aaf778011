// Files of DICOM slides: a slide is a series of several files, which are opened as one.
import { dicomSeries } from "./prunella.js";
import { isDicom } from "./source.js";

/** Names of files that may be DICOM: in archives often without ending, or identifiers. */
const MAYBE_DICOM = /\.(dcm|dicom|\d+)$|^[^.]+$/i;
/** First bytes of a file, in which its series is searched. */
const HEAD_BYTES = 32 * 1024;

/** @typedef {{ name: string, find: () => Promise<File> }} FoundFile `name` with its folders */
/** @typedef {{ name: string, files: File[] }} DicomSlide */

/** Whether a file may be DICOM, by its name. @param {string} name without folders */
export function mayBeDicom(name) {
  return MAYBE_DICOM.test(name);
}

/**
 * Puts the files of DICOM slides together: those of a series in one folder are a slide, which takes
 * the place of the first of them. Other files stay as they are.
 * @template {FoundFile} F
 * @param {F[]} found
 * @returns {Promise<(F | DicomSlide)[]>}
 */
export async function groupDicom(found) {
  /** @type {Map<string, DicomSlide>} */
  const slides = new Map();
  /** @type {(F | DicomSlide)[]} */
  const grouped = [];
  for (const one of found) {
    const series = mayBeDicom(baseName(one.name)) ? await readSeries(one) : undefined;
    if (!series) {
      grouped.push(one);
      continue;
    }
    const folder = one.name.slice(0, -baseName(one.name).length);
    const key = `${folder}\n${series.uid}`;
    const slide = slides.get(key) ?? { name: one.name, files: [] };
    slide.files.push(series.file);
    if (!slides.has(key)) grouped.push(slide);
    slides.set(key, slide);
  }
  return grouped;
}

/** @param {string} name */
function baseName(name) {
  return name.slice(name.lastIndexOf("/") + 1);
}

/**
 * A file of a DICOM slide and its series; undefined for other files.
 * @param {FoundFile} found
 */
async function readSeries({ find }) {
  let file;
  let head;
  try {
    file = await find();
    head = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  } catch {
    // What cannot be read says so when it is opened.
    return undefined;
  }
  const uid = isDicom(head) ? dicomSeries(head) : undefined;
  return uid === undefined ? undefined : { file, uid };
}

/**
 * A slide as the opener takes it: its files, one behind the other.
 * @param {DicomSlide} slide
 */
export function sourceOf({ name, files }) {
  // In the order of their names, so that the same slide is the same bytes however it was chosen.
  const sorted = files.toSorted((a, b) => (a.name < b.name ? -1 : Number(a.name > b.name)));
  return { name, blob: new Blob(sorted), lengths: sorted.map((file) => file.size) };
}
