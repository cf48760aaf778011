// The table of nuclei: sorted by a column, some rows at a time.
import { formatArea } from "./format.js";
import { REJECTED, STATUS_NAMES } from "./object-status.js";

/** @import { Nucleus, ShownType } from "./results.js" */
/** @typedef {"number" | "status" | "class" | "area" | "probability" | "circularity"} SortField */

/** Rows shown at first, and the factor for each further request. */
const FIRST_ROWS = 100;
const MORE_ROWS_FACTOR = 4;

/** @type {{ field: SortField, title: string }[]} */
const COLUMNS = [
  { field: "number", title: "No." },
  { field: "status", title: "Status" },
  { field: "class", title: "Type" },
  { field: "area", title: "Area" },
  { field: "probability", title: "Prob." },
  { field: "circularity", title: "Circ." },
];

/** A number for the table; marks that were drawn may lack some. @param {number} value */
function formatShare(value) {
  return Number.isFinite(value) ? value.toFixed(2) : "–";
}

/** @param {Nucleus} a @param {Nucleus} b @param {SortField} field */
function compare(a, b, field) {
  // What is not a number comes first.
  return (a[field] || 0) - (b[field] || 0);
}

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
  /** @type {ShownType[]} */
  #types = [];
  /** @type {SortField} */
  #sortField = "area";
  #isDescending = true;
  #shownRows = FIRST_ROWS;
  /** @type {number[]} Of the selected objects. */
  #selected = [];

  /** @param {HTMLElement} container @param {(nucleus: Nucleus) => void} show */
  constructor(container, show) {
    this.container = container;
    this.showNucleus = show;
  }

  /** Shows only the first rows next time. */
  showFirstRows() {
    this.#shownRows = FIRST_ROWS;
  }

  /**
   * @param {Nucleus[]} nuclei
   * @param {number} mpp pixel size, µm; 0 if unknown
   * @param {ShownType[]} types those that are told apart
   */
  show(nuclei, mpp, types) {
    this.#nuclei = nuclei;
    this.#mpp = mpp;
    this.#types = types;
    this.#render();
  }

  #render() {
    // A row's button with the focus keeps it, though the row is another one.
    const focusedRow = document.activeElement?.closest("tr");
    const focused = focusedRow?.dataset.id;
    const focusedIndex = focusedRow ? focusedRow.sectionRowIndex : 0;
    const hadFocus = this.container.contains(document.activeElement);
    this.container.replaceChildren();
    if (this.#nuclei.length === 0) return;
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const { field, title } of COLUMNS) {
      if (field !== "class" || this.#types.length > 0) head.append(this.#headCell(field, title));
    }
    const body = table.createTBody();
    for (const nucleus of this.#sorted().slice(0, this.#shownRows)) body.append(this.#row(nucleus));
    this.container.append(table);
    if (hadFocus && focused) {
      this.#focus(`tr[data-id="${focused}"] button`, 0);
      // A decision gives an object another number: the row in its place has the focus.
      const isLost = !this.container.contains(document.activeElement);
      if (isLost) this.#focus("tbody button", focusedIndex);
    }
    if (this.#nuclei.length > this.#shownRows) {
      const text = `Show more of ${this.#nuclei.length}`;
      this.container.append(createButton(text, () => this.#showMore()));
    }
  }

  #sorted() {
    const field = this.#sortField;
    const sign = this.#isDescending ? -1 : 1;
    // Rejected objects come last, whatever the table is sorted by.
    const isLast = (/** @type {Nucleus} */ nucleus) => Number(nucleus.status === REJECTED);
    return [...this.#nuclei].sort(
      (a, b) => isLast(a) - isLast(b) || sign * compare(a, b, field),
    );
  }

  /** @param {SortField} field @param {string} title */
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

  /** Sorts by a field, or reverses the order. @param {SortField} field */
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
    row.dataset.id = String(nucleus.label);
    row.classList.toggle("rejected", nucleus.status === REJECTED);
    // The whole row takes the mouse; the keyboard has the button.
    row.onclick = () => this.showNucleus(nucleus);
    this.#markSelected(row);
    const status = STATUS_NAMES[nucleus.status] ?? "";
    const number = nucleus.number > 0 ? String(nucleus.number) : "–";
    const button = createButton(number, () => undefined);
    const name = nucleus.number > 0 ? `nucleus ${number}` : `${status} object`;
    button.setAttribute("aria-label", `Show ${name}`);
    row.insertCell().append(button);
    const cell = row.insertCell();
    cell.className = "status";
    cell.textContent = status;
    if (this.#types.length > 0) {
      row.insertCell().textContent = this.#types[nucleus.class]?.name ?? "–";
    }
    row.insertCell().textContent = formatArea(nucleus.area, this.#mpp);
    row.insertCell().textContent = formatShare(nucleus.probability);
    row.insertCell().textContent = formatShare(nucleus.circularity);
    return row;
  }

  /** @param {HTMLTableRowElement} row */
  #markSelected(row) {
    const isSelected = this.#selected.includes(Number(row.dataset.id));
    row.classList.toggle("selected", isSelected);
    row.setAttribute("aria-current", String(isSelected));
    return isSelected;
  }

  /** Marks objects and scrolls to the first. @param {number[]} ids */
  select(ids) {
    this.#selected = ids;
    /** @type {NodeListOf<HTMLTableRowElement>} */
    const rows = this.container.querySelectorAll("tbody tr");
    let hasScrolled = false;
    for (const row of rows) {
      if (!this.#markSelected(row) || hasScrolled) continue;
      row.scrollIntoView({ block: "nearest" });
      hasScrolled = true;
    }
  }
}
