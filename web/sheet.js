// The panel as a sheet at the lower edge of a phone's screen: closed with the count, half or full.
// The picture keeps the rest. On larger screens the panel is beside the picture.
import { elements } from "./elements.js";

/** @typedef {"closed" | "half" | "full"} SheetHeight */

/** @type {SheetHeight[]} From low to high. */
const HEIGHTS = ["closed", "half", "full"];
/** Movement up to which a press is a click, CSS pixels. */
const CLICK_PX = 5;
/** Screens on which the panel is a sheet, as in the style sheet. */
const phone = matchMedia("(max-width: 700px)");

/** @type {SheetHeight} */
let height = "closed";

/** @param {SheetHeight} newHeight */
function setHeight(newHeight) {
  height = newHeight;
  const { sheetRaise, sheetLower } = elements;
  const isClosed = phone.matches && height === "closed";
  const hadFocus = isClosed && elements.panelContent.contains(document.activeElement);
  elements.main.dataset.sheet = height;
  // What is not visible cannot get the focus.
  elements.panelContent.inert = isClosed;
  elements.sheetTabs.inert = isClosed;
  const isOpen = String(!isClosed);
  for (const button of [sheetRaise, sheetLower]) button.setAttribute("aria-expanded", isOpen);
  if (document.activeElement === sheetRaise && height === "full") sheetLower.focus();
  if ((document.activeElement === sheetLower || hadFocus) && isClosed) sheetRaise.focus();
  sheetRaise.disabled = height === "full";
  sheetLower.disabled = height === "closed";
}

/** One height up or down. @param {1 | -1} direction */
function move(direction) {
  const next = HEIGHTS[HEIGHTS.indexOf(height) + direction];
  if (next) setHeight(next);
}

/** Opens the sheet if it is closed, so that a field in it can get the focus. */
export function openSheet() {
  if (height === "closed") setHeight("half");
}

/** Shows the number of nuclei on the closed sheet. @param {string} text */
export function showSheetCount(text) {
  elements.sheetCount.textContent = text || "Settings and results";
}

export function bindSheet() {
  elements.sheetRaise.onclick = () => move(1);
  elements.sheetLower.onclick = () => move(-1);
  for (const button of elements.sheetTabs.querySelectorAll("button")) {
    button.onclick = () => {
      document.getElementById(button.dataset.section ?? "")?.scrollIntoView({ block: "start" });
    };
  }
  elements.panel.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !phone.matches || event.defaultPrevented) return;
    setHeight("closed");
  });
  bindDrag(elements.sheetHandle);
  phone.addEventListener("change", () => setHeight(height));
  setHeight(height);
}

/** The sheet follows the finger, then takes the nearest height. @param {HTMLElement} handle */
function bindDrag(handle) {
  /** @type {{ startY: number, startHeight: number, travel: number } | undefined} */
  let drag;
  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    drag = { startY: event.clientY, startHeight: elements.panel.clientHeight, travel: 0 };
  });
  handle.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const up = drag.startY - event.clientY;
    drag.travel = Math.max(drag.travel, Math.abs(up));
    if (drag.travel <= CLICK_PX) return;
    elements.panel.style.height = `${clampedHeight(drag.startHeight + up)}px`;
  });
  handle.addEventListener("pointercancel", () => {
    drag = undefined;
    elements.panel.style.removeProperty("height");
  });
  handle.addEventListener("pointerup", () => {
    if (!drag) return;
    const { travel } = drag;
    const reached = elements.panel.clientHeight;
    drag = undefined;
    elements.panel.style.removeProperty("height");
    if (travel <= CLICK_PX) setHeight(height === "closed" ? "half" : "closed");
    else setHeight(nearestHeight(reached));
  });
}

/** @param {number} px */
function clampedHeight(px) {
  return Math.max(elements.sheetBar.clientHeight, Math.min(elements.main.clientHeight, px));
}

/** @param {number} px @returns {SheetHeight} */
function nearestHeight(px) {
  let nearest = height;
  let smallest = Infinity;
  for (const candidate of HEIGHTS) {
    elements.main.dataset.sheet = candidate;
    const distance = Math.abs(elements.panel.clientHeight - px);
    if (distance < smallest) {
      smallest = distance;
      nearest = candidate;
    }
  }
  return nearest;
}
