// Files of DICOM slides: a slide is a series of several files, which are opened as one.
import { dicomSeries } from "./prunella.js";
import { isDicom } from "./source.js";

/** Names of files that may be DICOM: those of archives often have no ending. */
const MAYBE_DICOM = /\.(dcm|dicom)$|^[^.]+$/i;
/** First bytes of a file, in which its series is searched. */
const HEAD_BYTES = 32 * 1024;

/** @typedef {{ name: string, find: () => Promise<File> }} FoundFile `name` with its folders */
/** @typedef {{ name: string, files: File[] }} DicomSlide */

/** Whether a file may be DICOM, by its name. @param {string} name without folders */
export function mayBeDicom(name) {
  return MAYBE_DICOM.test(name);
}

/**
 * Splits files into DICOM slides and others. Files of a series in one folder are a slide.
 * @template {FoundFile} F
 * @param {F[]} found
 * @returns {Promise<{ slides: DicomSlide[], others: F[] }>} in the order of the files
 */
export async function groupDicom(found) {
  /** @type {Map<string, DicomSlide>} */
  const slides = new Map();
  /** @type {F[]} */
  const others = [];
  for (const one of found) {
    const series = mayBeDicom(baseName(one.name)) ? await readSeries(one) : undefined;
    if (!series) {
      others.push(one);
      continue;
    }
    const folder = one.name.slice(0, -baseName(one.name).length);
    const key = `${folder}\n${series.uid}`;
    const slide = slides.get(key);
    if (slide) slide.files.push(series.file);
    else slides.set(key, { name: one.name, files: [series.file] });
  }
  return { slides: [...slides.values()], others };
}

/** @param {string} name */
function baseName(name) {
  return name.slice(name.lastIndexOf("/") + 1);
}

/**
 * A DICOM file and the series that it states; undefined for other files.
 * @param {FoundFile} found
 */
async function readSeries({ find }) {
  const file = await find();
  const head = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  return isDicom(head) ? { file, uid: dicomSeries(head) ?? "" } : undefined;
}

/**
 * A slide as the opener takes it: its files, one behind the other.
 * @param {DicomSlide} slide
 */
export function sourceOf({ name, files }) {
  return { name, blob: new Blob(files), lengths: files.map((file) => file.size) };
}
