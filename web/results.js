// Numbers, histogram and table of the nuclei.
import { byId } from "./dom.js";

/** Values of a nucleus in the session's list: label, x, y, area, probability, circularity. */
const FIELDS = 6;
/** Rows shown at a time. */
const ROWS = 100;
const SVG = "http://www.w3.org/2000/svg";

/** @typedef {{ label: number, x: number, y: number, area: number, probability: number, circularity: number }} Nucleus */

/** The list of nuclei and what shows it. */
export class Results {
  /** @type {Nucleus[]} */
  nuclei = [];
  mpp = 0;
  #sort = /** @type {keyof Nucleus} */ ("area");
  #down = true;
  #rows = ROWS;
  #chosen = 0;

  /** @param {(nucleus: Nucleus) => void} find a row was chosen */
  constructor(find) {
    this.find = find;
  }

  /** Forgets everything. */
  clear() {
    this.nuclei = [];
    for (const id of ["count", "area-share", "median"]) byId(id).textContent = "–";
    byId("histogram").replaceChildren();
    byId("table").replaceChildren();
  }

  /** @param {{ count: number, share: number }} summary */
  summary({ count, share }) {
    byId("count").textContent = count.toLocaleString("en");
    byId("area-share").textContent = `${(share * 100).toFixed(1)} %`;
  }

  /** @param {Float64Array} rows */
  list(rows) {
    this.nuclei = [];
    for (let i = 0; i < rows.length; i += FIELDS) {
      const [label, x, y, area, probability, circularity] = rows.subarray(i, i + FIELDS);
      this.nuclei.push({ label, x, y, area, probability, circularity });
    }
    this.#rows = ROWS;
    this.refresh();
  }

  /** Shows everything anew, as after a change of the pixel size. */
  refresh() {
    const areas = this.nuclei.map((n) => n.area).sort((a, b) => a - b);
    byId("median").textContent = areas.length ? this.area(areas[areas.length >> 1]) : "–";
    this.#histogram(areas);
    this.#table();
  }

  /** @param {number} px */
  area(px) {
    return this.mpp > 0 ? `${(px * this.mpp * this.mpp).toFixed(1)} µm²` : `${px.toFixed(0)} px`;
  }

  /** @param {number[]} areas ascending */
  #histogram(areas) {
    const place = byId("histogram");
    place.replaceChildren();
    if (areas.length < 2) return;
    const most = areas[Math.floor(areas.length * 0.99)] || 1;
    const bins = new Array(20).fill(0);
    for (const a of areas) bins[Math.min(19, Math.floor((a / most) * 20))] += 1;
    const highest = Math.max(...bins);
    const svg = element("svg", { viewBox: "0 0 300 84", role: "img" });
    svg.setAttribute("aria-label", `Histogram of nuclear areas, ${this.area(areas[0])} to ${this.area(areas[areas.length - 1])}`);
    bins.forEach((count, i) => {
      const height = (count / highest) * 64;
      const bar = element("rect", { x: i * 15 + 1, y: 66 - height, width: 13, height });
      const title = element("title", {});
      title.textContent = `${count} nuclei`;
      bar.append(title);
      svg.append(bar);
    });
    const label = (/** @type {number} */ x, /** @type {string} */ anchor, /** @type {string} */ text) => {
      const t = element("text", { x, y: 80, "text-anchor": anchor });
      t.textContent = text;
      svg.append(t);
    };
    label(0, "start", "0");
    label(150, "middle", "area");
    label(300, "end", this.area(most));
    place.append(svg);
  }

  #table() {
    const place = byId("table");
    place.replaceChildren();
    if (this.nuclei.length === 0) return;
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    /** @type {[keyof Nucleus, string][]} */
    const columns = [["label", "No."], ["area", "Area"], ["probability", "Probability"], ["circularity", "Circularity"]];
    for (const [field, title] of columns) {
      const th = document.createElement("th");
      th.scope = "col";
      th.dataset.field = field;
      const sorted = this.#sort === field;
      th.setAttribute("aria-sort", sorted ? (this.#down ? "descending" : "ascending") : "none");
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: sorted ? `${title} ${this.#down ? "↓" : "↑"}` : title });
      button.onclick = () => {
        this.#down = sorted ? !this.#down : true;
        this.#sort = field;
        this.#table();
        // The button is a new one.
        /** @type {HTMLElement | null} */ (place.querySelector(`th[data-field=${field}] button`))?.focus();
      };
      th.append(button);
      head.append(th);
    }
    const body = table.createTBody();
    const order = [...this.nuclei].sort((a, b) => (this.#down ? b[this.#sort] - a[this.#sort] : a[this.#sort] - b[this.#sort]));
    for (const nucleus of order.slice(0, this.#rows)) body.append(this.#row(nucleus));
    place.append(table);
    if (order.length > this.#rows) {
      const more = Object.assign(document.createElement("button"), { type: "button", textContent: `Show more of ${order.length}` });
      more.onclick = () => {
        const before = this.#rows;
        this.#rows *= 4;
        this.#table();
        /** @type {HTMLElement | undefined} */ (place.querySelectorAll("tbody button")[before])?.focus();
      };
      place.append(more);
    }
  }

  /** @param {Nucleus} nucleus */
  #row(nucleus) {
    const row = document.createElement("tr");
    row.dataset.label = String(nucleus.label);
    row.classList.toggle("chosen", nucleus.label === this.#chosen);
    const go = Object.assign(document.createElement("button"), { type: "button", textContent: String(nucleus.label) });
    go.setAttribute("aria-label", `Show nucleus ${nucleus.label}`);
    go.onclick = () => this.find(nucleus);
    row.insertCell().append(go);
    for (const text of [this.area(nucleus.area), nucleus.probability.toFixed(2), nucleus.circularity.toFixed(2)]) {
      row.insertCell().textContent = text;
    }
    return row;
  }

  /** Marks a nucleus in the table and says what it is. @param {number} label @returns {string | undefined} */
  choose(label) {
    this.#chosen = label;
    for (const row of byId("table").querySelectorAll("tbody tr")) {
      const on = /** @type {HTMLElement} */ (row).dataset.label === String(label);
      row.classList.toggle("chosen", on);
      row.setAttribute("aria-current", String(on));
      if (on) row.scrollIntoView({ block: "nearest" });
    }
    const nucleus = this.nuclei.find((n) => n.label === label);
    return nucleus && `Nucleus ${label}: area ${this.area(nucleus.area)}, mean probability ${nucleus.probability.toFixed(2)}.`;
  }
}

/** @param {string} kind @param {Record<string, string | number>} attributes */
function element(kind, attributes) {
  const made = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  return made;
}
