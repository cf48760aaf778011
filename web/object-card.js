// The card at the selected nucleus: what it is, and what can be done with it.
import { elements } from "./elements.js";
import { boundsOf } from "./polygons.js";

/** @import { Page } from "./page.js" */
/** @import { ReviewObject } from "./worker-api.d.ts" */

/** Distance from the object and from the picture's edge, CSS pixels. */
const GAP_PX = 10;
const EDGE_PX = 6;

const TITLES = { accepted: "Accepted nucleus", added: "Added nucleus", rejected: "Rejected" };

export class ObjectCard {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    page.editing.listeners.add(() => this.show());
    page.canvasView.frameListeners.add(() => this.#place());
    elements.cardAccept.onclick = () => page.tools.decide("accept");
    elements.cardReject.onclick = () => page.tools.decide("reject");
    elements.cardForget.onclick = () => page.tools.decide("forget");
    elements.cardRedraw.onclick = () => page.tools.redraw();
    elements.cardSplit.onclick = () => page.tools.use("split");
    elements.cardMerge.onclick = () => page.tools.merge();
    elements.cardClose.onclick = () => page.tools.escape();
  }

  /** Shows what is selected. */
  show() {
    const { selected } = this.page.editing;
    const [object] = selected;
    const hadFocus = elements.objectCard.contains(document.activeElement);
    // It would lie where one wants to draw.
    const { tools } = this.page;
    const isHidden = !object || tools.name !== "look" || tools.isMerging;
    elements.objectCard.hidden = isHidden;
    if (isHidden) {
      // Hiding the element with the focus would lose it.
      if (hadFocus) this.page.canvasView.canvas.focus();
      return;
    }
    const isOne = selected.length === 1;
    const { status } = object;
    elements.cardTitle.textContent = isOne
      ? status && status !== "replaced"
        ? TITLES[status]
        : "Nucleus"
      : `${selected.length} nuclei`;
    elements.cardFacts.textContent = isOne ? this.page.results.factsOf(object) : "";
    elements.cardAccept.hidden = status === "accepted" || status === "added";
    elements.cardReject.hidden = status === "rejected";
    elements.cardReject.textContent = status === "added" ? "Remove" : "Reject";
    elements.cardForget.hidden = status === null || status === "added";
    elements.cardRedraw.hidden = !isOne || status === "rejected";
    elements.cardSplit.hidden = !isOne || status === "rejected";
    elements.cardMerge.hidden = isOne && status === "rejected";
    elements.cardMerge.textContent = isOne ? "Merge with…" : "Merge";
    if (hadFocus && document.activeElement === document.body) elements.cardClose.focus();
    this.#place();
  }

  /** Right of the object, or left of it where there is no room. */
  #place() {
    const { objectCard, viewer } = elements;
    const [object] = this.page.editing.selected;
    if (!object || objectCard.hidden) return;
    const box = this.#boxOf(object);
    const { offsetWidth: width, offsetHeight: height } = objectCard;
    const [maxLeft, maxTop] = [viewer.clientWidth - width, viewer.clientHeight - height];
    let left = box.right + GAP_PX;
    if (left > maxLeft - EDGE_PX) left = box.left - GAP_PX - width;
    const clamp = (/** @type {number} */ value, /** @type {number} */ max) =>
      Math.max(EDGE_PX, Math.min(value, max - EDGE_PX));
    let top = (box.top + box.bottom - height) / 2;
    // On a narrow picture it goes below or above, so that it does not hide the object.
    if (left < EDGE_PX) {
      left = (box.left + box.right - width) / 2;
      top = box.bottom + GAP_PX;
      if (top > maxTop - EDGE_PX) top = box.top - GAP_PX - height;
    }
    objectCard.style.transform = `translate(${clamp(left, maxLeft)}px, ${clamp(top, maxTop)}px)`;
  }

  /** In CSS pixels of the picture. @param {ReviewObject} object */
  #boxOf({ nucleus }) {
    const { viewport, pixelRatio } = this.page.canvasView;
    const bounds = boundsOf(nucleus.polygons);
    const [left, top] = viewport.toScreen(bounds.left, bounds.top);
    const [right, bottom] = viewport.toScreen(bounds.right, bounds.bottom);
    return {
      left: left / pixelRatio,
      top: top / pixelRatio,
      right: right / pixelRatio,
      bottom: bottom / pixelRatio,
    };
  }
}
