// Messages on the lower edge of the picture, where they stay in sight: the status, and an alert
// that stays until it is closed or until a later action succeeds.
import { elements } from "./elements.js";
import { messageOf } from "./error-message.js";

/** Number of the last alert. */
let lastAlert = 0;

/** @param {string} text */
export function showStatus(text) {
  elements.status.textContent = text;
}

/** @param {unknown} error an error, or a sentence */
export function showAlert(error) {
  lastAlert += 1;
  elements.alert.textContent = messageOf(error);
  elements.alert.hidden = false;
  elements.alertRow.hidden = false;
}

/**
 * Removes the alert.
 * @param {number} [upTo] number of the last alert to remove, as `alertNumber` gives it
 */
export function closeAlert(upTo = lastAlert) {
  if (lastAlert > upTo) return;
  elements.alert.hidden = true;
  elements.alertRow.hidden = true;
}

/** Number of the last alert: an action that succeeds closes those that were there before it. */
export function alertNumber() {
  return lastAlert;
}

/** @param {() => void} focusPicture gives the focus to the picture */
export function bindMessages(focusPicture) {
  elements.alertClose.onclick = () => {
    closeAlert();
    // Hiding the button with the focus would lose it.
    focusPicture();
  };
}
