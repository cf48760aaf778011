// Named regions: drawn over the image, listed with what was counted in each, opened and saved.
import { readRegions, regionAreas, regionsGeoJson } from "./prunella.js";
import { elements } from "./elements.js";
import { formatCount } from "./format.js";
import { boundsOf } from "./polygons.js";
import { RegionTool, visibleRectangle } from "./region-tools.js";
import { saveFile } from "./save-file.js";
import { MAIN } from "./slots.js";

/** @import { Page } from "./page.js" */
/** @import { RegionToolName } from "./region-tools.js" */
/**
 * @import { NamedRegion, PointPair, Polygons, RegionCounts, RegionFile, ReviewCommand,
 *   ReviewSummary } from "./worker-api.d.ts"
 */

/** Colours of regions that have none of their own, by their numbers. */
const COLOURS = [
  [38, 200, 110],
  [235, 90, 200],
  [255, 150, 40],
  [150, 120, 255],
  [240, 230, 70],
  [255, 110, 100],
];
/** Widths of lines, CSS pixels. */
const LINE = 2;
const SELECTED_LINE = 3.5;
const CASING = 1.5;
/** Annotations of a file from which on they are nuclei, not regions. */
const MANY_ANNOTATIONS = 100;
/** Share of the view that a region fills when the view moves to it. */
const FILL = 0.8;
const MM2_PER_PX = 1e-6;

/** @typedef {NamedRegion & { id: number }} ListedRegion */

/** @param {ListedRegion} region */
function colourOf({ id, colour }) {
  return colour ?? COLOURS[(id - 1) % COLOURS.length];
}

/** @param {number[]} colour */
function hexOf(colour) {
  return `#${colour.map((channel) => channel.toString(16).padStart(2, "0")).join("")}`;
}

/** @param {string} hex @returns {[number, number, number]} */
function channelsOf(hex) {
  const number = Number.parseInt(hex.slice(1), 16);
  return [number >> 16, (number >> 8) & 255, number & 255];
}

/** @param {string} text @param {() => void} onclick */
function createButton(text, onclick) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.onclick = onclick;
  return button;
}

/** @param {string} type @param {string} value */
function createInput(type, value) {
  const input = document.createElement("input");
  input.type = type;
  input.value = value;
  return input;
}

export class Regions {
  /** Number of the selected region, 0 for none. */
  #selected = 0;
  /** @type {PointPair[]} What is being drawn, pixels of the image. */
  #draft = [];
  /** @type {Map<number, { region: ListedRegion, path: Path2D, x: number, y: number }>} */
  #paths = new Map();
  /** @type {Map<number, RegionCounts>} What was counted, by number of the region. */
  #counts = new Map();
  /** What the list shows. */
  #listed = "";

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.canvas = elements.regionCanvas;
    page.canvasView.frameListeners.add(() => this.#draw());
    for (const button of elements.regionTools) {
      const name = /** @type {RegionToolName} */ (button.dataset.regionTool);
      button.onclick = () => this.#useTool(button, name);
    }
    elements.regionFromView.onclick = () => this.addView();
    elements.insideOnly.onchange = () => {
      page.store.apply({ "inside-only": elements.insideOnly.checked });
    };
    elements.openRegions.onclick = () => elements.regionsFile.click();
    elements.regionsFile.onchange = () => {
      const [file] = elements.regionsFile.files ?? [];
      if (file) void this.openFile(file);
      elements.regionsFile.value = "";
    };
    elements.saveRegions.onclick = () => this.#save();
    elements.saveRegionTable.onclick = () => void this.#saveTable();
    page.store.subscribe(() => this.#show());
    this.#show();
  }

  get #regions() {
    return this.page.store.state.regions;
  }

  // ---- Tools

  /** @param {HTMLButtonElement} button @param {RegionToolName} name */
  #useTool(button, name) {
    const { page } = this;
    if (page.canvasView.width === 0) {
      page.showStatus("Open an image first.");
      return;
    }
    if (button.getAttribute("aria-pressed") === "true") {
      page.tools.use("look");
      return;
    }
    page.tools.useGuest(new RegionTool(page, name));
    button.setAttribute("aria-pressed", "true");
  }

  /** No tool for regions is in use. */
  toolEnded() {
    for (const button of elements.regionTools) button.setAttribute("aria-pressed", "false");
  }

  /** Shows what is being drawn. @param {PointPair[]} points pixels of the image */
  showDraft(points) {
    this.#draft = points;
    this.page.canvasView.requestFrame();
  }

  /** Adds what the view shows as a region. */
  addView() {
    const corners = visibleRectangle(this.page);
    const { left, top, right, bottom } = boundsOf([[corners]]);
    if (!(right - left >= 1 && bottom - top >= 1)) {
      this.page.showStatus("The view shows nothing of the image.");
      return;
    }
    this.add([[corners]]);
  }

  /** @param {Polygons} polygons */
  add(polygons) {
    const { store } = this.page;
    const last = this.#regions.at(-1)?.id ?? 0;
    const name = `Region ${last + 1}`;
    if (!this.#apply({ "add-region": { name, polygons } })) return;
    this.select(store.state.regions.at(-1)?.id ?? 0);
    this.page.showStatus(`${name} added.`);
  }

  /** @param {ReviewCommand} command @returns {boolean} whether it was done */
  #apply(command) {
    try {
      this.page.clearError();
      this.page.store.apply(command);
      return true;
    } catch (error) {
      this.page.showError(error);
      return false;
    }
  }

  /** @param {number} id 0 for none */
  select(id) {
    this.#selected = id;
    for (const row of elements.regionRows.rows) {
      row.classList.toggle("selected", row.dataset.id === String(id));
    }
    this.page.canvasView.requestFrame();
  }

  /** Selects a region and moves the view to it. @param {ListedRegion} region */
  #goTo(region) {
    const { viewport, canvas, isLinked } = this.page.canvasView;
    const { left, top, right, bottom } = boundsOf(region.polygons);
    const width = isLinked ? canvas.width / 2 : canvas.width;
    const scale = FILL * Math.min(width / (right - left), canvas.height / (bottom - top));
    viewport.setState((left + right) / 2, (top + bottom) / 2, scale);
    this.select(region.id);
  }

  /** @param {ListedRegion} region @param {Partial<NamedRegion>} change */
  #change({ id, ...region }, change) {
    this.#apply({ "change-region": { id, region: { ...region, ...change } } });
  }

  /** @param {ListedRegion} region */
  #remove({ id, name }) {
    if (!this.#apply({ "remove-region": id })) return;
    if (this.#selected === id) this.select(0);
    this.page.showStatus(`${name} removed. Undo brings it back.`);
    const next = elements.regionRows.querySelector("button") ?? elements.regionFromView;
    next.focus();
  }

  // ---- Files

  /**
   * Opens a file of outlines. What people draw becomes regions, what programs find is compared
   * with; a button takes it the other way.
   * @param {File} file
   * @param {"regions" | "comparison"} [use] decided by what the file holds without it
   */
  async openFile(file, use) {
    const { page } = this;
    page.clearError();
    try {
      if (page.canvasView.width === 0) throw new Error("Open the image of these outlines first.");
      const bytes = new Uint8Array(await file.arrayBuffer());
      /** @type {RegionFile} */
      const found = JSON.parse(readRegions(bytes, file.name));
      const { regions, detections } = found;
      const isComparison = detections > regions.length || regions.length > MANY_ANNOTATIONS;
      if ((use ?? (isComparison ? "comparison" : "regions")) === "comparison") {
        await page.compare.openReference(bytes, file.name);
        this.#offerOther(file, regions.length > 0 ? "regions" : undefined);
        return;
      }
      if (regions.length === 0) throw new Error(`${file.name} holds no annotation.`);
      if (!this.#apply({ "add-regions": regions })) return;
      const count = regions.length === 1 ? "1 region" : `${formatCount(regions.length)} regions`;
      const rest = detections > 0 ? ` ${formatCount(detections)} detections were left out.` : "";
      const outside = this.#outsideNote(regions);
      const notes = found.notes.map((note) => ` ${note}.`).join("");
      page.showStatus(`${count} opened.${rest}${outside}${notes}`);
      this.#offerOther(file, "comparison");
    } catch (error) {
      page.showError(error);
    }
  }

  /** How many regions no part of the image belongs to. @param {NamedRegion[]} regions */
  #outsideNote(regions) {
    const { width, height } = this.page.canvasView;
    const isOutside = (/** @type {NamedRegion} */ { polygons }) => {
      const { left, top, right, bottom } = boundsOf(polygons);
      return right <= 0 || bottom <= 0 || left >= width || top >= height;
    };
    const outside = regions.filter(isOutside).length;
    if (outside === 0) return "";
    return ` ${outside === 1 ? "1 region lies" : `${outside} regions lie`} outside the image.`;
  }

  /** @param {File} file @param {"regions" | "comparison" | undefined} other */
  #offerOther(file, other) {
    const { openedOutlines } = elements;
    openedOutlines.hidden = false;
    const isRegions = other === "comparison";
    const text = isRegions ? "opened as regions." : "opened to compare the nuclei with.";
    openedOutlines.replaceChildren(`${file.name}: ${text} `);
    if (!other) return;
    const offer = isRegions ? "Compare with it instead" : "Use as regions instead";
    const button = createButton(offer, () => void this.#openOtherwise(file, other));
    openedOutlines.append(button);
  }

  /** @param {File} file @param {"regions" | "comparison"} use */
  async #openOtherwise(file, use) {
    if (use === "comparison") this.page.store.undo();
    else await this.page.compare.closeReference();
    await this.openFile(file, use);
  }

  #save() {
    const { page } = this;
    try {
      const regions = this.#regions.map(({ id: _, ...region }) => region);
      const bytes = regionsGeoJson(JSON.stringify(regions), page.mpp);
      saveFile(bytes, `${page.opener.name}.regions.geojson`, "application/geo+json");
    } catch (error) {
      page.showError(error);
    }
  }

  async #saveTable() {
    const { page } = this;
    try {
      await page.reviewSync.update();
      const bytes = await page.engine.call("regionTable", MAIN, page.mpp);
      saveFile(bytes, `${page.opener.name}.regions.csv`, "text/csv");
    } catch (error) {
      page.showError(error);
    }
  }

  // ---- List and table

  /** What was counted. @param {ReviewSummary} summary */
  showCounts({ regions }) {
    this.#counts = new Map(regions.map((counts) => [counts.id, counts]));
    this.#showNumbers();
  }

  /**
   * What counts if nuclei count inside regions only.
   * @param {ReviewSummary} summary
   * @returns {import("./results.js").InsideScope}
   */
  insideScope(summary) {
    const boxes = this.#regions.map(({ polygons }) => boundsOf(polygons));
    const isApart = boxes.every((a, i) =>
      boxes.slice(0, i).every(
        (b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top,
      ),
    );
    // The sum of areas is that of all only where none lies in two.
    const sum = summary.regions.reduce((px, { segmentedPx }) => px + segmentedPx, 0);
    return { regions: boxes.length, areaPx: isApart ? sum : undefined };
  }

  #show() {
    const { regions, insideOnly } = this.page.store.state;
    elements.insideOnly.checked = insideOnly;
    elements.insideOnly.disabled = regions.length === 0 && !insideOnly;
    const isEmpty = regions.length === 0;
    elements.saveRegions.disabled = isEmpty;
    elements.saveRegionTable.disabled = isEmpty;
    elements.regionTable.hidden = isEmpty;
    elements.noRegions.hidden = !isEmpty;
    const listed = JSON.stringify(regions);
    if (listed === this.#listed) return;
    this.#listed = listed;
    for (const id of this.#paths.keys()) {
      if (!regions.some((region) => region.id === id)) this.#paths.delete(id);
    }
    this.#renderRows();
    this.page.canvasView.requestFrame();
    this.page.compare?.regionsChanged();
  }

  #renderRows() {
    const focused = document.activeElement;
    const place = focused instanceof HTMLElement && elements.regionRows.contains(focused);
    const id = place ? focused.closest("tr")?.dataset.id : undefined;
    const role = place ? focused.dataset.role : undefined;
    elements.regionRows.replaceChildren(...this.#regions.map((region) => this.#row(region)));
    this.#showNumbers();
    const selector = `tr[data-id="${id}"] [data-role="${role}"]`;
    if (id) elements.regionRows.querySelector(selector)?.dispatchEvent(new Event("refocus"));
  }

  /** @param {ListedRegion} region */
  #row(region) {
    const { name } = region;
    const row = document.createElement("tr");
    row.dataset.id = String(region.id);
    row.role = "row";
    row.classList.toggle("selected", region.id === this.#selected);
    const colour = createInput("color", hexOf(colourOf(region)));
    colour.setAttribute("aria-label", `Colour of ${name}`);
    colour.onchange = () => this.#change(region, { colour: channelsOf(colour.value) });
    const text = createInput("text", name);
    text.maxLength = 200;
    text.setAttribute("aria-label", `Name of ${name}`);
    text.onchange = () => this.#change(region, { name: text.value });
    text.onfocus = () => this.select(region.id);
    const show = createButton("Show", () => this.#goTo(region));
    show.setAttribute("aria-label", `Show ${name}`);
    const remove = createButton("✕", () => this.#remove(region));
    remove.setAttribute("aria-label", `Delete ${name}`);
    remove.title = `Delete ${name}`;
    for (const [role, control] of Object.entries({ colour, text, show, remove })) {
      control.dataset.role = role;
      control.addEventListener("refocus", () => control.focus());
    }
    const head = document.createElement("th");
    head.scope = "row";
    head.role = "rowheader";
    head.append(colour, text);
    row.append(head);
    for (let i = 0; i < 6; i++) row.insertCell().role = "cell";
    row.cells[6].append(show, remove);
    return row;
  }

  /** Areas, counts, densities and shares of the rows. */
  #showNumbers() {
    const { page } = this;
    const { width, height } = page.canvasView;
    elements.regionAreaUnit.textContent = page.mpp > 0 ? "mm²" : "px";
    const regions = this.#regions;
    /** @type {number[]} */
    const areas =
      regions.length > 0 ? JSON.parse(regionAreas(JSON.stringify(regions), width, height)) : [];
    let isPartial = false;
    for (const [index, row] of [...elements.regionRows.rows].entries()) {
      const counts = this.#counts.get(Number(row.dataset.id));
      isPartial ||= counts !== undefined && counts.segmentedPx < areas[index] * 0.999;
      const texts = this.#texts(areas[index], counts);
      for (const [place, text] of texts.entries()) row.cells[place + 1].textContent = text;
    }
    elements.regionNote.textContent = isPartial
      ? "Density and share refer to the segmented part of a region."
      : "A nucleus counts where its centre lies. Regions that overlap count each for itself.";
    elements.regionNote.hidden = regions.length === 0;
  }

  /** @param {number} areaPx @param {RegionCounts} [counts] */
  #texts(areaPx, counts) {
    const { mpp } = this.page;
    const mm2 = (/** @type {number} */ px) => px * mpp * mpp * MM2_PER_PX;
    const area = mpp > 0 ? mm2(areaPx).toPrecision(3) : formatCount(Math.round(areaPx));
    const { segmentedPx = 0, nuclei = 0, coveredPx = 0, accepted, added, rejected } = counts ?? {};
    if (segmentedPx === 0) return [area, "–", "–", "–", "–"];
    const density = mpp > 0 ? formatCount(Math.round(nuclei / mm2(segmentedPx))) : "–";
    const share = `${((coveredPx / segmentedPx) * 100).toFixed(1)} %`;
    return [area, formatCount(nuclei), density, share, `${accepted} / ${added} / ${rejected}`];
  }

  // ---- Drawing

  /** @param {ListedRegion} region */
  #pathOf(region) {
    const known = this.#paths.get(region.id);
    if (known?.region === region) return known;
    const [x, y] = region.polygons[0]?.[0]?.[0] ?? [0, 0];
    const path = new Path2D();
    for (const ring of region.polygons.flat()) {
      for (const [i, [px, py]] of ring.entries()) {
        if (i === 0) path.moveTo(px - x, py - y);
        else path.lineTo(px - x, py - y);
      }
      path.closePath();
    }
    const made = { region, path, x, y };
    this.#paths.set(region.id, made);
    return made;
  }

  #draw() {
    const { canvasView } = this.page;
    const { canvas, viewport, pixelRatio } = canvasView;
    const context = this.canvas.getContext("2d");
    if (!context) return;
    if (this.canvas.width !== canvas.width || this.canvas.height !== canvas.height) {
      this.canvas.width = canvas.width;
      this.canvas.height = canvas.height;
    } else {
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, canvas.width, canvas.height);
    }
    if (this.#regions.length === 0 && this.#draft.length === 0) return;
    const scale = viewport.scale();
    const unit = pixelRatio / scale;
    context.lineJoin = "round";
    for (const { left, right, shift } of canvasView.panes()) {
      context.save();
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.beginPath();
      context.rect(left, 0, right - left, canvas.height);
      context.clip();
      const stroke = (
        /** @type {Path2D} */ path,
        /** @type {number} */ x,
        /** @type {number} */ y,
        /** @type {string} */ colour,
        /** @type {number} */ width,
      ) => {
        const [screenX, screenY] = viewport.toScreen(x, y);
        context.setTransform(scale, 0, 0, scale, screenX + shift, screenY);
        context.strokeStyle = "rgb(20 18 28 / 75%)";
        context.lineWidth = (width + 2 * CASING) * unit;
        context.stroke(path);
        context.strokeStyle = colour;
        context.lineWidth = width * unit;
        context.stroke(path);
      };
      for (const region of this.#regions) {
        const { path, x, y } = this.#pathOf(region);
        const isSelected = region.id === this.#selected;
        stroke(path, x, y, hexOf(colourOf(region)), isSelected ? SELECTED_LINE : LINE);
        this.#drawName(context, region, shift);
      }
      if (this.#draft.length > 0) {
        const [x, y] = this.#draft[0];
        const path = new Path2D();
        for (const [px, py] of this.#draft) path.lineTo(px - x, py - y);
        if (this.#draft.length === 1) path.lineTo(0.01, 0);
        context.lineCap = "round";
        stroke(path, x, y, "#ffffff", this.#draft.length === 1 ? 2 * SELECTED_LINE : LINE);
      }
      context.restore();
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {ListedRegion} region
   * @param {number} shift of the image, device pixels
   */
  #drawName(context, region, shift) {
    const { viewport, pixelRatio } = this.page.canvasView;
    const { left, top } = boundsOf(region.polygons);
    const [x, y] = viewport.toScreen(left, top);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.font = `600 ${12 * pixelRatio}px system-ui, sans-serif`;
    context.lineWidth = 3 * pixelRatio;
    context.strokeStyle = "rgb(20 18 28 / 85%)";
    context.fillStyle = "#ffffff";
    const place = /** @type {const} */ ([x + shift + 3 * pixelRatio, y - 5 * pixelRatio]);
    context.strokeText(region.name, ...place);
    context.fillText(region.name, ...place);
  }
}
