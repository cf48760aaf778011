// The table of nuclei: sorted by a column, some rows at a time.
import { formatArea } from "./format.js";

/** @import { Nucleus } from "./results.js" */

/** Rows shown at first, and the factor for each further request. */
const FIRST_ROWS = 100;
const MORE_ROWS_FACTOR = 4;

/** @type {{ field: keyof Nucleus, title: string }[]} */
const COLUMNS = [
  { field: "label", title: "No." },
  { field: "area", title: "Area" },
  { field: "probability", title: "Probability" },
  { field: "circularity", title: "Circularity" },
];

/** @param {string} text @param {() => void} onclick */
function createButton(text, onclick) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.onclick = onclick;
  return button;
}

export class NucleiTable {
  /** @type {Nucleus[]} */
  #nuclei = [];
  #mpp = 0;
  /** @type {keyof Nucleus} */
  #sortField = "area";
  #isDescending = true;
  #shownRows = FIRST_ROWS;
  /** Label of the selected nucleus, 0 for none. */
  #selected = 0;

  /** @param {HTMLElement} container @param {(nucleus: Nucleus) => void} show */
  constructor(container, show) {
    this.container = container;
    this.showNucleus = show;
  }

  /** Shows only the first rows next time. */
  showFirstRows() {
    this.#shownRows = FIRST_ROWS;
  }

  /** @param {Nucleus[]} nuclei @param {number} mpp pixel size, µm; 0 if unknown */
  show(nuclei, mpp) {
    this.#nuclei = nuclei;
    this.#mpp = mpp;
    this.#render();
  }

  #render() {
    this.container.replaceChildren();
    if (this.#nuclei.length === 0) return;
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const { field, title } of COLUMNS) head.append(this.#headCell(field, title));
    const body = table.createTBody();
    for (const nucleus of this.#sorted().slice(0, this.#shownRows)) body.append(this.#row(nucleus));
    this.container.append(table);
    if (this.#nuclei.length > this.#shownRows) {
      const text = `Show more of ${this.#nuclei.length}`;
      this.container.append(createButton(text, () => this.#showMore()));
    }
  }

  #sorted() {
    const field = this.#sortField;
    const sign = this.#isDescending ? -1 : 1;
    return [...this.#nuclei].sort((a, b) => sign * (a[field] - b[field]));
  }

  /** @param {keyof Nucleus} field @param {string} title */
  #headCell(field, title) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.dataset.field = field;
    const isSorted = this.#sortField === field;
    const direction = this.#isDescending ? "descending" : "ascending";
    cell.setAttribute("aria-sort", isSorted ? direction : "none");
    const arrow = this.#isDescending ? "↓" : "↑";
    const text = isSorted ? `${title} ${arrow}` : title;
    cell.append(createButton(text, () => this.#sortBy(field)));
    return cell;
  }

  /** Sorts by a field, or reverses the order. @param {keyof Nucleus} field */
  #sortBy(field) {
    this.#isDescending = this.#sortField === field ? !this.#isDescending : true;
    this.#sortField = field;
    this.#render();
    // Rendering has replaced the button that had the focus.
    this.#focus(`th[data-field=${field}] button`, 0);
  }

  #showMore() {
    const firstNewRow = this.#shownRows;
    this.#shownRows *= MORE_ROWS_FACTOR;
    this.#render();
    this.#focus("tbody button", firstNewRow);
  }

  /** @param {string} selector @param {number} index */
  #focus(selector, index) {
    /** @type {NodeListOf<HTMLElement>} */
    const candidates = this.container.querySelectorAll(selector);
    candidates[index]?.focus();
  }

  /** @param {Nucleus} nucleus */
  #row(nucleus) {
    const row = document.createElement("tr");
    row.dataset.label = String(nucleus.label);
    row.classList.toggle("selected", nucleus.label === this.#selected);
    const button = createButton(String(nucleus.label), () => this.showNucleus(nucleus));
    button.setAttribute("aria-label", `Show nucleus ${nucleus.label}`);
    row.insertCell().append(button);
    row.insertCell().textContent = formatArea(nucleus.area, this.#mpp);
    row.insertCell().textContent = nucleus.probability.toFixed(2);
    row.insertCell().textContent = nucleus.circularity.toFixed(2);
    return row;
  }

  /** Marks a nucleus and scrolls to it. @param {number} label 0 for none */
  select(label) {
    this.#selected = label;
    /** @type {NodeListOf<HTMLElement>} */
    const rows = this.container.querySelectorAll("tbody tr");
    for (const row of rows) {
      const isSelected = row.dataset.label === String(label);
      row.classList.toggle("selected", isSelected);
      row.setAttribute("aria-current", String(isSelected));
      if (isSelected) row.scrollIntoView({ block: "nearest" });
    }
  }
}
