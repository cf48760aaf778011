// The tools at the picture's edge, and their keys.
import { elements } from "./elements.js";

/** @import { CanvasTool } from "./input.js" */
/** @import { Page } from "./page.js" */

/** Pause of the mouse before a nucleus is proposed, milliseconds. */
const HOVER_DELAY_MS = 60;

/** @typedef {"look" | "nucleus" | "split"} ToolName */

/**
 * @typedef {CanvasTool & { name: string, hint: string, end: () => void }} GuestTool A tool of
 *   another module.
 */

/** @type {Record<ToolName, string>} */
const HINTS = {
  look: "",
  nucleus: "Nucleus: click one to add it, or draw around it. Escape ends.",
  split: "Split: draw a line across a nucleus, or press Enter at two points. Escape ends.",
};

/** Without its part about keys where there is a finger, not a mouse. @param {string} text */
export function hint(text) {
  const isTouch = matchMedia("(pointer: coarse)").matches;
  if (!isTouch) return text;
  return text
    .replace(/,? or press Enter[^.]*/g, "")
    .replace(/ (Escape ends|\[ and \] set the width|A accepts, X rejects)\./g, "");
}

/** @type {Record<string, ToolName>} */
const TOOL_KEYS = { v: "look", b: "nucleus", s: "split" };

export class Tools {
  /** @type {ToolName} */
  name = "look";
  /** @type {[number, number] | undefined} First point of a split by keyboard. */
  #splitStart;
  #hoverRequest = 0;
  /** @type {GuestTool | undefined} In place of the own tools. */
  #guest;
  /** Whether the next click chooses what the selected nucleus is merged with. */
  isMerging = false;

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    for (const button of elements.toolButtons) {
      button.onclick = () => this.#chosen(button.dataset.tool ?? "look");
    }
    elements.toolReview.onclick = () => this.#review(1);
    elements.toolUndo.onclick = () => this.#step("undo");
    elements.toolRedo.onclick = () => this.#step("redo");
    elements.viewer.addEventListener("keydown", (event) => this.#keyDown(event));
    // A nucleus of the table is decided on there, too.
    elements.table.addEventListener("keydown", (event) => this.#keyDown(event));
    document.addEventListener("keydown", (event) => this.#historyKey(event));
    page.store.subscribe(() => this.#showHistory());
    this.#showHistory();
  }

  /** Whether the brush is in use. */
  get isPainting() {
    return this.#guest === this.page.paintTool;
  }

  /** What clicks and drags on the image do now. @returns {CanvasTool} */
  canvasTool() {
    if (this.#guest) return this.#guest;
    const { editing, outlines } = this.page;
    switch (this.name) {
      case "nucleus":
        return {
          draws: true,
          click: (x, y) => void editing.inOrder(() => editing.addAt(x, y)),
          hover: (x, y) => this.#hover(x, y),
          leave: () => this.#endHover(),
          drawing: (stroke) => {
            this.#endHover();
            outlines.showStroke(stroke);
          },
          drawn: (stroke) => void editing.inOrder(() => this.#drawn(stroke)),
        };
      case "split":
        return {
          draws: true,
          click: (x, y, event) => this.#splitPoint(x, y, event),
          drawing: (stroke) => outlines.showStroke(stroke),
          drawn: (stroke) => void editing.inOrder(() => editing.splitAlong(stroke)),
        };
      default:
        return {
          draws: false,
          click: (x, y, event) => {
            void editing.inOrder(() => this.#choose(x, y, event.shiftKey));
          },
        };
    }
  }

  /**
   * Selects the nucleus at a position, or merges the selected one with it.
   * @param {number} x
   * @param {number} y
   * @param {boolean} adds whether those that are selected stay so
   */
  async #choose(x, y, adds) {
    this.page.reviewQueue.stop();
    if (this.isMerging) await this.#mergeWith(x, y);
    else await this.page.editing.selectAt(x, y, { adds });
  }

  /** @param {string} name of a button */
  #chosen(name) {
    const { page } = this;
    const guest = { paint: page.paintTool, erase: page.eraseTool }[name];
    if (!guest) this.use(/** @type {ToolName} */ (name));
    else if (page.canvasView.width === 0) page.showStatus("Open an image first.");
    else this.useGuest(guest);
  }

  /** Uses a tool of another module until another one is chosen. @param {GuestTool} guest */
  useGuest(guest) {
    this.use("look");
    this.#guest = guest;
    for (const button of elements.toolButtons) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === guest.name));
    }
    elements.viewer.dataset.tool = guest.name;
    this.page.showStatus(guest.hint);
    this.page.canvasView.canvas.focus();
  }

  /** @param {ToolName} name */
  use(name) {
    const guest = this.#guest;
    this.#guest = undefined;
    guest?.end();
    this.name = name;
    this.isMerging = false;
    this.#splitStart = undefined;
    this.#endHover();
    this.page.outlines.showStroke([]);
    for (const button of elements.toolButtons) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === name));
    }
    elements.viewer.dataset.tool = name;
    this.page.objectCard.show();
    this.page.showStatus(hint(HINTS[name]));
  }

  /** The next stroke draws the selected nucleus anew. */
  redraw() {
    void this.page.editing.inOrder(() => this.#redraw());
  }

  #redraw() {
    const [object] = this.page.editing.selected;
    if (!object) return;
    this.use("nucleus");
    this.page.editing.redrawn = object;
    this.page.showStatus(hint("Redraw: draw around the nucleus. Escape ends."));
    this.page.canvasView.canvas.focus();
  }

  /** Merges what is selected; of one nucleus the next click chooses the other. */
  merge() {
    void this.page.editing.inOrder(() => this.#merge());
  }

  async #merge() {
    const { editing } = this.page;
    if (editing.selected.length !== 1) {
      await editing.merge();
      return;
    }
    this.use("look");
    this.isMerging = true;
    this.page.objectCard.show();
    const sentence = "Merge: click the other nucleus, or press Enter on it. Escape ends.";
    this.page.showStatus(hint(sentence));
    this.page.canvasView.canvas.focus();
  }

  /** @param {number} x @param {number} y */
  async #mergeWith(x, y) {
    const { editing } = this.page;
    const first = editing.selected;
    const other = await editing.selectAt(x, y, { adds: true, isQuiet: true });
    // Beside a nucleus nothing is chosen, and the next click chooses.
    if (!other) {
      this.page.showStatus(hint("No nucleus here. Click the one to merge with. Escape ends."));
      return;
    }
    const isMerged = editing.selected.length > 1 && (await editing.merge());
    if (!isMerged && editing.selected.length > 1) editing.select(first);
    else this.isMerging = false;
    this.page.objectCard.show();
  }

  /** @param {[number, number][]} stroke */
  async #drawn(stroke) {
    const isRedraw = this.page.editing.redrawn !== undefined;
    await this.page.editing.addDrawn(stroke);
    if (isRedraw) this.use("look");
  }

  /** @param {"accept" | "reject" | "forget"} decision */
  decide(decision) {
    const { editing, reviewQueue } = this.page;
    void editing.inOrder(async () => {
      const goesOn = reviewQueue.isActive && decision !== "forget";
      if ((await editing.decide(decision)) && goesOn) await reviewQueue.go(1);
    });
  }

  /** @param {1 | -1} step */
  #review(step) {
    const { editing, reviewQueue } = this.page;
    void editing.inOrder(() => reviewQueue.go(step));
  }

  /** @param {"undo" | "redo"} direction */
  #step(direction) {
    const { editing } = this.page;
    void editing.inOrder(() => editing.step(direction));
  }

  /** Whether a tool is in use that Escape ends. */
  get #isToolUsed() {
    return this.name !== "look" || this.#guest !== undefined || this.isMerging;
  }

  /** Ends what is going on: a stroke and a tool at once, a selection after what was begun. */
  escape() {
    if (this.#isToolUsed) this.#end();
    else void this.page.editing.inOrder(() => this.#end());
  }

  #end() {
    const { editing, reviewQueue } = this.page;
    const wasReviewing = reviewQueue.isActive;
    if (this.#isToolUsed) this.use("look");
    else editing.select([]);
    editing.redrawn = undefined;
    reviewQueue.stop();
    // It said which keys decide.
    if (wasReviewing) this.page.showStatus("Review ended.");
  }

  // ---- Proposals

  /** Shows what a click would add. @param {number} x @param {number} y */
  #hover(x, y) {
    this.#hoverRequest += 1;
    const request = this.#hoverRequest;
    this.page.debounce("propose", HOVER_DELAY_MS, async () => {
      const nucleus = await this.page.editing.objects.propose(x, y).catch(() => undefined);
      if (request === this.#hoverRequest) this.page.outlines.propose(nucleus);
    });
  }

  #endHover() {
    this.#hoverRequest += 1;
    this.page.outlines.propose(undefined);
  }

  // ---- Keys

  /**
   * Two points by keyboard are a stroke.
   * @param {number} x
   * @param {number} y
   * @param {Event} event
   */
  #splitPoint(x, y, event) {
    const { editing } = this.page;
    if (!(event instanceof KeyboardEvent)) {
      void editing.inOrder(() => editing.selectAt(x, y));
      return;
    }
    if (!this.#splitStart) {
      this.#splitStart = [x, y];
      this.page.outlines.showStroke([
        [x, y],
        [x + 0.01, y],
      ]);
      this.page.showStatus("First point set. Move across the nucleus and press Enter again.");
      return;
    }
    const stroke = /** @type {[number, number][]} */ ([this.#splitStart, [x, y]]);
    this.#splitStart = undefined;
    this.page.outlines.showStroke([]);
    void editing.inOrder(() => editing.splitAlong(stroke));
  }

  /** @param {KeyboardEvent} event */
  #keyDown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target instanceof HTMLInputElement) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!this.#runKey(key, event)) return;
    event.preventDefault();
    event.stopPropagation();
  }

  /**
   * @param {string} key
   * @param {KeyboardEvent} event
   * @returns {boolean} whether it means something
   */
  #runKey(key, event) {
    const { editing } = this.page;
    if (key in TOOL_KEYS) {
      this.use(TOOL_KEYS[key]);
      return true;
    }
    switch (key) {
      case "p":
        if (this.isPainting) this.page.teaching.switchClass();
        else this.#chosen("paint");
        return true;
      case "e":
        this.#chosen("erase");
        return true;
      case "[":
      case "]":
        if (!this.isPainting) return false;
        this.page.paintTool.stepWidth(key === "[" ? -1 : 1);
        return true;
      case "a":
        this.decide("accept");
        return true;
      case "x":
      case "Delete":
      case "Backspace":
        this.decide("reject");
        return true;
      case "t":
        this.decide("forget");
        return true;
      case "r":
        this.redraw();
        return true;
      case "j":
        this.merge();
        return true;
      case "n":
        this.#review(event.shiftKey ? -1 : 1);
        return true;
      case ".":
        void editing.inOrder(() => this.#visitNeighbour(1));
        return true;
      case ",":
        void editing.inOrder(() => this.#visitNeighbour(-1));
        return true;
      case "ArrowRight":
        // On the image it moves the view.
        if (!elements.objectCard.contains(/** @type {Node} */ (event.target))) return false;
        this.#review(1);
        return true;
      case "Escape":
        if (!this.#isToolUsed && editing.selected.length === 0 && !editing.isActing) return false;
        this.escape();
        return true;
      default:
        return false;
    }
  }

  /** Selects the next nucleus from top to bottom, or the one before. @param {1 | -1} step */
  async #visitNeighbour(step) {
    const { page } = this;
    await page.imageSegmentation.updateTable();
    const nucleus = page.results.neighbour(page.editing.selected[0]?.id, step);
    if (!nucleus) {
      page.showStatus("No further nucleus.");
      return;
    }
    await page.showNucleus(nucleus);
    page.editing.saySelection();
  }

  /** @param {KeyboardEvent} event */
  #historyKey(event) {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    // Fields with text have their own history; without this the browser would undo in one of them
    // while a choice has the focus.
    const text = "textarea, input:not([type=range], [type=radio], [type=checkbox])";
    if (event.target instanceof Element && event.target.matches(text)) return;
    const key = event.key.toLowerCase();
    if (key === "z") this.#step(event.shiftKey ? "redo" : "undo");
    else if (key === "y") this.#step("redo");
    else return;
    event.preventDefault();
  }

  #showHistory() {
    const { undo, redo } = this.page.store.state;
    const show = (
      /** @type {HTMLButtonElement} */ button,
      /** @type {string} */ title,
      /** @type {string | null} */ name,
    ) => {
      const hadFocus = document.activeElement === button;
      button.disabled = name === null;
      const text = name === null ? title : `${title}: ${name}`;
      button.setAttribute("aria-label", text);
      button.title = text;
      if (hadFocus && button.disabled) this.page.canvasView.canvas.focus();
    };
    show(elements.toolUndo, "Undo", undo);
    show(elements.toolRedo, "Redo", redo);
  }
}
